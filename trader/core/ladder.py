"""NORMAL → CAUTIOUS → EXIT_ONLY → HALTED: which components fail decides how carefully is traded.

A pure state machine: time comes in with every call. It climbs at once and comes down one rung at a time, each only
after the cause has been gone for a while, so that a flapping component does not flap the trading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from types import MappingProxyType

from trader.core.clock import SECOND_NS
from trader.core.events import DegradationChanged


class Level(StrEnum):
    """The rungs, in order."""

    NORMAL = "NORMAL"
    CAUTIOUS = "CAUTIOUS"           # cached data, half size
    EXIT_ONLY = "EXIT_ONLY"         # no new positions
    HALTED = "HALTED"               # nothing but what the halt itself does


RUNGS = tuple(Level)
MULTIPLIER: Mapping[Level, float] = MappingProxyType({
    Level.NORMAL: 1.0, Level.CAUTIOUS: 0.5, Level.EXIT_ONLY: 0.0, Level.HALTED: 0.0,
})


class ComponentType(Enum):
    """What a component is for; decides what happens when it fails and nothing else was said."""

    DATA = "data"
    MODEL = "model"
    STRATEGY = "strategy"
    BROKER = "broker"
    RISK = "risk"
    STATE = "state"
    MONITORING = "monitoring"


class FallbackAction(Enum):
    """What the system does without a component."""

    USE_CACHED = "use_cached"               # last values at half size while they are fresh, then exits only
    USE_FALLBACK = "use_fallback"           # another part does the same work: nothing changes
    REDUCE_SIZE = "reduce_size"             # half size
    NO_NEW_POSITIONS = "no_new_positions"   # exits only
    HALT = "halt"


@dataclass(frozen=True, slots=True)
class FallbackConfig:
    """How a component's failure is answered."""

    fallback_action: FallbackAction
    max_cache_age_seconds: float = 300.0            # USE_CACHED: how old the last good values may become
    failure_threshold: int = 1                      # failures in a row before it counts
    halt_after_seconds: float | None = None         # a failure that lasts longer halts; None: never

    def level(self, failing_ns: int) -> Level:
        """The rung that a failure of this length asks for."""
        if self.halt_after_seconds is not None and failing_ns >= self.halt_after_seconds * SECOND_NS:
            return Level.HALTED
        if self.fallback_action is FallbackAction.USE_CACHED:
            return Level.CAUTIOUS if failing_ns <= self.max_cache_age_seconds * SECOND_NS else Level.EXIT_ONLY
        return _LEVEL[self.fallback_action]


_LEVEL = {
    FallbackAction.USE_FALLBACK: Level.NORMAL,
    FallbackAction.REDUCE_SIZE: Level.CAUTIOUS,
    FallbackAction.NO_NEW_POSITIONS: Level.EXIT_ONLY,
    FallbackAction.HALT: Level.HALTED,
}

BY_TYPE: Mapping[ComponentType, FallbackConfig] = MappingProxyType({
    ComponentType.DATA: FallbackConfig(FallbackAction.USE_CACHED),
    ComponentType.MODEL: FallbackConfig(FallbackAction.REDUCE_SIZE),
    ComponentType.STRATEGY: FallbackConfig(FallbackAction.NO_NEW_POSITIONS),
    ComponentType.BROKER: FallbackConfig(FallbackAction.NO_NEW_POSITIONS),
    ComponentType.RISK: FallbackConfig(FallbackAction.NO_NEW_POSITIONS),
    ComponentType.STATE: FallbackConfig(FallbackAction.USE_FALLBACK),
    ComponentType.MONITORING: FallbackConfig(FallbackAction.USE_FALLBACK),
})

