"""The maps from a model's probabilities to honest ones; each is a few numbers that JSON can hold.

Binary maps take P(event), shape ``(n,)``. ``TemperatureCalibrator`` takes either that or a class matrix;
``OneVsRestCalibrator`` lifts any binary map to a class matrix and renormalises.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from trader.models.venn_abers import VennAbersCalibrator

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_CLIP = 1e-12
_EDGE = 1e-6


class Calibrator(Protocol):
    """What the manager needs of a map."""

    method: ClassVar[str]
    n_parameters: ClassVar[int]
    min_observations: ClassVar[int]     # of the shortest stretch that the selection fits it on

    def fit(self, p: FloatArray, y: IntArray) -> Self: ...
    def apply(self, p: FloatArray) -> FloatArray: ...
    def to_dict(self) -> dict[str, Any]: ...
    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self: ...


class IdentityCalibrator:
    """Leaves probabilities as they are."""

    method: ClassVar[str] = "none"
    n_parameters: ClassVar[int] = 0
    min_observations: ClassVar[int] = 0

    def fit(self, p: FloatArray, y: IntArray) -> Self:
        return self

    def apply(self, p: FloatArray) -> FloatArray:
        return p

    def to_dict(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        return cls()


class PlattCalibrator:
    """``1 / (1 + exp(A z + B))`` on the logit ``z``, with Platt's smoothed targets (Platt, 1999)."""

    method: ClassVar[str] = "platt"
    n_parameters: ClassVar[int] = 2
    min_observations: ClassVar[int] = 20

    def __init__(self, a: float = -1.0, b: float = 0.0) -> None:
        self.a, self.b = a, b

    def fit(self, p: FloatArray, y: IntArray) -> Self:
        positives = int(y.sum())
        target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (len(y) - positives + 2))
        slope, intercept = _logistic(np.column_stack((_logit(p), np.ones(len(p)))), target)
        self.a, self.b = -float(slope), -float(intercept)
        return self

    def apply(self, p: FloatArray) -> FloatArray:
        return _sigmoid(-(self.a * _logit(p) + self.b))

    def to_dict(self) -> dict[str, Any]:
        return {"a": self.a, "b": self.b}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        return cls(facts["a"], facts["b"])


class BetaCalibrator:
    """``logit q = a ln p - b ln(1 - p) + c`` with ``a, b >= 0`` (Kull, Silva Filho and Flach, 2017).

    A coefficient that comes out negative is set to zero and the others fitted again. ``a = b = 1, c = 0``
    is the identity.
    """

    method: ClassVar[str] = "beta"
    n_parameters: ClassVar[int] = 3
    min_observations: ClassVar[int] = 30

    def __init__(self, a: float = 1.0, b: float = 1.0, c: float = 0.0) -> None:
        self.a, self.b, self.c = a, b, c

    def fit(self, p: FloatArray, y: IntArray) -> Self:
        columns = np.column_stack((*_log_pair(p), np.ones(len(p))))
        target = y.astype(np.float64)
        used = [0, 1, 2]
        weights = np.zeros(3)
        while True:
            weights[:] = 0.0
            weights[used] = _logistic(columns[:, used], target)
            negative = [i for i in used if i < 2 and weights[i] < 0]
            if not negative:
                break
            used.remove(min(negative, key=lambda i: weights[i]))
        self.a, self.b, self.c = (float(w) for w in weights)
        return self

    def apply(self, p: FloatArray) -> FloatArray:
        log_p, minus_log_rest = _log_pair(p)
        return _sigmoid(self.a * log_p + self.b * minus_log_rest + self.c)

    def to_dict(self) -> dict[str, Any]:
        return {"a": self.a, "b": self.b, "c": self.c}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        return cls(facts["a"], facts["b"], facts["c"])


class IsotonicCalibrator:
    """The best non-decreasing map, interpolated between its knots (Zadrozny and Elkan, 2002).

    Equal probabilities share one value; beyond the outer knots the map is flat. It never answers a bare 0
    or 1: values keep a millionth's distance from both, a surprise that costs 13.8 in log-loss.
    """

    method: ClassVar[str] = "isotonic"
    n_parameters: ClassVar[int] = 50
    min_observations: ClassVar[int] = 200

    def __init__(self, x: FloatArray | None = None, y: FloatArray | None = None) -> None:
        self.x = np.array([0.0, 1.0]) if x is None else x
        self.y = np.array([0.0, 1.0]) if y is None else y

    def fit(self, p: FloatArray, y: IntArray) -> Self:
        from scipy.optimize import isotonic_regression

        x, where, count = np.unique(p, return_inverse=True, return_counts=True)
        mean = np.bincount(where, y) / count
        fitted = isotonic_regression(mean, weights=count).x
        corner = np.ones(len(x), dtype=bool)
        corner[1:-1] = (fitted[1:-1] != fitted[:-2]) | (fitted[1:-1] != fitted[2:])
        self.x, self.y = x[corner], fitted[corner]
        return self

    def apply(self, p: FloatArray) -> FloatArray:
        mapped: FloatArray = np.clip(np.interp(p, self.x, self.y), _EDGE, 1.0 - _EDGE)
        return mapped

    def to_dict(self) -> dict[str, Any]:
        return {"x": self.x.tolist(), "y": self.y.tolist()}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        return cls(np.asarray(facts["x"]), np.asarray(facts["y"]))


