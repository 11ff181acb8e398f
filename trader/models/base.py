"""What every learner shares: fixed class order, feature-name check, missing classes, native files.

Learners never see the classes they lack: present classes are coded 0..k-1 for the library and padded back
with zero columns, so that ``predict_proba`` always has one column per class of ``classes_``.
"""

from __future__ import annotations

import importlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trader.core.probe import Health
from trader.models.labels import CLASSES

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


Restraints = Mapping[str, Callable[[Any, int], dict[str, Any]]]   # setting → (value, classes) → the library's words


class FeatureMismatch(ValueError):
    """The features given are not those the model was trained on."""


def import_booster(name: str) -> ModuleType:
    """Import a booster with OpenMP told to sleep while it waits.

    With spinning threads and a busy neighbour the boosters run several times slower; the variable is read
    when the first OpenMP library loads, so it is set here, before.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"the model needs the package {name!r}, which fails to import: {error}") from error


class Learner(ABC):
    """A classifier of the classes 0 loss, 1 neutral, 2 profit with scikit-learn's method names.

    ``predict_proba`` returns shape ``(n, len(classes_))`` in the order of ``classes_``.
    """

    classes: tuple[int, ...] = CLASSES
    feature_names_in_: tuple[str, ...] | None = None
    n_features_in_: int | None = None

    @property
    def classes_(self) -> IntArray:
        """The fixed class order."""
        return np.asarray(self.classes, dtype=np.int64)

    @abstractmethod
    def fit(
        self, X: Any, y: Any, validation_data: tuple[Any, Any] | None = None,
        early_stopping_rounds: int | None = None, sample_weight: Any = None,
    ) -> Self:
        """Train; rows whose label is NaN (unresolved) are left out."""

    @abstractmethod
    def predict_proba(self, X: Any) -> FloatArray:
        """Class probabilities, shape ``(n, n_classes)``; NaN features pass through to the trees."""

    def predict(self, X: Any) -> IntArray:
        """The most probable class of each row, shape ``(n,)``."""
        found: IntArray = self.classes_[np.argmax(self.predict_proba(X), axis=1)]
        return found

    def health_check(self) -> Health:
        """Whether it is trained and predicts."""
        if self.n_features_in_ is None:
            return Health(False, f"{type(self).__name__} is not trained yet")
        try:
            probability = self.predict_proba(np.zeros((1, self.n_features_in_)))
        except Exception as error:      # whatever a library raises is an illness, not the asker's trouble
            return Health(False, f"{type(self).__name__} does not predict: {error}")
        if not np.all(np.isfinite(probability)):
            return Health(False, f"{type(self).__name__} predicts numbers that are not finite")
        return Health(True, f"{type(self).__name__} on {self.n_features_in_} features")

    def _note_features(self, X: Any) -> FloatArray:
        """The matrix to train on; remembers width and, where X has them, names."""
        values = as_matrix(X)
        names = feature_names(X)
        self.n_features_in_ = values.shape[1]
        self.feature_names_in_ = names
        return values

    def _check_features(self, X: Any) -> FloatArray:
        """The matrix to predict on; refused unless it has the trained width, names and order."""
        if self.n_features_in_ is None:
            raise ValueError(f"{type(self).__name__} is not trained yet: call fit or load first")
        values, names = as_matrix(X), feature_names(X)
        if names is not None and self.feature_names_in_ is not None and names != self.feature_names_in_:
            raise FeatureMismatch(_name_difference(self.feature_names_in_, names))
        if values.shape[1] != self.n_features_in_:
            raise FeatureMismatch(f"the model has {self.n_features_in_} features; got {values.shape[1]}")
        return values


class BoosterModel(Learner):
    """Gradient boosting behind one interface; subclasses translate to their library.

    Parameters
    ----------
    task : ``"classification"``, the one task there is
    iterations : largest number of trees (per class)
    learning_rate, depth : of the trees
    feature_share, row_share : share of the features that each tree may split on, and of the rows that it is grown
        from; drawn anew for each
    l2 : strength of the ridge penalty on leaf values; None: the library's own
    min_rows : least rows of a leaf; None: the library's own
    random_state : seed; the same seed and data give the same model
    classes : fixed class order of the output
    thread_count : threads inside the library; parallel work belongs outside (folds, symbols, trials)
    **params : passed to the library as they are
    """

    kind: ClassVar[str]
    suffix: ClassVar[str]
    restraints: ClassVar[Restraints]

    def __init__(
        self, task: str = "classification", iterations: int = 500, learning_rate: float = 0.05,
        depth: int = 6, random_state: int = 0, classes: tuple[int, ...] = CLASSES, thread_count: int = 1,
        feature_share: float = 1.0, row_share: float = 1.0, l2: float | None = None, min_rows: int | None = None,
        **params: Any,
    ) -> None:
        if task != "classification":
            raise ValueError(f"task must be 'classification'; got {task!r}")
        for name, value in (("iterations", iterations), ("depth", depth), ("thread_count", thread_count)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}")
        for name, share in (("feature_share", feature_share), ("row_share", row_share)):
            if not 0.0 < share <= 1.0:
                raise ValueError(f"{name} must lie in (0, 1]; got {share}")
        if l2 is not None and not 0.0 <= l2 < np.inf:
            raise ValueError(f"l2 must be 0 or more; got {l2}")
        if min_rows is not None and min_rows < 1:
            raise ValueError(f"min_rows must be at least 1; got {min_rows}")
        self.feature_share, self.row_share, self.l2, self.min_rows = feature_share, row_share, l2, min_rows
        self.task, self.iterations, self.learning_rate, self.depth = task, iterations, learning_rate, depth
        self.random_state, self.classes, self.thread_count = random_state, tuple(classes), thread_count
        self.params = params
        self.present_: tuple[int, ...] = ()
        self.best_iteration_: int | None = None
        self._booster: Any = None
        self._stored: bytes | None = None       # the file it was read from: libraries write other bytes than they read

    def fit(
        self, X: Any, y: Any, validation_data: tuple[Any, Any] | None = None,
        early_stopping_rounds: int | None = None, sample_weight: Any = None,
    ) -> Self:
        """Train the trees.

        Parameters
        ----------
        X : shape ``(n, n_features)``, array or DataFrame; NaN allowed
        y : shape ``(n,)``, values of ``classes``; NaN rows are left out
        validation_data : ``(X, y)`` that early stopping watches; rows of classes absent from ``y`` are
            ignored
        early_stopping_rounds : stop when the validation log-loss has not improved for so many trees
        sample_weight : shape ``(n,)``

        Raises
        ------
        ValueError
            labels outside ``classes``, fewer than two classes, or shapes that disagree
        """
        if early_stopping_rounds and validation_data is None:
            raise ValueError("early_stopping_rounds needs validation_data=(X, y)")
        values = self._note_features(X)
        labels, keep = self._labels(y, len(values))
        weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)[keep]
        self.present_ = tuple(int(c) for c in np.unique(labels))
        if len(self.present_) < 2:
            raise ValueError(
                f"training needs two classes or more; the {len(labels)} labels hold only {list(self.present_)}"
            )
        watched = None
        if validation_data is not None:
            seen = self._check_features(validation_data[0])
            answers, kept = self._labels(validation_data[1], len(seen))
            known = np.isin(answers, self.present_)
            if known.any():
                watched = (seen[kept][known], self._code(answers[known]))
        rounds = early_stopping_rounds if watched is not None else None
        self._stored = None
        self._train(values[keep], self._code(labels), weight, watched, rounds)
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        known = np.asarray(self._probabilities(self._check_features(X)), dtype=np.float64)
        full: FloatArray = np.zeros((len(known), len(self.classes)))
        full[:, [self.classes.index(c) for c in self.present_]] = known
        full /= full.sum(axis=1, keepdims=True)
        return full

    def save(self, directory: str | Path, stem: str | None = None) -> list[Path]:
        """Write the library's own file and a JSON beside it; returns both paths."""
        if self._booster is None:
            raise ValueError(f"{type(self).__name__} is not trained yet: nothing to save")
        base = Path(directory) / (stem or self.kind)
        base.parent.mkdir(parents=True, exist_ok=True)
        native, facts = base.with_suffix(self.suffix), base.with_suffix(".json")
        if self._stored is None:
            self._write(native)
        else:
            native.write_bytes(self._stored)
        facts.write_text(json.dumps(self._facts(), indent=1, sort_keys=True) + "\n")
        return [native, facts]

    @classmethod
    def load(cls, directory: str | Path, stem: str | None = None) -> Self:
        """Read what ``save`` wrote."""
        base = Path(directory) / (stem or cls.kind)
        facts = json.loads(base.with_suffix(".json").read_text())
        if facts["kind"] != cls.kind:
            raise ValueError(f"{base.with_suffix('.json')} describes a {facts['kind']} model, not {cls.kind}")
        model = cls(**facts["settings"], **facts["params"])
        names = facts["feature_names"]
        model.feature_names_in_ = None if names is None else tuple(names)
        model.n_features_in_, model.best_iteration_ = facts["n_features"], facts["best_iteration"]
        model.present_ = tuple(facts["present"])
        native = base.with_suffix(cls.suffix)
        model._booster, model._stored = model._read(native), native.read_bytes()
        return model

    def feature_importance(self) -> dict[str, float]:
        """Share of the total gain per feature, largest first; sums to one where any tree split."""
        if self.n_features_in_ is None:
            raise ValueError(f"{type(self).__name__} is not trained yet: call fit or load first")
        gain = np.asarray(self._gain(), dtype=np.float64)
        share = gain / gain.sum() if gain.sum() > 0 else gain
        names = self.feature_names_in_ or tuple(f"f{i}" for i in range(self.n_features_in_))
        order = np.argsort(-share, kind="stable")
        return {names[i]: float(share[i]) for i in order}

    def _labels(self, y: Any, n_rows: int) -> tuple[IntArray, NDArray[np.bool_]]:
        """Labels as integers, and which rows have one."""
        raw = np.asarray(y, dtype=np.float64)
        if raw.shape != (n_rows,):
            raise ValueError(f"labels must have shape ({n_rows},) like the rows of X; got {raw.shape}")
        keep = np.isfinite(raw)
        labels = raw[keep].astype(np.int64)
        unknown = sorted(set(np.unique(raw[keep])) - set(self.classes))
        if unknown:
            raise ValueError(f"labels must be among {list(self.classes)}; got {unknown}")
        return labels, keep

    def _code(self, labels: IntArray) -> IntArray:
        return np.searchsorted(np.asarray(self.present_), labels)

    def untrained(self, iterations: int | None = None) -> Self:
        """A copy that has learnt nothing, with as many trees to grow or another number."""
        own = self._settings()
        return type(self)(**(own if iterations is None else {**own, "iterations": iterations}), **self.params)

    def _restraints(self) -> dict[str, Any]:
        """Shares, penalty and least rows in the library's own words, where they were asked for."""
        asked = {"feature_share": self.feature_share, "row_share": self.row_share}
        wanted = {name: share for name, share in asked.items() if share < 1.0}
        wanted |= {name: bound for name in ("l2", "min_rows") if (bound := getattr(self, name)) is not None}
        words: dict[str, Any] = {}
        for name, value in wanted.items():
            words |= self.restraints[name](value, len(self.present_))
        return words

    def _settings(self) -> dict[str, Any]:
        """The arguments that it was made with, JSON-able."""
        return {
            "task": self.task, "iterations": self.iterations, "learning_rate": self.learning_rate,
            "depth": self.depth, "random_state": self.random_state, "classes": list(self.classes),
            "thread_count": self.thread_count, "feature_share": self.feature_share, "row_share": self.row_share,
            "l2": self.l2, "min_rows": self.min_rows,
        }

    def _facts(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "settings": self._settings(),
            "params": self.params,
            "present": list(self.present_),
            "feature_names": None if self.feature_names_in_ is None else list(self.feature_names_in_),
            "n_features": self.n_features_in_,
            "best_iteration": self.best_iteration_,
        }

    @abstractmethod
    def _train(
        self, X: FloatArray, codes: IntArray, weight: FloatArray | None,
        watched: tuple[FloatArray, IntArray] | None, early_stopping_rounds: int | None,
    ) -> None: ...

    @abstractmethod
    def _probabilities(self, X: FloatArray) -> Any: ...

    @abstractmethod
    def _gain(self) -> Any: ...

    @abstractmethod
    def _write(self, path: Path) -> None: ...

    @abstractmethod
    def _read(self, path: Path) -> Any: ...


def as_matrix(X: Any) -> FloatArray:
    """A float64 matrix in C order from an array or a DataFrame."""
    source = X.to_numpy(dtype=np.float64, na_value=np.nan) if hasattr(X, "columns") else X
    values = np.ascontiguousarray(source, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"features must have shape (n, n_features); got {values.shape}")
    return values


def feature_names(X: Any) -> tuple[str, ...] | None:
    """Column names of a DataFrame, else None."""
    return tuple(str(c) for c in X.columns) if hasattr(X, "columns") else None


def _name_difference(trained: tuple[str, ...], given: tuple[str, ...]) -> str:
    missing = [n for n in trained if n not in given]
    extra = [n for n in given if n not in trained]
    if not missing and not extra:
        first = next(i for i, (a, b) in enumerate(zip(trained, given, strict=True)) if a != b)
        return f"features come in another order: column {first} is {given[first]!r}, not {trained[first]!r}"
    parts = [f"missing {missing}"] if missing else []
    parts += [f"unknown {extra}"] if extra else []
    return f"features differ from those the model was trained on: {'; '.join(parts)}"
