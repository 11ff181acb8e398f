"""A host around the screen: it starts before the screen and decides with it how the session ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from console.feed import Feed
    from trader.options import SessionOptions

FLAT_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0


def host_and_show(options: SessionOptions, *, simulated: bool, show: Callable[[Feed], str | None]) -> int:
    """Start the engine, show it, and do with it what the screen was told; returns the exit code."""
    from console.feed import LiveFeed
    from trader.host import EngineHost

    host = EngineHost.from_options(options)
    host.start()
    try:
        choice = show(LiveFeed(host, simulated=simulated))
    except Exception as error:                          # the screen failed; money may be at stake
        print(f"the screen failed ({type(error).__name__}: {error})", file=sys.stderr)
        choice = None
    return leave(host, options, choice)


def leave(host: Any, options: SessionOptions, choice: str | None) -> int:
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

    print("the session goes on without the screen; Ctrl+C stops it in order", flush=True)
    return follow(host, options)


def wait_until_flat(host: Any, within_s: float = FLAT_WITHIN_S, pause: Callable[[float], None] = time.sleep) -> bool:
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


def verdict(host: Any) -> int:
    """The exit code of a session that has ended."""
    if host.user_error is not None:
        from console.cli import PROGRAM

        print(f"{PROGRAM}: {host.user_error}", file=sys.stderr)
        return int(host.user_error.exit_code)
    if host.error is not None:
        print(f"alphatrade-tui: the engine failed: {host.error} (see logs/trading.log)", file=sys.stderr)
        return 70
    return 0
