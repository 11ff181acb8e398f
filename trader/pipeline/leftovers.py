"""Removes what processes that were killed left half-written; what a living one writes is never touched."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from trader.utils.session_file import process_start

# as trader.utils.atomic and trader.models.artifact name them: .<name>.<pid>.<what>
_TEMPORARY = re.compile(r"\..+\.(\d+)\.(?:[0-9a-f]+\.tmp|new|old)")


def sweep(folders: Iterable[Path], of: str = "") -> None:
    """Delete temporary files and directories of dead processes in these folders (not below them), or those ``of`` a
    name."""
    for folder in folders:
        for path in folder.glob(f".{of}*"):
            found = _TEMPORARY.fullmatch(path.name)
            if found is None or process_start(int(found[1])):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
