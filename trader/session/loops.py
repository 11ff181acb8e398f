"""How a session moves: in lock-step with its venue, or as the market moves."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from trader.core.panel import Slice
from trader.session.carrier import Carrier
from trader.session.venue_control import VenueControl

LOCK_STEP_SECONDS = 30.0
TICK_SECONDS = 0.25


class Updates(Protocol):
    """The trade stream: raw messages handed to the engine so far."""

    processed: int

    async def wait_processed(self, count: int) -> None: ...


class Market(Protocol):
    """Bars made into slices."""

    async def wait_slice(self, bar_ts: int, symbols: list[str]) -> Slice: ...
    def due(self) -> list[Slice]: ...


OnSlice = Callable[[Slice], Awaitable[None]]


class LockStep:
    """The venue plays one bar when the session has answered the last; nothing depends on the machine's speed."""

    def __init__(self, venue: VenueControl, updates: Updates, market: Market, carrier: Carrier,
                 on_slice: OnSlice) -> None:
        self._venue = venue
        self._updates = updates
        self._market = market
        self._carrier = carrier
        self._on_slice = on_slice
        self._base = 0
        self._heard = 0                         # commands whose consequences have been waited for

    async def run(self, stop: asyncio.Event, stop_after: int) -> str:
        """Play until the bars end, ``stop_after`` slices are done or ``stop`` is set; says why it ended."""
        state = await self._venue.state()
        self._base = int(state["trade_updates"]) - self._updates.processed
        self._heard = self._carrier.carried
        done = bool(state["done"])
        played = 0
        while not done and not stop.is_set():
            if stop_after and played >= stop_after:
                return f"{stop_after} slices played"
            answer = await self._venue.step()
            await self._hear(answer)
            bar = await _in_time(self._market.wait_slice(int(answer["bar_ts_ns"]), list(answer["symbols"])), "bars")
            await self._on_slice(bar)
            await self._quiet()
            played += 1
            done = bool(answer["done"])
        return "all bars played" if done else "stopped"

    async def _quiet(self) -> None:
        """Until nothing that was set off is unanswered, here or at the venue."""
        while True:
            await self._carrier.settle()
            if self._carrier.carried == self._heard:
                return
            self._heard = self._carrier.carried
            await self._hear(await self._venue.state())

    async def _hear(self, answer: dict[str, Any]) -> None:
        await _in_time(self._updates.wait_processed(int(answer["trade_updates"]) - self._base), "trade updates")
        await self._carrier.settle()


class FreeRun:
    """The market moves by itself; slices come when their bars have come."""

    def __init__(self, market: Market, on_slice: OnSlice, every_second: Callable[[], Awaitable[None]]) -> None:
        self._market = market
        self._on_slice = on_slice
        self._every_second = every_second
        self.wake = asyncio.Event()

    async def run(self, stop: asyncio.Event, stop_after: int) -> str:
        """Run until ``stop`` is set or ``stop_after`` slices are done; says why it ended."""
        played = 0
        last = time.monotonic()
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self.wake.wait()
            self.wake.clear()
            for bar in self._market.due():
                await self._on_slice(bar)
                played += 1
                if stop_after and played >= stop_after:
                    return f"{stop_after} slices played"
            if time.monotonic() - last >= 1.0:
                last = time.monotonic()
                await self._every_second()
        return "stopped"


async def _in_time(waiting: Awaitable[Any], what: str) -> Any:
    try:
        async with asyncio.timeout(LOCK_STEP_SECONDS):
            return await waiting
    except TimeoutError:
        raise ConnectionError(f"the venue's {what} did not arrive within {LOCK_STEP_SECONDS:g} s") from None
