"""Purged folds: every sample predicted by an ensemble that saw neither it nor any label that overlaps it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np

from trader.core.panel import FloatArray, IntArray
from trader.models.ensemble import EnsembleModel
from trader.models.validation import PurgedKFold, purged_holdout
from trader.pipeline.parallel import SERIAL, Workers
from trader.pipeline.training_importance import fold_rises
from trader.pipeline.training_samples import Samples
from trader.pipeline.training_settings import TrainingSettings
from trader.utils.errors import UserError

MIN_SAMPLES = 300
_UNJUDGED: FloatArray = np.empty(0)


@dataclass(frozen=True, slots=True)
class Folds:
    """Out-of-fold predictions in time order, and the trees that early stopping found worth growing."""

    samples: Samples
    probability: FloatArray     # (n, 3)
    prior: FloatArray           # (n, 3): class shares of each fold's training labels
    iterations: dict[str, int]
    rises: FloatArray           # (n_folds, n_groups): see `trader.pipeline.training_importance`; no rows: not judged


class FoldPart(NamedTuple):
    """What one fold said of its test samples; all that is kept of it."""

    probability: FloatArray     # (n_test, 3)
    prior: FloatArray           # (3,)
    iterations: dict[str, int]  # trees that early stopping found worth growing, by member
    rises: FloatArray = _UNJUDGED       # (n_groups,): log-loss lost when a group of features is shuffled


class FoldTask(NamedTuple):
    """What every fold of a training shares."""

    samples: Samples
    settings: TrainingSettings
    seed: int


def cross_validate(
    samples: Samples, settings: TrainingSettings, seed: int, after_fold: Callable[[], None] = lambda: None,
    kept: Callable[[int, Callable[[], FoldPart]], FoldPart] = lambda number, make: make(),
    workers: Workers = SERIAL,
) -> Folds:
    """Predict every sample by an ensemble that saw neither it nor any label that overlaps it.

    Parameters
    ----------
    after_fold : called after each fold
    kept : ``kept(number, make)`` gives the fold's part, from where an earlier run left it or by ``make()``
    workers : who does the folds that no earlier run left
    """
    splits = list(purged_folds(samples, settings).split())
    parts: dict[int, FoldPart] = {}
    for number in range(len(splits)):
        try:
            parts[number] = kept(number, _nothing_kept)
        except _NothingKept:
            continue
        after_fold()
    missing = [number for number in range(len(splits)) if number not in parts]

    def done(place: int, part: FoldPart) -> None:
        parts[missing[place]] = kept(missing[place], lambda: part)
        after_fold()

    workers.run(predict_fold, FoldTask(samples, settings, seed), [splits[number] for number in missing], done)
    return join_folds(samples, settings, splits, [parts[number] for number in range(len(splits))])


def purged_folds(samples: Samples, settings: TrainingSettings) -> PurgedKFold:
    """The splitter that the settings ask for."""
    return PurgedKFold(samples.t0, samples.t1, settings.validation.n_splits, settings.validation.embargo_bars)


def join_folds(
    samples: Samples, settings: TrainingSettings, splits: list[tuple[IntArray, IntArray]], parts: list[FoldPart]
) -> Folds:
    """The parts of all folds put back in time order."""
    probability, prior = np.full((len(samples), 3), np.nan), np.full((len(samples), 3), np.nan)
    grown: dict[str, list[int]] = {}
    for (_, test), part in zip(splits, parts, strict=True):
        probability[test], prior[test] = part.probability, part.prior
        for name, trees in part.iterations.items():
            grown.setdefault(name, []).append(trees)
    least = settings.model.min_iterations
    trees = {name: max(least, round(float(np.mean(found)))) for name, found in grown.items()}
    return Folds(samples, probability, prior, trees, np.array([part.rises for part in parts if len(part.rises)]))


def predict_fold(task: FoldTask, split: tuple[IntArray, IntArray]) -> FoldPart:
    """Train on one fold's training rows, predict its test rows.

    Raises
    ------
    UserError
        too little is left after purging
    """
    train, test = split
    samples, settings, seed = task
    known = samples.rows(train)
    if len(train) < MIN_SAMPLES // 2 or len(np.unique(known.y)) < 2:
        raise UserError(
            f"a fold has {len(train)} training labels of {len(np.unique(known.y))} classes left after purging; "
            "give more history, or lower validation.n_splits or validation.embargo_bars"
        )
    model = _fit_fold(known, settings, seed)
    return FoldPart(
        model.predict_proba(samples.X[test]), np.bincount(known.y, known.weight, 3) / known.weight.sum(),
        {name: member.best_iteration_ or 1 for name, member in model.members.items()},
        fold_rises(model, samples, test, settings, seed) if settings.importance.mda else _UNJUDGED,
    )


def untrained_ensemble(settings: TrainingSettings, seed: int) -> EnsembleModel:
    """The ensemble that the settings describe."""
    model = settings.model
    return EnsembleModel(
        model.members, model.voting, random_state=seed, iterations=model.iterations,
        learning_rate=model.learning_rate, depth=model.depth, feature_share=model.feature_share,
    )


def _fit_fold(known: Samples, settings: TrainingSettings, seed: int) -> EnsembleModel:
    """An ensemble that stops growing by the last purged stretch of its own training labels."""
    early, late = purged_holdout(known.t0, known.t1, settings.validation.holdout_share)
    model = untrained_ensemble(settings, seed)
    if len(np.unique(known.y[early])) < 2 or not np.isin(known.y[late], known.y[early]).any():
        return model.fit(known.X, known.y, sample_weight=known.weight, spans=(known.t0, known.t1))
    return model.fit(
        known.X[early], known.y[early], validation_data=(known.X[late], known.y[late]),
        early_stopping_rounds=settings.model.early_stopping_rounds, sample_weight=known.weight[early],
        spans=(known.t0[early], known.t1[early]),
    )


class _NothingKept(Exception):
    """No earlier run left this fold."""


def _nothing_kept(*unused: Any) -> NoReturn:
    raise _NothingKept
