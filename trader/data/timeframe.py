"""Bar sizes: how they are written, how long they last, when a bar may be used."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from trader.core.clock import MINUTE_NS
from trader.core.panel import IntArray
from trader.core.sessions import session_index, session_table
from trader.utils.errors import UserError

_UNITS = {
    "": 1, "m": 1, "min": 1, "mins": 1, "minute": 1, "minutes": 1, "t": 1,
    "h": 60, "hour": 60, "hours": 60,
}
_DAY_WORDS = frozenset({"d", "day", "daily", "1d", "1day", "1440", "1440min"})
_SPELLING = re.compile(r"(\d*)\s*([a-z]*)")


@dataclass(frozen=True, slots=True)
class Timeframe:
    """A bar size; ``minutes`` is 0 for whole sessions (daily bars)."""

    name: str
    minutes: int

    @property
    def daily(self) -> bool:
        return self.minutes == 0

    @property
    def step_ns(self) -> int:
        """Length of an intraday bar in ns; 0 for daily bars, whose length is the session's."""
        return self.minutes * MINUTE_NS


DAILY = Timeframe("1Day", 0)
FIFTEEN = Timeframe("15Min", 15)


def parse_timeframe(text: str) -> Timeframe:
    """``15Min``, ``15m``, ``1h``, ``1d``, ``1Day``, ``daily`` … as a `Timeframe`; UserError otherwise."""
    word = text.strip().lower()
    if word in _DAY_WORDS:
        return DAILY
    match = _SPELLING.fullmatch(word)
    if match and match[2] in _UNITS and (match[1] or match[2]):
        minutes = int(match[1] or 1) * _UNITS[match[2]]
        if 0 < minutes <= 390:
            return intraday(minutes)
    raise UserError(f"timeframe {text!r} is not a bar size; write minutes up to 390 as 15Min (or 15m), or 1Day (or 1d)")


def intraday(minutes: int) -> Timeframe:
    """The bar size of so many minutes."""
    return Timeframe(f"{minutes}Min", minutes)


def available_at(ts_ns: IntArray, timeframe: Timeframe) -> IntArray:
    """When the bars that start at ``ts_ns`` may be used: their ends, ns UTC, same shape.

    A daily bar ends with its session; an intraday bar after its length, or with the session where that is sooner
    (the last hourly bar of a day). Intraday bars outside the regular session simply last their length.
    """
    rows = session_index(ts_ns)
    closes = session_table().closes[rows]           # row -1 reads some close; masked below
    if timeframe.daily:
        if (rows < 0).any():
            raise ValueError("a daily bar must start at its session's opening")
        return closes
    ends = np.asarray(ts_ns, dtype=np.int64) + timeframe.step_ns
    return np.where(rows >= 0, np.minimum(ends, closes), ends)
