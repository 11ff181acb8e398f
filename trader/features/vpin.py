"""VPIN: how one-sided the volume is, on the clock of volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trader.core.panel import FloatArray, IntArray
from trader.features.columns import Columns
from trader.features.feature import Feature
from trader.features.rolling import rolling_mean


def buy_volume(
    change: FloatArray, volume: FloatArray, sigma: FloatArray, degrees: float | None = None,
) -> FloatArray:
    """Bulk volume classification: ``V F(change / sigma)`` (Easley, López de Prado and O'Hara 2012).

    ``F`` is the normal distribution function, or Student's with ``degrees`` of freedom (0.25 in the paper), which
    calls a large move less certain. Half the volume where nothing moves. ``sigma`` must be known at the bar: a
    whole-sample value looks ahead.
    """
    from scipy.special import ndtr, stdtr

    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(sigma > 0.0, change / sigma, 0.0)
    bought: FloatArray = volume * (ndtr(z) if degrees is None else stdtr(degrees, z))
    return bought


def vpin_buckets(volume: FloatArray, buys: FloatArray, bucket_volume: float, buckets: int = 50) -> FloatArray:
    """VPIN after each full bucket of equal volume, bars split over the edges: ``(full buckets - buckets + 1,)``.

    ``sum |Vb - Vs| / (n V)`` over the last n buckets, counted from the first bar: the form of the paper.
    """
    total = np.concatenate(([0.0], np.cumsum(volume)))
    bought = np.concatenate(([0.0], np.cumsum(buys)))
    count = int(total[-1] // bucket_volume)
    if count < buckets:
        return np.empty(0)
    at_edges = np.interp(bucket_volume * np.arange(count + 1), total, bought)
    imbalance = np.abs(2.0 * np.diff(at_edges) - bucket_volume)
    sums: FloatArray = np.lib.stride_tricks.sliding_window_view(imbalance, buckets).sum(axis=1)
    return sums / (buckets * bucket_volume)


def vpin_at_bars(
    volume: FloatArray, buys: FloatArray, bucket_volume: FloatArray, buckets: int, window: int,
) -> FloatArray:
    """VPIN at every bar ``(n,)`` over buckets counted backwards from the bar's end.

    Counting backwards gives each bar full and fresh buckets of the size known then, and makes the value a function
    of the last ``window`` bars alone. Where these hold fewer than ``buckets`` buckets the mean is over those
    they hold, NaN under half of them.
    """
    n = len(volume)
    total = np.concatenate(([0.0], np.cumsum(volume)))
    bought = np.concatenate(([0.0], np.cumsum(np.nan_to_num(buys))))
    out = np.full(n, np.nan)
    rows = np.flatnonzero((bucket_volume > 0.0) & (np.arange(n) >= window - 1))
    steps = np.arange(buckets + 1, dtype=np.float64)
    for start in range(0, len(rows), 4096):         # a bounded table, whatever the history's length
        chosen = rows[start : start + 4096]
        size = bucket_volume[chosen][:, None]
        edges = total[chosen + 1][:, None] - size * steps
        at_edges = np.interp(edges.ravel(), total, bought).reshape(edges.shape)
        imbalance = np.abs(2.0 * (at_edges[:, :-1] - at_edges[:, 1:]) - size) / size
        held = (total[chosen + 1] - total[chosen + 1 - window]) / bucket_volume[chosen]
        full = np.minimum(np.floor(held + 1e-9), buckets)
        counted = steps[:-1] < full[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.sum(imbalance, axis=1, where=counted) / full
        out[chosen] = np.where(full >= buckets / 2, mean, np.nan)
    return out


def sample_at(values: FloatArray, available_ns: IntArray, at_ns: IntArray) -> FloatArray:
    """The newest of ``values`` that is available at each moment; NaN before the first.

    Takes VPIN of one-minute bars to the closes of 15-minute bars: ``sample_at(vpin, minutes.available_ns,
    quarters.available_ns)``.
    """
    rows = np.searchsorted(available_ns, at_ns, side="right") - 1
    return np.where(rows >= 0, values[np.maximum(rows, 0)], np.nan) if len(values) else np.full(len(at_ns), np.nan)


@dataclass(frozen=True)
class VPIN(Feature):
    """VPIN by bulk volume classification, buckets of ``bucket_bars`` average bars.

    Two conventions: on 15-minute bars a bucket is a fifth of an average day, 5.2 bars (a fiftieth would cut every
    bar into equal slices); on one-minute bars it is the paper's fiftieth, `of_minutes`, to be read at longer bars'
    closes by `sample_at`. ``degrees`` takes Student's distribution in place of the normal one. Where volume and
    volatility are in the model already, VPIN is known to add little (Andersen and Bondarenko 2014): one feature among
    others, not a signal.
    """

    buckets: int = 50
    bucket_bars: float = 5.2
    sigma_window: int = 50
    degrees: float | None = None
    inputs = ("open", "close", "volume", "session_id")

    @classmethod
    def of_minutes(cls, degrees: float | None = None) -> VPIN:
        """For one-minute bars: 50 buckets of a fiftieth of a day of 390 minutes."""
        return cls(bucket_bars=7.8, sigma_window=390, degrees=degrees)

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("vpin",) if self.degrees is None else ("vpin_t",)

    @property
    def window(self) -> int:
        """Bars looked at: half as many again as the buckets fill on average."""
        return int(np.ceil(1.5 * self.buckets * self.bucket_bars))

    @property
    def lookback(self) -> int:  # type: ignore[override]
        return self.window + self.sigma_window

    def compute(self, columns: Columns) -> FloatArray:
        sigma = np.sqrt(rolling_mean(columns.step ** 2, self.sigma_window))
        buys = buy_volume(columns.step, columns.volume, sigma, self.degrees)
        average = rolling_mean(columns.volume, int(np.ceil(self.buckets * self.bucket_bars)))
        return vpin_at_bars(columns.volume, buys, self.bucket_bars * average, self.buckets, self.window)
