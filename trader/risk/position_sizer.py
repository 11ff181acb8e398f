"""How many shares a signal is worth: the least of Kelly, the volatility target and the cap."""

from __future__ import annotations

import math

from trader.core.book import Book, ClosedTrade
from trader.core.history import History
from trader.core.signals import Signal
from trader.risk.bayesian_kelly import BayesianKellySizer, TradeOutcome
from trader.risk.facts import MarketFacts
from trader.risk.params import RiskParams

SESSIONS_A_YEAR = 252


def kelly_sizer(params: RiskParams) -> BayesianKellySizer:
    """The sizer that the risk settings describe."""
    return BayesianKellySizer(
        params.kelly_fraction, params.max_position_pct, params.min_observations,
        initial_position_pct=params.initial_position_pct, probe_position_pct=params.probe_position_pct,
        quantile=params.kelly_quantile, forgetting=params.kelly_forgetting,
    )


class PositionSizer:
    """Signals to whole shares.

    The volatility target gives every symbol the same share of the portfolio's risk,
    ``target / sqrt(252) / daily volatility / sqrt(n symbols)``, as if they moved independently; what
    correlation adds is the business of the VaR rule.

    Parameters
    ----------
    facts : shared with the risk pipeline (``RiskPipeline.facts``); None: own.
    """

    def __init__(
        self, params: RiskParams, kelly: BayesianKellySizer | None = None, facts: MarketFacts | None = None,
        strategy: str = "",
    ) -> None:
        self.params = params
        self.kelly = kelly or kelly_sizer(params)
        self.strategy = strategy                # whose record the sizes rest on
        self._facts = facts

    def shares(self, signal: Signal, book: Book, history: History, multiplier: float = 1.0) -> int:
        """Whole shares to ask for; 0 where the signal is flat or nothing can be afforded.

        ``multiplier`` is for the caller's own reasons; the risk pipeline applies its multipliers itself.
        A signal that names its ``shares`` gets them (times the multiplier).
        """
        if signal.direction == 0 or not signal.price > 0.0 or multiplier <= 0.0:
            return 0
        if signal.shares is not None:
            return int(signal.shares * multiplier)
        facts = self._facts
        if facts is None:
            facts = self._facts = MarketFacts(history.symbols, self.params.adv_days, self.params.var_window_days)
        facts.update(history)
        result = self.kelly.estimate(signal.symbol, self.strategy)
        daily = facts.volatility(signal.symbol, history)
        by_volatility = (
            self.params.target_volatility / math.sqrt(SESSIONS_A_YEAR) / daily / math.sqrt(len(history.symbols))
        )
        share = min(result.position_pct, by_volatility, self.params.max_position_pct)
        strength = min(max(signal.strength, 0.0), 1.0)
        return int(max(book.equity, 0.0) * share * strength * multiplier / signal.price)

    def on_trade(self, trade: ClosedTrade) -> None:
        """Learn from a closed trade."""
        outcome = outcome_of(trade)
        if outcome is not None:
            self.kelly.record_outcome(outcome)


def outcome_of(trade: ClosedTrade) -> TradeOutcome | None:
    """A closed trade as an outcome net of fees; None for one without value."""
    value = abs(trade.quantity) * trade.entry_price
    if not value > 0.0:
        return None
    return TradeOutcome(trade.symbol, trade.strategy, trade.pnl > 0.0, trade.pnl / value)
