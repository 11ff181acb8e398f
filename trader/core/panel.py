"""Aligned bars of many symbols as arrays: the one shape in which bars travel through the house."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

REAL = "real"
SYNTHETIC_INTRADAY = "synthetic-intraday"
FIELDS = ("open", "high", "low", "close", "volume")


class Slice(NamedTuple):
    """All symbols at one bar. Arrays have shape ``(n_symbols,)``; a missing bar is NaN in every field."""

    index: int  # type: ignore[assignment]   # running number; hides tuple.index on purpose
    ts_ns: int                  # start of the bar
    available_ns: int           # when it may be used: the end of the bar
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray


@dataclass(frozen=True, slots=True)
class BarPanel:
    """Bars of ``n_symbols`` symbols on one time grid.

    ``ts_ns`` has shape ``(n_bars,)``: bar starts, UTC, strictly increasing. The value arrays have shape
    ``(n_bars, n_symbols)``, C order, float64; a symbol without a bar at a time has NaN in all of them.
    ``available_ns`` says when each bar may be used (its end; for daily bars the session's close).
    ``source`` is ``real`` or ``synthetic-intraday``; every file, report and screen shows it.
    """

    symbols: tuple[str, ...]
    timeframe: str              # "15Min", "1Day", "1Min"
    ts_ns: IntArray
    available_ns: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    source: str = REAL
    vwap: FloatArray | None = None
    trade_count: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.ts_ns)

    def slice(self, i: int) -> Slice:
        """Row ``i`` as views, no copy."""
        return Slice(
            i, int(self.ts_ns[i]), int(self.available_ns[i]),
            self.open[i], self.high[i], self.low[i], self.close[i], self.volume[i],
        )

    def slices(self, start: int = 0) -> Iterator[Slice]:
        """The slices from row ``start`` on, each as :meth:`slice` gives it."""
        rows = zip(range(start, len(self)), self.ts_ns[start:].tolist(), self.available_ns[start:].tolist(),
                   self.open[start:], self.high[start:], self.low[start:], self.close[start:], self.volume[start:],
                   strict=True)
        return map(partial(tuple.__new__, Slice), rows)     # half the time of calling the class

    def rows(self, start: int, stop: int) -> BarPanel:
        """The bars ``start <= i < stop`` as views."""
        cut = np.s_[start:stop]
        return BarPanel(
            self.symbols, self.timeframe, self.ts_ns[cut], self.available_ns[cut],
            self.open[cut], self.high[cut], self.low[cut], self.close[cut], self.volume[cut], self.source,
            None if self.vwap is None else self.vwap[cut],
            None if self.trade_count is None else self.trade_count[cut],
        )

    def between(self, start_ns: int | None, end_ns: int | None) -> BarPanel:
        """The bars with ``start_ns <= ts_ns < end_ns``."""
        low = 0 if start_ns is None else int(np.searchsorted(self.ts_ns, start_ns))
        high = len(self) if end_ns is None else int(np.searchsorted(self.ts_ns, end_ns))
        return self.rows(low, high)

    def column(self, symbol: str) -> int:
        """The column of a symbol; KeyError names it."""
        try:
            return self.symbols.index(symbol)
        except ValueError:
            raise KeyError(f"{symbol} is not in this panel; it holds {', '.join(self.symbols)}") from None
