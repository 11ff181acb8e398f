"""Which features a model lives on: what it loses when one is shuffled, on its own data or under purged folds.

Features that say nearly the same share their importance: shuffling one leaves the other to speak for it. So correlated
ones are also judged as a family, shuffled together.

References: Breiman, "Random Forests" (2001); López de Prado (2018), 8.3.2 (mean decrease accuracy), and *Machine
Learning for Asset Managers* (2020), 6.5 (clusters). The loss is the log-loss: accuracy does not move as long as the
largest class stays the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from trader.models.base import FloatArray, IntArray, Learner
from trader.models.calibration_metrics import log_losses
from trader.models.oof import Splitter

BEYOND_NOISE = 2.0          # standard errors


class Importance(NamedTuple):
    """Rise in log-loss when the feature is shuffled, and the standard error of that mean."""

    mean: float
    error: float

    @property
    def beyond_noise(self) -> bool:
        """Whether the rise is more than two standard errors."""
        return self.mean > BEYOND_NOISE * self.error


def permutation_importance(
    model: Learner, X: FloatArray, y: IntArray, names: Sequence[str], rng: np.random.Generator, n_repeats: int = 5
) -> dict[str, Importance]:
    """What a trained model loses on ``X``, shape ``(n, n_features)``; the most important feature first.

    Judge on rows that it was not trained on: on its own it also seems to need what it memorised.
    """
    return ranked(names, np.array([shuffled_rises(model, X, y, one_by_one(X), rng) for _ in range(n_repeats)]))


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
        model = make().fit(X[train], y[train], sample_weight=weight)
        rises.append(shuffled_rises(model, X[test], y[test], one_by_one(X), rng))
    return ranked(names, np.array(rises))


def shuffled_rises(
    model: Learner, X: FloatArray, y: IntArray, groups: Sequence[Sequence[int]], rng: np.random.Generator,
    n_repeats: int = 1,
) -> FloatArray:
    """Mean rise in log-loss when the columns of a group are shuffled together, shape ``(n_groups,)``."""
    plain = float(log_losses(model.predict_proba(X), y).mean())
    rises = np.zeros(len(groups))
    shuffled = X.copy()
    for _ in range(n_repeats):
        order = rng.permutation(len(X))
        for k, columns in enumerate(groups):
            own = list(columns)
            shuffled[:, own] = X[np.ix_(order, own)]
            rises[k] += float(log_losses(model.predict_proba(shuffled), y).mean()) - plain
            shuffled[:, own] = X[:, own]
    return rises / n_repeats


def one_by_one(X: FloatArray) -> list[list[int]]:
    """Every column as a group of its own."""
    return [[k] for k in range(X.shape[1])]


def correlated_families(X: FloatArray, least: float = 0.7) -> list[list[int]]:
    """Columns whose rank correlations are ``least`` or more in the mean, either sign, in families of two or more.

    Average linkage on ``1 - |ρ|`` (Spearman); a NaN counts as its column's middle. Families and their members come in
    the order of the columns.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform
    from scipy.stats import rankdata

    if X.shape[1] < 2 or len(X) < 3:
        return []
    ranks = rankdata(X, axis=0, nan_policy="omit")
    known = np.isfinite(ranks)
    mean = np.where(known, ranks, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, ranks - mean, 0.0)
    length = np.sqrt((centred**2).sum(axis=0))
    unit = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0.0)
    apart = np.clip(1.0 - np.abs(unit.T @ unit), 0.0, 1.0).round(12)        # sums in another order differ beyond
    np.fill_diagonal(apart, 0.0)
    cluster = fcluster(linkage(squareform(apart, checks=False), "average"), 1.0 - least, "distance")
    families = [np.flatnonzero(cluster == c).tolist() for c in dict.fromkeys(cluster.tolist())]
    return [family for family in families if len(family) > 1]


def ranked(names: Sequence[str], rises: FloatArray) -> dict[str, Importance]:
    """Means and standard errors over the rows of ``rises``, shape ``(n_folds, n_names)``; the largest mean first."""
    n = len(rises)
    mean = rises.mean(axis=0)
    error = rises.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(mean), np.nan)
    return {names[k]: Importance(float(mean[k]), float(error[k])) for k in np.argsort(-mean, kind="stable")}


def lucky(n_features: int, n_folds: int) -> float:
    """How many of so many worthless features luck alone lifts beyond noise: Student's t between so few folds."""
    from scipy.special import stdtr

    return float(n_features * stdtr(n_folds - 1, -BEYOND_NOISE)) if n_folds > 1 else 0.0
