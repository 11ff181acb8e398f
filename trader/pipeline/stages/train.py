"""train: purged folds for honest predictions of every sample, then the final ensemble on all of them.

Each fold is kept as soon as it is done, under the hash of everything that decides it; a command that was killed
goes on with the next one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

from trader.models.artifact import library_versions
from trader.models.ensemble import EnsembleModel
from trader.pipeline.context import Context, StageResult
from trader.pipeline.stages.data import stored_bars
from trader.pipeline.stages.labels import stored_samples
from trader.pipeline.state import value_hash
from trader.pipeline.tables import read_arrays, write_arrays
from trader.pipeline.train import FoldPart, Folds, cross_validate, fit_final
from trader.pipeline.training_report import score_predictions
from trader.pipeline.training_samples import Samples
from trader.utils.atomic import cannot_write

PREDICTIONS, BOOSTERS, KEPT = "folds.npz", "boosters", "folds"


def settings(context: Context) -> Any:
    """The ensemble, the validation and the libraries."""
    chosen = context.training
    return [chosen.model, chosen.validation, chosen.importance, chosen.seed, library_versions()]


def run(context: Context) -> StageResult:
    """Predict out of fold, score, fit the final ensemble."""
    chosen = context.training
    panel = stored_bars(context)[1]
    stored, samples = stored_samples(context)
    n_folds, members = chosen.validation.n_splits, list(chosen.model.members)
    units = n_folds + len(members)
    done = 0

    def after() -> None:
        nonlocal done
        done += 1
        context.tick(f"fold {done + 1} of {n_folds}" if done < n_folds else "final ensemble", done, units)

    context.tick(f"fold 1 of {n_folds}", 0, units)
    keeper = _Keeper(context)
    folds = cross_validate(samples, chosen, chosen.seed, after, keeper)
    final = fit_final(samples, chosen, chosen.seed, folds.iterations, stored.features.names, after)
    predictions = context.path(PREDICTIONS)
    names = sorted(folds.iterations)
    write_arrays(
        predictions, probability=folds.probability, prior=folds.prior, members=np.array(names),
        iterations=np.array([folds.iterations[name] for name in names]), rises=folds.rises)
    boosters = _store_boosters(context, final)
    keeper.clear()
    scores = score_predictions(
        folds.probability, folds.prior, samples.y, samples.t0, samples.unique, panel.source)
    facts = {"folds": n_folds, "resumed_folds": keeper.found, "iterations": folds.iterations, "scores": scores}
    text = f"{n_folds} purged folds of {len(samples):,} samples; {scores['verdict']}"
    if keeper.found:
        text = f"went on after {keeper.found} folds of an interrupted run; {text}"
    return StageResult(text, (predictions, *boosters), facts)


def stored_folds(context: Context, samples: Samples) -> Folds:
    """The out-of-fold predictions that `run` left."""
    stored = read_arrays(context.path(PREDICTIONS))
    trees = {str(name): int(n) for name, n in zip(stored["members"], stored["iterations"], strict=True)}
    return Folds(samples, stored["probability"], stored["prior"], trees, stored["rises"])


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
    """Keeps each fold's predictions on the disk until the stage is done."""

    def __init__(self, context: Context) -> None:
        before = context.state.stages["labels"].outputs, context.state.stages["features"].outputs
        self._key = value_hash([settings(context), *before])[:16]
        self._folder = context.path(KEPT)
        self.found = 0

    def __call__(self, number: int, make: Callable[[], FoldPart]) -> FoldPart:
        path = self._folder / f"{self._key}-{number}.npz"
        if path.is_file():
            self.found += 1
            stored = read_arrays(path)
            trees = {str(n): int(t) for n, t in zip(stored["members"], stored["iterations"], strict=True)}
            return FoldPart(stored["probability"], stored["prior"], trees, stored["rises"])
        part = make()
        names = sorted(part.iterations)
        write_arrays(
            path, probability=part.probability, prior=part.prior, members=np.array(names),
            iterations=np.array([part.iterations[name] for name in names]), rises=part.rises)
        return part

    def clear(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
