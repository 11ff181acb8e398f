"""The four levels of staleness, what each costs in size, and how signals become one level."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from trader.mlops.outcomes import AccuracyWindow, wilson_interval

Z_95, Z_99 = 1.959963984540054, 2.5758293035489004


class StalenessLevel(Enum):
    """From performing well to not to be used."""

    FRESH = "FRESH"
    AGING = "AGING"
    STALE = "STALE"
    CRITICAL = "CRITICAL"

    @property
    def rank(self) -> int:
        """0 for FRESH to 3 for CRITICAL."""
        return _ORDER.index(self)

    @property
    def multiplier(self) -> float:
        """Factor on new positions; 0 means no entries."""
        return _MULTIPLIERS[self]


_ORDER = tuple(StalenessLevel)
_MULTIPLIERS = dict(zip(_ORDER, (1.0, 0.75, 0.5, 0.0), strict=True))


class LevelReason(NamedTuple):
    """A signal that asks for a level, and why."""

    level: StalenessLevel
    reason: str


def worst(reasons: Iterable[LevelReason]) -> StalenessLevel:
    """The highest level that any signal asks for."""
    return max((r.level for r in reasons), key=lambda level: level.rank, default=StalenessLevel.FRESH)


def judge_age(age_days: float, max_age_days: float) -> list[LevelReason]:
    """AGING from 80 % of the permitted age, STALE beyond it, CRITICAL beyond three times it."""
    for factor, level in ((3.0, StalenessLevel.CRITICAL), (1.0, StalenessLevel.STALE), (0.8, StalenessLevel.AGING)):
        if age_days > factor * max_age_days:
            said = f"the last bar it learned from is {age_days:.1f} days old; the limit is {max_age_days:g}"
            return [LevelReason(level, said)]
    return []


def judge_accuracy(
    windows: Sequence[AccuracyWindow], threshold: float, min_observations: int = 50
) -> list[LevelReason]:
    """Judges windows of at least ``min_observations`` by whether chance alone explains that they fall short.

    AGING where the 95 % interval lies below the threshold, STALE where the 99 % interval does, CRITICAL
    where that lies more than ten points below.
    """
    found = []
    for window in windows:
        if window.n < min_observations or window.accuracy >= threshold:
            continue
        hits = round(window.accuracy * window.n)
        upper_95, upper_99 = wilson_interval(hits, window.n, Z_95)[1], wilson_interval(hits, window.n, Z_99)[1]
        if upper_95 >= threshold:
            continue
        level = StalenessLevel.AGING
        if upper_99 < threshold:
            level = StalenessLevel.CRITICAL if upper_99 < threshold - 0.10 else StalenessLevel.STALE
        found.append(LevelReason(
            level, f"accuracy {window.accuracy:.1%} over the last {window.n} outcomes; expected {threshold:.1%}"
        ))
    return found


def judge_drift(drifted: Sequence[str], n_features: int) -> list[LevelReason]:
    """AGING when a quarter of the features drifted, STALE when half did."""
    share = len(drifted) / max(n_features, 1)
    for limit, level in ((0.5, StalenessLevel.STALE), (0.25, StalenessLevel.AGING)):
        if share >= limit:
            return [LevelReason(level, f"{len(drifted)} of {n_features} features drifted, first {drifted[0]}")]
    return []


def judge_calibration(error: float | None, n: int, expected: float, min_observations: int = 100) -> list[LevelReason]:
    """AGING when the calibration error lies ten points above the expected one, STALE at twenty."""
    if error is None or n < min_observations:
        return []
    for excess, level in ((0.20, StalenessLevel.STALE), (0.10, StalenessLevel.AGING)):
        if error > expected + excess:
            return [LevelReason(level, f"calibration error {error:.3f} over {n} outcomes; expected {expected:.3f}")]
    return []


class LevelHysteresis:
    """Rises at once; falls only after a lower level has been asked for ``hold`` times in a row."""

    def __init__(self, hold: int = 26) -> None:
        self.hold = hold
        self.level = StalenessLevel.FRESH
        self._calm: list[StalenessLevel] = []

    def update(self, asked: StalenessLevel) -> StalenessLevel:
        """The level in force after one more judgement."""
        if asked.rank >= self.level.rank:
            self.level = asked
            self._calm.clear()
        else:
            self._calm.append(asked)
            if len(self._calm) >= self.hold:
                self.level = max(self._calm, key=lambda level: level.rank)
                self._calm.clear()
        return self.level
