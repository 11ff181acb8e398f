"""The embedded exchange of a simulated session: its own thread and loop, spoken to over loopback only."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from trader.utils.errors import UserError

if TYPE_CHECKING:
    from trader.exchange.server import ExchangeServer
    from trader.session.plan import SessionPlan

START_SECONDS = 30.0


class VenueThread:
    """Runs an exchange server until stopped.

    ``build`` makes the server inside the thread's loop; what has to be closed after it goes on the stack it is given.
    """

    def __init__(self, build: Callable[[ExitStack], ExchangeServer]) -> None:
        self._build = build
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="alphatrade-venue", daemon=True)
        self.port = 0
        self.control_port = 0

    def start(self) -> None:
        """Start and wait for the ports; what went wrong in the thread is raised here."""
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise UserError("the embedded exchange did not start in time; see logs/trading.log")
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Stop in order, also while it starts; safe to call twice."""
        if self._thread.ident is not None:
            self._ready.wait(START_SECONDS)
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)

    @property
    def url(self) -> str:
        """The exchange's address."""
        return f"http://127.0.0.1:{self.port}"

    def _run(self) -> None:
        try:
            from trader.exchange.loop import run

            run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        with ExitStack() as after:
            server = self._build(after)
            await server.start()
            self.port, self.control_port = server.port, server.control_port
            self._ready.set()
            try:
                await self._stop.wait()
            finally:
                await _quietly(server.stop())


async def _quietly(stopping: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(8):
            await stopping
    except TimeoutError:
        return


def build_venue(plan: SessionPlan, after: ExitStack) -> ExchangeServer:
    """The exchange of a simulated session: the plan's bars, account and pace; ``after`` closes what it keeps."""
    from decimal import Decimal

    from trader.backtest.realistic_fills import RealisticFillSimulator
    from trader.exchange.persist import VenueStore
    from trader.exchange.server import ExchangeServer
    from trader.exchange.types import VenueRules
    from trader.exchange.venue import Venue

    assert plan.panel is not None
    sim = plan.loaded.settings.sim
    venue = Venue(
        plan.panel, start_index=plan.first, cash=sim.cash, fill_model=RealisticFillSimulator(), seed=sim.seed,
        rules=VenueRules(margin_multiplier=Decimal(str(sim.margin))))
    store = after.enter_context(VenueStore(plan.home / "state" / "exchange-sim.sqlite")) if plan.persist else None
    return ExchangeServer(venue, speed="lockstep" if plan.lock_step else plan.speed, persist=store)
