"""Hyper-parameter search under purged folds, with pruning, the same whoever does the work.

Trials are asked for in batches of a fixed size and told in order, so what the sampler knows never depends on which
worker was faster. A trial is judged fold by fold; one that lags behind the median of those before it is dropped.
Every trial counts, dropped ones too: the deflated Sharpe ratio of the model that is kept knows them all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from trader.core.panel import BarPanel, FloatArray, IntArray
from trader.models.calibration_metrics import log_losses
from trader.models.overfitting import probability_of_overfitting
from trader.models.sharpe_statistics import sharpe_moments
from trader.pipeline.parallel import SERIAL, Workers
from trader.pipeline.training_folds import (
    FoldPart,
    Folds,
    FoldTask,
    Kept,
    cross_validate,
    join_folds,
    nothing_kept,
    predict_fold,
    purged_folds,
    work_folds,
)
from trader.pipeline.training_returns import Trials, daily_returns
from trader.pipeline.training_samples import Samples
from trader.pipeline.training_settings import ImportanceSettings, ModelSettings, TrainingSettings
from trader.utils.errors import UserError

if TYPE_CHECKING:
    import optuna

BATCH = 4               # trials under way together; part of the result, not of the machine
_FULL_LOOK = 5          # trials that are never dropped, so that there is a median
_BLOCKS = 16

@dataclass(frozen=True, slots=True)
class Range:
    """Where a setting is searched; ``log``: by its order of magnitude, ``own``: about what the libraries take."""

    low: float
    high: float
    log: bool = False
    own: float = 1.0

    @property
    def ask(self) -> str:
        return "suggest_int" if isinstance(self.low, int) else "suggest_float"

    def nearest(self, value: float | None) -> float:
        """The place of a value that was given, or of one left to the libraries."""
        return min(max(self.own if value is None else value, self.low), self.high)


# What is searched beside the members. The number of trees is left to early stopping, and what the labels mean to
# `calibrate-barriers`: trials on other labels could not be compared.
SPACE = {
    "learning_rate": Range(0.01, 0.2, log=True),
    "depth": Range(2, 7),
    "feature_share": Range(0.3, 1.0),
    "row_share": Range(0.4, 1.0),
    "l2": Range(0.1, 100.0, log=True),
    "min_rows": Range(5, 500, log=True, own=20),
}
MEMBERS = ("catboost", "xgboost", "lightgbm", "catboost+xgboost+lightgbm")


@dataclass(slots=True)
class TrialResult:
    """One setting that was tried. ``gain`` is the mean log-loss saved against class shares, of the folds done."""

    number: int
    model: ModelSettings
    parts: list[FoldPart] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)
    dropped: bool = False

    @property
    def gain(self) -> float:
        return float(np.mean(self.gains))

    def facts(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        own = {name: getattr(self.model, name) for name in (*SPACE, "members")}
        return {"number": self.number, **own, "folds": len(self.gains), "gain": self.gain, "dropped": self.dropped}


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The best settings, their folds, and what luck the search may have had."""

    settings: TrainingSettings
    folds: Folds
    trials: Trials
    tried: tuple[TrialResult, ...]


def judge_settings(
    samples: Samples, panel: BarPanel, settings: TrainingSettings, seed: int, n_trials: int = 0,
    workers: Workers = SERIAL, after: Callable[[], None] = lambda: None, kept: Kept = nothing_kept,
) -> SearchResult:
    """The settings as they are, or the best that a search finds, with the folds that they are judged by.

    Arguments as for `search_settings`; ``after`` is called after each trial, without a search after each fold.
    """
    if not n_trials:
        return SearchResult(settings, cross_validate(samples, settings, seed, after, kept, workers), Trials(), ())
    found = search_settings(samples, panel, settings, seed, n_trials, workers, after, kept)
    if not settings.importance.mda:
        return found
    # trials are judged without it: the best one's folds are trained once more
    return dataclasses.replace(
        found, folds=cross_validate(samples, found.settings, seed, kept=kept, workers=workers))


