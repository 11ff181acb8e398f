"""Time as nanoseconds since the epoch, UTC; clocks are passed in, never read from inside the engine."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

MILLISECOND_NS = 1_000_000
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
DAY_NS = 86_400 * SECOND_NS


class Clock(Protocol):
    """Anything that tells the time in nanoseconds."""

    def now_ns(self) -> int:
        """Nanoseconds since the epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        return time.time_ns()


class VirtualClock:
    """A clock that stands where it was put: backtests, lock-step sessions, replays."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        return self._now_ns

    def advance_to(self, now_ns: int) -> None:
        """Move forward; time never runs backwards."""
        self._now_ns = max(self._now_ns, now_ns)


def whole_ms(ns: int) -> int:
    """The millisecond that a moment lies in.

    Venues tell orders of one moment apart by microseconds. A virtual clock that took those over would show which of
    two messages was heard first, which is never the same twice.
    """
    return ns // MILLISECOND_NS * MILLISECOND_NS


def from_ns(ns: int) -> datetime:
    """A timezone-aware UTC datetime (microsecond resolution)."""
    return datetime.fromtimestamp(ns // SECOND_NS, UTC).replace(microsecond=ns % SECOND_NS // 1000)


def to_ns(moment: datetime) -> int:
    """Nanoseconds of an aware datetime."""
    whole = moment.replace(microsecond=0)
    return int(whole.timestamp()) * SECOND_NS + moment.microsecond * 1000


def iso(ns: int) -> str:
    """RFC 3339 with microseconds and Z."""
    return from_ns(ns).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
