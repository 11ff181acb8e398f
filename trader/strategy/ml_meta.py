"""Meta-labelling at work: a rule names the side, the model says whether the bet pays and how much to stake."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
import numpy as np

from trader.core.bets import bet_size
from trader.core.panel import FloatArray
from trader.core.signals import Signal
from trader.strategy.base_strategy import StrategyContext, StrategyParams, held_directions
from trader.strategy.ml_strategy import BPS, LOSS, PROFIT, BarrierParams, BarrierStrategy


class MLMetaParams(BarrierParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``full_probability``: of a bet that pays, where the strength is one."""

    full_probability: Annotated[float, msgspec.Meta(gt=0.5, lt=1.0)] = 0.65


class MLMeta(BarrierStrategy):
    """Takes the rule's entries that the model expects to pay by more than costs; the others are vetoed.

    The model's classes are outcomes of the *side taken* (López de Prado, 2018, 3.6): its P(profit) is the probability
    that the meta-label is 1. The stake grows with P(profit) / (P(profit) + P(loss)) by :func:`bet_size`; a bet that is
    likelier to lose has none. Positions end as the labels do: at a barrier or by age.
    """

    name: ClassVar[str] = "ml_meta"
    model_name: ClassVar[str] = "ml_meta"
    judges_bets: ClassVar[bool] = True
    Params: ClassVar[type[StrategyParams]] = MLMetaParams
    params: MLMetaParams

    def on_slice(self, ctx: StrategyContext) -> list[Signal]:
        probabilities, opinion, history = ctx.probabilities, ctx.opinion, ctx.history
        if probabilities is None or opinion is None or history.n < self.warmup:
            return []
        held = held_directions(ctx.book, history.symbols)
        signals = []
        for i in np.flatnonzero((held != 0) & ctx.ok):
            reason = self.too_old(ctx, int(i))
            if reason:
                signals.append(Signal(history.symbols[i], 0, 1.0, float(ctx.slice.close[i]), reason=reason))
        bets = np.isfinite(probabilities).all(axis=1) & ctx.ok & (held == 0) & (opinion != 0.0)
        return signals + self._entries(ctx, probabilities, opinion, np.flatnonzero(bets)) if bets.any() else signals

    def _entries(
        self, ctx: StrategyContext, probabilities: FloatArray, opinion: FloatArray, bets: np.ndarray,
    ) -> list[Signal]:
        p, symbols = self.params, ctx.history.symbols
        gain, pain, sigma = self.distances(ctx)
        full = bet_size(p.full_probability)
        signals = []
        for i in bets[np.isfinite(sigma[bets])]:
            won, lost = float(probabilities[i, PROFIT]), float(probabilities[i, LOSS])
            alpha = (won * float(gain[i]) - lost * float(pain[i])) * BPS
            stake = min(1.0, bet_size(won / (won + lost)) / full) if won + lost > 0.0 else 0.0
            if alpha <= p.cost_bps or stake <= 0.0:
                continue
            side = 1 if opinion[i] > 0.0 else -1
            signals.append(Signal(
                symbols[i], side, stake, float(ctx.slice.close[i]), probability=won, take_profit_pct=float(gain[i]),
                stop_loss_pct=float(pain[i]), expected_alpha_bps=alpha,
                reason=f"rule says {'long' if side > 0 else 'short'}, P {won:.2f}, stake {stake:.2f}, "
                       f"alpha {alpha:.0f} bps",
            ))
        return signals
