"""Out-of-fold predictions: every sample predicted by a model that saw neither it nor a label that overlaps it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from trader.models.base import FloatArray, IntArray, Learner
from trader.models.validation import Split


class Splitter(Protocol):
    """A purged splitter of `trader.models.validation`."""

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[Split]: ...


def out_of_fold(
    make: Callable[[], Learner], X: FloatArray, y: IntArray, splitter: Splitter, sample_weight: FloatArray | None = None
) -> FloatArray:
    """Class probabilities of every sample, shape ``(n, n_classes)``; NaN rows where no split tests a sample.

    Parameters
    ----------
    make : an untrained learner, anew for each fold
    splitter : `PurgedKFold` tests every sample; `WalkForward` leaves the first block NaN
    """
    found: FloatArray | None = None
    for train, test in splitter.split(X):
        weight = None if sample_weight is None else sample_weight[train]
        said = make().fit(X[train], y[train], sample_weight=weight).predict_proba(X[test])
        if found is None:
            found = np.full((len(X), said.shape[1]), np.nan)
        found[test] = said
    if found is None:
        raise ValueError("the splitter makes no split")
    return found
