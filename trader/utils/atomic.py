"""Files that are either the old one or the new one, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from trader.utils.errors import UserError


def atomic_write_bytes(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file: temporary file, fsync, rename, fsync of the directory. On the disk when this returns.

    Raises
    ------
    UserError
        If it cannot be written (read-only or full disk, a file in place of the folder); nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def atomic_write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """`atomic_write_bytes` of UTF-8 text."""
    atomic_write_bytes(path, text.encode(), mode=mode)


def sync_directory(folder: Path) -> None:
    """Make the names in a folder durable (renames, removals); a no-op where a folder cannot be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> UserError:
    """The one line for a file that the disk refused."""
    return UserError(f"cannot write {path}: {error.strerror or error}; free space or choose a writable --home")
