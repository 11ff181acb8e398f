"""``ModelMonitor``: follows a live model's predictions until the bars decide them, and says how stale it is.

It reads no clock: age counts from the end of the training data to the bars' own time, in sessions and
backtests alike. Outcomes do not overlap, because a symbol's next prediction is taken up only when the last
one is decided; so the intervals around accuracies hold.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trader.core.clock import DAY_NS
from trader.core.events import ModelHealth
from trader.core.panel import BarPanel, FloatArray, Slice
from trader.mlops.barrier_tracker import BarrierTracker
from trader.mlops.drift import DriftReference, PageHinkley
from trader.mlops.levels import (
    LevelHysteresis,
    LevelReason,
    StalenessLevel,
    judge_accuracy,
    judge_age,
    judge_calibration,
    judge_drift,
    worst,
)
from trader.mlops.outcomes import OutcomeLog

_ALARM_HOLDS = 100      # outcomes
MIN_RETURNS = 20        # before a volatility that scales barriers is trusted
_DRIFT_REPORTS = 5      # drift is slow: looked at with every fifth report


@dataclass(frozen=True, slots=True)
class StalenessStatus:
    """How fit the model is now; ``windows`` holds name, accuracy and count."""

    level: str
    age_days: float
    windows: tuple[tuple[str, float, int], ...]
    estimated_accuracy: float | None
    drifted: tuple[str, ...]
    reasons: tuple[str, ...]
    multiplier: float


class ModelMonitor:
    """Watches one model during a session or a backtest.

    Parameters
    ----------
    manifest : the model's manifest; uses ``labels``, ``trained_through_ns`` and ``monitoring``
        (``expected_accuracy, expected_calibration_error, max_age_days, drift``)
    symbols : of the slices, in order
    report_every : slices between two reports of an unchanged level
    """

    def __init__(self, manifest: dict[str, Any], symbols: tuple[str, ...], *, report_every: int = 26) -> None:
        facts = manifest["monitoring"]
        self.model_id = f"{manifest['name']}-{manifest['version']}"
        self.symbols = symbols
        self._trained_ns = int(manifest["trained_through_ns"])
        self._expected_accuracy = float(facts["expected_accuracy"])
        self._expected_error = float(facts["expected_calibration_error"])
        self._max_age_days = float(facts["max_age_days"])
        self._reference = DriftReference.from_dict(facts["drift"])
        self._tracker = BarrierTracker(len(symbols), labels_for(manifest["labels"], symbols), MIN_RETURNS)
        self._class = np.zeros(len(symbols), dtype=np.int64)
        self._confidence = np.zeros(len(symbols))
        self._outcomes = OutcomeLog()
        self._watch = PageHinkley()
        self._alarm_at: int | None = None
        self._recent: deque[float] = deque(maxlen=500)
        self._rows = np.full((self._reference.window, len(self._reference.names)), np.nan)
        self._seen_rows = 0
        self._drifted: tuple[str, ...] = ()
        self._hysteresis = LevelHysteresis()
        self._report_every = report_every
        self._slices = 0
        self._reported: str | None = None
        self._failures: dict[str, str] = {}
        self._judged_at = -1
        self._outcome_reasons: list[LevelReason] = []

    def on_slice(
        self, bar: Slice, probabilities: FloatArray | None, features: FloatArray | None = None,
        failures: Mapping[str, str] | None = None, side: FloatArray | None = None,
    ) -> ModelHealth | None:
        """Take a slice and what the model said at it.

        Parameters
        ----------
        bar : the slice that closed
        probabilities : calibrated, shape ``(n_symbols, 3)``; NaN rows or None where there is no prediction
        features : shape ``(n_symbols, n_features)``, for drift
        failures : members of the ensemble that could not take part, and why; AGING while there are any
        side : of a meta-model: the side that its rule takes, positive or negative, shape ``(n_symbols,)``

        Returns
        -------
        A report when the level or the members changed, or one is due, else None.
        """
        news = dict(failures or {}) != self._failures
        self._failures = dict(failures or {})
        self.resolve(bar)
        if probabilities is not None:
            self.record(probabilities, features, side)
        self._slices += 1
        due = self._slices % self._report_every == 0
        if self._slices % (_DRIFT_REPORTS * self._report_every) == 0 and self._seen_rows >= self._reference.window:
            self._drifted = self._reference.drifted(self._rows)
        reasons = self._judge(bar.available_ns)
        level = self._hysteresis.update(worst(reasons))
        if level.value == self._reported and not due and not news:
            return None
        status = self.status(bar.available_ns)
        self._reported = status.level
        return ModelHealth(
            ts=bar.available_ns, model_id=self.model_id, level=status.level, multiplier=status.multiplier,
            age_days=status.age_days, windows=status.windows, estimated_accuracy=status.estimated_accuracy,
            drifted=status.drifted, reasons=status.reasons,
        )

    def prime(self, history: BarPanel) -> None:
        """Learn the volatility that scales the barriers from bars before the session; same symbols, same order."""
        for i in range(len(history)):
            self._tracker.push(history.slice(i))

    def resolve(self, bar: Slice) -> NDArray[np.int64]:
        """Advance the barriers by one slice; per symbol the class that was decided, else -1."""
        decided = self._tracker.push(bar)
        for j in np.flatnonzero(decided >= 0).tolist():
            right = self._outcomes.add(int(self._class[j]), int(decided[j]), float(self._confidence[j]))
            if self._watch.update(0.0 if right else 1.0):
                self._alarm_at = self._outcomes.total
        return decided

    def record(
        self, probabilities: FloatArray, features: FloatArray | None = None, side: FloatArray | None = None
    ) -> None:
        """Take up the predictions made at the slice that `resolve` saw last."""
        known = np.isfinite(probabilities.sum(axis=1))
        if known.any():
            top = probabilities[known].max(axis=1)
            self._recent.extend(top.tolist())
            taken = self._tracker.enter(known, side)
            if taken.any():
                self._class[taken] = np.argmax(probabilities[taken], axis=1)
                self._confidence[taken] = probabilities[taken].max(axis=1)
        if features is not None:
            rows = features[np.isfinite(features).any(axis=1)]
            self._rows[np.arange(self._seen_rows, self._seen_rows + len(rows)) % len(self._rows)] = rows
            self._seen_rows += len(rows)

    def status(self, now_ns: int) -> StalenessStatus:
        """How fit the model is at ``now_ns``, with every reason."""
        reasons = self._judge(now_ns)
        asked, level = worst(reasons), self._hysteresis.level
        said = [r.reason for r in reasons]
        if asked.rank > level.rank:
            level = asked
        elif level.rank > asked.rank:
            said.append(f"{asked.value} again, held at {level.value} until that lasts")
        windows = tuple((w.window_name, w.accuracy, w.n) for w in self._outcomes.accuracy_windows())
        estimate = float(np.mean(self._recent)) if self._recent else None
        return StalenessStatus(
            level.value, float(now_ns - self._trained_ns) / DAY_NS, windows, estimate, self._drifted, tuple(said),
            level.multiplier,
        )

    def _judge(self, now_ns: int) -> list[LevelReason]:
        return [
            *judge_age((now_ns - self._trained_ns) / DAY_NS, self._max_age_days),
            *self._of_outcomes(),
            *judge_drift(self._drifted, len(self._reference.names)),
            *(LevelReason(StalenessLevel.AGING, f"predicts without {name} ({why})") for name, why in
              self._failures.items()),
        ]

    def _of_outcomes(self) -> list[LevelReason]:
        """What the outcomes say; judged anew only when there is a new one."""
        if self._judged_at != self._outcomes.total:
            self._judged_at = self._outcomes.total
            self._outcome_reasons = [
                *judge_accuracy(self._outcomes.accuracy_windows(), self._expected_accuracy),
                *judge_calibration(self._outcomes.calibration_error(), len(self._outcomes), self._expected_error),
            ]
            if self._alarm_at is not None and self._outcomes.total - self._alarm_at < _ALARM_HOLDS:
                fallen = "the hit rate has fallen (Page–Hinkley alarm)"
                self._outcome_reasons.append(LevelReason(StalenessLevel.AGING, fallen))
        return self._outcome_reasons


def labels_for(labels: dict[str, Any], symbols: tuple[str, ...]) -> dict[str, Any]:
    """Label parameters as arrays over the session's symbols; ``per_symbol`` entries replace the common values."""
    special = labels.get("per_symbol") or {}
    keys = ("profit_taking", "stop_loss", "max_holding_periods")
    return {**labels, **{key: [special.get(s, labels)[key] for s in symbols] for key in keys}}
