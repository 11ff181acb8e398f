"""Statistics of execution quality: exact counts and sums, quantiles over the latest executions."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

RECENT = 1000                     # executions that the quantiles look at, per symbol
BPS = 1e4
SIGN = {"buy": 1.0, "sell": -1.0}
ALL = "ALL"


class SlippageLine(NamedTuple):
    """Execution quality of a symbol, or of all (``ALL``). Positive basis points cost money."""

    symbol: str
    executions: int
    mean_bps: float
    median_bps: float
    p95_bps: float
    cost: float                   # dollars
    fill_rate: float              # filled over asked, of finished orders; 1.0 before one finished
    beat_vwap: float | None       # share of executions better than the bar's VWAP


def slippage_bps(side: str, price: float, reference: float) -> float:
    """What an execution cost against its reference price; positive is against the trader."""
    return SIGN[side] * (price / reference - 1.0) * BPS


class _Tally:
    __slots__ = ("asked", "beat", "compared", "cost", "count", "filled", "line", "recent", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.cost = 0.0
        self.asked = 0.0
        self.filled = 0.0
        self.compared = 0
        self.beat = 0
        self.recent: deque[float] = deque(maxlen=RECENT)
        self.line: SlippageLine | None = None


class SlippageBook:
    """Slippage by symbol and in all; memory is bounded, counts and sums are exact."""

    def __init__(self) -> None:
        self._tallies: dict[str, _Tally] = {ALL: _Tally()}

    def on_fill(
        self, symbol: str, side: str, quantity: float, price: float, reference_price: float,
        bar_vwap: float | None = None,
    ) -> None:
        """One execution; without a positive reference price it says nothing and is left out."""
        if not reference_price > 0.0:
            return
        bps = slippage_bps(side, price, reference_price)
        cost = SIGN[side] * (price - reference_price) * quantity
        for tally in self._both(symbol):
            tally.count += 1
            tally.total += bps
            tally.cost += cost
            tally.recent.append(bps)
            if bar_vwap is not None:
                tally.compared += 1
                tally.beat += SIGN[side] * (price - bar_vwap) < 0.0

    def on_order_done(self, symbol: str, asked: float, filled: float) -> None:
        """An order that will not fill any more."""
        for tally in self._both(symbol):
            tally.asked += asked
            tally.filled += filled

    def rows(self) -> tuple[SlippageLine, ...]:
        """``ALL`` first, then the symbols with executions by name; empty before the first execution."""
        if not self._tallies[ALL].count:
            return ()
        names = [ALL, *sorted(name for name, tally in self._tallies.items() if name != ALL and tally.count)]
        return tuple(self._line(name) for name in names)

    def _both(self, symbol: str) -> tuple[_Tally, _Tally]:
        everything, tally = self._tallies[ALL], self._tallies.get(symbol)
        if tally is None:
            tally = self._tallies[symbol] = _Tally()
        everything.line = tally.line = None
        return everything, tally

    def _line(self, symbol: str) -> SlippageLine:
        tally = self._tallies[symbol]
        if tally.line is None:
            ordered = sorted(tally.recent)
            tally.line = SlippageLine(
                symbol, tally.count, tally.total / tally.count, quantile(ordered, 0.5), quantile(ordered, 0.95),
                tally.cost, tally.filled / tally.asked if tally.asked else 1.0,
                tally.beat / tally.compared if tally.compared else None,
            )
        return tally.line


def quantile(ordered: list[float], share: float) -> float:
    """Linear between order statistics, as numpy's default; ``ordered`` is sorted and not empty."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
