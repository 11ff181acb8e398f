"""How honest probabilities are: calibration error, Brier score, log-loss, reliability table.

Bins are of equal width, ``(low, high]``, with zero in the first. With several classes the confidence is the
largest probability and the outcome whether that class came true; the Brier score is then the sum over
classes. The expected error is biased upward for small samples: read it beside the counts of the table.
"""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class CalibrationMetrics:
    """Scores of probabilities against outcomes; ``n`` is the number of outcomes."""

    n: int
    expected_calibration_error: float
    maximum_calibration_error: float
    brier_score: float
    log_loss: float
    reliability: tuple[ReliabilityBin, ...]
    out_of_sample: bool = False

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "n": self.n, "ece": self.expected_calibration_error, "mce": self.maximum_calibration_error,
            "brier": self.brier_score, "log_loss": self.log_loss, "out_of_sample": self.out_of_sample,
            "reliability": [list(row) for row in self.reliability],
        }


def reliability_table(probability: ArrayLike, outcome: ArrayLike, n_bins: int = 10) -> tuple[ReliabilityBin, ...]:
    """Bins that hold something, with count, mean probability and observed frequency; both shape ``(n,)``."""
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    where = np.clip(np.searchsorted(edges, p, side="left") - 1, 0, n_bins - 1)
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
        float(log_losses(p, y).mean()), table, out_of_sample,
    )


def log_losses(probability: ArrayLike, outcome: ArrayLike) -> FloatArray:
    """Negative log-likelihood of each outcome, shape ``(n,)``; probabilities clipped to [1e-15, 1 - 1e-15]."""
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(outcome, dtype=np.int64)
    of_outcome = np.where(y == 1, p, 1.0 - p) if p.ndim == 1 else p[np.arange(len(p)), y]
    losses: FloatArray = -np.log(np.clip(of_outcome, _TINY, 1.0 - _TINY))
    return losses
