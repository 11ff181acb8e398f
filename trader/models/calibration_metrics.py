"""How honest probabilities are: calibration error, Brier score and its parts, log-loss, reliability table.

Bins are of equal width, ``(low, high]``, with zero in the first; the adaptive error takes bins of equal count,
equal probabilities together. With several classes the confidence is the
largest probability and the outcome whether that class came true; the Brier score is then the sum over
classes. The expected error is biased upward for small samples: read it beside the counts of the table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
_TINY = 1e-15


class ReliabilityBin(NamedTuple):
    """One row of the reliability table."""

    bin: int
    n: int
    mean_probability: float
    observed_frequency: float


class BrierParts(NamedTuple):
    """The Brier score split over bins (Murphy, 1973; Stephenson, Coelho and Jolliffe, 2008).

    ``reliability - resolution + uncertainty + within`` is the score; ``within`` is what varies inside the bins.
    """

    reliability: float          # how far the bins' probabilities are from what happened; 0 is best
    resolution: float           # how far what happened differs between bins; more is better
    uncertainty: float          # of the outcome itself
    within: float


@dataclass(frozen=True, slots=True)
class CalibrationMetrics:
    """Scores of probabilities against outcomes; ``n`` is the number of outcomes."""

    n: int
    expected_calibration_error: float
    maximum_calibration_error: float
    brier_score: float
    log_loss: float
    reliability: tuple[ReliabilityBin, ...]
    adaptive_calibration_error: float
    brier_parts: BrierParts
    out_of_sample: bool = False

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "n": self.n, "ece": self.expected_calibration_error, "mce": self.maximum_calibration_error,
            "adaptive_ece": self.adaptive_calibration_error, "brier_parts": self.brier_parts._asdict(),
            "brier": self.brier_score, "log_loss": self.log_loss, "out_of_sample": self.out_of_sample,
            "reliability": [list(row) for row in self.reliability],
        }


def error_by_chance(table: Sequence[ReliabilityBin], n_effective: float) -> float:
    """The calibration error that exactly right probabilities show in the mean, for so many independent outcomes.

    In each bin the observed frequency is off by ``√(2/π)`` standard errors in the mean.
    """
    n = sum(row.n for row in table)
    off = [
        row.n / n * math.sqrt(max(row.mean_probability * (1.0 - row.mean_probability), 0.0) / (row.n * n_effective / n))
        for row in table if row.n
    ]
    return math.sqrt(2.0 / math.pi) * sum(off)


def reliability_table(probability: ArrayLike, outcome: ArrayLike, n_bins: int = 10) -> tuple[ReliabilityBin, ...]:
    """Bins that hold something, with count, mean probability and observed frequency; both shape ``(n,)``."""
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    where = _equal_width(p, n_bins)
    count = np.bincount(where, minlength=n_bins)
    mean_p = np.bincount(where, p, n_bins)
    mean_y = np.bincount(where, y, n_bins)
    return tuple(
        ReliabilityBin(b, int(count[b]), float(mean_p[b] / count[b]), float(mean_y[b] / count[b]))
        for b in np.flatnonzero(count).tolist()
    )


def evaluate(
    probability: ArrayLike, outcome: ArrayLike, n_bins: int = 10, *, out_of_sample: bool = False
) -> CalibrationMetrics:
    """Score probabilities.

    Parameters
    ----------
    probability : shape ``(n,)`` for an event, or ``(n, n_classes)``
    outcome : shape ``(n,)``: 0/1, or the class number
    """
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(outcome, dtype=np.int64)
    if len(p) != len(y) or not len(y):
        raise ValueError(f"probabilities and outcomes need one length, at least 1; got {len(p)} and {len(y)}")
    if p.ndim == 1:
        confidence, hit = p, y
        brier = float(np.mean((p - y) ** 2))
    else:
        top = np.argmax(p, axis=1)
        confidence, hit = p[np.arange(len(p)), top], (top == y).astype(np.int64)
        brier = float(np.mean(np.sum((p - np.eye(p.shape[1])[y]) ** 2, axis=1)))
    table = reliability_table(confidence, hit, n_bins)
    gaps = [(row.n, abs(row.observed_frequency - row.mean_probability)) for row in table]
    return CalibrationMetrics(
        len(y), sum(n * gap for n, gap in gaps) / len(y), max(gap for _, gap in gaps), brier,
        float(log_losses(p, y).mean()), table, adaptive_calibration_error(confidence, hit, n_bins),
        brier_parts(p, y, n_bins), out_of_sample,
    )


def adaptive_calibration_error(probability: ArrayLike, outcome: ArrayLike, n_bins: int = 10) -> float:
    """Expected calibration error over bins of equal count, both shape ``(n,)`` (Nguyen and O'Connor, 2015).

    Where all probabilities are alike, bins of equal width would put them into one and let opposite errors cancel.
    """
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    edges = np.unique(np.quantile(p, np.linspace(0.0, 1.0, n_bins + 1)[1:-1], method="higher"))
    where = np.searchsorted(edges, p, side="left")
    return float(np.abs(np.bincount(where, y - p)).sum() / len(p))


def brier_parts(probability: ArrayLike, outcome: ArrayLike, n_bins: int = 10) -> BrierParts:
    """Split the Brier score; arguments as for `evaluate`, the parts of several classes added up."""
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(outcome, dtype=np.int64)
    if p.ndim == 2:
        each = [brier_parts(p[:, c], y == c, n_bins) for c in range(p.shape[1])]
        return BrierParts(*(sum(part) for part in zip(*each, strict=True)))
    happened = y.astype(np.float64)
    where = _equal_width(p, n_bins)
    count = np.maximum(np.bincount(where, minlength=n_bins), 1)
    mean_p, mean_y = np.bincount(where, p, n_bins) / count, np.bincount(where, happened, n_bins) / count
    rate, off_p, off_y = happened.mean(), p - mean_p[where], happened - mean_y[where]
    return BrierParts(
        float(np.mean((mean_p - mean_y)[where] ** 2)), float(np.mean((mean_y[where] - rate) ** 2)),
        float(rate * (1.0 - rate)), float(np.mean(off_p * (off_p - 2.0 * off_y))),
    )


def log_losses(probability: ArrayLike, outcome: ArrayLike) -> FloatArray:
    """Negative log-likelihood of each outcome, shape ``(n,)``; probabilities clipped to [1e-15, 1 - 1e-15]."""
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(outcome, dtype=np.int64)
    of_outcome = np.where(y == 1, p, 1.0 - p) if p.ndim == 1 else p[np.arange(len(p)), y]
    losses: FloatArray = -np.log(np.clip(of_outcome, _TINY, 1.0 - _TINY))
    return losses


def _equal_width(p: FloatArray, n_bins: int) -> NDArray[np.int64]:
    """The bin of each probability."""
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    return np.clip(np.searchsorted(edges, p, side="left") - 1, 0, n_bins - 1)
