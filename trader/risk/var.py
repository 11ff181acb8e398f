"""Value at risk and expected shortfall of a series of returns, four ways. Losses are positive numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

from trader.core.panel import FloatArray

EWMA_DECAY = 0.94
EWMA_SEED = 20


def historical_var(returns: FloatArray, confidence: float = 0.95) -> float:
    """Loss at the empirical quantile, linear between order statistics.

    Parameters
    ----------
    returns : shape (n,), n ≥ 1, one period each.
    confidence : 0.95 means the loss that 95 % of periods stay under.
    """
    place = (1.0 - confidence) * (len(returns) - 1)
    low = int(place)
    high = min(low + 1, len(returns) - 1)
    ordered = returns.copy()
    ordered.partition((low, high))
    below, above = float(ordered[low]), float(ordered[high])
    return -(below + (above - below) * (place - low))


def historical_es(returns: FloatArray, confidence: float = 0.95) -> float:
    """Mean loss of the periods at or beyond the historical VaR."""
    tail = returns[returns <= -historical_var(returns, confidence)]
    return -float(tail.mean())


def parametric_var(returns: FloatArray, confidence: float = 0.95) -> float:
    """Loss at the quantile of the normal law with the sample's (population) moments."""
    return -(float(returns.mean()) + normal_quantile(1.0 - confidence) * float(returns.std()))


def parametric_es(returns: FloatArray, confidence: float = 0.95) -> float:
    """Expected shortfall under the normal law."""
    z = normal_quantile(1.0 - confidence)
    density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return -float(returns.mean()) + float(returns.std()) * density / (1.0 - confidence)


def cornish_fisher_var(returns: FloatArray, confidence: float = 0.95) -> float:
    """Normal quantile corrected for skewness and excess kurtosis (Cornish & Fisher 1938)."""
    mean, spread = float(returns.mean()), float(returns.std())
    if spread == 0.0:
        return -mean
    scaled = (returns - mean) / spread
    skew, kurt = float((scaled**3).mean()), float((scaled**4).mean()) - 3.0
    z = normal_quantile(1.0 - confidence)
    adjusted = (
        z + (z**2 - 1) * skew / 6 + (z**3 - 3 * z) * kurt / 24 - (2 * z**3 - 5 * z) * skew**2 / 36
    )
    return -(mean + adjusted * spread)


def ewma_var(returns: FloatArray, confidence: float = 0.95, decay: float = EWMA_DECAY) -> float:
    """Next period's loss with exponentially weighted variance and zero mean (RiskMetrics 1996)."""
    variance = float(returns[:EWMA_SEED].var())
    for value in returns.tolist():
        variance = decay * variance + (1.0 - decay) * value * value
    return -normal_quantile(1.0 - confidence) * math.sqrt(variance)


def normal_quantile(probability: float) -> float:
    """Inverse of the standard normal distribution function."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)


VAR_METHODS: dict[str, Callable[[FloatArray, float], float]] = {
    "historical": historical_var,
    "parametric": parametric_var,
    "ewma": ewma_var,
    "cornish_fisher": cornish_fisher_var,
}
