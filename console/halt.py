"""The halt key, below everything: it fires in the terminal's input thread, even where the screen is wedged."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Any

from textual import events
from textual.driver import Driver

from console.feed import Feed


class HaltSwitch:
    """Passes a halt to the feed once per press, from whichever thread heard the key first."""

    AGAIN_AFTER_S = 0.5                     # the same press arrives a second time through the app's bindings

    def __init__(self, feed: Feed, clock: Callable[[], float] = monotonic) -> None:
        self._feed = feed
        self._clock = clock
        self._lock = Lock()
        self._fired_at: float | None = None
        self.answer: str | None = None      # why it could not; None: on its way
        self.requested = False

    def fire(self, source: str) -> str | None:
        """Halt now. Returns why it could not, if so."""
        with self._lock:
            now = self._clock()
            if self._fired_at is not None and now - self._fired_at < self.AGAIN_AFTER_S:
                return self.answer
            self._fired_at = now
            try:
                self.answer = self._feed.halt(source)
            except Exception as error:
                self.answer = f"halt failed: {type(error).__name__}: {error}"
            self.requested = self.answer is None
            return self.answer


def driver_with_halt(base: type[Driver], switch: HaltSwitch, keys: frozenset[str]) -> type[Driver]:
    """A driver that fires the switch in the thread that reads the terminal, before the app hears of the key."""

    class HaltDriver(base):  # type: ignore[misc, valid-type]
        def process_message(self, message: Any) -> None:
            if isinstance(message, events.Key) and message.key in keys:
                switch.fire(message.key)
            super().process_message(message)

    return HaltDriver
