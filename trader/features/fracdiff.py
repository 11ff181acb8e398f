"""Fractional differentiation with a fixed window: stationary, yet with memory of the level."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from trader.core.panel import FloatArray
from trader.features.columns import Columns
from trader.features.feature import Feature

MAX_WEIGHTS = 1_000_000
MAX_ADF_BARS = 20_000


@lru_cache(maxsize=256)
def ffd_weights(d: float, threshold: float) -> FloatArray:
    """Weights of the fractional difference of order ``d``, newest bar first.

    ``w0 = 1``, ``wk = -w(k-1) (d - k + 1) / k``, up to the first ``|wk| < threshold``, which is left out
    (López de Prado 2018, ch. 5; Hosking 1981).
    """
    if threshold <= 0:
        raise ValueError(f"threshold must be positive, got {threshold}")
    weights = [1.0]
    for k in range(1, MAX_WEIGHTS):
        weight = -weights[-1] * (d - k + 1) / k
        if abs(weight) < threshold:
            break
        weights.append(weight)
    out = np.array(weights)
    out.flags.writeable = False
    return out


def ffd(series: FloatArray, d: float, threshold: float = 1e-4) -> FloatArray:
    """Fractional difference of a series ``(n,)``: NaN before bar ``width - 1``, the width being that of the weights."""
    weights = ffd_weights(d, threshold)
    width, n = len(weights), len(series)
    out = np.full(n, np.nan)
    if n < width:
        return out
    if n - width < 64:
        windows = np.lib.stride_tricks.sliding_window_view(series, width)
        out[width - 1 :] = windows @ weights[::-1]
    elif n * width < 2_000_000:
        out[width - 1 :] = np.convolve(series, weights, mode="valid")
    else:
        from scipy.signal import oaconvolve

        out[width - 1 :] = oaconvolve(series, weights, mode="valid")
    return out


def minimum_d(
    log_price: FloatArray, threshold: float = 1e-4, grid: Sequence[float] = tuple(np.round(np.arange(0, 1.05, 0.1), 2)),
    p_value: float = 0.05, aic: bool = False,
) -> float:
    """The smallest order on the grid whose difference passes the augmented Dickey-Fuller test with a constant.

    One lag as in López de Prado (2018, 5.4), or with ``aic`` as many as Akaike's criterion chooses: that sees the
    autocorrelation which the cut of the weights leaves, passes later, and takes seconds where one lag takes
    milliseconds. Give it training bars only: the order is frozen with the model. 1.0 where no order of the grid passes.
    """
    from statsmodels.tsa.stattools import adfuller

    lags: dict[str, Any] = {"autolag": "AIC"} if aic else {"maxlag": 1, "autolag": None}
    for d in grid:
        values = ffd(log_price, float(d), threshold)
        values = values[np.isfinite(values)][-MAX_ADF_BARS:]
        if len(values) < 30 or np.ptp(values) == 0.0:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)      # of the shape of its answer in releases to come
            tested = adfuller(values, regression="c", **lags)
        if tested[1] < p_value:
            return float(d)
    return 1.0


@dataclass(frozen=True)
class FracDiff(Feature):
    """Fractional difference of log close.

    `fit` sets ``d`` to the smallest order at which the training bars of every symbol are stationary: one
    order for all, so that a pooled model sees one scale. The price level spans sessions, and so does this.
    """

    d: float = 0.4
    threshold: float = 1e-4
    names = ("ffd_close",)
    spans_sessions = True

    @property
    def lookback(self) -> int:  # type: ignore[override]
        return len(ffd_weights(self.d, self.threshold)) - 1

    def compute(self, columns: Columns) -> FloatArray:
        return ffd(columns.log_close, self.d, self.threshold)

    def fit(self, history: Sequence[Columns]) -> FracDiff:
        orders = [minimum_d(c.log_close[-MAX_ADF_BARS:], self.threshold) for c in history if len(c) >= 100]
        # order 0 is the price itself: a chance pass of the test must not feed the level to the model
        return replace(self, d=max(0.1, *orders)) if orders else self
