"""Which sessions run in a home: one lock and one small file per mode, readable by the owner alone."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from trader.utils.atomic import atomic_write_text, cannot_write
from trader.utils.errors import UserError


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """Where a running session is found and how it is spoken to."""

    mode: str
    run_id: str
    pid: int
    process_start: str          # tells a later process with the same pid apart
    started_ns: int
    journal: str
    control_host: str
    control_port: int
    token: str

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return self.process_start == process_start(self.pid) != ""

    def __repr__(self) -> str:                      # never the token
        return f"SessionInfo(mode={self.mode!r}, run_id={self.run_id!r}, pid={self.pid})"


class SessionLock:
    """Keeps a second session of the same mode out of the same home.

    The kernel holds the lock for the process: it is free again after any kind of death. A child made by fork keeps
    it alive, so training and the like must be started afresh (spawn, subprocess).
    """

    def __init__(self, home: Path, mode: str) -> None:
        self.folder = home / "state"
        self.mode = mode
        self._file: IO[str] | None = None

    @property
    def info_path(self) -> Path:
        return self.folder / f"session-{self.mode}.json"

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        UserError
            If another session holds it (the line names its pid), or the home is not writable.
        """
        lock_path = self.folder / f"session-{self.mode}.lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = lock_path.open("a+", encoding="utf-8")
        except OSError as error:
            raise cannot_write(lock_path, error) from error
        try:
            _lock(file)
        except OSError:
            file.close()
            other = read_session(self.info_path)
            who = f"pid {other.pid}" if other else "another process"
            raise UserError(
                f"a {self.mode} session already runs in this home ({who}); watch it with "
                "alphatrade-tui --attach latest, or start the new one with another --home", exit_code=3) from None
        self._file = file
        with contextlib.suppress(OSError):
            self.info_path.unlink()                 # left behind by a session that was killed

    def publish(self, info: SessionInfo) -> None:
        """Let ``status``, ``halt`` and ``--attach`` find this session."""
        atomic_write_text(self.info_path, json.dumps(asdict(info)) + "\n", mode=0o600)

    def release(self) -> None:
        """Forget the session and free the lock; safe to call twice."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self.info_path.unlink()
            self._file.close()
            self._file = None

    def __enter__(self) -> SessionLock:
        self.acquire()
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


def read_session(path: Path) -> SessionInfo | None:
    """What a session published, or None where there is nothing that can be read."""
    try:
        return SessionInfo(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def running_sessions(home: Path) -> list[SessionInfo]:
    """The sessions that run in a home; files of dead ones are passed over."""
    found = [read_session(path) for path in sorted((home / "state").glob("session-*.json"))]
    return [info for info in found if info is not None and info.alive]


def process_start(pid: int) -> str:
    """When a process started, as an opaque word; empty when there is no such process (or only its zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "" if Path("/proc/self/stat").exists() else _process_start_by_ps(pid)
    fields = stat[stat.rindex(")") + 2:].split()        # the name in brackets may hold spaces
    return "" if fields[0] in "ZX" else fields[19]


def _process_start_by_ps(pid: int) -> str:
    """For systems without /proc."""
    try:
        answer = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def own_process_start() -> str:
    """``process_start`` of this process."""
    return process_start(os.getpid())


def _lock(file: IO[str]) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
