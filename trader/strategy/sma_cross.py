"""The two moving averages that every engine is compared with."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
import numpy as np

from trader.core.history import History
from trader.core.panel import FloatArray
from trader.core.signals import Signal
from trader.strategy.base_strategy import BaseStrategy, StrategyContext, StrategyParams, held_directions

Length = Annotated[int, msgspec.Meta(ge=1, le=2000)]
Percent = Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]
EPSILON = 1e-9                    # the averages carry rounding; a tie is flat


class SmaCrossParams(StrategyParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``fast`` and ``slow`` in bars; ``shares`` None: sized by the risk settings; no bracket where a pct is None."""

    fast: Length = 20
    slow: Length = 50
    shares: Annotated[int, msgspec.Meta(ge=1)] | None = 100
    take_profit_pct: Percent | None = 0.04
    stop_loss_pct: Percent | None = 0.02

    def __post_init__(self) -> None:
        if self.fast >= self.slow:
            raise ValueError(f"fast ({self.fast}) must be below slow ({self.slow})")


class SmaCross(BaseStrategy):
    """Long while the fast mean of closes is above the slow one, flat otherwise.

    After a bracket has closed a position the symbol stays flat until the fast mean was below once. Sums are
    carried along: a slice costs a few additions over all symbols.
    """

    name: ClassVar[str] = "sma_cross"
    Params: ClassVar[type[StrategyParams]] = SmaCrossParams
    params: SmaCrossParams

    def __init__(self, params: StrategyParams | None = None) -> None:
        super().__init__(params)
        self._sums: tuple[FloatArray, FloatArray] | None = None
        self._spent: np.ndarray | None = None           # entered in this upswing already
        self._summed_at = 0                             # the bar that the sums end with
        self._age = 0

    @property
    def warmup(self) -> int:
        return self.params.slow

    def on_slice(self, ctx: StrategyContext) -> list[Signal]:
        history, params = ctx.history, self.params
        if history.n < params.slow:
            return []
        fast, slow = self._means(history)
        above = fast > slow + EPSILON
        if self._spent is None:
            self._spent = np.zeros(len(history.symbols), bool)
        self._spent &= above
        held = held_directions(ctx.book, history.symbols)
        wanted = above & (held == 0) & ~self._spent & ctx.ok
        leave = ~above & (held != 0) & ctx.ok
        if not (wanted.any() or leave.any()):
            return []
        close = ctx.slice.close
        signals = [
            Signal(history.symbols[i], 0, 1.0, float(close[i]), reason="fast mean below slow")
            for i in np.flatnonzero(leave)
        ]
        for i in np.flatnonzero(wanted):
            signals.append(Signal(
                history.symbols[i], 1, 1.0, float(close[i]), take_profit_pct=params.take_profit_pct,
                stop_loss_pct=params.stop_loss_pct, shares=params.shares, reason="fast mean above slow",
            ))
            self._spent[i] = params.take_profit_pct is not None or params.stop_loss_pct is not None
        return signals

    def _means(self, history: History) -> tuple[FloatArray, FloatArray]:
        """Means of the last bars; rolled forward, and summed afresh after a gap and every 1,000 bars against drift."""
        fast_n, slow_n = self.params.fast, self.params.slow
        close, ts = history.close(slow_n + 1), history.ts(2)
        follows = len(close) > slow_n and self._summed_at == ts[0]
        self._summed_at = int(ts[-1])
        self._age += 1
        if self._sums is None or not follows or self._age % 1000 == 0 or np.isnan(self._sums[1]).any():
            self._sums = (close[-fast_n:].sum(axis=0), close[-slow_n:].sum(axis=0))
        else:
            newest = close[-1]
            self._sums = (self._sums[0] + newest - close[-1 - fast_n], self._sums[1] + newest - close[0])
        return self._sums[0] / fast_n, self._sums[1] / slow_n
