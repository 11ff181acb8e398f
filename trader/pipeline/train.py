"""Training: bars → features → labels → purged folds → calibration → final ensemble → artefact."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from trader.core.clock import iso
from trader.core.panel import SYNTHETIC_INTRADAY, BarPanel, FloatArray
from trader.features.feature_set import FeatureSet, default_features
from trader.mlops.drift import DriftReference
from trader.models.artifact import FORMAT, ModelArtifact, content_version, input_names, library_versions
from trader.models.calibration import ProbabilityCalibrationManager
from trader.models.calibration_metrics import error_by_chance
from trader.models.ensemble import EnsembleModel
from trader.models.registry import store_model
from trader.pipeline.feature_matrix import feature_matrix
from trader.pipeline.parallel import SERIAL, Workers
from trader.pipeline.search import judge_settings
from trader.pipeline.training_folds import MIN_SAMPLES, FoldPart, Folds, cross_validate, untrained_ensemble
from trader.pipeline.training_importance import families_of, importance_facts
from trader.pipeline.training_report import judge_bets, score_predictions
from trader.pipeline.training_returns import Trials, judge_following
from trader.pipeline.training_samples import Samples, build_samples, panel_hash, rule_of
from trader.pipeline.training_settings import LabelSettings, TrainingSettings
from trader.utils.errors import UserError

__all__ = ["FoldPart", "Folds", "TrainProgress", "cross_validate", "fit_calibrator", "fit_final", "make_manifest",
           "require_enough", "train_model"]


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """The stage that begins after ``done`` of ``total`` units of about equal cost; ``done`` at the end."""

    stage: str
    done: int
    total: int
    eta_seconds: float | None


def train_model(
    panel: BarPanel, settings: TrainingSettings, home: Path,
    progress: Callable[[TrainProgress], None] | None = None, seed: int | None = None, *,
    features: FeatureSet | None = None, per_symbol: Mapping[str, LabelSettings] | None = None,
    search: int = 0, workers: Workers = SERIAL,
) -> Path:
    """Train, judge, calibrate and store a model; the stored model becomes the current one of its name.

    Parameters
    ----------
    panel : the bars to learn from, none later than the model may know
    settings : see ``config/training.yaml``
    home : the model goes to ``<home>/models/<name>-<version>``; equal bars, settings, seed and code give an
        equal version
    progress : called at every step
    seed : instead of ``settings.seed``
    features : unfitted features instead of the shipped set
    per_symbol : label parameters of symbols that differ from ``settings.labels``
    search : settings of the ensemble to try first (see `trader.pipeline.search`); 0 takes them as they are
    workers : who does folds and trials; the model does not depend on it

    Returns
    -------
    Path of the model's directory.

    Raises
    ------
    UserError
        too few bars, or labels of one class only
    """
    seed = settings.seed if seed is None else seed
    steps = _Steps(settings, progress, search)

    fitted = (features or default_features(panel.timeframe)).fit(panel)
    matrix = feature_matrix(fitted, panel, workers)
    steps.next()

    samples = build_samples(panel, matrix, settings, fitted.warmup, per_symbol, workers)
    require_enough(samples, panel)
    steps.next()

    found = judge_settings(samples, panel, settings, seed, search, workers, steps.next)
    settings, folds = found.settings, found.folds
    calibrator = fit_calibrator(folds, settings)
    steps.next()

    final = fit_final(samples, settings, seed, folds.iterations, fitted.names, steps.next)
    manifest = make_manifest(
        panel, settings, seed, fitted, matrix, folds, calibrator, final, per_symbol,
        found.trials, [trial.facts() for trial in found.tried])
    directory = store_model(home, ModelArtifact(manifest, final, calibrator))
    steps.next()
    return directory


def fit_calibrator(folds: Folds, settings: TrainingSettings) -> ProbabilityCalibrationManager:
    """The map to honest probabilities, chosen and fitted on out-of-fold predictions."""
    calibrator = ProbabilityCalibrationManager(methods=settings.calibration.methods)
    return calibrator.fit(folds.probability, folds.samples.y)


def fit_final(
    samples: Samples, settings: TrainingSettings, seed: int, iterations: Mapping[str, int], names: Sequence[str],
    after_member: Callable[[], None] = lambda: None,
) -> EnsembleModel:
    """The ensemble that will predict: all samples, as many trees as the folds found worth growing."""
    final = untrained_ensemble(settings, seed).refitted(iterations)
    names = input_names(names, settings.meta.primary)
    final.feature_names_in_, final.n_features_in_ = names, len(names)
    for member in final.members.values():
        member.fit(samples.X, samples.y, sample_weight=samples.weight)
        member.feature_names_in_ = names
        after_member()
    final.learn_blend(samples.X, samples.y, (samples.t0, samples.t1), samples.weight)
    return final


def require_enough(samples: Samples, panel: BarPanel) -> None:
    """UserError where the labels are too few, or all of one class."""
    if len(samples) < MIN_SAMPLES:
        raise UserError(
            f"training needs at least {MIN_SAMPLES} labelled samples; {len(panel)} {panel.timeframe} bars of "
            f"{', '.join(panel.symbols)} give {len(samples)}: give more history or more symbols"
        )
    if len(np.unique(samples.y)) < 2:
        raise UserError("all labels are of one class: set labels.profit_taking and labels.stop_loss nearer")


def make_manifest(
    panel: BarPanel, settings: TrainingSettings, seed: int, fitted: FeatureSet, matrix: FloatArray, folds: Folds,
    calibrator: ProbabilityCalibrationManager, final: EnsembleModel,
    per_symbol: Mapping[str, LabelSettings] | None, trials: Trials = Trials(),
    tried: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What the model is and is worth, for its ``manifest.json``; arguments as for `train_model`.

    ``trials`` says how much was tried before these settings were chosen, ``tried`` each of it.
    """
    samples, plain = folds.samples, settings.to_dict()
    scores = score_predictions(
        folds.probability, folds.prior, samples.y, samples.t0, samples.unique, panel.source, samples.bets
    )
    before, after = calibrator.get_uncalibrated_metrics(), calibrator.get_metrics()
    scores |= {
        "n_trials": trials.n, "folds": settings.validation.n_splits,
        "calibration": {
            "method": calibrator.method_, "log_loss_by_method": calibrator.scores_,
            "before": before.to_dict(), "after": after.to_dict(),
            "ece_by_chance": error_by_chance(after.reliability, scores["n_effective"] * after.n / scores["n"]),
        },
        "iterations": folds.iterations,
        "returns": judge_following(folds.probability, samples, panel, trials, settings.validation.cost_bps) | {
            "evidence": panel.source != SYNTHETIC_INTRADAY},
        "search": [dict(facts) for facts in tried],
        "bets": judge_bets(folds.probability, samples) if samples.bets else None,
        "importance": importance_facts(
            final.feature_names_in_ or fitted.names, final.feature_importance(), folds.rises,
            families_of(samples, settings) if len(folds.rises) else []),
    }
    labels = {**plain["labels"]}
    if per_symbol:
        labels["per_symbol"] = {name: msgspec.to_builtins(own) for name, own in per_symbol.items()}
    data = {
        "source": panel.source, "symbols": list(panel.symbols), "timeframe": panel.timeframe, "bars": len(panel),
        "start": iso(int(panel.ts_ns[0])), "end": iso(int(panel.available_ns[-1])), "hash": panel_hash(panel),
        "samples": len(samples),
    }
    libraries, fingerprint, rule = library_versions(), fitted.fingerprint(), rule_of(settings)
    return {
        "format": FORMAT, "name": settings.name, "seed": seed,
        "version": content_version(data["hash"], plain, seed, fingerprint, labels, libraries, rule, *scores["search"]),
        "trained_through_ns": int(panel.available_ns[-1]),
        "data": data, "labels": labels, "meta": rule, "settings": plain, "libraries": libraries, "scores": scores,
        "features": {
            "names": list(fitted.names), "fingerprint": fingerprint, "lookback": fitted.lookback,
            "set": fitted.to_dict(),
        },
        "monitoring": {
            "expected_accuracy": scores["accuracy_low"],
            "expected_calibration_error": after.expected_calibration_error,
            "max_age_days": settings.staleness.max_age_days,
            "drift": _drift_reference(matrix, fitted, settings).to_dict(),
        },
        "files": {},
    }