def search_settings(
    samples: Samples, panel: BarPanel, settings: TrainingSettings, seed: int, n_trials: int,
    workers: Workers = SERIAL, after_trial: Callable[[], None] = lambda: None, kept: Kept = nothing_kept,
) -> SearchResult:
    """Find the settings of the ensemble that predict best out of fold.

    Parameters
    ----------
    samples, panel, seed : as for training; the first trial is ``settings`` as they are
    workers : who trains the folds; the result does not depend on it
    kept : where folds are stored as they are done, and found again by a search that was interrupted

    Raises
    ------
    UserError
        Optuna is not installed, or too little is left of a fold after purging
    """
    study = _study(settings, seed)
    splits = list(purged_folds(samples, settings).split())
    shared = FoldTask(samples, msgspec.structs.replace(settings, importance=ImportanceSettings(mda=False)), seed)
    tried: list[TrialResult] = []
    while len(tried) < n_trials:
        asked = [study.ask() for _ in range(min(BATCH, n_trials - len(tried)))]
        batch = [TrialResult(trial.number, _model_of(trial, settings.model)) for trial in asked]
        for step, split in enumerate(splits):
            going = [k for k, result in enumerate(batch) if not result.dropped]
            work = {f"trial-{batch[k].number}-{step}": FoldOfTrial(batch[k].model, split) for k in going}
            for k, part in zip(going, work_folds(_fold_of_trial, shared, work, kept, workers), strict=True):
                batch[k].parts.append(part)
                batch[k].gains.append(_gain(part, samples, split[1]))
                asked[k].report(batch[k].gain, step)
            for k in going:
                batch[k].dropped = step + 1 < len(splits) and asked[k].should_prune()
        for trial, result in zip(asked, batch, strict=True):
            _tell(study, trial, result)
            tried.append(result)
            after_trial()
    best = max((result for result in tried if not result.dropped), key=lambda result: result.gain)
    chosen = msgspec.structs.replace(settings, model=best.model)
    folds = join_folds(samples, chosen, splits, best.parts)
    whole = [join_folds(samples, settings, splits, r.parts).probability for r in tried if not r.dropped]
    returns = np.column_stack([daily_returns(probability, samples, panel) for probability in whole])
    return SearchResult(chosen, folds, luck_of(returns, len(tried)), tuple(tried))


def luck_of(returns: FloatArray, n_trials: int) -> Trials:
    """How far trials differ, from the daily returns ``(n_days, n)`` of those that were judged to the end."""
    moving = returns[:, returns.std(axis=0) > 0]
    if moving.shape[1] < 2:
        return Trials(n_trials)
    ratios = [sharpe_moments(column)[0] for column in moving.T]
    enough = len(moving) >= 2 * _BLOCKS
    overfitting = probability_of_overfitting(moving, _BLOCKS).probability if enough else None
    return Trials(n_trials, float(np.var(ratios, ddof=1)), overfitting)


class FoldOfTrial(NamedTuple):
    """A task: these settings on this fold."""

    model: ModelSettings
    split: tuple[IntArray, IntArray]


def _model_of(trial: optuna.Trial, own: ModelSettings) -> ModelSettings:
    """The settings that the sampler answered; of the first trial those that were given, to the letter."""
    answers = {name: getattr(trial, r.ask)(name, r.low, r.high, log=r.log) for name, r in SPACE.items()}
    answers["members"] = tuple(str(trial.suggest_categorical("members", MEMBERS)).split("+"))
    return own if trial.number == 0 else msgspec.structs.replace(own, **answers)


def _fold_of_trial(shared: FoldTask, item: FoldOfTrial) -> FoldPart:
    settings = msgspec.structs.replace(shared.settings, model=item.model)
    return predict_fold(FoldTask(shared.samples, settings, shared.seed), item.split)


def _gain(part: FoldPart, samples: Samples, test: IntArray) -> float:
    """Mean log-loss saved on a fold against the class shares of its training labels, overlapping labels sharing."""
    y, share = samples.y[test], samples.unique[test]
    prior = np.broadcast_to(part.prior, part.probability.shape)
    return float(np.average(log_losses(prior, y) - log_losses(part.probability, y), weights=share))


def _study(settings: TrainingSettings, seed: int) -> optuna.Study:
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            f"--search needs Optuna ({error}); install it with: pip install 'alphatrade[cluster]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=2 * BATCH),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_FULL_LOOK, n_warmup_steps=0))
    own = settings.model
    near = {name: where.nearest(getattr(own, name)) for name, where in SPACE.items()}
    study.enqueue_trial({**near, "members": _nearest(own.members)})
    return study


def _nearest(members: tuple[str, ...]) -> str:
    """The searched choice of members that shares most with these."""
    return max(MEMBERS, key=lambda choice: len({*members} & {*choice.split("+")}) - len(choice.split("+")) / 10)


def _tell(study: optuna.Study, trial: optuna.Trial, result: TrialResult) -> None:
    from optuna.trial import TrialState

    if result.dropped:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, result.gain)
