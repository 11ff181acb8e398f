"""Has the world moved away from the training data? Population stability, Kolmogorov–Smirnov, Page–Hinkley."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

PSI_FLOOR = 1e-4
PSI_MODERATE, PSI_MAJOR = 0.10, 0.25


def population_stability_index(reference: ArrayLike, current: ArrayLike, n_bins: int = 10) -> float:
    """``sum (q - p) ln(q / p)`` over the reference's quantile bins, ends open, shares floored at 1e-4.

    Over 0.10 counts as a moderate, over 0.25 as a major shift. NaN are left out of both.
    """
    edges = quantile_edges(reference, n_bins)
    return _psi(_shares(reference, edges), _shares(current, edges))


def quantile_edges(values: ArrayLike, n_bins: int = 10) -> FloatArray:
    """Inner edges of equal-count bins; fewer than ``n_bins - 1`` where values repeat."""
    finite = _finite(values)
    if not len(finite):
        return np.empty(0)
    return np.unique(np.quantile(finite, np.linspace(0.0, 1.0, n_bins + 1)[1:-1]))


def kolmogorov_smirnov(reference: ArrayLike, current: ArrayLike) -> tuple[float, float]:
    """Largest distance of the two distribution functions, and its p-value (two-sided)."""
    from scipy.stats import ks_2samp

    found = ks_2samp(_finite(reference), _finite(current))
    return float(found.statistic), float(found.pvalue)


@dataclass(frozen=True, slots=True)
class DriftReference:
    """Distribution of every feature in training, small enough for a manifest.

    ``limits`` holds for each feature the index that counts as drift: 0.25, or more where stretches of the
    training data itself, as long as the live window, stray further than that from the whole (slow features
    do).
    """

    names: tuple[str, ...]
    edges: tuple[FloatArray, ...]
    shares: tuple[FloatArray, ...]
    limits: FloatArray
    window: int

    @classmethod
    def fit(cls, names: tuple[str, ...], rows: FloatArray, window: int, n_bins: int = 10) -> Self:
        """From training rows in time order, shape ``(n, n_features)``; ``window`` rows make a live sample."""
        edges = tuple(quantile_edges(rows[:, k], n_bins) for k in range(len(names)))
        shares = tuple(_shares(rows[:, k], e) for k, e in enumerate(edges))
        chunks = [rows[i:i + window] for i in range(0, max(len(rows) - window, 0) + 1, max(window, 1))]
        own = np.array([
            [_psi(share, _shares(chunk[:, k], edge)) for k, (edge, share) in enumerate(zip(edges, shares, strict=True))]
            for chunk in chunks
        ]).reshape(len(chunks), len(names))
        limits = np.maximum(PSI_MAJOR, own.max(axis=0) if len(chunks) > 1 else PSI_MAJOR)
        return cls(tuple(names), edges, shares, limits, window)

    def index(self, rows: FloatArray) -> FloatArray:
        """Population stability index of each feature of ``rows``, shape ``(n_features,)``."""
        return np.array([
            _psi(share, _shares(rows[:, k], edge))
            for k, (edge, share) in enumerate(zip(self.edges, self.shares, strict=True))
        ])

    def drifted(self, rows: FloatArray) -> tuple[str, ...]:
        """Names of the features beyond their limit, the furthest first."""
        excess = self.index(rows) / self.limits
        return tuple(self.names[k] for k in np.argsort(-excess, kind="stable") if excess[k] > 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "names": list(self.names), "edges": [e.tolist() for e in self.edges],
            "shares": [s.tolist() for s in self.shares], "limits": self.limits.tolist(), "window": self.window,
        }

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        return cls(
            tuple(facts["names"]), tuple(np.asarray(e, dtype=np.float64) for e in facts["edges"]),
            tuple(np.asarray(s, dtype=np.float64) for s in facts["shares"]),
            np.asarray(facts["limits"], dtype=np.float64), int(facts["window"]),
        )


@dataclass(slots=True)
class PageHinkley:
    """Alarm when the mean of a stream has risen (Page, 1954); feed it errors, 1 for a miss and 0 for a hit.

    ``delta`` is the rise that is tolerated, ``threshold`` the cumulated excess that alarms. With the defaults about
    one stream in ten of 1,000 steady outcomes alarms falsely, and a rise of 16 points is found after some 125.
    """

    min_observations: int = 30
    delta: float = 0.02
    threshold: float = 20.0
    n: int = 0
    mean: float = 0.0
    _sum: float = field(default=0.0, repr=False)
    _least: float = field(default=0.0, repr=False)

    def update(self, value: float) -> bool:
        """Take one value; True when the alarm sounds, after which the watch starts anew."""
        self.n += 1
        self.mean += (value - self.mean) / self.n
        self._sum += value - self.mean - self.delta
        self._least = min(self._least, self._sum)
        if self.n < self.min_observations or self._sum - self._least <= self.threshold:
            return False
        self.n, self.mean, self._sum, self._least = 0, 0.0, 0.0, 0.0
        return True


def _finite(values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]


def _shares(values: ArrayLike, edges: FloatArray) -> FloatArray:
    """Share of the values in each bin; the last entry is the share that is missing."""
    array = np.asarray(values, dtype=np.float64)
    finite = _finite(array)
    counts = np.bincount(np.searchsorted(edges, finite, side="right"), minlength=len(edges) + 1)
    whole = max(len(finite), 1)
    return np.append(counts / whole, (len(array) - len(finite)) / max(len(array), 1))


def _psi(expected: FloatArray, found: FloatArray) -> float:
    """The index over the bins; missing values count as a bin of their own where there are any."""
    if expected[-1] == 0.0 and found[-1] == 0.0:
        expected, found = expected[:-1], found[:-1]
    p, q = np.maximum(expected, PSI_FLOOR), np.maximum(found, PSI_FLOOR)
    return float(np.sum((q - p) * np.log(q / p)))
