"""``ProbabilityCalibrationManager``: chooses and holds the map from a model's probabilities to honest ones."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trader.models.calibration_metrics import CalibrationMetrics, evaluate, log_losses
from trader.models.calibrators import (
    CALIBRATORS,
    Calibrator,
    IdentityCalibrator,
    OneVsRestCalibrator,
    make_calibrator,
    restore_calibrator,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

__all__ = ["CalibrationMetrics", "ProbabilityCalibrationManager"]

_TIE = 1e-4


class ProbabilityCalibrationManager:
    """Calibrates P(event) or a matrix of class probabilities.

    Methods: ``isotonic``, ``platt``, ``temperature``, ``beta``, ``venn_abers`` and ``none``. With ``auto_select`` the
    choice is made out of sample: the observations, **in time order**, are cut into blocks, each map is
    fitted on the blocks before and judged by log-loss on the next; a tie goes to fewer parameters.
    Calibration error is never the judge: on its own data isotonic regression always wins that.

    Parameters
    ----------
    auto_select : choose the method, else use ``method``
    method : the method without auto-selection
    n_blocks : blocks of the forward chain
    methods : candidates of the selection, all when None
    n_bins : bins of the reliability table

    Attributes
    ----------
    method_ : the method in use
    scores_ : method → mean out-of-sample log-loss
    """

    def __init__(
        self, auto_select: bool = True, method: str = "platt", *, n_blocks: int = 5,
        methods: tuple[str, ...] | None = None, n_bins: int = 10,
    ) -> None:
        for name in (method, *(methods or ())):
            if name not in CALIBRATORS:
                raise ValueError(f"unknown calibration method {name!r}; there are {', '.join(sorted(CALIBRATORS))}")
        if n_blocks < 2:
            raise ValueError(f"n_blocks must be at least 2; got {n_blocks}")
        self.auto_select, self.method, self.n_blocks, self.n_bins = auto_select, method, n_blocks, n_bins
        self.methods = tuple(CALIBRATORS) if methods is None else methods
        self.method_ = "none"
        self.scores_: dict[str, float] = {}
        self.n_classes_ = 1
        self._map: Calibrator | OneVsRestCalibrator = IdentityCalibrator()
        self._before: CalibrationMetrics | None = None
        self._after: CalibrationMetrics | None = None

    def fit(self, probabilities: ArrayLike, outcomes: ArrayLike) -> Self:
        """Choose and fit the map.

        Parameters
        ----------
        probabilities : P(event), shape ``(n,)``, or class probabilities, shape ``(n, n_classes)``, in time
            order and predicted out of sample
        outcomes : 0/1 or class numbers, shape ``(n,)``
        """
        p, y = _checked(probabilities, outcomes)
        self.n_classes_ = 1 if p.ndim == 1 else p.shape[1]
        blocks = np.array_split(np.arange(len(y)), self.n_blocks)
        candidates = [m for m in (self.methods if self.auto_select else (self.method,)) if self._possible(m, y)]
        chained = {m: self._forward(m, p, y, blocks) for m in candidates}
        answers = y[blocks[0][-1] + 1:] if len(y) >= self.n_blocks else y[:0]
        if self.auto_select:
            self.scores_ = {
                m: float(log_losses(q, answers).mean()) for m, q in chained.items() if q is not None and len(answers)
            }
            self.method_ = self._best()
        else:
            self.method_ = self.method
        self._map = make_calibrator(self.method_, self.n_classes_).fit(p, y)

        judged = chained.get(self.method_)
        if judged is not None and len(answers):
            self._after = evaluate(judged, answers, self.n_bins, out_of_sample=True)
            self._before = evaluate(p[len(p) - len(answers):], answers, self.n_bins, out_of_sample=True)
        else:
            self._after, self._before = evaluate(self._map.apply(p), y, self.n_bins), evaluate(p, y, self.n_bins)
        return self

    def calibrate(self, probabilities: ArrayLike) -> Any:
        """The honest probabilities; the same shape as given, a float for a float."""
        p = np.asarray(probabilities, dtype=np.float64)
        if p.ndim == 0:
            return float(self._map.apply(p[None])[0])
        if p.ndim == 1 and self.n_classes_ > 1:
            return self._map.apply(p[None, :])[0]
        if p.ndim == 2 and p.shape[1] != self.n_classes_:
            raise ValueError(f"the calibrator was fitted on {self.n_classes_} columns; got {p.shape[1]}")
        return self._map.apply(p)

    def get_metrics(
        self, probabilities: ArrayLike | None = None, outcomes: ArrayLike | None = None
    ) -> CalibrationMetrics:
        """Scores after calibration: of the forward chain of ``fit``, or of new raw probabilities and outcomes."""
        if probabilities is None:
            return self._fitted(self._after)
        p, y = _checked(probabilities, outcomes)
        return evaluate(self._map.apply(p), y, self.n_bins, out_of_sample=True)

    def get_uncalibrated_metrics(self) -> CalibrationMetrics:
        """Scores before calibration, on the observations that ``get_metrics()`` judges."""
        return self._fitted(self._before)

    def to_dict(self) -> dict[str, Any]:
        """Everything that ``calibrate`` needs, for JSON."""
        return {
            "method": self.method_, "n_classes": self.n_classes_, "scores": self.scores_,
            "parameters": self._map.to_dict(),
        }

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        """A fitted manager from ``to_dict``."""
        manager = cls(auto_select=False, method=facts["method"])
        manager.method_, manager.n_classes_ = facts["method"], int(facts["n_classes"])
        manager.scores_ = dict(facts["scores"])
        manager._map = restore_calibrator(manager.method_, manager.n_classes_, facts["parameters"])
        return manager

    def _possible(self, method: str, y: IntArray) -> bool:
        """Whether the first training block of the chain can feed the method."""
        return not self.auto_select or len(y) // self.n_blocks >= CALIBRATORS[method].min_observations

    def _forward(self, method: str, p: FloatArray, y: IntArray, blocks: list[IntArray]) -> FloatArray | None:
        """Probabilities of every block but the first by a map fitted on the blocks before; None if one cannot be."""
        parts = []
        for i in range(1, len(blocks)):
            past = np.concatenate(blocks[:i])
            if not len(blocks[i]) or len(np.unique(y[past])) < max(2, self.n_classes_):
                return None
            parts.append(make_calibrator(method, self.n_classes_).fit(p[past], y[past]).apply(p[blocks[i]]))
        return np.concatenate(parts)

    def _best(self) -> str:
        if not self.scores_:
            return "none"
        least = min(self.scores_.values())
        level = [m for m, score in self.scores_.items() if score <= least + _TIE]
        return min(level, key=lambda m: CALIBRATORS[m].n_parameters)

    @staticmethod
    def _fitted(metrics: CalibrationMetrics | None) -> CalibrationMetrics:
        if metrics is None:
            raise ValueError("the calibrator holds no observations: call fit, or pass probabilities and outcomes")
        return metrics


def _checked(probabilities: ArrayLike, outcomes: ArrayLike | None) -> tuple[FloatArray, IntArray]:
    p = np.asarray(probabilities, dtype=np.float64)
    raw = np.asarray(outcomes, dtype=np.float64)
    if p.ndim not in (1, 2) or raw.shape != (len(p),):
        raise ValueError(f"probabilities (n,) or (n, k) and outcomes (n,) expected; got {p.shape} and {raw.shape}")
    if not len(p):
        raise ValueError("calibration needs at least one observation")
    if not np.all(np.isfinite(p)) or p.min() < 0 or p.max() > 1:
        raise ValueError("probabilities must lie in [0, 1]")
    y = raw.astype(np.int64)
    n_outcomes = 2 if p.ndim == 1 else p.shape[1]
    if not np.all(np.isfinite(raw)) or y.min() < 0 or y.max() >= n_outcomes:
        raise ValueError(f"outcomes must be 0..{n_outcomes - 1}; got {np.unique(raw)[:6].tolist()}")
    return p, y
