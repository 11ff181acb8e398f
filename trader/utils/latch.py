"""The halt latch: a small file per account that keeps trading off until a person lifts it.

The file is on the disk before ``set`` returns, so the latch holds before the first order is cancelled, and survives
quitting, crashing and restarting. What cannot be read counts as latched.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from trader.utils.atomic import atomic_write_text, cannot_write, sync_directory


@dataclass(frozen=True, slots=True)
class LatchState:
    """Why trading is off."""

    source: str                 # key | command | signal | http | breaker | start
    reason: str
    ts_ns: int


class HaltLatch:
    """The latch of one account; ``latch_of`` gives the one of a mode."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> LatchState | None:
        """Why trading is off, or None when it is on. A damaged or unreadable file is a latched one."""
        try:
            return self._load()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            return LatchState(
                "start", f"the latch file {self.path} cannot be read ({type(error).__name__}); "
                "it counts as halted until `alphatrade resume` replaces it", self._modified_ns())

    def set(self, source: str, reason: str, ts_ns: int) -> LatchState:
        """Latch, durably; an older readable latch stays as it is, with its first cause.

        Raises
        ------
        UserError
            If the disk refuses; the caller must then halt all the same and say that it will not survive a restart.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return self._load()
        atomic_write_text(self.path, json.dumps({"source": source, "reason": reason, "ts_ns": ts_ns}) + "\n")
        self._record({"set": ts_ns, "source": source, "reason": reason})
        return LatchState(source, reason, ts_ns)

    def clear(self, by: str, reason: str) -> LatchState | None:
        """Lift the latch, durably; says what was lifted, None when nothing was. ``by`` and ``reason`` are recorded."""
        before = self.read()
        if before is None:
            return None
        self._record({"lifted": before.ts_ns, "by": by, "reason": reason})
        try:
            self.path.unlink(missing_ok=True)
            sync_directory(self.path.parent)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        return before

    def _load(self) -> LatchState:
        raw = json.loads(self.path.read_text(encoding="utf-8"))
        return LatchState(str(raw["source"]), str(raw["reason"]), int(raw["ts_ns"]))

    def _modified_ns(self) -> int:
        with contextlib.suppress(OSError):
            return self.path.stat().st_mtime_ns
        return 0

    def _record(self, line: dict[str, object]) -> None:
        """The history beside the latch is for people; it must never stand in the way of the latch itself."""
        with contextlib.suppress(OSError), self.path.with_suffix(".history.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def latch_of(home: Path, mode: str) -> HaltLatch:
    """The latch of a mode's account in a home."""
    return HaltLatch(home / "state" / f"halt-{mode}.json")
