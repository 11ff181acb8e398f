"""The bid-ask spread as bars betray it: Roll, Corwin-Schultz, Abdi-Ranaldo, EDGE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from trader.core.panel import FloatArray
from trader.features.columns import Columns
from trader.features.feature import Feature
from trader.features.rolling import masked_mean, rolling_sums

Mask = np.ndarray


def roll_spread(step: FloatArray, window: int, breaks: Mask) -> FloatArray:
    """Roll (1984): ``2 sqrt(-cov(r_t, r_t-1))``, 0 where the covariance is not negative.

    Pairs whose later return opens a session are left out. As a share of price when ``step`` is a log return.
    """
    before = np.full(len(step), np.nan)
    before[1:] = step[:-1]
    usable = np.isfinite(step) & np.isfinite(before) & ~breaks
    product, now, then = (masked_mean(x, usable, window, at_least=3) for x in (step * before, step, before))
    covariance = product - now * then
    return 2.0 * np.sqrt(np.maximum(-covariance, 0.0))


def corwin_schultz(high: FloatArray, low: FloatArray, breaks: Mask) -> FloatArray:
    """Corwin and Schultz (2012) from each bar and the one before: ``(n,)``, negative estimates set to 0.

    NaN for the first bar and where the pair would span a night.
    """
    n = len(high)
    out = np.full(n, np.nan)
    k = 3.0 - 2.0 * sqrt(2.0)
    squared = np.log(high / low) ** 2
    beta = squared[1:] + squared[:-1]
    gamma = np.log(np.maximum(high[1:], high[:-1]) / np.minimum(low[1:], low[:-1])) ** 2
    alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / k - np.sqrt(gamma / k)
    out[1:] = np.maximum(2.0 * np.expm1(alpha) / (1.0 + np.exp(alpha)), 0.0)
    out[breaks] = np.nan
    return out


def abdi_ranaldo(high: FloatArray, low: FloatArray, close: FloatArray, window: int, breaks: Mask) -> FloatArray:
    """Abdi and Ranaldo (2017): ``sqrt(max(4 mean((c - m)(c - m'))), 0))`` with mid-ranges m now and m' of the next bar.

    The pair is dated by its later bar. Pairs that span a night are left out.
    """
    n = len(close)
    middle, price = 0.5 * np.log(high * low), np.log(close)
    product = np.full(n, np.nan)
    product[1:] = (price[:-1] - middle[:-1]) * (price[:-1] - middle[1:])
    usable = np.isfinite(product) & ~breaks
    return np.sqrt(np.maximum(4.0 * masked_mean(product, usable, window, at_least=3), 0.0))


def edge(
    open: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray, window: int, breaks: Mask,
) -> FloatArray:
    """EDGE of Ardia, Guidotti and Kroencke (2024), as a share of price, over the last ``window`` pairs of bars.

    Two moments of opens, mid-ranges and closes identify the squared spread; they are corrected for bars whose open or
    close is also their extreme (or that stand still), and weighted by the inverse of their variances. The root of the
    estimate's size; NaN with fewer than 3 pairs that move, or where every open or every close is an extreme. Pairs
    that span a night are left out.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        o, h, l, c = np.log(open), np.log(high), np.log(low), np.log(close)
    m = 0.5 * (h + l)
    h1, l1, c1, m1 = (_before(x) for x in (h, l, c, m))
    usable = np.isfinite(o + h + l + h1 + l1 + c1) & ~breaks
    moves = usable & ((h != l) | (l != c1))
    r1, r2, r3, r4, r5 = (np.where(usable, x, 0.0) for x in (m - o, o - m1, m - c1, c1 - m1, o - c1))
    t2, t4, t5 = (np.where(moves, r, 0.0) for r in (r2, r4, r5))
    first, second = [r1 * r2, t2, r3 * r4, t4], [r1 * r5, t5, r5 * r4, t4]
    sums = rolling_sums(np.stack([
        usable, moves, (moves & (o != h)) * 1.0 + (moves & (o != l)), (moves & (c1 != h1)) * 1.0 + (moves & (c1 != l1)),
        r1, r3, r5, *first, *_products(first), *second, *_products(second),
    ]).astype(np.float64), window)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / sums[0]
        at_open, at_close = -4.0 / means[2], -4.0 / means[3]
        k1, k3, k5 = means[4:7] / means[1]
        # each moment is a sum of products of returns, with weights that are constant within a window
        e1, v1 = _moments(means[7:21], (at_open, -at_open * k1, at_close, -at_close * k3))
        e2, v2 = _moments(means[21:35], (at_open, -at_open * k1, at_close, -at_close * k5))
        squared = np.where(v1 + v2 > 0.0, (v2 * e1 + v1 * e2) / (v1 + v2), 0.5 * (e1 + e2))
        known = (sums[1] >= 3.0) & np.isfinite(at_open) & np.isfinite(at_close)
        size = np.where(np.abs(squared) < 1e-12, 0.0, np.abs(squared))      # under 0.01 bps it is rounding
        return np.where(known, np.sqrt(size), np.nan)


def _products(series: Sequence[FloatArray]) -> list[FloatArray]:
    """Products of every pair, twice where the two differ, in the order in which `_moments` takes them."""
    count = len(series)
    return [(1.0 if i == j else 2.0) * series[i] * series[j] for i in range(count) for j in range(i, count)]


def _moments(means: FloatArray, weights: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Mean and variance of a weighted sum of series, from the means of the series and of their `_products`."""
    count = len(weights)
    value = sum((w * x for w, x in zip(weights, means, strict=False)), np.zeros(means.shape[1]))
    pairs = [weights[i] * weights[j] for i in range(count) for j in range(i, count)]
    square = sum((w * x for w, x in zip(pairs, means[count:], strict=True)), np.zeros(means.shape[1]))
    return value, np.maximum(square - value * value, 0.0)


def _before(x: FloatArray) -> FloatArray:
    out = np.full(len(x), np.nan)
    out[1:] = x[:-1]
    return out


@dataclass(frozen=True)
class Spreads(Feature):
    """Four spread estimates over one window, in basis points of price."""

    window: int = 50
    inputs = ("open", "high", "low", "close", "session_id")
    names = ("spread_roll", "spread_corwin_schultz", "spread_abdi_ranaldo", "spread_edge")

    @property
    def lookback(self) -> int:  # type: ignore[override]
        return self.window + 1

    def compute(self, columns: Columns) -> FloatArray:
        high, low, breaks = columns.high, columns.low, columns.breaks
        pairs = corwin_schultz(high, low, breaks)
        return 1e4 * np.stack([
            roll_spread(columns.step, self.window, breaks),
            masked_mean(pairs, np.isfinite(pairs), self.window, at_least=3),
            abdi_ranaldo(high, low, columns.close, self.window, breaks),
            edge(columns.open, high, low, columns.close, self.window, breaks),
        ], axis=1)
