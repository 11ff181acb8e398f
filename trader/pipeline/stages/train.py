"""train: purged folds for honest predictions of every sample, then the final ensemble on all of them.

Each fold is kept as soon as it is done, under the hash of everything that decides it; a command that was killed
goes on with the next one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from typing import Any

import msgspec

from trader.models.artifact import library_versions
from trader.models.ensemble import EnsembleModel
from trader.pipeline.context import Context, StageResult
from trader.pipeline.search import judge_settings
from trader.pipeline.stages.data import training_bars
from trader.pipeline.stages.labels import stored_samples
from trader.pipeline.tables import read_fold, write_fold
from trader.pipeline.train import FoldPart, Folds, fit_final
from trader.pipeline.training_report import score_predictions
from trader.pipeline.training_returns import Trials
from trader.pipeline.training_samples import Samples
from trader.pipeline.training_settings import ModelSettings, TrainingSettings
from trader.utils.atomic import atomic_write_text, cannot_write

PREDICTIONS, CHOICE, BOOSTERS, KEPT = "folds.npz", "choice.json", "boosters", "folds"


def settings(context: Context) -> Mapping[str, Any]:
    """The ensemble, the search for a better one, the validation and the libraries."""
    chosen = context.training
    return {
        "model settings": chosen.model, "search": context.choices.search, "validation settings": chosen.validation,
        "importance settings": chosen.importance, "seed": chosen.seed, "library versions": library_versions(),
    }


def run(context: Context) -> StageResult:
    """Predict out of fold, score, fit the final ensemble."""
    chosen = context.training
    panel = training_bars(context)
    stored, samples = stored_samples(context)
    progress, keeper = _Progress(context), _Keeper(context)
    found = judge_settings(
        samples, panel, chosen, chosen.seed, context.choices.search, context.workers, progress.judged, keeper)
    folds = found.folds
    progress.tell("final ensemble")
    final = fit_final(
        samples, found.settings, chosen.seed, folds.iterations, stored.features.names, progress.fitted)
    paths = context.path(PREDICTIONS), context.path(CHOICE)
    write_fold(paths[0], folds)
    choice = {"model": msgspec.to_builtins(found.settings.model), "trials": dataclasses.asdict(found.trials),
              "tried": [trial.facts() for trial in found.tried]}
    atomic_write_text(paths[1], json.dumps(choice, indent=1) + "\n")
    boosters = _store_boosters(context, final)
    keeper.clear()
    scores = score_predictions(
        folds.probability, folds.prior, samples.y, samples.t0, samples.unique, panel.source, samples.bets)
    n_folds = chosen.validation.n_splits
    facts = {"folds": n_folds, "trials": found.trials.n, "model": choice["model"], "iterations": folds.iterations,
             "scores": scores}
    tried = f", the best of {found.trials.n} settings tried" if found.tried else ""
    text = f"{n_folds} purged folds of {len(samples):,} samples{tried}; {scores['verdict']}"
    resumed = f"{keeper.found} {'fold' if keeper.found == 1 else 'folds'}"
    note = f"went on after {resumed} of an interrupted run" if keeper.found else ""
    return StageResult(text, (*paths, *boosters), facts, note=note)


def stored_folds(context: Context, samples: Samples) -> Folds:
    """The out-of-fold predictions that `run` left."""
    return Folds(samples, *read_fold(context.path(PREDICTIONS)))


def stored_choice(context: Context) -> tuple[TrainingSettings, Trials, list[dict[str, Any]]]:
    """The settings that were trained, how much was tried before, and each of it."""
    stored = json.loads(context.path(CHOICE).read_text(encoding="utf-8"))
    model = msgspec.convert(stored["model"], ModelSettings)
    return msgspec.structs.replace(context.training, model=model), Trials(**stored["trials"]), stored["tried"]


def stored_ensemble(context: Context) -> EnsembleModel:
    """The final ensemble that `run` left."""
    return EnsembleModel.load(context.path(BOOSTERS))


def forget(context: Context) -> None:
    """Drop the folds of an interrupted run: a forced stage makes everything anew."""
    shutil.rmtree(context.path(KEPT), ignore_errors=True)


def _store_boosters(context: Context, final: EnsembleModel) -> list[Any]:
    target, fresh = context.path(BOOSTERS), context.path(f".{BOOSTERS}.{os.getpid()}.new")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        final.save(fresh)
        shutil.rmtree(target, ignore_errors=True)       # killed here, the outputs are missing: the stage runs again
        fresh.rename(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    return sorted(path for path in target.rglob("*") if path.is_file())


class _Keeper:
    """Keeps each fold's predictions on the disk until the stage is done, under the name of all that decides them."""

    def __init__(self, context: Context) -> None:
        self._folder, self._key = context.path(KEPT), context.key
        self.found = 0

    def __call__(self, name: str, part: FoldPart | None) -> FoldPart | None:
        path = self._folder / f"{self._key}-{name}.npz"
        if part is not None:
            write_fold(path, part)
            return part
        try:
            stored = FoldPart(*read_fold(path))
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):    # none, or one that the disk spoilt
            return None
        self.found += 1
        return stored

    def clear(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class _Progress:
    """Ticks in units of about equal cost: a fold's members on most of the samples, then the final ones on all."""

    def __init__(self, context: Context) -> None:
        chosen = context.training
        members, self._trials = len(chosen.model.members), context.choices.search
        self._n = self._trials or chosen.validation.n_splits
        self._fold = 4 * members * (chosen.validation.n_splits if self._trials else 1)
        self._member = 3
        self._total = self._n * self._fold + members * self._member
        self._number = self._done = 0
        self._tick = context.tick
        self.tell(self._what())

    def judged(self) -> None:
        """Another fold, or trial, is done."""
        self._number += 1
        self._done += self._fold
        self.tell(self._what())

    def fitted(self) -> None:
        """Another member of the final ensemble is done."""
        self._done = min(self._done + self._member, self._total)
        self.tell("final ensemble")

    def tell(self, text: str) -> None:
        self._tick(text, self._done, self._total)

    def _what(self) -> str:
        return f"{'trial' if self._trials else 'fold'} {min(self._number + 1, self._n)} of {self._n}"
