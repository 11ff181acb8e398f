"""Sums, extremes and regressions over moving windows whose digits depend on the window alone.

A running sum carries the rounding of everything before it, so the same window gives other last digits
after another history, and one NaN poisons all that follows. Here a window is the end of one block and the
beginning of the next (van Herk 1992; Gil and Werman 1993, for extremes): linear time, no cancellation, and a
batch agrees with a ring buffer.
"""

from __future__ import annotations

import numpy as np

from trader.core.panel import FloatArray


def _two_blocks(x: FloatArray, window: int, ufunc: np.ufunc, neutral: float) -> FloatArray:
    n = len(x)
    if window < 1:
        raise ValueError(f"window must be at least 1 bar, got {window}")
    out = np.empty(n)
    out[: window - 1] = np.nan
    if n < window:
        return out
    blocks = -(-n // window)
    padded = np.empty(blocks * window)
    padded[:n] = x
    padded[n:] = neutral
    table = padded.reshape(blocks, window)
    ends = ufunc.accumulate(table, axis=1).ravel()
    starts = ufunc.accumulate(table[:, ::-1], axis=1)[:, ::-1].copy()
    starts[:, 0] = neutral          # a window that is one whole block is told by its end already
    ufunc(starts.ravel()[: n - window + 1], ends[window - 1 : n], out=out[window - 1 :])
    return out


def rolling_sums(series: FloatArray, window: int) -> FloatArray:
    """`rolling_sum` of several series at once, ``(k, n)`` to ``(k, n)``: one pass where windows are short."""
    k, n = series.shape
    out = np.full((k, n), np.nan)
    if n < window:
        return out
    blocks = -(-n // window)
    padded = np.zeros((k, blocks * window))
    padded[:, :n] = series
    table = padded.reshape(k, blocks, window)
    ends = np.add.accumulate(table, axis=2).reshape(k, -1)
    starts = np.add.accumulate(table[:, :, ::-1], axis=2)[:, :, ::-1].copy()
    starts[:, :, 0] = 0.0           # a window that is one whole block is told by its end already
    np.add(starts.reshape(k, -1)[:, : n - window + 1], ends[:, window - 1 : n], out=out[:, window - 1 :])
    return out


def rolling_sum(x: FloatArray, window: int) -> FloatArray:
    """Sum of the last ``window`` values ``(n,)``; NaN before, and where the window holds a NaN."""
    return _two_blocks(x, window, np.add, 0.0)


def rolling_max(x: FloatArray, window: int) -> FloatArray:
    """Largest of the last ``window`` values."""
    return _two_blocks(x, window, np.maximum, -np.inf)


def rolling_min(x: FloatArray, window: int) -> FloatArray:
    """Smallest of the last ``window`` values."""
    return _two_blocks(x, window, np.minimum, np.inf)


def rolling_mean(x: FloatArray, window: int) -> FloatArray:
    """Mean of the last ``window`` values."""
    return rolling_sum(x, window) / window


def rolling_variance(x: FloatArray, window: int) -> FloatArray:
    """Sample variance (ddof 1) of the last ``window`` values; for series whose mean is small beside their spread."""
    total = rolling_sum(x, window)
    squares = rolling_sum(x * x, window)
    return np.maximum(squares - total * total / window, 0.0) / (window - 1)


def masked_mean(x: FloatArray, usable: np.ndarray, window: int, at_least: int = 2) -> FloatArray:
    """Mean over the usable values among the last ``window``; NaN where fewer than ``at_least`` are."""
    count = rolling_sum(usable.astype(np.float64), window)
    total = rolling_sum(np.where(usable, x, 0.0), window)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count >= at_least, total / count, np.nan)


def rolling_ols(y: FloatArray, x: FloatArray, window: int) -> tuple[FloatArray, FloatArray]:
    """Slope and t-statistic of ``y = a + b x`` by least squares over the last ``window`` pairs.

    Both are 0 where ``x`` does not vary: no information is no slope. A perfect fit has a t-statistic of 0 as well.
    """
    sum_x, sum_y = rolling_sum(x, window), rolling_sum(y, window)
    raw_xx = rolling_sum(x * x, window)
    xx = raw_xx - sum_x * sum_x / window
    xy = rolling_sum(x * y, window) - sum_x * sum_y / window
    raw_yy = rolling_sum(y * y, window)
    yy = raw_yy - sum_y * sum_y / window
    with np.errstate(invalid="ignore", divide="ignore"):
        flat = xx <= 1e-12 * raw_xx
        slope = np.where(flat, 0.0, xy / np.where(flat, 1.0, xx))
        residual = (yy - slope * xy) / (window - 2)
        exact = flat | (residual <= 1e-14 * raw_yy)
        t_stat = np.where(exact, 0.0, slope / np.sqrt(np.where(exact, 1.0, residual) / np.where(flat, 1.0, xx)))
    unknown = np.isnan(xy)
    slope[unknown] = np.nan
    t_stat[unknown] = np.nan
    return slope, t_stat


def lag(x: FloatArray, bars: int) -> FloatArray:
    """``x`` as it was ``bars`` ago; NaN at the start."""
    out = np.full(len(x), np.nan)
    if bars < len(x):
        out[bars:] = x[: len(x) - bars]
    return out
