"""Circuit breakers as small state machines: steps up at once, steps down only well below (hysteresis)."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from trader.core.clock import SECOND_NS
from trader.core.events import BreakerChanged


@dataclass(frozen=True, slots=True)
class Step:
    """From ``level`` on the breaker is in ``state``, sizes are multiplied and ``action`` is due."""

    level: float
    state: str
    multiplier: float
    action: str = ""


class Breaker:
    """Steps against a reading.

    A step is left when the reading falls below ``release`` × its level; a ``latched`` breaker never leaves
    its last step until ``reset``. Repeating a reading changes nothing.
    """

    def __init__(self, name: str, steps: tuple[Step, ...], *, release: float = 0.8, latched: bool = False) -> None:
        self.name = name
        self.value = 0.0
        self.words = ""                         # what stands behind the reading
        self._steps = (Step(-math.inf, "normal", 1.0), *steps)
        self._release = release
        self._latched = latched
        self._place = 0
        self.tripped = False                            # on the last step
        self._bounds()

    @property
    def state(self) -> str:
        """normal, or the word of the step."""
        return self._steps[self._place].state

    @property
    def multiplier(self) -> float:
        """What sizes are multiplied by."""
        return self._steps[self._place].multiplier

    @property
    def limit(self) -> float:
        """The level of the last step."""
        return self._steps[-1].level

    def update(self, ts: int, value: float, detail: str = "") -> BreakerChanged | None:
        """A new reading; the change, if it made one."""
        self.value = value
        if self._down <= value < self._up:
            return None
        place = self._place
        while place + 1 < len(self._steps) and value >= self._steps[place + 1].level:
            place += 1
        if place == self._place and not (self._latched and self.tripped):
            while place and value < self._release * self._steps[place].level:
                place -= 1
        return self._move(ts, place, detail)

    def reset(self, ts: int, detail: str = "") -> BreakerChanged | None:
        """Back to normal: a new day, or a person's word."""
        self.value = 0.0
        return self._move(ts, 0, detail)

    def _move(self, ts: int, place: int, detail: str, until: int | None = None) -> BreakerChanged | None:
        if place == self._place:
            return None
        self._place = place
        self._bounds()
        return self.reading(ts, detail, until)

    def reading(self, ts: int, detail: str = "", until: int | None = None) -> BreakerChanged:
        """The present state as an event."""
        step = self._steps[self._place]
        return BreakerChanged(
            ts=ts, breaker=self.name, state=step.state, multiplier=step.multiplier, value=self.value,
            limit=self.limit, action=step.action, until=until, detail=detail,
        )

    def _bounds(self) -> None:
        place = self._place
        self.tripped = place == len(self._steps) - 1
        self._up = math.inf if self.tripped else self._steps[place + 1].level
        keep = place == 0 or (self._latched and self.tripped)
        self._down = -math.inf if keep else self._release * self._steps[place].level


class RejectionBreaker(Breaker):
    """Too many rejections within a window stop entries for a while; time is the session's."""

    def __init__(self, warning: int, limit: int, window_s: float, cooldown_s: float, warning_multiplier: float) -> None:
        super().__init__("rejection_rate", (
            Step(warning, "elevated", warning_multiplier, "reduce size"),
            Step(limit, "tripped", 0.0, "stop entries"),
        ), release=1.0)
        self._window_ns = int(window_s * SECOND_NS)
        self._cooldown_ns = int(cooldown_s * SECOND_NS)
        self._times: deque[int] = deque(maxlen=limit)
        self.until = 0

    def reject(self, ts: int) -> BreakerChanged | None:
        """One more rejection."""
        self._times.append(ts)
        return self.tick(ts)

    def tick(self, ts: int) -> BreakerChanged | None:
        """Let time pass."""
        times = self._times
        if not times and self._place == 0:
            return None
        while times and times[0] <= ts - self._window_ns:
            times.popleft()
        count = float(len(times))
        self.value = count
        if self.tripped and (count >= self.limit or ts < self.until):
            return None
        place = sum(count >= step.level for step in self._steps) - 1
        if place == len(self._steps) - 1:
            self.until = ts + self._cooldown_ns
            return self._move(ts, place, f"{int(count)} rejections", self.until)
        return self._move(ts, place, f"{int(count)} rejections")


class ConnectionBreaker(Breaker):
    """Trips while a component that trading needs is not up."""

    NEEDED = frozenset({"broker", "trade_stream", "data_stream"})

    def __init__(self) -> None:
        super().__init__("connection", (Step(1.0, "tripped", 0.0, "stop entries"),), release=1.0)
        self.down: set[str] = set()

    def report(self, ts: int, component: str, state: str) -> BreakerChanged | None:
        """A component's link is ``up``, ``down`` or ``reconnecting``."""
        if component not in self.NEEDED:
            return None
        (self.down.discard if state == "up" else self.down.add)(component)
        return self.update(ts, float(len(self.down)), ", ".join(sorted(self.down)))
