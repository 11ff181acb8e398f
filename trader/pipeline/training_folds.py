"""Purged folds: every sample predicted by an ensemble that saw neither it nor any label that overlaps it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from trader.core.panel import FloatArray, IntArray
from trader.models.ensemble import EnsembleModel
from trader.models.validation import PurgedKFold, purged_holdout
from trader.pipeline.parallel import SERIAL, Workers
from trader.pipeline.training_importance import fold_rises
from trader.pipeline.training_samples import Samples
from trader.pipeline.training_settings import TrainingSettings
from trader.utils.errors import UserError

T = TypeVar("T")

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


Kept = Callable[[str, FoldPart | None], FoldPart | None]       # name, part to store or None to look → what is stored


def nothing_kept(name: str, part: FoldPart | None) -> None:
    """No earlier run left anything, and nothing is left for a later one."""


def cross_validate(
    samples: Samples, settings: TrainingSettings, seed: int, after_fold: Callable[[], None] = lambda: None,
    kept: Kept = nothing_kept, workers: Workers = SERIAL,
) -> Folds:
    """Predict every sample by an ensemble that saw neither it nor any label that overlaps it.

    Parameters
    ----------
    after_fold : called after each fold
    kept : where folds are stored as they are done, and found again
    workers : who does the folds that no earlier run left
    """
    splits = list(purged_folds(samples, settings).split())
    items = {f"fold-{number}": split for number, split in enumerate(splits)}
    parts = work_folds(predict_fold, FoldTask(samples, settings, seed), items, kept, workers, after_fold)
    return join_folds(samples, settings, splits, parts)


def work_folds(
    task: Callable[[FoldTask, T], FoldPart], shared: FoldTask, items: Mapping[str, T], kept: Kept = nothing_kept,
    workers: Workers = SERIAL, after: Callable[[], None] = lambda: None,
) -> list[FoldPart]:
    """The part of every named fold, in their order: from where an earlier run left it, else by the workers."""
    parts = {name: part for name in items if (part := kept(name, None)) is not None}
    for _ in parts:
        after()
    missing = [name for name in items if name not in parts]

    def done(place: int, part: FoldPart) -> None:
        kept(missing[place], part)
        parts[missing[place]] = part
        after()

    workers.run(task, shared, [items[name] for name in missing], done)
    return [parts[name] for name in items]


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
        row_share=model.row_share, l2=model.l2, min_rows=model.min_rows,
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
