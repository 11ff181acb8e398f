"""``ModelStalenessDetector``: is the model still good enough to trade on?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from trader.core.clock import DAY_NS, Clock, SystemClock, to_ns
from trader.mlops.drift import PageHinkley
from trader.mlops.levels import (
    LevelReason,
    StalenessLevel,
    judge_accuracy,
    judge_age,
    judge_calibration,
    judge_drift,
    worst,
)
from trader.mlops.outcomes import AccuracyWindow, OutcomeLog

__all__ = ["AccuracyWindow", "ModelStalenessDetector", "StalenessLevel", "StalenessReport"]

_URGENCY = {"FRESH": "none", "AGING": "low", "STALE": "high", "CRITICAL": "critical"}
_RECOMMENDATION = {
    "FRESH": "Keep trading; no action needed.",
    "AGING": "Plan a retraining; positions are reduced to 75 %.",
    "STALE": "Retrain with recent data (alphatrade train); positions are halved until then.",
    "CRITICAL": "Do not use this model: retrain (alphatrade train) or switch to a backup; entries are blocked.",
}


@dataclass(frozen=True, slots=True)
class StalenessReport:
    """What a check found. ``retrain_urgency`` is none, low, high or critical."""

    model_name: str
    staleness_level: StalenessLevel
    is_stale: bool
    issues: tuple[str, ...]
    recommendation: str
    retrain_urgency: str
    age_days: float
    position_multiplier: float
    calibration_error: float | None


class ModelStalenessDetector:
    """Judges a model by its age and by the outcomes of its predictions.

    Parameters
    ----------
    model_name : as shown in reports
    model_trained_date : until when the training data reach; a naive datetime is taken as UTC
    max_age_days : older is STALE
    min_accuracy_threshold : accuracy whose significant shortfall makes the model STALE
    neutral_class : predictions of this class take no position and are not scored; None scores all
    expected_calibration_error : error at training, above which the rolling one is judged
    clock : tells the time where ``check_staleness`` is not given one
    """

    def __init__(
        self, model_name: str, model_trained_date: datetime, max_age_days: float = 30,
        min_accuracy_threshold: float = 0.52, *, neutral_class: int | None = 1,
        expected_calibration_error: float = 0.0, clock: Clock | None = None,
    ) -> None:
        if max_age_days <= 0:
            raise ValueError(f"max_age_days must be positive; got {max_age_days}")
        if not 0 < min_accuracy_threshold < 1:
            raise ValueError(f"min_accuracy_threshold must lie between 0 and 1; got {min_accuracy_threshold}")
        self.model_name = model_name
        self.model_trained_date = model_trained_date
        self.max_age_days = max_age_days
        self.min_accuracy_threshold = min_accuracy_threshold
        self.neutral_class = neutral_class
        self.expected_calibration_error = expected_calibration_error
        self._trained_ns = _moment(model_trained_date)
        self._clock = clock or SystemClock()
        self._outcomes = OutcomeLog()
        self._watch = PageHinkley()
        self._alarm_at: int | None = None

    def record_prediction(self, symbol: str, prediction: int, probability: float, actual: int) -> None:
        """Take a prediction whose outcome is known; ``probability`` is the model's confidence in it."""
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"probability of {symbol} must lie in [0, 1]; got {probability}")
        if prediction == self.neutral_class:
            return
        right = self._outcomes.add(int(prediction), int(actual), float(probability))
        if self._watch.update(0.0 if right else 1.0):
            self._alarm_at = self._outcomes.total

    def get_accuracy_windows(self) -> list[AccuracyWindow]:
        """Accuracy over the last 20, 50, 100, 250 and 500 scored outcomes, as far as there are so many."""
        return list(self._outcomes.accuracy_windows())

    def check_staleness(
        self, now: datetime | int | None = None, *, drifted: Sequence[str] = (), n_features: int = 0,
    ) -> StalenessReport:
        """Judge the model at ``now`` (nanoseconds, or a datetime; the clock's time when None).

        ``drifted`` names the features whose distribution has left that of the training, of ``n_features``.
        """
        moment = self._clock.now_ns() if now is None else _moment(now)
        age_days = (moment - self._trained_ns) / DAY_NS
        error = self._outcomes.calibration_error()
        reasons = [
            *judge_age(age_days, self.max_age_days),
            *judge_accuracy(self._outcomes.accuracy_windows(), self.min_accuracy_threshold),
            *judge_calibration(error, len(self._outcomes), self.expected_calibration_error),
            *judge_drift(drifted, n_features),
        ]
        if self._alarm_at is not None and self._outcomes.total - self._alarm_at < 100:
            reasons.append(LevelReason(StalenessLevel.AGING, "the hit rate has fallen (Page–Hinkley alarm)"))
        level = worst(reasons)
        return StalenessReport(
            self.model_name, level, level.rank >= StalenessLevel.STALE.rank, tuple(r.reason for r in reasons),
            _RECOMMENDATION[level.value], _URGENCY[level.value], age_days, level.multiplier, error,
        )


def _moment(when: datetime | int) -> int:
    if isinstance(when, int):
        return when
    return to_ns(when if when.tzinfo else when.replace(tzinfo=UTC))
