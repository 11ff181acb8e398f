"""The event loop that an exchange runs on: libuv's, which answers an order in four fifths of asyncio's own time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

try:
    from uvloop import new_event_loop as _new_loop
except ImportError:                         # there is none for Windows
    _new_loop = asyncio.new_event_loop      # type: ignore[assignment]


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A loop of that kind."""
    return _new_loop()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end on a loop of its own, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main)
