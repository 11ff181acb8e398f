"""Which features a model lives on: what it loses when one is shuffled, on its own data or under purged folds.

References: Breiman, "Random Forests" (2001); López de Prado (2018), 8.3.2 (mean decrease accuracy). The loss is the
log-loss: accuracy does not move as long as the largest class stays the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from trader.models.base import FloatArray, IntArray, Learner
from trader.models.calibration_metrics import log_losses
from trader.models.oof import Splitter


class Importance(NamedTuple):
    """Rise in log-loss when the feature is shuffled, and the standard error of that mean."""

    mean: float
    error: float


def permutation_importance(
    model: Learner, X: FloatArray, y: IntArray, names: Sequence[str], rng: np.random.Generator, n_repeats: int = 5
) -> dict[str, Importance]:
    """What a trained model loses on ``X``, shape ``(n, n_features)``; the most important feature first.

    Judge on rows that it was not trained on: on its own it also seems to need what it memorised.
    """
    return _ranked(names, np.array([_rises(model, X, y, rng) for _ in range(n_repeats)]))


def mean_decrease_accuracy(
    make: Callable[[], Learner], X: FloatArray, y: IntArray, splitter: Splitter, names: Sequence[str],
    rng: np.random.Generator, sample_weight: FloatArray | None = None,
) -> dict[str, Importance]:
    """What models trained fold by fold lose on the test rows of each; the most important feature first.

    Parameters
    ----------
    make : an untrained learner, anew for each fold
    splitter : a purged one; errors are taken between its folds
    """
    rises = []
    for train, test in splitter.split(X):
        weight = None if sample_weight is None else sample_weight[train]
        rises.append(_rises(make().fit(X[train], y[train], sample_weight=weight), X[test], y[test], rng))
    return _ranked(names, np.array(rises))


def _rises(model: Learner, X: FloatArray, y: IntArray, rng: np.random.Generator) -> FloatArray:
    """Rise in log-loss by feature, shape ``(n_features,)``."""
    plain = float(log_losses(model.predict_proba(X), y).mean())
    order = rng.permutation(len(X))
    rises = np.empty(X.shape[1])
    for k in range(X.shape[1]):
        shuffled = X.copy()
        shuffled[:, k] = X[order, k]
        rises[k] = float(log_losses(model.predict_proba(shuffled), y).mean()) - plain
    return rises


def _ranked(names: Sequence[str], rises: FloatArray) -> dict[str, Importance]:
    n = len(rises)
    mean = rises.mean(axis=0)
    error = rises.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(mean), np.nan)
    return {names[k]: Importance(float(mean[k]), float(error[k])) for k in np.argsort(-mean, kind="stable")}
