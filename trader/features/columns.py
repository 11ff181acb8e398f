"""The bars of one symbol as a feature sees them: gapless arrays plus what is derived from them once."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trader.core.panel import BarPanel, FloatArray, IntArray
from trader.features.sessions import new_york_clock

ARRAYS = ("open", "high", "low", "close", "volume", "ts_ns", "day", "minute")


class Columns:
    """Bars of one symbol, oldest first; bars that the symbol lacks are left out, never filled.

    Arrays have shape ``(n,)``. ``day`` is New York's day of each bar, which serves as session id; ``minute`` its
    minute of that day. ``intraday`` is False for daily bars: then every bar is a session of its own and
    awareness of the overnight gap is off (``breaks`` is False everywhere).
    """

    def __init__(
        self, open: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray, volume: FloatArray,
        ts_ns: IntArray, day: IntArray, minute: IntArray, intraday: bool,
    ) -> None:
        self.open, self.high, self.low, self.close, self.volume = open, high, low, close, volume
        self.ts_ns, self.day, self.minute, self.intraday = ts_ns, day, minute, intraday
        self._tails: dict[int, Columns] = {}

    def __len__(self) -> int:
        return len(self.close)

    @property
    def session_id(self) -> IntArray:
        """New York's day of each bar."""
        return self.day

    def rows(self, start: int, stop: int) -> Columns:
        """The bars ``start <= i < stop`` as views."""
        cut = slice(start, stop)
        return Columns(
            self.open[cut], self.high[cut], self.low[cut], self.close[cut], self.volume[cut],
            self.ts_ns[cut], self.day[cut], self.minute[cut], self.intraday,
        )

    def copy(self, start: int, stop: int) -> Columns:
        """The bars ``start <= i < stop``, sharing nothing."""
        part = self.rows(start, stop)
        for name in ARRAYS:
            setattr(part, name, getattr(part, name).copy())
        return part

    def tail(self, count: int) -> Columns:
        """The last ``count`` bars; asked twice, the same object, so that features share derived arrays."""
        if count >= len(self):
            return self
        if count not in self._tails:
            self._tails[count] = self.rows(len(self) - count, len(self))
        return self._tails[count]

    @cached_property
    def breaks(self) -> NDArray[np.bool_]:
        """True where a bar opens a session; the first bar's standing is unknown and says False."""
        out = np.zeros(len(self), dtype=bool)
        if self.intraday:
            np.not_equal(self.day[1:], self.day[:-1], out=out[1:])
        return out

    @cached_property
    def session_start(self) -> IntArray:
        """Index of the session's first bar; -1 where it lies before the first bar known."""
        index = np.arange(len(self))
        return np.maximum.accumulate(np.where(self.breaks, index, -1))

    @cached_property
    def log_open(self) -> FloatArray:
        return np.log(self.open)

    @cached_property
    def log_close(self) -> FloatArray:
        return np.log(self.close)

    @cached_property
    def step(self) -> FloatArray:
        """Log return of each bar inside its session.

        From the close before, or from its own open where the bar opens a session: nothing spans the night.
        NaN for the first bar known.
        """
        out = np.full(len(self), np.nan)
        before = np.where(self.breaks[1:], self.log_open[1:], self.log_close[:-1])
        np.subtract(self.log_close[1:], before, out=out[1:])
        return out


def is_intraday(timeframe: str) -> bool:
    """Whether a session has several bars of this timeframe."""
    return not timeframe.lower().endswith(("day", "d", "week", "month"))


def symbol_columns(panel: BarPanel) -> list[tuple[NDArray[np.bool_], Columns]]:
    """For each symbol of a panel: which rows hold a bar ``(n_bars,)``, and those bars as `Columns`."""
    day, minute = new_york_clock(panel.ts_ns)
    intraday = is_intraday(panel.timeframe)
    out = []
    for j in range(len(panel.symbols)):
        fields = [getattr(panel, name)[:, j] for name in ("open", "high", "low", "close", "volume")]
        present = np.isfinite(np.sum(fields, axis=0))
        o, h, l, c, v = (np.ascontiguousarray(field[present], dtype=np.float64) for field in fields)
        times = panel.ts_ns[present], day[present], minute[present]
        out.append((present, Columns(o, h, l, c, v, *times, intraday)))
    return out
