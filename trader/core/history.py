"""The bars seen so far, as arrays: what strategies and risk rules look back on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trader.core.panel import BarPanel, FloatArray, Slice


class History:
    """The last bars of all symbols; every accessor returns a view, oldest row first.

    A live session appends; a backtest lays the history over its panel, where appending only moves a pointer.
    Nothing after the current slice can be reached.
    """

    __slots__ = (
        "_close",
        "_day",
        "_fixed",
        "_high",
        "_keep",
        "_low",
        "_open",
        "_today",
        "_ts",
        "_volume",
        "bars_per_day",
        "n",
        "symbols",
    )

    def __init__(self, symbols: tuple[str, ...], *, bars_per_day: float = 26.0, keep: int = 4096) -> None:
        self.symbols = symbols
        self.bars_per_day = bars_per_day
        self.n = 0
        self._keep = keep
        self._fixed = False
        shape = (2 * keep, len(symbols))
        self._open, self._high, self._low, self._close, self._volume = (np.full(shape, np.nan) for _ in range(5))
        self._ts = np.zeros(2 * keep, np.int64)
        self._day = np.zeros(2 * keep, np.int64)
        self._today = 0

    @classmethod
    def over(cls, panel: BarPanel, day: NDArray[np.int64], bars_per_day: float, seen: int = 0) -> History:
        """A history laid over a panel of which ``seen`` bars have already happened. ``day``: yyyymmdd per bar."""
        history = cls.__new__(cls)
        history.symbols = panel.symbols
        history.bars_per_day = bars_per_day
        history.n = seen
        history._keep = len(panel)
        history._fixed = True
        history._open, history._high, history._low = panel.open, panel.high, panel.low
        history._close, history._volume = panel.close, panel.volume
        history._ts, history._day = panel.ts_ns, day
        history._today = int(day[seen - 1]) if seen else 0
        return history

    def append(self, bar: Slice, day: int) -> None:
        """One more slice."""
        self._today = day
        if self._fixed:
            self.n += 1
            return
        if self.n == len(self._ts):
            keep = self._keep
            for array in (self._open, self._high, self._low, self._close, self._volume, self._ts, self._day):
                array[:keep] = array[-keep:]
            self.n = keep
        i = self.n
        self._open[i], self._high[i], self._low[i] = bar.open, bar.high, bar.low
        self._close[i], self._volume[i] = bar.close, bar.volume
        self._ts[i], self._day[i] = bar.ts_ns, day
        self.n = i + 1

    def _last(self, array: NDArray[np.float64], k: int) -> FloatArray:
        return array[max(0, self.n - k):self.n]

    def open(self, k: int) -> FloatArray:
        """The last ``k`` opens, shape ``(≤ k, n_symbols)``."""
        return self._last(self._open, k)

    def high(self, k: int) -> FloatArray:
        """The last ``k`` highs."""
        return self._last(self._high, k)

    def low(self, k: int) -> FloatArray:
        """The last ``k`` lows."""
        return self._last(self._low, k)

    def close(self, k: int) -> FloatArray:
        """The last ``k`` closes."""
        return self._last(self._close, k)

    @property
    def newest_close(self) -> FloatArray:
        """The last closes, shape ``(n_symbols,)``; there must be one."""
        close: FloatArray = self._close[self.n - 1]
        return close

    def volume(self, k: int) -> FloatArray:
        """The last ``k`` volumes."""
        return self._last(self._volume, k)

    def ts(self, k: int) -> NDArray[np.int64]:
        """Bar starts of the last ``k`` slices."""
        return self._ts[max(0, self.n - k):self.n]

    @property
    def today(self) -> int:
        """Session (yyyymmdd) of the last slice; 0 before the first."""
        return self._today

    def day(self, k: int) -> NDArray[np.int64]:
        """Sessions (yyyymmdd) of the last ``k`` slices."""
        return self._day[max(0, self.n - k):self.n]
