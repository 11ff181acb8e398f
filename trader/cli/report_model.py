"""Model health of a run: its predictions replayed against its bars, judged by the `ModelStalenessDetector`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from trader.core import events as ev
from trader.core.clock import from_ns, iso
from trader.core.fold import Fold
from trader.core.panel import Slice
from trader.mlops.barrier_tracker import BarrierTracker
from trader.mlops.monitoring import MIN_RETURNS, labels_for
from trader.mlops.staleness import ModelStalenessDetector
from trader.models.artifact import ArtifactError, read_manifest
from trader.utils.errors import UserError

ON_TODAYS_MARKET = ("paper", "live")


class _Trial:
    """One model: what it said, and what the bars made of it."""

    def __init__(self, loaded: ev.ModelLoaded, symbols: tuple[str, ...], before: list[Slice]) -> None:
        self.loaded = loaded
        try:
            self.manifest = read_manifest(Path(loaded.path))
        except ArtifactError as error:
            raise UserError(
                f"the run's model {loaded.model_id} cannot be judged without its directory ({error}); "
                "train one anew: alphatrade train") from None
        facts = self.manifest["monitoring"]
        self.detector = ModelStalenessDetector(
            loaded.model_id, from_ns(loaded.trained_through), facts["max_age_days"], facts["expected_accuracy"],
            neutral_class=None, expected_calibration_error=facts["expected_calibration_error"])
        self.n_features = len(facts["drift"]["names"])
        self._symbols = symbols
        self._tracker = BarrierTracker(len(symbols), labels_for(self.manifest["labels"], symbols), MIN_RETURNS)
        self._said = np.zeros((len(symbols), 3))
        for bar in before:
            self._tracker.push(bar)

    def close(self, bar: Slice) -> None:
        """Record the predictions that this bar decides."""
        decided = self._tracker.push(bar)
        for k in np.flatnonzero(decided >= 0).tolist():
            said = self._said[k]
            self.detector.record_prediction(
                self._symbols[k], int(said.argmax()), float(min(said.max(), 1.0)), int(decided[k]))

    def predict(self, event: ev.Predictions) -> None:
        """Take up the predictions of the symbols whose last one is decided."""
        said = np.array([event.p_loss, event.p_neutral, event.p_profit], dtype=np.float64).T
        side = None if event.side is None else np.array(event.side, dtype=np.float64)
        taken = self._tracker.enter(np.asarray(np.isfinite(said).all(axis=1)), side)
        self._said[taken] = said[taken]


class Reader:
    """Hears a run's events; the last model that predicted is the one that is judged."""

    def __init__(self, fold: Fold, hours: float | None = None) -> None:
        del hours
        self._fold = fold
        self._bars: list[Slice] = []
        self._trial: _Trial | None = None

    def take(self, event: ev.AnyEvent) -> None:
        """One event, after the fold has it."""
        match event:
            case ev.SliceClosed():
                bar = _slice(event)
                self._bars.append(bar)              # a model that comes later learns its volatilities from them
                if self._trial is not None:
                    self._trial.close(bar)
            case ev.ModelLoaded():
                self._trial = _Trial(event, self._fold.book.symbols, self._bars)
            case ev.Predictions() if self._trial is not None:
                self._trial.predict(event)

    def report(self) -> dict[str, Any]:
        """The detector's findings under the guide's names, and what the session itself said last."""
        trial, session = self._trial, self._fold.session
        if trial is None:
            raise UserError(
                f"run {session.run_id if session else '?'} had no model (strategy {self._fold.strategy}): nothing "
                "can be stale; train one with `alphatrade train`, or name another --run")
        # Age counts to the data's time; where the data are today's market, today may be later than the last bar.
        now = self._fold.now_ns
        if session is not None and session.mode in ON_TODAYS_MARKET:
            now = max(now, time.time_ns())
        health = self._fold.health.get(trial.loaded.model_id)
        drifted = health.drifted if health else ()
        found = trial.detector.check_staleness(now, drifted=drifted, n_features=trial.n_features)
        return {
            "model": found.model_name, "staleness_level": found.staleness_level.value, "is_stale": found.is_stale,
            "issues": list(found.issues), "recommendation": found.recommendation,
            "retrain_urgency": found.retrain_urgency,
            "retrain_command": "alphatrade train" if found.is_stale else None,
            "age_days": round(found.age_days, 3), "trained_through": iso(trial.loaded.trained_through),
            "max_age_days": trial.detector.max_age_days, "position_multiplier": found.position_multiplier,
            "expected_accuracy": trial.detector.min_accuracy_threshold,
            "accuracy_windows": [asdict(w) for w in trial.detector.get_accuracy_windows()],
            "calibration_error": found.calibration_error,
            "expected_calibration_error": trial.detector.expected_calibration_error,
            "drifted_features": list(drifted), "features": trial.n_features,
            "session_level": health.level if health else None,
            "estimated_accuracy": health.estimated_accuracy if health else None,
            "importance": trial.manifest["scores"].get("importance"),
        }


def lines(facts: dict[str, Any]) -> list[str]:
    """The same for people."""
    from trader.cli.importance_text import importance_lines
    from trader.pipeline.training_importance import importance_verdict

    error = facts["calibration_error"]
    text = [
        f"model        {facts['model']}, trained through {facts['trained_through'][:10]}, {facts['age_days']:.1f} days "
        f"old (limit {facts['max_age_days']:g})",
        f"level        {facts['staleness_level']}, positions × {facts['position_multiplier']:g}, "
        f"retraining: {facts['retrain_urgency']}",
        f"calibration  {'–' if error is None else f'error {error:.3f}'}, expected "
        f"{facts['expected_calibration_error']:.3f}",
        f"drift        {len(facts['drifted_features'])} of {facts['features']} features",
    ]
    if facts["accuracy_windows"]:
        text += ["", f"{'accuracy':<11}{'right':>8}{'95 % interval':>20}{'outcomes':>10}"]
        text += [
            f"{w['window_name']:<11}{w['accuracy']:>8.1%}{w['low']:>12.1%} … {w['high']:.1%}{w['n']:>9}"
            for w in facts["accuracy_windows"]]
        text.append(f"{'expected':<11}{facts['expected_accuracy']:>8.1%}")
    if isinstance(facts["importance"], dict):           # a list in models of earlier versions
        text += ["", f"importance   {importance_verdict(facts['importance'])}; of the training",
                 *importance_lines(facts["importance"])]
    text += ["", *(f"- {issue}" for issue in facts["issues"])] if facts["issues"] else []
    return [*text, "", facts["recommendation"]]


def _slice(event: ev.SliceClosed) -> Slice:
    fields = (event.open, event.high, event.low, event.close, event.volume)
    return Slice(event.index, event.bar_ts, event.ts, *(np.array(field, dtype=np.float64) for field in fields))