class TemperatureCalibrator:
    """``softmax(log p / T)``: one number, the ranking of classes stays (Guo et al., 2017)."""

    method: ClassVar[str] = "temperature"
    n_parameters: ClassVar[int] = 1
    min_observations: ClassVar[int] = 10

    def __init__(self, temperature: float = 1.0) -> None:
        self.temperature = temperature

    def fit(self, p: FloatArray, y: IntArray) -> Self:
        logs = _class_logs(p)
        own = logs[np.arange(len(y)), y]
        squares = logs * logs
        low, high = np.exp(-6.0), np.exp(4.0)
        beta = 1.0
        for _ in range(80):                     # the loss is convex in 1/T: Newton, kept inside a bracket
            share = beta * logs
            share = np.exp(share - share.max(axis=1, keepdims=True))
            share /= share.sum(axis=1, keepdims=True)
            mean = np.einsum("ij,ij->i", share, logs)
            slope = float(np.mean(mean - own))
            curvature = float(np.mean(np.einsum("ij,ij->i", share, squares) - mean * mean))
            low, high = (low, beta) if slope > 0 else (beta, high)
            step = beta - slope / curvature if curvature > 0 else low
            step = step if low < step < high else float(np.sqrt(low * high))
            moved, beta = abs(step - beta), step
            if moved < 1e-10 * beta:
                break
        self.temperature = float(1.0 / beta)
        return self

    def apply(self, p: FloatArray) -> FloatArray:
        scaled: FloatArray = _class_logs(p) / self.temperature
        scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        scaled /= scaled.sum(axis=1, keepdims=True)
        return scaled[:, 1] if p.ndim == 1 else scaled

    def to_dict(self) -> dict[str, Any]:
        return {"temperature": self.temperature}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        return cls(facts["temperature"])


class OneVsRestCalibrator:
    """A binary map per class, renormalised to sum to one."""

    def __init__(self, parts: list[Calibrator]) -> None:
        self.parts = parts
        self.method = parts[0].method

    def fit(self, p: FloatArray, y: IntArray) -> Self:
        for c, part in enumerate(self.parts):
            part.fit(p[:, c], (y == c).astype(np.int64))
        return self

    def apply(self, p: FloatArray) -> FloatArray:
        mapped = np.column_stack([part.apply(p[:, c]) for c, part in enumerate(self.parts)])
        kept: FloatArray = np.maximum(mapped, _CLIP)
        kept /= kept.sum(axis=1, keepdims=True)
        return kept

    def to_dict(self) -> dict[str, Any]:
        return {"parts": [part.to_dict() for part in self.parts]}


CALIBRATORS: dict[str, type[Calibrator]] = {
    kind.method: kind
    for kind in (
        IdentityCalibrator, TemperatureCalibrator, PlattCalibrator, BetaCalibrator, IsotonicCalibrator,
        VennAbersCalibrator,
    )
}
WHOLE_VECTOR = ("none", "temperature")      # these map a class matrix as it is


def make_calibrator(method: str, n_classes: int) -> Calibrator | OneVsRestCalibrator:
    """An unfitted map for P(event) (``n_classes`` 1) or for a class matrix."""
    kind = CALIBRATORS[method]
    if n_classes == 1 or method in WHOLE_VECTOR:
        return kind()
    return OneVsRestCalibrator([kind() for _ in range(n_classes)])


def restore_calibrator(method: str, n_classes: int, facts: dict[str, Any]) -> Calibrator | OneVsRestCalibrator:
    """A map from its ``to_dict``."""
    kind = CALIBRATORS[method]
    if n_classes == 1 or method in WHOLE_VECTOR:
        return kind.from_dict(facts)
    return OneVsRestCalibrator([kind.from_dict(part) for part in facts["parts"]])


def _clip(p: FloatArray) -> FloatArray:
    return np.clip(p, _CLIP, 1.0 - _CLIP)


def _logit(p: FloatArray) -> FloatArray:
    q = _clip(p)
    return np.log(q) - np.log1p(-q)


def _log_pair(p: FloatArray) -> tuple[FloatArray, FloatArray]:
    q = _clip(p)
    return np.log(q), -np.log1p(-q)


def _class_logs(p: FloatArray) -> FloatArray:
    return np.log(_clip(np.column_stack((1.0 - p, p)) if p.ndim == 1 else p))


def _sigmoid(z: FloatArray) -> FloatArray:
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def _logistic(X: FloatArray, target: FloatArray) -> FloatArray:
    """Maximum-likelihood weights for targets in [0, 1], by Newton steps with halving."""
    weights = np.zeros(X.shape[1])
    z = X @ weights
    loss = _cross_entropy(z, target)
    for _ in range(60):
        p = _sigmoid(z)
        gradient = X.T @ (p - target)
        curvature = (X * (p * (1.0 - p))[:, None]).T @ X
        curvature += 1e-10 * (1.0 + np.trace(curvature)) * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        along, size = X @ step, 1.0
        while (tried := _cross_entropy(z - size * along, target)) > loss and size > 1e-6:
            size /= 2.0
        if size <= 1e-6:
            break
        weights, z, loss = weights - size * step, z - size * along, tried
        if np.max(np.abs(size * step)) < 1e-9:
            break
    return weights


def _cross_entropy(z: FloatArray, target: FloatArray) -> float:
    return float(np.sum(np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z))) - target * z))
