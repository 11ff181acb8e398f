"""From calibrated probabilities to signals."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from trader.core.panel import FloatArray
from trader.core.signals import Signal
from trader.strategy.base_strategy import BaseStrategy, StrategyContext, StrategyParams, held_directions

LOSS, PROFIT = 0, 2
BPS = 1e4
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Percent = Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]
Multiple = Annotated[float, msgspec.Meta(gt=0.0, le=50.0)]


class BarrierParams(StrategyParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Barriers are multiples of the bars' volatility, as in the labels that the model learned."""

    profit_taking: Multiple = 2.0
    stop_loss: Multiple = 1.0
    max_holding_periods: Annotated[int, msgspec.Meta(ge=1, le=5000)] = 26
    volatility_bars: Annotated[int, msgspec.Meta(ge=5, le=5000)] = 100
    min_barrier_pct: Percent = 0.003
    max_barrier_pct: Percent = 0.12
    cost_bps: Annotated[float, msgspec.Meta(ge=0.0)] = 5.0          # round trip


class MLParams(BarrierParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an edge must be, and when a position is left before its barriers."""

    min_edge: Share = 0.05                      # P(profit) − P(loss), after what costs take of it
    exit_edge: Annotated[float, msgspec.Meta(ge=-1.0, le=1.0)] = -0.05   # out when the edge decays below
    full_edge: Percent = 0.30                   # edge at which the strength is one
    allow_short: bool = False


class BarrierStrategy(BaseStrategy):
    """What strategies of a model share: entries with the barriers of its labels, exits no later than theirs.

    Parameters
    ----------
    params : ``BarrierParams`` or more.
    barriers : per symbol ``(profit_taking, stop_loss, max_holding_periods)`` of the model's labels; the parameters'
        values for the others.
    """

    Params: ClassVar[type[StrategyParams]] = BarrierParams
    needs_model: ClassVar[bool] = True
    params: BarrierParams

    def __init__(
        self, params: StrategyParams | None = None, barriers: dict[str, tuple[float, float, int]] | None = None,
    ) -> None:
        super().__init__(params)
        self.barriers = barriers or {}
        self._columns: tuple[FloatArray, FloatArray, FloatArray] | None = None

    @property
    def warmup(self) -> int:
        return self.params.volatility_bars + 1

    def distances(self, ctx: StrategyContext) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Profit and stop as fractions of the price, and the volatility behind them, ``(n_symbols,)`` each."""
        p = self.params
        take, stop, _ = self._rules(ctx.history.symbols)
        sigma = barrier_volatility(ctx.history.close(p.volatility_bars + 1))
        target: FloatArray = np.clip(take * sigma, p.min_barrier_pct, p.max_barrier_pct)
        risk: FloatArray = np.clip(stop * sigma, p.min_barrier_pct, p.max_barrier_pct)
        return target, risk, sigma

    def too_old(self, ctx: StrategyContext, i: int) -> str:
        """Why the position of a symbol ends by age; empty where it does not."""
        symbols = ctx.history.symbols
        held = ctx.book.positions[symbols[i]].bars_held
        return f"held for {held} bars" if held >= self._rules(symbols)[2][i] else ""

    def _rules(self, symbols: tuple[str, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
        if self._columns is None:
            p = self.params
            rows = [self.barriers.get(s, (p.profit_taking, p.stop_loss, p.max_holding_periods)) for s in symbols]
            table = np.asarray(rows, np.float64)
            self._columns = (table[:, 0], table[:, 1], table[:, 2])
        return self._columns


class MLStrategy(BarrierStrategy):
    """Long where the model expects the upper barrier first by more than costs; out by bracket, age or decay.

    The expected alpha of an entry is ``P(profit) × target − P(loss) × stop``. The edge must exceed
    ``min_edge`` and the alpha must exceed the costs.
    """

    name: ClassVar[str] = "ml"
    Params: ClassVar[type[StrategyParams]] = MLParams
    params: MLParams

    def on_slice(self, ctx: StrategyContext) -> list[Signal]:
        probabilities, history = ctx.probabilities, ctx.history
        if probabilities is None or history.n < self.warmup:
            return []
        known = np.isfinite(probabilities).all(axis=1) & ctx.ok
        edge = np.where(known, probabilities[:, PROFIT] - probabilities[:, LOSS], 0.0)
        held = held_directions(ctx.book, history.symbols)
        signals = self._exits(ctx, edge, known, held) if held.any() else []
        p = self.params
        wish = np.where(edge >= p.min_edge, 1, np.where(p.allow_short & (edge <= -p.min_edge), -1, 0))
        candidates = known & (held == 0) & (wish != 0)
        if candidates.any():
            candidates &= self.confirms(ctx, wish)
            if candidates.any():
                signals += self._entries(ctx, probabilities, edge, wish, candidates)
        return signals

    def confirms(self, ctx: StrategyContext, wish: NDArray[np.int64]) -> NDArray[np.bool_]:
        """A filter over the wishes, shape (n_symbols,); everything passes here."""
        return np.ones(len(wish), bool)

    def _entries(
        self, ctx: StrategyContext, probabilities: FloatArray, edge: FloatArray, wish: NDArray[np.int64],
        candidates: NDArray[np.bool_],
    ) -> list[Signal]:
        p, symbols = self.params, ctx.history.symbols
        target, risk, sigma = self.distances(ctx)
        signals = []
        for i in np.flatnonzero(candidates & np.isfinite(sigma)):
            won, lost = (PROFIT, LOSS) if wish[i] > 0 else (LOSS, PROFIT)
            # A short wins at the lower barrier: target and stop keep their places around the price.
            gain, pain = (target[i], risk[i]) if wish[i] > 0 else (risk[i], target[i])
            alpha = float(probabilities[i, won] * gain - probabilities[i, lost] * pain) * BPS
            if alpha <= p.cost_bps:
                continue
            probability = float(probabilities[i, won])
            signals.append(Signal(
                symbols[i], int(wish[i]), min(1.0, abs(float(edge[i])) / p.full_edge), float(ctx.slice.close[i]),
                probability=probability, take_profit_pct=float(gain), stop_loss_pct=float(pain),
                expected_alpha_bps=alpha, reason=f"edge {edge[i]:+.2f}, P {probability:.2f}, alpha {alpha:.0f} bps",
            ))
        return signals

    def _exits(
        self, ctx: StrategyContext, edge: FloatArray, known: NDArray[np.bool_], held: NDArray[np.int8],
    ) -> list[Signal]:
        symbols, close = ctx.history.symbols, ctx.slice.close
        signals = []
        for i in np.flatnonzero((held != 0) & ctx.ok):
            reason = self.too_old(ctx, int(i))
            if not reason and known[i] and held[i] * edge[i] < self.params.exit_edge:
                reason = f"edge decayed to {held[i] * edge[i]:+.2f}"
            if not reason:
                continue
            signals.append(Signal(symbols[i], 0, 1.0, float(close[i]), reason=reason))
        return signals


def barrier_volatility(close: FloatArray) -> FloatArray:
    """Exponentially weighted standard deviation of the rows' returns, span 100 (AFML 3.1), shape (n_symbols,).

    Equal to pandas' ``ewm(span=100).std()`` over the same rows.
    """
    returns = close[1:] / close[:-1] - 1.0
    weights = (1.0 - 2.0 / 101.0) ** np.arange(len(returns) - 1, -1, -1)[:, None]
    total = weights.sum()
    mean = (weights * returns).sum(axis=0) / total
    variance = (weights * (returns - mean) ** 2).sum(axis=0) / total
    out: FloatArray = np.sqrt(variance / (1.0 - float((weights**2).sum()) / total**2))
    return out
