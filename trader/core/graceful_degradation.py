"""Going on with less when a part fails: components, their health checks and what replaces them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from trader.core.clock import SECOND_NS, Clock, SystemClock
from trader.core.events import DegradationChanged
from trader.core.ladder import (
    BY_TYPE,
    ComponentType,
    DegradationLadder,
    FallbackAction,
    FallbackConfig,
    Level,
)
from trader.core.probe import Health, HealthCheck, ask

__all__ = [
    "ComponentType", "DegradationLadder", "FallbackAction", "FallbackConfig", "GracefulDegradationManager", "Level",
]

T = TypeVar("T")
_LOOP = "main_loop"
log = logging.getLogger("alphatrade.core.degradation")


class Report(Protocol):
    """Where news of a component goes: the ladder's ``report``, or the engine's that records the change."""

    def __call__(self, component: str, ok: bool, now_ns: int, reason: str = "") -> DegradationChanged | None: ...


@dataclass(frozen=True, slots=True)
class Component:
    """A registered component."""

    name: str
    component_type: ComponentType
    health_check: HealthCheck | None
    fallback_config: FallbackConfig


class GracefulDegradationManager:
    """Watches components and moves the degradation ladder.

    Parameters
    ----------
    ladder : DegradationLadder, optional
        The ladder to move; a session passes the engine's own, so that there is one level.
    clock : Clock, optional
        Source of time; the machine's by default.
    report : callable, optional
        Takes ``(component, ok, now_ns, reason)`` in place of ``ladder.report``: a session passes
        ``engine.report_component`` so that every change is journaled.
    """

    def __init__(
        self, ladder: DegradationLadder | None = None, clock: Clock | None = None, report: Report | None = None,
    ) -> None:
        self.ladder = ladder if ladder is not None else DegradationLadder()
        self._clock = clock if clock is not None else SystemClock()
        self._report = report if report is not None else self.ladder.report
        self._components: dict[str, Component] = {}
        self._cache: dict[str, tuple[int, Any]] = {}

    @property
    def level(self) -> Level:
        """The level in force."""
        return self.ladder.level

    @property
    def position_multiplier(self) -> float:
        """What sizes are multiplied with at this level."""
        return self.ladder.multiplier

    @property
    def components(self) -> tuple[Component, ...]:
        """All registered components, in order."""
        return tuple(self._components.values())

    def register_component(
        self, name: str, component_type: ComponentType, health_check: HealthCheck | None = None,
        fallback_config: FallbackConfig | None = None,
    ) -> None:
        """Watch a component; without ``fallback_config`` its type decides what its failure means."""
        config = fallback_config if fallback_config is not None else BY_TYPE[component_type]
        self._components[name] = Component(name, component_type, health_check, config)
        self.ladder.components = {**self.ladder.components, name: config}

    async def check_all(self, timeout_s: float = 5.0) -> dict[str, Health]:
        """Ask every component that has a health check, all at once, and report the answers."""
        asked = [(c.name, c.health_check) for c in self._components.values() if c.health_check is not None]
        answers = await asyncio.gather(*(ask(check, timeout_s) for _, check in asked))
        result = {name: answer for (name, _), answer in zip(asked, answers, strict=True)}
        for name, health in result.items():
            self._tell(name, health.healthy, health.detail)
        if _LOOP in self.ladder.failing and all(health.healthy for health in result.values()):
            self._tell(_LOOP, True)                 # an error that no component explains ends when all are well
        return result

    async def handle_error(self, error: BaseException, component: str | None = None) -> Level:
        """A step of the main loop failed: find out whose fault it is, and degrade.

        The component is the one named, else ``error.component``, else those whose health check fails now, else
        ``main_loop``. Returns the level then in force.
        """
        reason = f"{type(error).__name__}: {error}"
        culprit = component or getattr(error, "component", None)
        if culprit is None:
            answers = await self.check_all()
            if all(health.healthy for health in answers.values()):
                culprit = _LOOP
        if culprit is not None:
            self._tell(str(culprit), False, reason)
        return self.level

    async def call(self, component: str, function: Callable[[], T | Awaitable[T]]) -> T:
        """Run a component's work; remember its result, or fall back on the last one while that is fresh enough.

        Raises
        ------
        Exception
            What ``function`` raised, where the component has no cached value that may still be used.
        """
        try:
            value = function()
            if inspect.isawaitable(value):
                value = await value
        except Exception as error:
            self._tell(component, False, f"{type(error).__name__}: {error}")
            cached = self.cached(component)
            if cached is None:
                raise
            fallback: T = cached[0]
            return fallback
        self._cache[component] = (self._clock.now_ns(), value)
        self._tell(component, True)
        return value

    def cached(self, component: str) -> tuple[Any, float] | None:
        """The last good value and its age in seconds, where the component may use it and it is fresh enough."""
        known = self._components.get(component)
        if known is None or known.fallback_config.fallback_action is not FallbackAction.USE_CACHED:
            return None
        if component not in self._cache:
            return None
        stored_ns, value = self._cache[component]
        age = (self._clock.now_ns() - stored_ns) / SECOND_NS
        return (value, age) if age <= known.fallback_config.max_cache_age_seconds else None

    def get_status(self) -> dict[str, Any]:
        """Level, multiplier, its cause, and what fails now."""
        return {
            "level": str(self.level), "position_multiplier": self.position_multiplier,
            "component": self.ladder.component, "reason": self.ladder.reason, "failing": self.ladder.failing,
        }

    def _tell(self, component: str, ok: bool, reason: str = "") -> None:
        before = self.level
        self._report(component, ok, self._clock.now_ns(), reason)
        if self.level != before:
            log.warning("%s → %s: %s %s", before, self.level, self.ladder.component, self.ladder.reason)
