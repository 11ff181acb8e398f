"""How several models' probabilities become one: pools whose few numbers are learnt on out-of-fold predictions.

``LinearPool`` is a weighted mean (weights learnt by expectation–maximisation, each step a rise in likelihood);
``LogPool`` multiplies powers of the members' probabilities, with a factor for each class. Both stay defined when a
member is missing.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_TINY = 1e-9
_RIDGE = 1e-3       # pulls the log pool towards the plain geometric mean; matters where members say nearly the same


class Pool(Protocol):
    """What an ensemble needs: ``stack`` has shape ``(n_members, n, n_classes)``."""

    kind: ClassVar[str]

    def fit(self, stack: FloatArray, y: IntArray, weight: FloatArray) -> Self: ...
    def apply(self, stack: FloatArray, present: list[int]) -> FloatArray: ...
    def to_dict(self) -> dict[str, Any]: ...
    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self: ...


class LinearPool:
    """``Σ w_m p_m`` with weights that are not negative and sum to one."""

    kind: ClassVar[str] = "weighted"

    def __init__(self, weights: FloatArray | None = None) -> None:
        self.weights = np.ones(1) if weights is None else weights

    def fit(self, stack: FloatArray, y: IntArray, weight: FloatArray) -> Self:
        said = np.maximum(stack[:, np.arange(len(y)), y], _TINY)        # (n_members, n)
        self.weights = np.full(len(stack), 1.0 / len(stack))
        for _ in range(500):
            share = self.weights[:, None] * said
            share /= share.sum(axis=0)
            found = share @ weight / weight.sum()
            moved = float(np.abs(found - self.weights).max())
            self.weights = found
            if moved < 1e-7:
                break
        return self

    def apply(self, stack: FloatArray, present: list[int]) -> FloatArray:
        own = self.weights[present]
        own = own / own.sum() if own.sum() > 0 else np.full(len(present), 1.0 / len(present))
        return np.tensordot(own, stack, axes=1)

    def to_dict(self) -> dict[str, Any]:
        return {"weights": self.weights.tolist()}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        return cls(np.asarray(facts["weights"]))


class LogPool:
    """``softmax(Σ w_m log p_m + b)`` with weights that are not negative: stacking with few numbers."""

    kind: ClassVar[str] = "stacking"

    def __init__(self, weights: FloatArray | None = None, bias: FloatArray | None = None) -> None:
        self.weights = np.ones(1) if weights is None else weights
        self.bias = np.zeros(3) if bias is None else bias

    def fit(self, stack: FloatArray, y: IntArray, weight: FloatArray) -> Self:
        from scipy.optimize import minimize

        logs = np.log(np.maximum(stack, _TINY))
        n_members, n, n_classes = logs.shape
        share, rows, even = weight / weight.sum(), np.arange(n), 1.0 / n_members

        def loss(numbers: FloatArray) -> tuple[float, FloatArray]:
            own, bias = numbers[:n_members], numbers[n_members:]
            z = np.tensordot(own, logs, axes=1) + bias
            top = z.max(axis=1, keepdims=True)
            q = np.exp(z - top)
            total = q.sum(axis=1, keepdims=True)
            q /= total
            cost = share @ (np.log(total[:, 0]) + top[:, 0] - z[rows, y])
            off = q.copy()
            off[rows, y] -= 1.0
            off *= share[:, None]
            pull = np.concatenate((own - even, bias))
            slope = np.concatenate((np.einsum("ij,mij->m", off, logs), off.sum(axis=0)))
            return float(cost + _RIDGE * pull @ pull), slope + 2.0 * _RIDGE * pull

        start = np.concatenate((np.full(n_members, even), np.zeros(n_classes)))
        bounds = [(0.0, None)] * n_members + [(None, None)] * n_classes
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
        self.weights, self.bias = found[:n_members], found[n_members:]
        return self

    def apply(self, stack: FloatArray, present: list[int]) -> FloatArray:
        own = self.weights[present]
        if own.sum() > 0:
            own = own * (self.weights.sum() / own.sum())    # the others speak for the missing one, as loudly as all did
        z = np.tensordot(own, np.log(np.maximum(stack, _TINY)), axes=1) + self.bias
        q: FloatArray = np.exp(z - z.max(axis=1, keepdims=True))
        q /= q.sum(axis=1, keepdims=True)
        return q

    def to_dict(self) -> dict[str, Any]:
        return {"weights": self.weights.tolist(), "bias": self.bias.tolist()}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        return cls(np.asarray(facts["weights"]), np.asarray(facts["bias"]))


POOLS: dict[str, type[Pool]] = {pool.kind: pool for pool in (LinearPool, LogPool)}
