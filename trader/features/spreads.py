"""The bid-ask spread as bars betray it: Roll, Corwin-Schultz, Abdi-Ranaldo."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from trader.core.panel import FloatArray
from trader.features.columns import Columns
from trader.features.feature import Feature
from trader.features.rolling import masked_mean

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


@dataclass(frozen=True)
class Spreads(Feature):
    """Three spread estimates over one window, in basis points of price."""

    window: int = 50
    inputs = ("open", "high", "low", "close", "session_id")
    names = ("spread_roll", "spread_corwin_schultz", "spread_abdi_ranaldo")

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
        ], axis=1)
