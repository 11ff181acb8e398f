"""What the least does for the same work: the plain event loop against which the engine is held."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from decimal import Decimal

from trader.core.panel import BarPanel

FAST, SLOW, SHARES = 20, 50, 100
SLIPPAGE, FEE, CASH = 0.0005, 0.005, 10_000_000.0
EPSILON = 1e-9
TICK = Decimal("0.0001")


class _Bar:
    __slots__ = ("close", "high", "low", "open", "symbol", "ts", "volume")

    def __init__(self, symbol: str, ts: int, o: float, h: float, l: float, c: float, v: float) -> None:
        self.symbol, self.ts = symbol, ts
        self.open, self.high, self.low, self.close, self.volume = o, h, l, c, v


class _Order:
    __slots__ = ("shares", "symbol", "ts")

    def __init__(self, symbol: str, shares: int, ts: int) -> None:
        self.symbol, self.shares, self.ts = symbol, shares, ts


class _Fill:
    __slots__ = ("fee", "order", "price", "ts")

    def __init__(self, order: _Order, price: float, ts: int, fee: float) -> None:
        self.order, self.price, self.ts, self.fee = order, price, ts, fee


class _Means:
    __slots__ = ("fast", "fast_sum", "slow", "slow_sum")

    def __init__(self) -> None:
        self.fast: deque[float] = deque()
        self.slow: deque[float] = deque()
        self.fast_sum = self.slow_sum = 0.0

    def wants(self, price: float) -> int | None:
        self.fast.append(price)
        self.slow.append(price)
        self.fast_sum += price
        self.slow_sum += price
        if len(self.fast) > FAST:
            self.fast_sum -= self.fast.popleft()
        if len(self.slow) > SLOW:
            self.slow_sum -= self.slow.popleft()
        if len(self.slow) < SLOW:
            return None
        return SHARES if self.fast_sum / FAST > self.slow_sum / SLOW + EPSILON else 0


class PlainLoop:
    """Two moving averages by an object a bar: no journal, no risk layer, no order state; fills at the next open.

    Prices of fills are rounded to a hundredth of a cent as the venue's are, so that both ends agree.
    """

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self.cash = CASH
        self.held = dict.fromkeys(symbols, 0)
        self.last = dict.fromkeys(symbols, 0.0)
        self.waiting: dict[str, _Order] = {}
        self.means = {symbol: _Means() for symbol in symbols}
        self.fills: list[_Fill] = []
        self.curve: list[tuple[int, float]] = []

    def run(self, panel: BarPanel) -> PlainLoop:
        """Play the panel bar by bar."""
        before = None
        for bar in _bars(panel):
            if bar.ts != before:
                if before is not None:
                    self._mark(before)
                before = bar.ts
            self._take(bar)
        if before is not None:
            self._mark(before)
        return self

    def _take(self, bar: _Bar) -> None:
        symbol = bar.symbol
        order = self.waiting.pop(symbol, None)
        if order is not None:
            price = _on_the_tick(bar.open * (1 + SLIPPAGE if order.shares > 0 else 1 - SLIPPAGE))
            fee = FEE * abs(order.shares)
            self.cash -= order.shares * price + fee
            self.held[symbol] += order.shares
            self.fills.append(_Fill(order, price, bar.ts, fee))
        self.last[symbol] = bar.close
        wanted = self.means[symbol].wants(bar.close)
        if wanted is not None:
            missing = wanted - self.held[symbol]
            if missing:
                self.waiting[symbol] = _Order(symbol, missing, bar.ts)

    def _mark(self, ts: int) -> None:
        held, last = self.held, self.last
        self.curve.append((ts, self.cash + sum(held[symbol] * last[symbol] for symbol in held)))


def _on_the_tick(price: float) -> float:
    return float(Decimal(repr(price)).quantize(TICK))


def _bars(panel: BarPanel) -> Iterator[_Bar]:
    symbols = panel.symbols
    for i, ts in enumerate(panel.ts_ns.tolist()):
        row = (array[i].tolist() for array in (panel.open, panel.high, panel.low, panel.close, panel.volume))
        for symbol, o, h, l, c, v in zip(symbols, *row, strict=True):
            yield _Bar(symbol, ts, o, h, l, c, v)
