"""How likely a Sharpe ratio is luck: probabilistic and deflated Sharpe ratio, minimum track record.

Reference: Bailey and López de Prado, "The Deflated Sharpe Ratio" (2014). Ratios are per observation (not
annual), ``kurtosis`` is not excess (3 for a normal distribution).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

_EULER = 0.5772156649015329


def expected_max_sharpe(n_trials: int, variance_of_sharpe: float) -> float:
    """Sharpe ratio that the best of ``n_trials`` worthless strategies is expected to show."""
    from scipy.stats import norm

    if n_trials < 1:
        raise ValueError(f"n_trials must be at least 1; got {n_trials}")
    if n_trials == 1:
        return 0.0
    z = (1 - _EULER) * norm.ppf(1 - 1 / n_trials) + _EULER * norm.ppf(1 - 1 / (n_trials * math.e))
    return math.sqrt(variance_of_sharpe) * float(z)


def probabilistic_sharpe_ratio(
    sharpe: float, benchmark: float, n_observations: int, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Probability that the true Sharpe ratio exceeds ``benchmark``."""
    from scipy.stats import norm

    excess = (sharpe - benchmark) * math.sqrt(n_observations - 1)
    return float(norm.cdf(excess / _spread(sharpe, skew, kurtosis)))


def deflated_sharpe_ratio(
    sharpe: float, n_observations: int, n_trials: int, variance_of_sharpe: float, skew: float = 0.0,
    kurtosis: float = 3.0,
) -> float:
    """Probability that the true Sharpe ratio exceeds what the best of ``n_trials`` lucky ones would show."""
    luck = expected_max_sharpe(n_trials, variance_of_sharpe)
    return probabilistic_sharpe_ratio(sharpe, luck, n_observations, skew, kurtosis)


def minimum_track_record(
    sharpe: float, benchmark: float = 0.0, skew: float = 0.0, kurtosis: float = 3.0, confidence: float = 0.95
) -> float:
    """Observations until the ratio exceeds ``benchmark`` with ``confidence``; inf if it never does."""
    from scipy.stats import norm

    if sharpe <= benchmark:
        return math.inf
    return 1.0 + (_spread(sharpe, skew, kurtosis) * float(norm.ppf(confidence)) / (sharpe - benchmark)) ** 2


def sharpe_moments(returns: ArrayLike) -> tuple[float, float, float]:
    """Sharpe ratio (population deviation), bias-corrected skewness and kurtosis (not excess)."""
    from scipy.stats import kurtosis, skew

    values = np.asarray(returns, dtype=np.float64)
    sharpe = float(values.mean() / values.std())
    return sharpe, float(skew(values, bias=False)), float(kurtosis(values, fisher=False, bias=False))


def _spread(sharpe: float, skew: float, kurtosis: float) -> float:
    return math.sqrt(1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe)
