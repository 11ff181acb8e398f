"""Performance metrics, each with the definition that the reference libraries share.

Returns are simple, one per period; equity is in dollars. A metric that has no value (no spread, no losses,
too little data) is NaN or infinite here; reports turn that into null and a note.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

TRADING_DAYS = 252


def sharpe_ratio(returns: ArrayLike, periods_per_year: float = TRADING_DAYS, risk_free: float = 0.0) -> float:
    """Mean over standard deviation (ddof 1), annualised; ``risk_free`` per period."""
    excess = _array(returns) - risk_free
    if len(excess) < 2:
        return math.nan
    spread = float(excess.std(ddof=1))
    return float(excess.mean()) / spread * math.sqrt(periods_per_year) if spread > 1e-15 else math.nan


def downside_deviation(returns: ArrayLike, target: float = 0.0) -> float:
    """Root mean square of the shortfalls below the target over **all** observations (Sortino & van der Meer)."""
    below = np.minimum(_array(returns) - target, 0.0)
    return math.sqrt(float((below**2).mean())) if len(below) else math.nan


def sortino_ratio(returns: ArrayLike, periods_per_year: float = TRADING_DAYS, target: float = 0.0) -> float:
    """Mean excess over the target divided by the downside deviation, annualised."""
    values = _array(returns)
    if len(values) < 2:
        return math.nan
    downside = downside_deviation(values, target)
    excess = float(values.mean()) - target
    if downside == 0.0:
        return math.inf if excess > 0 else math.nan
    return excess / downside * math.sqrt(periods_per_year)


def total_return(returns: ArrayLike) -> float:
    """Compounded return over all periods."""
    return float(np.prod(1.0 + _array(returns))) - 1.0


def cagr(returns: ArrayLike, periods_per_year: float = TRADING_DAYS) -> float:
    """Compound annual growth rate; −1 where everything was lost."""
    values = _array(returns)
    if not len(values):
        return math.nan
    growth = float(np.prod(1.0 + values))
    return growth ** (periods_per_year / len(values)) - 1.0 if growth > 0 else -1.0


def annual_volatility(returns: ArrayLike, periods_per_year: float = TRADING_DAYS) -> float:
    """Standard deviation (ddof 1), annualised."""
    values = _array(returns)
    return float(values.std(ddof=1)) * math.sqrt(periods_per_year) if len(values) > 1 else math.nan


def drawdowns(equity: ArrayLike) -> NDArray[np.float64]:
    """Equity over its running peak minus one; zero or negative, shape as given."""
    values = _array(equity)
    return values / np.maximum.accumulate(values) - 1.0


def max_drawdown(equity: ArrayLike) -> float:
    """The deepest drawdown, negative (−0.2 is 20 % below the peak)."""
    values = drawdowns(equity)
    return float(values.min()) if len(values) else 0.0


def calmar_ratio(returns: ArrayLike, periods_per_year: float = TRADING_DAYS) -> float:
    """CAGR over the size of the maximum drawdown of the compounded returns."""
    values = _array(returns)
    depth = max_drawdown(np.concatenate(([1.0], np.cumprod(1.0 + values))))
    return cagr(values, periods_per_year) / -depth if depth < 0 else math.nan


def win_rate(profits: Sequence[float]) -> float:
    """Share of trades with a profit above zero, over all trades."""
    return sum(p > 0 for p in profits) / len(profits) if len(profits) else math.nan


def profit_factor(profits: Sequence[float]) -> float:
    """Money won over money lost."""
    won, lost = sum(p for p in profits if p > 0), -sum(p for p in profits if p < 0)
    if lost == 0:
        return math.inf if won > 0 else math.nan
    return won / lost


def probabilistic_sharpe_ratio(returns: ArrayLike, benchmark: float = 0.0) -> float:
    """Probability that the true Sharpe ratio (per period) exceeds ``benchmark`` (Bailey & López de Prado 2012).

    Skewness and kurtosis are corrected for bias, the standard deviation is the population's.
    """
    values = _array(returns)
    n = len(values)
    if n < 4 or values.std() < 1e-15:
        return math.nan
    ratio = float(values.mean() / values.std())
    scaled = (values - values.mean()) / values.std()
    skew = float((scaled**3).mean()) * math.sqrt(n * (n - 1)) / (n - 2)
    excess = ((n + 1) * (float((scaled**4).mean()) - 3.0) + 6.0) * (n - 1) / ((n - 2) * (n - 3))
    return sharpe_probability(ratio, n, skew, excess + 3.0, benchmark)


def sharpe_probability(ratio: float, n: int, skew: float, kurtosis: float, benchmark: float) -> float:
    """The same from moments; ``kurtosis`` is not excess, ``ratio`` and ``benchmark`` are per period."""
    variance = 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio**2
    return NormalDist().cdf((ratio - benchmark) * math.sqrt(n - 1) / math.sqrt(variance)) if variance > 0 else math.nan


def sharpe_interval(
    returns: ArrayLike, periods_per_year: float = TRADING_DAYS, *, confidence: float = 0.95, resamples: int = 1000,
    block: int = 5, seed: int = 7,
) -> tuple[float, float]:
    """Bootstrap interval of the annualised Sharpe ratio from circular blocks (Politis & Romano 1992)."""
    values = _array(returns)
    n = len(values)
    if n < 2 * block:
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    starts = generator.integers(0, n, size=(resamples, -(-n // block)))
    rows = (starts[:, :, None] + np.arange(block)).reshape(resamples, -1)[:, :n] % n
    samples = values[rows]
    spread = samples.std(axis=1, ddof=1)
    usable = spread > 1e-15
    if not usable.any():
        return math.nan, math.nan
    ratios = samples.mean(axis=1)[usable] / spread[usable] * math.sqrt(periods_per_year)
    tail = 0.5 * (1.0 - confidence)
    low, high = np.quantile(ratios, [tail, 1.0 - tail])
    return float(low), float(high)


def _array(values: ArrayLike) -> NDArray[np.float64]:
    out = np.asarray(values, dtype=np.float64)
    if out.ndim != 1:
        raise ValueError(f"expected one dimension of numbers, got shape {out.shape}")
    return out
