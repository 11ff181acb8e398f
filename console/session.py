"""A host around the screen: it starts before the screen and decides with it how the session ends."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trader.frames import Frame
from trader.utils.errors import UserError

if TYPE_CHECKING:
    from console.feed import Feed
    from trader.host import EngineHost
    from trader.options import SessionOptions

_NOTHING_YET = Frame()
FLAT_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0
PAINT_WITHIN_S = 2.0                    # imports share the interpreter: together, both would be late


class HostInWaiting:
    """Starts the engine's host in a thread, so that the screen need not wait for the engine's imports.

    It answers as the host does. A halt that arrives before the host exists is kept and delivered first of all.
    """

    def __init__(self, make: Callable[[], EngineHost]) -> None:
        self._make = make
        self._host: EngineHost | None = None
        self._lock = threading.Lock()
        self._go = threading.Event()
        self._early_halts: list[tuple[str, str]] = []
        self._error: str | None = None
        self._user_error: UserError | None = None
        self._thread = threading.Thread(target=self._run, name="alphatrade-start", daemon=True)

    def start(self) -> None:
        """Begin; returns at once. The engine is imported when the screen has been painted, or has had its time."""
        self._thread.start()

    def painted(self) -> None:
        """The screen stands; go."""
        self._go.set()

    def _run(self) -> None:
        self._go.wait(PAINT_WITHIN_S)
        try:
            host = self._make()
            host.start()
        except UserError as error:
            self._user_error, self._error = error, str(error)
            return
        except Exception as error:
            self._error = f"{type(error).__name__}: {error}"
            return
        with self._lock:
            self._host = host
            for source, reason in self._early_halts:
                host.halt(source, reason)

    def ready(self, timeout: float | None = None) -> EngineHost | None:
        """The host, once it has started; None where it could not."""
        self._thread.join(timeout)
        return self._host

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() or (self._host is not None and self._host.alive)

    @property
    def error(self) -> str | None:
        return self._error if self._host is None else self._host.error

    @property
    def user_error(self) -> UserError | None:
        return self._user_error if self._host is None else self._host.user_error

    def frame(self) -> Frame:
        return _NOTHING_YET if self._host is None else self._host.frame()

    def halt(self, source: str, reason: str) -> None:
        with self._lock:
            if self._host is None:
                self._early_halts.append((source, reason))
                return
        self._host.halt(source, reason)

    def resume(self, by: str, reason: str) -> str | None:
        return "the engine is still starting" if self._host is None else self._host.resume(by, reason)

    def command(self, name: str, **arguments: Any) -> None:
        if self._host is not None:
            self._host.command(name, **arguments)

    def stop(self, timeout: float) -> bool:
        self._go.set()
        host = self.ready(timeout)
        return not self._thread.is_alive() if host is None else host.stop(timeout=timeout)


def host_and_show(options: SessionOptions, *, simulated: bool,
                  show: Callable[[Feed, Callable[[], None]], str | None]) -> int:
    """Start the engine, show it, and do with it what the screen was told; returns the exit code."""
    def make() -> EngineHost:
        from trader.host import EngineHost

        return EngineHost.from_options(options)

    host = HostInWaiting(make)
    host.start()
    try:
        from console.feed import LiveFeed

        choice = show(LiveFeed(host, simulated=simulated), host.painted)
    except Exception as error:                          # the screen failed; money may be at stake
        print(f"the screen failed ({type(error).__name__}: {error})", file=sys.stderr)
        choice = None
    return leave(host, options, choice)


def leave(host: HostInWaiting, options: SessionOptions, choice: str | None) -> int:
    """``stop``, ``halt`` or ``leave`` the session; a screen that failed leaves it running."""
    if choice == "halt":
        print("halting: waiting until every position is closed …", flush=True)
        if not wait_until_flat(host):
            print(f"not flat after {FLAT_WITHIN_S:.0f} s; the latch holds, positions keep their stops", file=sys.stderr)
    if choice in ("stop", "halt", "refused"):
        if not host.stop(timeout=STOP_WITHIN_S):
            print(f"the engine did not stop within {STOP_WITHIN_S:.0f} s", file=sys.stderr)
            return 70
        return verdict(host)
    from trader.headless import follow

    running = host.ready()
    if running is None:
        return verdict(host)
    signal.signal(signal.SIGTERM, _interrupt)
    print("the session goes on without the screen; Ctrl+C stops it in order", flush=True)
    return follow(running, options)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def wait_until_flat(host: HostInWaiting, within_s: float = FLAT_WITHIN_S,
                    pause: Callable[[float], None] = time.sleep) -> bool:
    """Whether the halt closed everything in time."""
    deadline = time.monotonic() + within_s
    while host.alive and time.monotonic() < deadline:
        frame = host.frame()
        if frame.halt.step == "failed":
            return False
        if frame.halt.latched and frame.halt.step in ("flat", "done"):
            return True
        pause(0.1)
    return False


def verdict(host: HostInWaiting) -> int:
    """The exit code of a session that has ended."""
    if host.user_error is not None:
        print(f"alphatrade-tui: {host.user_error}", file=sys.stderr)
        return int(host.user_error.exit_code)
    if host.error is not None:
        print(f"alphatrade-tui: the engine failed: {host.error} (see logs/trading.log)", file=sys.stderr)
        return 70
    return 0
