"""calibrate: honest probabilities from out-of-fold predictions, then the model directory that sessions load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from trader.models.artifact import ModelArtifact, library_versions
from trader.models.registry import store_model
from trader.pipeline.context import Context, StageResult
from trader.pipeline.stages.data import training_bars
from trader.pipeline.stages.labels import stored_samples
from trader.pipeline.stages.train import stored_choice, stored_ensemble, stored_folds
from trader.pipeline.train import fit_calibrator, make_manifest


def settings(context: Context) -> Mapping[str, Any]:
    """Everything that the model's manifest tells."""
    own = context.per_symbol
    special = None if own is None else {name: msgspec.to_builtins(labels) for name, labels in own.items()}
    return {"training settings": context.training, "barriers of symbols": special,
            "library versions": library_versions()}


def run(context: Context) -> StageResult:
    """Calibrate, describe, store; the model becomes the current one of its name."""
    chosen, trials, tried = stored_choice(context)
    panel = training_bars(context)
    stored, samples = stored_samples(context)
    folds = stored_folds(context, samples)
    calibrator = fit_calibrator(folds, chosen)
    final = stored_ensemble(context)
    manifest = make_manifest(
        panel, chosen, chosen.seed, stored.features, stored.matrix, folds, calibrator, final, context.per_symbol,
        trials, tried)
    directory = store_model(context.home, ModelArtifact(manifest, final, calibrator))
    scores = manifest["scores"]
    calibration = scores["calibration"]
    facts = {
        "model": directory.name, "path": context.relative(directory), "method": calibration["method"],
        "calibration": calibration, "verdict": scores["verdict"], "importance": scores["importance"],
    }
    text = (f"{directory.name}: {calibration['method']}, ECE {calibration['before']['ece']:.4f} before, "
            f"{calibration['after']['ece']:.4f} after, out of sample")
    return StageResult(text, tuple(sorted(p for p in directory.rglob("*") if p.is_file())), facts)
