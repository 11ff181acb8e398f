"""Predictions and what became of them: accuracy over windows with intervals, rolling calibration error."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

WINDOWS = (20, 50, 100, 250, 500)


@dataclass(frozen=True, slots=True)
class AccuracyWindow:
    """Accuracy of the last ``n`` outcomes with its 95 % Wilson interval."""

    window_name: str
    accuracy: float
    n: int
    low: float
    high: float


class Outcome(NamedTuple):
    """One prediction that came true or not."""

    predicted: int
    actual: int
    probability: float      # of the predicted class


class OutcomeLog:
    """The last outcomes, newest at the end."""

    def __init__(self, windows: tuple[int, ...] = WINDOWS) -> None:
        self.windows = windows
        self._kept: deque[Outcome] = deque(maxlen=max(windows))
        self.total = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, predicted: int, actual: int, probability: float) -> bool:
        """Take one outcome; returns whether the prediction was right."""
        self._kept.append(Outcome(predicted, actual, probability))
        self.total += 1
        return predicted == actual

    def accuracy_windows(self, z: float = 1.959963984540054) -> tuple[AccuracyWindow, ...]:
        """Accuracy over the last 20, 50, … outcomes; windows that are not full yet are left out, except the first."""
        hits = np.fromiter((o.predicted == o.actual for o in self._kept), dtype=np.int64, count=len(self._kept))
        found: list[AccuracyWindow] = []
        for size in self.windows:
            n = min(size, len(hits))
            if n == 0 or (n < size and found):
                break
            right = int(hits[-n:].sum())
            low, high = wilson_interval(right, n, z)
            found.append(AccuracyWindow(f"last_{size}", right / n, n, low, high))
        return tuple(found)

    def calibration_error(self, n_bins: int = 10) -> float | None:
        """Expected calibration error of the predicted class; None without outcomes."""
        if not self._kept:
            return None
        p = np.array([o.probability for o in self._kept])
        hit = np.array([o.predicted == o.actual for o in self._kept], dtype=np.float64)
        where = np.clip(np.ceil(p * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
        gap = np.abs(np.bincount(where, hit, n_bins) - np.bincount(where, p, n_bins))
        return float(gap.sum() / len(p))


def wilson_interval(successes: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Score interval of a proportion (Wilson, 1927); 95 % by default."""
    if n == 0:
        return 0.0, 1.0
    p, zz = successes / n, z * z
    centre, half = p + zz / (2 * n), z * math.sqrt(p * (1 - p) / n + zz / (4 * n * n))
    return max(0.0, (centre - half) / (1 + zz / n)), min(1.0, (centre + half) / (1 + zz / n))
