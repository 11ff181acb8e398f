"""Several learners that vote; one that fails at inference is left out, and said."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from trader.core.probe import Health
from trader.models.base import BoosterModel, FloatArray, Learner
from trader.models.ml_model import LEARNERS, make_learner

logger = logging.getLogger("alphatrade.models")

VOTING = ("soft", "hard")
_FACTS = "ensemble.json"


class EnsembleModel(Learner):
    """Weighted mean of the members' probabilities (``soft``) or of their votes (``hard``).

    Parameters
    ----------
    models : names (``catboost``, ``xgboost``, ``lightgbm``), or learners
    voting : ``soft`` or ``hard``
    weights : one per member, equal when None
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
        self.weights = self._checked(weights)
        self.classes = next(iter(self.members.values())).classes
        self.failures: dict[str, str] = {}

    @property
    def degraded(self) -> bool:
        """Whether a member was missing from the last prediction."""
        return bool(self.failures)

    def fit(
        self, X: Any, y: Any, validation_data: tuple[Any, Any] | None = None,
        early_stopping_rounds: int | None = None, sample_weight: Any = None,
    ) -> Self:
        """Train every member on the same data; arguments as for ``BoosterModel.fit``."""
        self._note_features(X)
        for member in self.members.values():
            member.fit(X, y, validation_data, early_stopping_rounds, sample_weight)
        return self

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
        total, weight = np.zeros((len(values), len(self.classes))), 0.0
        failures: dict[str, str] = {}
        for (name, member), share in zip(self.members.items(), self.weights, strict=True):
            try:
                probability = member.predict_proba(values)
                if not np.all(np.isfinite(probability)):
                    raise FloatingPointError("probabilities that are not finite")
            except Exception as error:      # whatever a library raises: the others can still vote
                failures[name] = f"{type(error).__name__}: {error}"
                continue
            if self.voting == "hard":
                probability = np.eye(len(self.classes))[np.argmax(probability, axis=1)]
            total += share * probability
            weight += share
        for name in failures.keys() - self.failures.keys():
            logger.warning("model %s left out of the ensemble: %s", name, failures[name])
        self.failures = failures
        if weight == 0.0:
            raise RuntimeError(f"no member of the ensemble could predict: {failures}")
        return total / weight

    def health_check(self) -> Health:
        """Whether every member predicts."""
        health = super().health_check()
        if health.healthy and self.degraded:
            return Health(False, f"predicts without {self.failures}")
        return health

    def feature_importance(self) -> dict[str, float]:
        """Weighted mean of the members' gain shares, largest first."""
        mean: dict[str, float] = {}
        for member, share in zip(self.members.values(), self.weights, strict=True):
            for name, value in member.feature_importance().items():
                mean[name] = mean.get(name, 0.0) + share * value
        total = sum(self.weights)
        return {n: v / total for n, v in sorted(mean.items(), key=lambda item: -item[1])}

    def save(self, directory: str | Path) -> list[Path]:
        """Write every member's native file and ``ensemble.json``; returns all paths."""
        root = Path(directory)
        root.mkdir(parents=True, exist_ok=True)
        paths: list[Path] = []
        stems = [f"{i}-{member.kind}" for i, member in enumerate(self.members.values())]
        for stem, member in zip(stems, self.members.values(), strict=True):
            paths += member.save(root, stem)
        facts = {
            "voting": self.voting, "weights": list(self.weights), "stems": stems,
            "kinds": [member.kind for member in self.members.values()],
        }
        (root / _FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
        return [*paths, root / _FACTS]

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what ``save`` wrote."""
        root = Path(directory)
        facts = json.loads((root / _FACTS).read_text())
        pairs = zip(facts["kinds"], facts["stems"], strict=True)
        members = [LEARNERS[kind].load(root, stem) for kind, stem in pairs]
        model = cls(members, facts["voting"], facts["weights"])
        model.n_features_in_ = members[0].n_features_in_
        model.feature_names_in_ = members[0].feature_names_in_
        return model

    def refitted(self, iterations: Mapping[str, int]) -> EnsembleModel:
        """An untrained copy whose members grow the given number of trees."""
        fresh = [
            type(member)(
                iterations=iterations[name], learning_rate=member.learning_rate, depth=member.depth,
                random_state=member.random_state, classes=member.classes, thread_count=member.thread_count,
                **member.params,
            )
            for name, member in self.members.items()
        ]
        return EnsembleModel(fresh, self.voting, self.weights)

    def _checked(self, weights: Sequence[float] | None) -> tuple[float, ...]:
        if weights is None:
            return (1.0 / len(self.members),) * len(self.members)
        if len(weights) != len(self.members) or min(weights) < 0 or sum(weights) <= 0:
            raise ValueError(f"weights must be {len(self.members)} numbers >= 0, not all 0; got {weights}")
        return tuple(float(w) for w in weights)
