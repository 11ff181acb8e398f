"""Kelly sizing that pays for not knowing the win rate: a Beta posterior and a lower quantile of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

DEFAULT_MAGNITUDE = 0.02          # of a win or a loss, before one was seen
MAGNITUDE_FLOOR = 1e-4
POOL_STRENGTH = 10.0              # observations that the strategy's other symbols count for


@dataclass(frozen=True, slots=True)
class TradeOutcome:
    """A closed trade. ``profit_pct`` is its return as a fraction; the sign of a loss may be left out."""

    symbol: str
    strategy: str
    win: bool
    profit_pct: float


@dataclass(frozen=True, slots=True)
class WinRateEstimate:
    """The posterior Beta(alpha, beta) of the win rate."""

    alpha: float
    beta: float
    mean: float
    std: float
    lower: float                                # the quantile that sizing uses
    observations: float


@dataclass(frozen=True, slots=True)
class KellyResult:
    """How a size came about. Kelly fractions are stakes: the share of equity put at risk of a full loss."""

    win_rate_estimate: WinRateEstimate
    payoff_ratio: float                         # average win over average loss
    average_loss: float
    full_kelly: float                           # at the posterior mean
    conservative_kelly: float                   # at the lower quantile
    uncertainty_penalty: float                  # the difference
    fractional_kelly: float                     # kelly_fraction × conservative, never negative
    probability_of_edge: float
    position_pct: float                         # of equity, capped, before signal strength
    reason: str


@dataclass(slots=True)
class _Record:
    wins: float = 0.0
    losses: float = 0.0
    won: float = 0.0
    lost: float = 0.0


def kelly(win_rate: float, payoff_ratio: float) -> float:
    """Growth-optimal stake ``p − (1 − p) / b`` (Kelly 1956); negative where there is no edge."""
    return win_rate - (1.0 - win_rate) / payoff_ratio


class BayesianKellySizer:
    """Kelly stakes per symbol and strategy from recorded outcomes.

    The stake is linear in the win rate, so a posterior mean alone would not shrink it when little is
    known; the ``quantile`` of the posterior does. A symbol's prior leans on the strategy's other symbols.

    Parameters
    ----------
    kelly_fraction : share of the full stake.
    max_position_pct : cap on a position, of equity. A stake divided by the average loss is nearly always
        above one: the cap is what binds.
    min_observations : outcomes of the strategy before the posterior is listened to.
    initial_position_pct : position until then, scaled down from the cap's size.
    probe_position_pct : position when no edge is seen; 0 means none, and then nothing more is learned.
    quantile, prior, forgetting : of the posterior; Beta(prior); weight of an outcome after one more.
    """

    def __init__(
        self,
        kelly_fraction: float = 0.25,
        max_position_pct: float = 0.20,
        min_observations: int = 20,
        *,
        initial_position_pct: float = 0.05,
        probe_position_pct: float = 0.0,
        quantile: float = 0.25,
        prior: tuple[float, float] = (1.0, 1.0),
        forgetting: float = 1.0,
    ) -> None:
        for name, value in (("kelly_fraction", kelly_fraction), ("max_position_pct", max_position_pct),
                            ("forgetting", forgetting)):
            if not 0.0 < value <= 1.0:
                raise ValueError(f"{name} is {value}; expected above 0 and at most 1")
        if not 0.0 < quantile <= 0.5:
            raise ValueError(f"quantile is {quantile}; expected above 0 and at most 0.5")
        self.kelly_fraction = kelly_fraction
        self.max_position_pct = max_position_pct
        self.min_observations = min_observations
        self.initial_position_pct = min(initial_position_pct, max_position_pct)
        self.probe_position_pct = min(probe_position_pct, max_position_pct)
        self.quantile = quantile
        self.prior = prior
        self.forgetting = forgetting
        self._records: dict[tuple[str, str], _Record] = {}
        self._pools: dict[str, _Record] = {}
        self._cache: dict[tuple[str, str], KellyResult] = {}

    def record_outcome(self, outcome: TradeOutcome) -> None:
        """Update the posterior with a closed trade."""
        if not math.isfinite(outcome.profit_pct):
            raise ValueError(f"profit_pct of {outcome.symbol} is {outcome.profit_pct}; expected a finite fraction")
        key = (outcome.symbol, outcome.strategy)
        for record in (self._records.setdefault(key, _Record()), self._pools.setdefault(outcome.strategy, _Record())):
            if self.forgetting < 1.0:
                record.wins *= self.forgetting
                record.losses *= self.forgetting
                record.won *= self.forgetting
                record.lost *= self.forgetting
            if outcome.win:
                record.wins += 1.0
                record.won += abs(outcome.profit_pct)
            else:
                record.losses += 1.0
                record.lost += abs(outcome.profit_pct)
        self._cache.clear()

    def observations(self, symbol: str, strategy: str) -> float:
        """Outcomes behind a symbol of a strategy (forgotten ones count less)."""
        record = self._records.get((symbol, strategy), _Record())
        return record.wins + record.losses

    def estimate(self, symbol: str, strategy: str) -> KellyResult:
        """The posterior, the stakes and the position share for a symbol of a strategy."""
        key = (symbol, strategy)
        result = self._cache.get(key)
        if result is None:
            result = self._cache[key] = self._estimate(*key)
        return result

    def _estimate(self, symbol: str, strategy: str) -> KellyResult:
        from scipy.special import betainc, betaincinv

        own = self._records.get((symbol, strategy), _Record())
        pool = self._pools.get(strategy, _Record())
        others_won, others_lost = max(pool.wins - own.wins, 0.0), max(pool.losses - own.losses, 0.0)
        others = others_won + others_lost
        lean = min(others, POOL_STRENGTH) / others if others > 1e-9 else 0.0
        alpha = self.prior[0] + own.wins + lean * others_won
        beta = self.prior[1] + own.losses + lean * others_lost
        mean = alpha / (alpha + beta)
        std = math.sqrt(alpha * beta / ((alpha + beta) ** 2 * (alpha + beta + 1.0)))
        lower = float(betaincinv(alpha, beta, self.quantile))
        average_win = _magnitude(own.won, own.wins, pool.won, pool.wins)
        average_loss = _magnitude(own.lost, own.losses, pool.lost, pool.losses)
        payoff = average_win / average_loss
        full, conservative = kelly(mean, payoff), kelly(min(lower, mean), payoff)
        edge = 1.0 - float(betainc(alpha, beta, 1.0 / (1.0 + payoff)))
        fractional = self.kelly_fraction * max(0.0, conservative)
        position, reason = self._position(fractional, average_loss, pool.wins + pool.losses)
        count = own.wins + own.losses
        return KellyResult(
            WinRateEstimate(alpha, beta, mean, std, lower, count), payoff, average_loss, full, conservative,
            full - conservative, fractional, edge, position, reason,
        )

    def _position(self, fractional: float, average_loss: float, seen: float) -> tuple[float, str]:
        # Forgetting keeps the weight below the count; compare with what the same count would weigh.
        needed = float(self.min_observations)
        if self.forgetting < 1.0:
            needed = (1.0 - self.forgetting**self.min_observations) / (1.0 - self.forgetting)
        if seen < needed - 1e-9:
            return self.initial_position_pct, f"{seen:.0f} of {self.min_observations} outcomes: initial size"
        if fractional <= 0.0:
            return self.probe_position_pct, "no edge at the lower quantile"
        stake = fractional / average_loss
        if stake >= self.max_position_pct:
            return self.max_position_pct, "capped by max_position_pct"
        return stake, "fractional Kelly"

    def get_position_size(
        self, symbol: str, strategy: str, portfolio_value: float, current_price: float, signal_strength: float = 1.0,
    ) -> tuple[int, KellyResult]:
        """Whole shares to hold, and how they came about.

        Parameters
        ----------
        portfolio_value : equity, dollars. current_price : dollars, above 0.
        signal_strength : 0…1, scales the position.
        """
        if not current_price > 0:
            raise ValueError(f"current_price of {symbol} is {current_price}; expected a number above 0")
        result = self.estimate(symbol, strategy)
        strength = min(max(signal_strength, 0.0), 1.0)
        return int(max(portfolio_value, 0.0) * result.position_pct * strength / current_price), result


def _magnitude(own_sum: float, own_count: float, pool_sum: float, pool_count: float) -> float:
    """Mean size of a win or loss: the symbol's own, leaning on the strategy's while few."""
    if pool_count <= 1e-9:
        return DEFAULT_MAGNITUDE
    other_sum, other_count = max(pool_sum - own_sum, 0.0), max(pool_count - own_count, 0.0)
    lean = min(other_count, POOL_STRENGTH) / other_count if other_count > 1e-9 else 0.0
    weight = own_count + lean * other_count
    return max((own_sum + lean * other_sum) / weight, MAGNITUDE_FLOOR)
