"""The last bars of every symbol for the charts, folded late: a slice costs one append until somebody looks."""

from __future__ import annotations

from collections import deque

import msgspec

from trader.core.events import SliceClosed

CANDLES_KEPT = 240
Row = tuple[float, float, float, float]
WAITING = 1024                          # slices that may wait to be sorted by symbol


class Candles(msgspec.Struct, gc=False):
    """The last bars of a symbol: starts, (open, high, low, close), probability of profit."""

    ts: deque[int] = msgspec.field(default_factory=lambda: deque(maxlen=CANDLES_KEPT))
    rows: deque[Row] = msgspec.field(default_factory=lambda: deque(maxlen=CANDLES_KEPT))
    probability: deque[float | None] = msgspec.field(default_factory=lambda: deque(maxlen=CANDLES_KEPT))


class CandleState(msgspec.Struct, gc=False):
    """A symbol's candles as a snapshot keeps them."""

    ts: list[int]
    rows: list[Row]
    probability: list[float | None]


class CandleFold:
    """Slices and their predictions, sorted by symbol when they are looked at or too many wait."""

    def __init__(self, symbols: tuple[str, ...] = ()) -> None:
        self._symbols = symbols
        self._series = {symbol: Candles() for symbol in symbols}
        self._slices: list[SliceClosed] = []
        self._profits: list[list[float | None] | None] = []
        self._newest: SliceClosed | None = None

    def add(self, event: SliceClosed) -> None:
        """The next slice."""
        self._newest = event
        self._slices.append(event)
        self._profits.append(None)
        if len(self._slices) >= WAITING:
            self._sort()

    def predict(self, p_profit: list[float | None]) -> None:
        """The probabilities at the newest slice, in the order of the symbols."""
        if self._profits:
            self._profits[-1] = p_profit
            return
        newest = self._newest
        if newest is None:
            return
        for column, symbol in enumerate(self._symbols):
            if _row(newest, column) is not None:
                self._series[symbol].probability[-1] = p_profit[column]

    def kept(self) -> tuple[dict[str, CandleState], SliceClosed | None]:
        """All that it knows, for a snapshot."""
        return {symbol: CandleState(list(candles.ts), list(candles.rows), list(candles.probability))
                for symbol, candles in self.series().items()}, self._newest

    def restore(self, series: dict[str, CandleState], newest: SliceClosed | None) -> None:
        """Take up what :meth:`kept` gave."""
        for symbol, candles in series.items():
            kept = self._series[symbol] = Candles()
            kept.ts.extend(candles.ts)
            kept.rows.extend(candles.rows)
            kept.probability.extend(candles.probability)
        self._newest = newest

    def series(self) -> dict[str, Candles]:
        """Every symbol's candles, oldest first."""
        if self._slices:
            self._sort()
        return self._series

    def _sort(self) -> None:
        for column, symbol in enumerate(self._symbols):
            self._sort_symbol(column, self._series[symbol])
        self._slices.clear()
        self._profits.clear()

    def _sort_symbol(self, column: int, series: Candles) -> None:
        """Append a symbol's waiting bars; from the end, so that what would be forgotten at once is not looked at."""
        found: list[tuple[int, Row, float | None]] = []
        for event, profits in zip(reversed(self._slices), reversed(self._profits), strict=True):
            row = _row(event, column)
            if row is not None:
                found.append((event.bar_ts, row, None if profits is None else profits[column]))
                if len(found) == CANDLES_KEPT:
                    break
        for ts, row, probability in reversed(found):
            series.ts.append(ts)
            series.rows.append(row)
            series.probability.append(probability)


def _row(event: SliceClosed, column: int) -> Row | None:
    opened, high, low, close = event.open[column], event.high[column], event.low[column], event.close[column]
    if opened is None or high is None or low is None or close is None:
        return None
    return opened, high, low, close
