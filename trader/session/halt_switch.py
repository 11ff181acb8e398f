"""The switch that takes a session out of the market: from any thread, at any moment of its life; back by a person."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from trader.core import events as ev
from trader.core.engine import Engine
from trader.core.fold import Fold
from trader.session.carrier import Carrier
from trader.utils.errors import UserError
from trader.utils.latch import HaltLatch, LatchState

log = logging.getLogger("alphatrade.session")


class HaltSwitch:
    """The latch on the disk and the engine's halt as one thing.

    A session that starts gives it the latch, then the engine, and arms it once the broker is connected. A halt that
    is asked for before that is kept and done by `arm`.
    """

    def __init__(self, fold: Fold, now_ns: Callable[[], int]) -> None:
        self._fold = fold
        self._now_ns = now_ns
        self._latching = threading.RLock()          # a signal may interrupt the very thread that latches
        self._latch: HaltLatch | None = None
        self._engine: Engine | None = None
        self._carrier: Carrier | None = None        # set by `arm`: from then on a halt is the engine's business
        self._asked: LatchState | None = None       # a halt that was asked for before

    def use_latch(self, latch: HaltLatch) -> None:
        """The account is known; what was asked for already is latched."""
        with self._latching:
            self._latch = latch
            if self._asked is not None:
                self.latch_now(self._asked.source, self._asked.reason)

    def use_engine(self, engine: Engine) -> None:
        """Entries can be refused from now on."""
        with self._latching:
            self._engine = engine
            engine.risk.system.halted = self._asked is not None

    def arm(self, carrier: Carrier, *, earlier_halt_done: bool) -> None:
        """The broker is connected: where the latch is set, trading is off; what an earlier halt left is done now."""
        assert self._latch is not None
        assert self._engine is not None
        with self._latching:
            latched = self._latch.read() or self._asked
            self._carrier = carrier
        if latched is None:
            return
        engine, now = self._engine, self._now_ns()
        engine.record(ev.HaltLatched(ts=now, source=latched.source, reason=latched.reason))
        engine.latch()
        if earlier_halt_done:
            engine.record(ev.HaltProgress(ts=now, step="flat", detail="nothing was left to do"))
        else:
            carrier.start(engine.halt("start", "finishing the halt", now))

    def latch_now(self, source: str, reason: str) -> None:
        """Set the latch, durable when this returns; new entries are refused from now on. From any thread."""
        with self._latching:
            if self._engine is not None:
                self._engine.risk.system.halted = True
            if self._carrier is None:
                self._asked = self._asked or LatchState(source, reason, time.time_ns())
            if self._latch is not None:
                try:
                    self._latch.set(source, reason, time.time_ns())
                except UserError as error:
                    log.error("the halt latch will not survive a restart: %s", error)

    def act(self, source: str, reason: str) -> None:
        """Cancel and close, beside whatever else is under way; the latch is set already. In the loop's thread."""
        if self._carrier is not None and self._engine is not None:      # else `arm` finds the latch
            self._carrier.start(self._engine.halt(source, reason, self._now_ns()))

    def halt(self, source: str, reason: str) -> None:
        """`latch_now` and `act`."""
        self.latch_now(source, reason)
        self.act(source, reason)

    async def outcome(self, wait_s: float, moves: Callable[[], bool]) -> dict[str, Any]:
        """What became of the halt, after at most ``wait_s`` seconds; at once where the market stands still.

        Returns
        -------
        dict
            ``orders_cancelled``, ``positions_closed``, ``failures``.
        """
        if self._carrier is None or self._engine is None:
            raise UserError("the session is not initialized; await system.initialize() first")
        deadline = time.monotonic() + wait_s
        await self._carrier.settle()
        halting = self._engine.halting
        while moves() and halting.running and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        waiting = tuple(
            f"{symbol}: {position.quantity} waits for the market"
            for symbol, position in self._fold.book.positions.items()) if halting.running else ()
        return {
            "orders_cancelled": halting.cancelled, "positions_closed": halting.closed,
            "failures": [*self._fold.halt.failures, *waiting],
        }

    def lift(self, by: str, reason: str) -> None:
        """Trade again, on a person's word; UserError while the halt is still at work."""
        assert self._latch is not None
        engine = self._engine
        if engine is not None and engine.halted and engine.halting.running:
            raise UserError("the halt is still cancelling and closing; resume when it is flat")
        self._latch.clear(by, reason)
        if engine is not None and engine.halted:
            engine.resume(by, reason, self._now_ns())
