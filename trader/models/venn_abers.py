"""Venn–Abers prediction: two isotonic fits whose distance says how sure the probability is.

Reference: Vovk, Petej and Fedorova, "Large-scale probabilistic predictors with and without guarantees of
validity" (2015), algorithms 1 and 2.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Point = tuple[float, float]

_MOST_SCORES = 2000     # beyond so many, neighbouring scores are judged together


class VennAbersCalibrator:
    """For a score, ``p0`` and ``p1`` are what isotonic regression says of it after it joined the data as a 0 or a 1.

    One of the two is calibrated whatever the data are like; the probability ``p1 / (1 - p0 + p1)`` is their
    compromise in log-loss, and ``p1 - p0`` is an uncertainty for free.
    """

    method: ClassVar[str] = "venn_abers"
    n_parameters: ClassVar[int] = 60
    min_observations: ClassVar[int] = 100

    def __init__(
        self, x: FloatArray | None = None, low: FloatArray | None = None, high: FloatArray | None = None
    ) -> None:
        self.x = np.array([0.5]) if x is None else x
        self.low = np.zeros(len(self.x)) if low is None else low
        self.high = np.ones(len(self.x)) if high is None else high

    def fit(self, p: FloatArray, y: IntArray) -> Self:
        score, where = np.unique(p, return_inverse=True)
        if len(score) > _MOST_SCORES:
            group = np.arange(len(score)) * _MOST_SCORES // len(score)
            score, where = np.bincount(group, score) / np.bincount(group), group[where]
        weight, ones = np.bincount(where).astype(np.float64), np.bincount(where, y).astype(np.float64)
        self.x = score
        self.high = _as_a_one(weight, ones)
        self.low = 1.0 - _as_a_one(weight[::-1], (weight - ones)[::-1])[::-1]     # a 0 is a 1 seen in the mirror
        return self

    def interval(self, p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """``p0`` and ``p1`` of each score, both shape ``(n,)``."""
        below = np.searchsorted(self.x, p, side="right") - 1
        above = np.searchsorted(self.x, p, side="left")
        low = np.where(below >= 0, self.low[np.maximum(below, 0)], 0.0)
        high = np.where(above < len(self.x), self.high[np.minimum(above, len(self.x) - 1)], 1.0)
        return low, high

    def apply(self, p: FloatArray) -> FloatArray:
        low, high = self.interval(p)
        merged: FloatArray = high / (1.0 - low + high)
        return merged

    def to_dict(self) -> dict[str, Any]:
        return {"x": self.x.tolist(), "low": self.low.tolist(), "high": self.high.tolist()}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        return cls(*(np.asarray(facts[name]) for name in ("x", "low", "high")))


def _as_a_one(weight: FloatArray, ones: FloatArray) -> FloatArray:
    """What isotonic regression says of a further 1 at each score, scores rising.

    The regression is the greatest convex minorant of the sums' diagram. It is scanned once; then the extra 1 moves
    up from score to score, and only the corners that it passes change.
    """
    sums = np.column_stack((np.cumsum(weight), np.cumsum(ones)))
    points: list[Point] = [(-1.0, -1.0), (0.0, 0.0), *map(tuple, sums.tolist())]
    corners: list[Point] = points[:2]
    for point in points[2:]:
        while len(corners) > 1 and _turn(corners[-2], corners[-1], point) <= 0.0:
            corners.pop()
        corners.append(point)
    corners.reverse()                       # the next corner to pass lies on top
    found = np.empty(len(weight))
    for i in range(len(weight)):
        (x0, y0), (x1, y1) = corners[-1], corners[-2]
        found[i] = (y1 - y0) / (x1 - x0)
        before, here, after = points[i], points[i + 1], points[i + 2]
        moved = (before[0] + after[0] - here[0], before[1] + after[1] - here[1])
        points[i + 1] = moved
        if _turn(corners[-1], corners[-2], moved) >= 0.0:
            continue                        # at or above the minorant: it changes nothing
        corners.pop()
        while len(corners) > 1 and _turn(moved, corners[-1], corners[-2]) <= 0.0:
            corners.pop()
        corners.append(moved)
    return found


def _turn(a: Point, b: Point, c: Point) -> float:
    """Positive where the way from ``a`` over ``b`` to ``c`` turns left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
