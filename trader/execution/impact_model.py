"""What an order will cost before it is sent, and how to spread it over time (Almgren & Chriss 2000)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BPS = 1e4
SESSION_MINUTES = 390.0
MIN_HORIZON_MINUTES = 1.0
# Participation in a day's volume from which one order is no longer one order.
STRATEGY_STEPS = ((0.001, "IMMEDIATE"), (0.01, "TWAP"), (0.05, "VWAP"))
STRATEGY_BEYOND = "SPREAD_OVER_DAYS"


@dataclass(frozen=True, slots=True)
class ImpactEstimate:
    """Expected cost of an order, in basis points of its value unless the name says otherwise."""

    total_bps: float
    permanent_bps: float
    temporary_bps: float
    spread_cost_bps: float                      # half the quoted spread
    total_cost: float                           # dollars
    participation_rate: float                   # of average daily volume
    optimal_horizon_minutes: float
    recommended_strategy: str                   # IMMEDIATE | TWAP | VWAP | SPREAD_OVER_DAYS


@dataclass(frozen=True, slots=True)
class ExecutionDecision:
    """Whether the expected alpha pays for the expected cost."""

    should_execute: bool
    reason: str
    expected_net_alpha: float                   # bps
    impact_to_alpha_ratio: float
    estimate: ImpactEstimate


class AlmgrenChrissModel:
    """Pre-trade cost by the square-root law, schedules by Almgren & Chriss.

    ``coef × 1e4 × daily volatility × sqrt(quantity / ADV)`` for the permanent and the temporary part, plus
    half the spread: the same law that prices the simulated fills.

    Parameters
    ----------
    permanent_impact_coef, temporary_impact_coef : dimensionless.
    risk_aversion : λ of the mean-variance objective, per dollar.
    """

    def __init__(
        self, permanent_impact_coef: float = 0.1, temporary_impact_coef: float = 0.2, risk_aversion: float = 1e-6,
    ) -> None:
        if permanent_impact_coef < 0 or temporary_impact_coef < 0 or risk_aversion <= 0:
            raise ValueError("impact coefficients must be 0 or more and risk_aversion above 0")
        self.permanent_impact_coef = permanent_impact_coef
        self.temporary_impact_coef = temporary_impact_coef
        self.risk_aversion = risk_aversion

    def total_bps(self, quantity: float, adv: float, volatility: float, spread_bps: float = 0.0) -> float:
        """The estimate's total alone: half spread plus both impacts."""
        coefficient = self.permanent_impact_coef + self.temporary_impact_coef
        return 0.5 * spread_bps + coefficient * BPS * volatility * math.sqrt(quantity / adv)

    def quantity_within(self, limit_bps: float, adv: float, volatility: float, spread_bps: float = 0.0) -> float:
        """The largest quantity whose total stays within ``limit_bps``; 0 where the spread alone exceeds it."""
        room = limit_bps - 0.5 * spread_bps
        slope = (self.permanent_impact_coef + self.temporary_impact_coef) * BPS * volatility
        if room <= 0.0:
            return 0.0
        return math.inf if slope == 0.0 else adv * (room / slope) ** 2

    def estimate_impact(
        self, quantity: float, price: float, adv: float, volatility: float, spread_bps: float = 0.0,
    ) -> ImpactEstimate:
        """Expected cost of trading ``quantity`` shares.

        Parameters
        ----------
        quantity : shares, the sign is ignored.
        price : dollars.
        adv : average daily volume, shares.
        volatility : daily, as a fraction.
        spread_bps : quoted spread.

        Raises
        ------
        ValueError
            A price or a volume that is not positive, a negative volatility or spread.
        """
        quantity = abs(quantity)
        for name, value, low in (("price", price, 0.0), ("adv", adv, 0.0)):
            if not value > low:
                raise ValueError(f"{name} is {value}; expected a number above {low:g}")
        for name, value in (("volatility", volatility), ("spread_bps", spread_bps)):
            if not value >= 0.0:
                raise ValueError(f"{name} is {value}; expected 0 or more")
        participation = quantity / adv
        root = BPS * volatility * math.sqrt(participation)
        permanent, temporary = self.permanent_impact_coef * root, self.temporary_impact_coef * root
        spread = 0.5 * spread_bps
        total = permanent + temporary + spread
        strategy = next((word for limit, word in STRATEGY_STEPS if participation <= limit), STRATEGY_BEYOND)
        return ImpactEstimate(
            total_bps=total, permanent_bps=permanent, temporary_bps=temporary, spread_cost_bps=spread,
            total_cost=total / BPS * quantity * price, participation_rate=participation,
            optimal_horizon_minutes=self.optimal_horizon(quantity, price, adv, volatility),
            recommended_strategy=strategy,
        )

    def optimal_horizon(self, quantity: float, price: float, adv: float, volatility: float) -> float:
        """Minutes over which an even (TWAP) execution balances impact and risk, within one session.

        Minimises ``η X² / T + λ σ² X² T / 3`` over T days: ``T* = sqrt(3 η / (λ σ²))``, with σ in dollars a
        share and day, and η the slope of the linear model that costs as much as the square-root law does
        for this quantity in one day.
        """
        if quantity == 0 or volatility == 0:
            return MIN_HORIZON_MINUTES
        sigma = volatility * price
        eta = self.temporary_impact_coef * sigma * math.sqrt(quantity / adv) / quantity
        days = math.sqrt(3.0 * eta / (self.risk_aversion * sigma**2))
        return min(max(days * SESSION_MINUTES, MIN_HORIZON_MINUTES), SESSION_MINUTES)

    def should_execute(
        self,
        quantity: float,
        price: float,
        adv: float,
        volatility: float,
        expected_alpha_bps: float,
        max_impact_to_alpha_ratio: float = 0.5,
        spread_bps: float = 0.0,
    ) -> ExecutionDecision:
        """Whether the order pays: its cost may take at most a share of the alpha that it is after."""
        estimate = self.estimate_impact(quantity, price, adv, volatility, spread_bps)
        net = expected_alpha_bps - estimate.total_bps
        if expected_alpha_bps <= 0:
            return ExecutionDecision(False, f"expected alpha {expected_alpha_bps:.1f} bps is not positive", net,
                                     math.inf, estimate)
        ratio = estimate.total_bps / expected_alpha_bps
        words = (
            f"cost {estimate.total_bps:.1f} bps is {ratio:.0%} of the expected alpha {expected_alpha_bps:.1f} bps, "
            f"limit {max_impact_to_alpha_ratio:.0%}"
        )
        return ExecutionDecision(ratio <= max_impact_to_alpha_ratio, words, net, ratio, estimate)


