"""Several learners that vote; one that fails at inference is left out, and said."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from trader.core.probe import Health
from trader.models.base import BoosterModel, FloatArray, Learner, as_matrix
from trader.models.blending import POOLS, Pool
from trader.models.ml_model import LEARNERS, make_learner
from trader.models.oof import out_of_fold
from trader.models.validation import WalkForward

logger = logging.getLogger("alphatrade.models")

LEARNT = tuple(POOLS)           # votes whose weights are learnt on out-of-fold predictions
VOTING = ("soft", "hard", *LEARNT)
_BLEND_BLOCKS = 5
_FACTS = "ensemble.json"


class EnsembleModel(Learner):
    """Weighted mean of the members' probabilities (``soft``) or of their votes (``hard``), or a pool that learns.

    ``weighted`` learns the weights of the mean, ``stacking`` those of a product of powers and a factor for each
    class; both on predictions of blocks of time by members that were trained on the blocks before.

    Parameters
    ----------
    models : names (``catboost``, ``xgboost``, ``lightgbm``), or learners
    voting : ``soft``, ``hard``, ``weighted`` or ``stacking``
    weights : one per member, equal when None; of ``soft`` and ``hard``
    random_state : seed of members made by name
    **settings : for members made by name (``iterations``, ``learning_rate``, ``depth``, …)

    Attributes
    ----------
    members : name → learner, in voting order
    failures : name → what its last inference failed with; empty when all are well
    """

    def __init__(
        self, models: Sequence[str | BoosterModel] = ("catboost", "xgboost", "lightgbm"),
        voting: str = "soft", weights: Sequence[float] | None = None, *, random_state: int = 0, **settings: Any,
    ) -> None:
        if voting not in VOTING:
            raise ValueError(f"voting must be one of {', '.join(VOTING)}; got {voting!r}")
        if not models:
            raise ValueError("an ensemble needs at least one model")
        self.voting = voting
        self.members: dict[str, BoosterModel] = {}
        for given in models:
            member = given
            if isinstance(given, str):
                member = make_learner(given, random_state=random_state, **settings)
            assert isinstance(member, BoosterModel)
            name = member.kind
            while name in self.members:
                name += "+"
            self.members[name] = member
        if weights is not None and voting in LEARNT:
            raise ValueError(f"voting {voting!r} learns its weights; give weights with voting='soft'")
        self.weights = self._checked(weights)
        self.pool_: Pool | None = None
        self.classes = next(iter(self.members.values())).classes
        self.failures: dict[str, str] = {}

    @property
    def degraded(self) -> bool:
        """Whether a member was missing from the last prediction."""
        return bool(self.failures)

    def fit(
        self, X: Any, y: Any, validation_data: tuple[Any, Any] | None = None,
        early_stopping_rounds: int | None = None, sample_weight: Any = None,
        spans: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> Self:
        """Train every member on the same data; arguments as for ``BoosterModel.fit``.

        ``spans`` are label starts and ends, without which ``weighted`` and ``stacking`` cannot be learnt.
        """
        if self.voting in LEARNT and spans is None:
            raise ValueError(f"voting {self.voting!r} is learnt on purged predictions: pass spans=(t0, t1)")
        self._note_features(X)
        for member in self.members.values():
            member.fit(X, y, validation_data, early_stopping_rounds, sample_weight)
        if spans is not None:
            self.learn_blend(X, y, spans, sample_weight)
        return self

    def learn_blend(self, X: Any, y: Any, spans: tuple[ArrayLike, ArrayLike], sample_weight: Any = None) -> None:
        """Learn how much each trained member counts; nothing to do for ``soft`` and ``hard``.

        Every block of time but the first is predicted by members trained on the blocks before it whose labels had
        ended by then; the pool is fitted to those predictions.
        """
        if self.voting not in LEARNT:
            return
        raw = np.asarray(y, dtype=np.float64)
        keep = np.isfinite(raw)
        values, labels = as_matrix(X)[keep], raw[keep].astype(np.int64)
        whole = np.ones(len(raw)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        weight = whole[keep]
        t0, t1 = (np.asarray(edge, dtype=np.int64)[keep] for edge in spans)
        folds = WalkForward(t0, t1, _BLEND_BLOCKS)
        fresh = self.refitted({name: member.best_iteration_ or 1 for name, member in self.members.items()})
        stack = np.stack([
            out_of_fold(member.untrained, values, labels, folds, weight) for member in fresh.members.values()
        ])
        known = np.isfinite(stack).all(axis=(0, 2))
        codes = np.searchsorted(self.classes_, labels)
        self.pool_ = POOLS[self.voting]().fit(stack[:, known], codes[known], weight[known])

    def predict_proba(self, X: Any) -> FloatArray:
        """Shape ``(n, n_classes)``; ``failures`` names members that could not take part.

        Raises
        ------
        FeatureMismatch
            the features are not those of the training
        RuntimeError
            no member could predict
        """
        values = self._check_features(X)
        said: list[FloatArray] = []
        present: list[int] = []
        failures: dict[str, str] = {}
        for place, (name, member) in enumerate(self.members.items()):
            try:
                probability = member.predict_proba(values)
                if not np.all(np.isfinite(probability)):
                    raise FloatingPointError("probabilities that are not finite")
            except Exception as error:      # whatever a library raises: the others can still vote
                failures[name] = f"{type(error).__name__}: {error}"
                continue
            said.append(probability)
            present.append(place)
        for name in failures.keys() - self.failures.keys():
            logger.warning("model %s left out of the ensemble: %s", name, failures[name])
        self.failures = failures
        if not sum(self.weights[place] for place in present):
            raise RuntimeError(f"no member of the ensemble could predict: {failures}")
        return self._blend(said, present)

    def _blend(self, said: list[FloatArray], present: list[int]) -> FloatArray:
        if self.voting in LEARNT:
            if self.pool_ is None:
                raise ValueError(f"the weights of voting {self.voting!r} are not learnt yet: call fit or learn_blend")
            return self.pool_.apply(np.stack(said), present)
        total, weight = np.zeros_like(said[0]), 0.0
        for probability, place in zip(said, present, strict=True):
            if self.voting == "hard":
                probability = np.eye(len(self.classes))[np.argmax(probability, axis=1)]
            total += self.weights[place] * probability
            weight += self.weights[place]
        return total / weight

    def health_check(self) -> Health:
        """Whether every member predicts."""
        health = super().health_check()
        if health.healthy and self.degraded:
            return Health(False, f"predicts without {self.failures}")
        return health

    def feature_importance(self) -> dict[str, float]:
        """Weighted mean of the members' gain shares, largest first; sums to one where any tree split."""
        mean: dict[str, float] = {}
        for member, share in zip(self.members.values(), self.weights, strict=True):
            for name, value in member.feature_importance().items():
                mean[name] = mean.get(name, 0.0) + share * value
        total = sum(mean.values()) or 1.0           # a member that never split has no share
        return {n: v / total for n, v in sorted(mean.items(), key=lambda item: -item[1])}

    def save(self, directory: str | Path) -> list[Path]:
        """Write every member's native file and ``ensemble.json``; returns all paths."""
        root = Path(directory)
        root.mkdir(parents=True, exist_ok=True)
        paths: list[Path] = []
        stems = [f"{i}-{member.kind}" for i, member in enumerate(self.members.values())]
        for stem, member in zip(stems, self.members.values(), strict=True):
            paths += member.save(root, stem)
        facts: dict[str, Any] = {
            "voting": self.voting, "weights": list(self.weights), "stems": stems,
            "kinds": [member.kind for member in self.members.values()],
        }
        if self.pool_ is not None:
            facts["pool"] = self.pool_.to_dict()
        (root / _FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
        return [*paths, root / _FACTS]

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what ``save`` wrote."""
        root = Path(directory)
        facts = json.loads((root / _FACTS).read_text())
        pairs = zip(facts["kinds"], facts["stems"], strict=True)
        members = [LEARNERS[kind].load(root, stem) for kind, stem in pairs]
        learnt = facts["voting"] in LEARNT
        model = cls(members, facts["voting"], None if learnt else facts["weights"])
        if learnt:
            model.pool_ = POOLS[facts["voting"]].from_dict(facts["pool"])
        model.n_features_in_ = members[0].n_features_in_
        model.feature_names_in_ = members[0].feature_names_in_
        return model

    def refitted(self, iterations: Mapping[str, int]) -> EnsembleModel:
        """An untrained copy whose members grow the given number of trees."""
        fresh = [member.untrained(iterations[name]) for name, member in self.members.items()]
        return EnsembleModel(fresh, self.voting, None if self.voting in LEARNT else self.weights)

    def _checked(self, weights: Sequence[float] | None) -> tuple[float, ...]:
        if weights is None:
            return (1.0 / len(self.members),) * len(self.members)
        if len(weights) != len(self.members) or min(weights) < 0 or sum(weights) <= 0:
            raise ValueError(f"weights must be {len(self.members)} numbers >= 0, not all 0; got {weights}")
        return tuple(float(w) for w in weights)
