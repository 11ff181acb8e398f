"""Volatility per bar from ranges and returns."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np

from trader.core.panel import FloatArray
from trader.features.columns import Columns
from trader.features.feature import Feature
from trader.features.rolling import masked_mean, rolling_mean, rolling_sum, rolling_variance


def parkinson(high: FloatArray, low: FloatArray, window: int) -> FloatArray:
    """Parkinson (1980): ``sqrt(mean(ln(H/L)^2) / (4 ln 2))``."""
    return np.sqrt(rolling_mean(np.log(high / low) ** 2, window) / (4.0 * log(2.0)))


def garman_klass(open: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray, window: int) -> FloatArray:
    """Garman and Klass (1980): ``sqrt(mean(ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2))``, 0 where negative."""
    terms = 0.5 * np.log(high / low) ** 2 - (2.0 * log(2.0) - 1.0) * np.log(close / open) ** 2
    return np.sqrt(np.maximum(rolling_mean(terms, window), 0.0))


def rogers_satchell(open: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray, window: int) -> FloatArray:
    """Rogers and Satchell (1991): free of drift."""
    terms = np.log(high / close) * np.log(high / open) + np.log(low / close) * np.log(low / open)
    return np.sqrt(np.maximum(rolling_mean(terms, window), 0.0))


def yang_zhang(
    open: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray, window: int,
    breaks: np.ndarray | None = None,
) -> FloatArray:
    """Yang and Zhang (2000): jump, open-to-close and Rogers-Satchell variance, ``k = .34/(1.34+(n+1)/(n-1))``.

    ``breaks`` marks bars whose jump from the close before is an overnight gap and is left out.
    """
    jump = np.full(len(open), np.nan)
    jump[1:] = np.log(open[1:] / close[:-1])
    usable = np.isfinite(jump)
    if breaks is not None:
        usable &= ~breaks
    count = rolling_sum(usable.astype(np.float64), window)
    filled = np.where(usable, jump, 0.0)
    total = rolling_sum(filled, window)
    with np.errstate(invalid="ignore", divide="ignore"):
        jump_variance = np.maximum(rolling_sum(filled * filled, window) - total * total / count, 0.0) / (count - 1.0)
    jump_variance[:window] = np.nan      # the window's first bar has no jump before index `window`
    k = 0.34 / (1.34 + (window + 1) / (window - 1))
    bar = rolling_variance(np.log(close / open), window)
    return np.sqrt(jump_variance + k * bar + (1.0 - k) * rogers_satchell(open, high, low, close, window) ** 2)


def ewm_volatility(step: FloatArray, span: int) -> FloatArray:
    """Root of the exponentially weighted mean square (weights normalised over the bars seen, mean taken as 0)."""
    from scipy.signal import lfilter

    decay = 1.0 - 2.0 / (span + 1.0)
    out = np.full(len(step), np.nan)
    known = np.flatnonzero(np.isfinite(step))
    if len(known) == 0:
        return out
    first = known[0]
    squares = lfilter([1.0], [1.0, -decay], step[first:] ** 2)
    weight = (1.0 - decay ** np.arange(1, len(squares) + 1)) / (1.0 - decay)
    out[first:] = np.sqrt(squares / weight)
    return out


@dataclass(frozen=True)
class RangeVolatility(Feature):
    """Parkinson, Garman-Klass, Rogers-Satchell and Yang-Zhang over one window, per bar, as a share of price."""

    window: int = 26
    inputs = ("open", "high", "low", "close", "session_id")
    names = ("vol_parkinson", "vol_garman_klass", "vol_rogers_satchell", "vol_yang_zhang")

    @property
    def lookback(self) -> int:  # type: ignore[override]
        return self.window

    def compute(self, columns: Columns) -> FloatArray:
        o, h, l, c, w = columns.open, columns.high, columns.low, columns.close, self.window
        return np.stack([
            parkinson(h, l, w), garman_klass(o, h, l, c, w), rogers_satchell(o, h, l, c, w),
            yang_zhang(o, h, l, c, w, columns.breaks),
        ], axis=1)


@dataclass(frozen=True)
class EwmVolatility(Feature):
    """Exponentially weighted volatility of in-session returns."""

    span: int = 50
    inputs = ("open", "close", "session_id")
    names = ("vol_ewm",)
    lookback = None

    @property
    def warmup(self) -> int:
        return 2 * self.span

    @property
    def memory(self) -> int:
        return 14 * self.span           # e^-28: older bars weigh less than 1e-12

    def compute(self, columns: Columns) -> FloatArray:
        return ewm_volatility(columns.step, self.span)


@dataclass(frozen=True)
class VolatilityRatio(Feature):
    """Log of short over long root mean square return: is it stirring?"""

    short: int = 8
    long: int = 130
    inputs = ("open", "close", "session_id")
    names = ("vol_ratio",)

    @property
    def lookback(self) -> int:  # type: ignore[override]
        return self.long

    def compute(self, columns: Columns) -> FloatArray:
        squares = columns.step ** 2
        usable = np.isfinite(squares)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = masked_mean(squares, usable, self.short) / masked_mean(squares, usable, self.long)
            return 0.5 * np.log(ratio)