def optimal_trajectory(
    shares: float, days: float, steps: int, *, volatility: float, eta: float, gamma: float, risk_aversion: float,
) -> NDArray[np.float64]:
    """Shares still to trade at each of ``steps + 1`` times (Almgren & Chriss 2000, eq. 17).

    Parameters
    ----------
    shares : X, held at the start. days : T. volatility : σ, dollars per share and √day.
    eta : temporary impact, dollars·day per share². gamma : permanent impact, dollars per share².
    risk_aversion : λ, per dollar.
    """
    tau = days / steps
    kappa = trading_rate(tau, volatility=volatility, eta=eta, gamma=gamma, risk_aversion=risk_aversion)
    left = days - tau * np.arange(steps + 1)
    if kappa * days < 1e-9:
        return np.asarray(shares * left / days, np.float64)
    return np.asarray(shares * np.sinh(kappa * left) / math.sinh(kappa * days), np.float64)


def trading_rate(tau: float, *, volatility: float, eta: float, gamma: float, risk_aversion: float) -> float:
    """κ per day: ``2 (cosh κτ − 1) / τ² = λ σ² / η̃`` with ``η̃ = η − γτ/2``."""
    adjusted = eta - 0.5 * gamma * tau
    if adjusted <= 0:
        raise ValueError(f"steps of {tau} days are too long: eta - gamma*tau/2 is {adjusted}")
    return math.acosh(1.0 + 0.5 * tau**2 * risk_aversion * volatility**2 / adjusted) / tau
