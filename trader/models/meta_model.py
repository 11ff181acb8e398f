"""``MetaLabeler``: a first model says which side, a second one whether to act on it (AFML 3.6, 10.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trader.core.bets import bet_size
from trader.models.base import FloatArray, IntArray, Learner, as_matrix
from trader.models.labels import LOSS, NEUTRAL, PROFIT
from trader.models.oof import out_of_fold
from trader.models.validation import PurgedKFold

NO_TRADE, TRADE = 0, 1
META_CLASSES = (NO_TRADE, TRADE)


class Bet(NamedTuple):
    """What to do at each row, shape ``(n,)`` each: side +1 or -1, probability that it pays, size in [0, 1]."""

    side: IntArray
    probability: FloatArray
    size: FloatArray


class MetaLabeler:
    """The secondary model learns only from sides that the primary named without having seen the label.

    Parameters
    ----------
    primary : makes an untrained learner of the classes 0 loss, 1 neutral, 2 profit of the long side
    secondary : makes an untrained learner of the classes 0 and 1 (``META_CLASSES``)
    n_splits, embargo : of the purged folds that give the primary's out-of-fold predictions

    Attributes
    ----------
    sides_, labels_ : out-of-fold side of every sample and its meta-label, what the secondary was trained on
    """

    def __init__(
        self, primary: Callable[[], Learner], secondary: Callable[[], Learner], n_splits: int = 5, embargo: int = 0
    ) -> None:
        self._make_primary, self._make_secondary = primary, secondary
        self.n_splits, self.embargo = n_splits, embargo
        self.primary_: Learner | None = None
        self.secondary_: Learner | None = None
        self.sides_: IntArray | None = None
        self.labels_: IntArray | None = None

    def fit(
        self, X: Any, y: ArrayLike, t0: ArrayLike, t1: ArrayLike, sample_weight: ArrayLike | None = None,
        paid: Callable[[IntArray], ArrayLike] | None = None,
    ) -> Self:
        """Train both models.

        Parameters
        ----------
        X, y : features ``(n, n_features)`` and classes ``(n,)`` of the long side
        t0, t1 : label starts and ends, shape ``(n,)``
        paid : ``paid(sides)`` says of each sample whether that side reached its profit first, for instance through
            ``meta_labels(triple_barrier(..., side=sides))``. None reads it off ``y``, which is right where profit
            and stop are equally far away
        """
        values, classes = as_matrix(X), np.asarray(y, dtype=np.int64)
        weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        folds = PurgedKFold(t0, t1, self.n_splits, self.embargo)
        said = out_of_fold(self._make_primary, values, classes, folds, weight)
        self.sides_ = sides_of(said)
        outcome = np.where(self.sides_ > 0, classes == PROFIT, classes == LOSS) if paid is None else paid(self.sides_)
        self.labels_ = np.asarray(outcome, dtype=np.int64)
        self.secondary_ = self._make_secondary().fit(_with_opinion(values, said), self.labels_, sample_weight=weight)
        self.primary_ = self._make_primary().fit(values, classes, sample_weight=weight)
        return self

    def predict(self, X: Any) -> Bet:
        """Side, probability and size of every row."""
        if self.primary_ is None or self.secondary_ is None:
            raise ValueError("the meta-labeler is not trained yet: call fit first")
        values = as_matrix(X)
        said = self.primary_.predict_proba(values)
        probability = self.secondary_.predict_proba(_with_opinion(values, said))[:, TRADE]
        sizes = np.array([bet_size(p) for p in probability.tolist()])
        return Bet(sides_of(said), probability, sizes)


def sides_of(probability: FloatArray) -> IntArray:
    """+1 where profit is likelier than loss, else -1, from class probabilities ``(n, 3)``."""
    return np.where(probability[:, PROFIT] >= probability[:, LOSS], 1, -1)


def _with_opinion(values: FloatArray, said: FloatArray) -> NDArray[np.float64]:
    """The features with what the primary said of them, without the share that the others determine."""
    return np.column_stack((values, np.delete(said, NEUTRAL, axis=1)))