# The components of a session by the names under which they report.
SESSION_COMPONENTS: Mapping[str, FallbackConfig] = MappingProxyType({
    "data_feed": BY_TYPE[ComponentType.DATA],
    "data_stream": BY_TYPE[ComponentType.DATA],
    "validator": BY_TYPE[ComponentType.DATA],
    "features": BY_TYPE[ComponentType.MODEL],
    "model": BY_TYPE[ComponentType.MODEL],
    "calibration": BY_TYPE[ComponentType.MODEL],
    "monitor": BY_TYPE[ComponentType.MONITORING],
    "risk": BY_TYPE[ComponentType.RISK],
    "strategy": BY_TYPE[ComponentType.STRATEGY],
    "venue": BY_TYPE[ComponentType.BROKER],
    "broker": BY_TYPE[ComponentType.BROKER],
    "carrier": BY_TYPE[ComponentType.BROKER],
    "trade_stream": BY_TYPE[ComponentType.BROKER],
    "reconciliation": BY_TYPE[ComponentType.BROKER],
    "redis": BY_TYPE[ComponentType.STATE],
    "journal": FallbackConfig(FallbackAction.HALT),     # no order without its record
})
_UNKNOWN = FallbackConfig(FallbackAction.REDUCE_SIZE)


@dataclass
class _Trouble:
    since_ns: int
    failures: int
    reason: str


@dataclass
class DegradationLadder:
    """The session's level; see the module.

    Parameters
    ----------
    components : mapping
        How each component's failure is answered; a component that is not listed halves the size.
    recovery_seconds : float
        How long a lower rung must have been enough before the ladder steps down to the next one.
    """

    components: Mapping[str, FallbackConfig] = field(default_factory=lambda: dict(SESSION_COMPONENTS))
    recovery_seconds: float = 60.0
    level: Level = Level.NORMAL
    component: str = ""                 # what brought it to this level
    reason: str = ""
    since_ns: int = 0
    _troubles: dict[str, _Trouble] = field(default_factory=dict)
    _better_since_ns: int | None = None

    @property
    def multiplier(self) -> float:
        """What position sizes are multiplied with: 1, 0.5 or 0."""
        return MULTIPLIER[self.level]

    @property
    def calm(self) -> bool:
        """On the lowest rung, and nothing fails."""
        return self.level is Level.NORMAL and not self._troubles

    @property
    def failing(self) -> dict[str, str]:
        """Components that fail now, with the reason."""
        return {name: trouble.reason for name, trouble in self._troubles.items()}

    def report(self, component: str, ok: bool, now_ns: int, reason: str = "") -> DegradationChanged | None:
        """A component works, or does not; the change of level that this brings, if any."""
        if ok:
            self._troubles.pop(component, None)
        else:
            trouble = self._troubles.setdefault(component, _Trouble(now_ns, 0, reason))
            trouble.failures += 1
            trouble.reason = reason or trouble.reason
        return self.advance(now_ns)

    def advance(self, now_ns: int) -> DegradationChanged | None:
        """Only time has passed: caches grow old, and what is well again for long enough counts as well."""
        needed, component, reason = self._needed(now_ns)
        here, there = RUNGS.index(self.level), RUNGS.index(needed)
        if there >= here:
            self._better_since_ns = None
            return self._move(needed, component, reason, now_ns) if there > here else None
        if self._better_since_ns is None:
            self._better_since_ns = now_ns
        if now_ns - self._better_since_ns < self.recovery_seconds * SECOND_NS:
            return None
        self._better_since_ns = now_ns                  # the next rung has to be earned as well
        step = RUNGS[here - 1]
        if step == needed and component:
            return self._move(step, component, reason, now_ns)
        return self._move(step, self.component, f"well for {self.recovery_seconds:g} s", now_ns)

    def _needed(self, now_ns: int) -> tuple[Level, str, str]:
        """The rung that the worst component asks for; the first to fail among equals."""
        worst = (Level.NORMAL, "", "")
        for name, trouble in self._troubles.items():
            config = self.components.get(name, _UNKNOWN)
            if trouble.failures < config.failure_threshold:
                continue
            level = config.level(now_ns - trouble.since_ns)
            if RUNGS.index(level) > RUNGS.index(worst[0]):
                worst = (level, name, trouble.reason)
        return worst

    def _move(self, level: Level, component: str, reason: str, now_ns: int) -> DegradationChanged:
        self.level, self.component, self.reason, self.since_ns = level, component, reason, now_ns
        return DegradationChanged(
            ts=now_ns, level=str(level), multiplier=self.multiplier, component=component, reason=reason)
