"""Predictions and what became of them: accuracy over windows with intervals, rolling calibration error."""

from __future__ import annotations

import math
from dataclasses import dataclass

WINDOWS = (20, 50, 100, 250, 500)
_N_BINS = 10
_UNIT = 10**12


@dataclass(frozen=True, slots=True)
class AccuracyWindow:
    """Accuracy of the last ``n`` outcomes with its 95 % Wilson interval."""

    window_name: str
    accuracy: float
    n: int
    low: float
    high: float


class OutcomeLog:
    """The last outcomes, in a ring; counts of hits are kept per window, so that a session can ask at every bar."""

    def __init__(self, windows: tuple[int, ...] = WINDOWS) -> None:
        self.windows = windows
        self._size = max(windows)
        self._hit = [0] * self._size
        self._excess = [0] * self._size         # hit less probability, in units that add up exactly
        self._bin = [0] * self._size
        self._hits = [0] * len(windows)
        self._gap = [0] * _N_BINS
        self.total = 0

    def __len__(self) -> int:
        return min(self.total, self._size)

    def add(self, predicted: int, actual: int, probability: float) -> bool:
        """Take one outcome; ``probability`` is that of the predicted class. Returns whether it was right."""
        right = predicted == actual
        for k, window in enumerate(self.windows):
            left = self._hit[(self.total - window) % self._size] if self.total >= window else 0
            self._hits[k] += right - left
        place = self.total % self._size
        self._gap[self._bin[place]] -= self._excess[place]
        self._hit[place] = int(right)
        self._bin[place] = min(max(math.ceil(probability * _N_BINS) - 1, 0), _N_BINS - 1)
        self._excess[place] = round((right - probability) * _UNIT)
        self._gap[self._bin[place]] += self._excess[place]
        self.total += 1
        return right

    def accuracy_windows(self, z: float = 1.959963984540054) -> tuple[AccuracyWindow, ...]:
        """Accuracy over the last 20, 50, … outcomes; windows that are not full yet are left out, except the first."""
        found: list[AccuracyWindow] = []
        for size, right in zip(self.windows, self._hits, strict=True):
            n = min(size, len(self))
            if n == 0 or (n < size and found):
                break
            low, high = wilson_interval(right, n, z)
            found.append(AccuracyWindow(f"last_{size}", right / n, n, low, high))
        return tuple(found)

    def calibration_error(self) -> float | None:
        """Expected calibration error of the predicted class over ten bins ``(low, high]``; None without outcomes."""
        return sum(map(abs, self._gap)) / _UNIT / len(self) if self.total else None


def wilson_interval(successes: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Score interval of a proportion (Wilson, 1927); 95 % by default."""
    if n == 0:
        return 0.0, 1.0
    p, zz = successes / n, z * z
    centre, half = p + zz / (2 * n), z * math.sqrt(p * (1 - p) / n + zz / (4 * n * n))
    return max(0.0, (centre - half) / (1 + zz / n)), min(1.0, (centre + half) / (1 + zz / n))