def _drift_reference(matrix: FloatArray, fitted: FeatureSet, settings: TrainingSettings) -> DriftReference:
    """The distribution of every live row that training could have seen: bars in time order, symbols side by side."""
    rows = matrix[fitted.warmup:].reshape(-1, matrix.shape[2])
    rows = rows[np.isfinite(rows).any(axis=1)]
    return DriftReference.fit(fitted.names, rows, min(settings.staleness.drift_window_rows, max(50, len(rows) // 5)))


class _Steps:
    """Counts units of work and tells the time left by how long the ones before took."""

    def __init__(
        self, settings: TrainingSettings, progress: Callable[[TrainProgress], None] | None, search: int = 0
    ) -> None:
        members, folds = settings.model.members, settings.validation.n_splits
        judged = [(f"fold {i + 1} of {folds}", 4 * len(members)) for i in range(folds)]
        if search:
            judged = [(f"trial {i + 1} of {search}", 4 * len(members) * folds) for i in range(search)]
        self._plan = [
            ("features", 6), ("labels", 1), *judged,
            ("calibrate", 1), *((f"final {name}", 3) for name in members), ("save", 1),
        ]
        self._total = sum(cost for _, cost in self._plan)
        self._at = self._done = 0
        self._started = time.monotonic()
        self._progress = progress or (lambda step: None)
        self._say(None)

    def next(self) -> None:
        """The stage that ran is over, the next one begins."""
        self._done += self._plan[self._at][1]
        self._at += 1
        left = (time.monotonic() - self._started) / self._done * (self._total - self._done)
        self._say(round(left, 1))

    def _say(self, eta_seconds: float | None) -> None:
        stage = self._plan[self._at][0] if self._at < len(self._plan) else "done"
        self._progress(TrainProgress(stage, self._done, self._total, eta_seconds))
