"""Carrying commands out: nothing leaves before its record is durable, every answer goes back to the engine."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from trader.core import events as ev
from trader.core.commands import Cancel, CancelAll, Command, Submit
from trader.core.engine import Engine
from trader.execution.order_manager import OrderManager
from trader.session.recorder import Recorder

log = logging.getLogger("alphatrade.session")

JOURNAL_FAILED = "JOURNAL"


class Carrier:
    """The link between engine and broker. ``busy`` counts commands that have no answer yet."""

    def __init__(self, engine: Engine, recorder: Recorder, orders: OrderManager,
                 now_ns: Callable[[], int]) -> None:
        self._engine = engine
        self._recorder = recorder
        self._orders = orders
        self._now_ns = now_ns
        self._tasks: set[asyncio.Task[None]] = set()
        self.carried = 0
        self.closed = False                     # set when the session has ended: what comes later is not its news

    async def carry_out(self, commands: Iterable[Command]) -> None:
        """Carry out commands in order, and those that the answers set off, until there is none left."""
        queue = deque(commands)
        while queue:
            if not self._durable(queue):
                continue
            command = queue.popleft()
            started = time.perf_counter()
            events = await self._orders.execute(command)
            waited_ms = (time.perf_counter() - started) * 1000
            self.carried += 1
            for event in events:
                if isinstance(event, ev.OrderAccepted) and isinstance(command, Submit):
                    event = msgspec.structs.replace(event, latency_ms=round(waited_ms, 3))
                queue.extend(self._engine.on_event(event))  # type: ignore[arg-type]

    def start(self, commands: Iterable[Command]) -> None:
        """Carry out beside whatever else waits: the halt's way, and late answers'."""
        commands = list(commands)
        if commands:
            task = asyncio.get_running_loop().create_task(self.carry_out(commands))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:                   # a fault of ours: said, and no new positions until somebody looks
            log.error("carrying out failed", exc_info=error)
            self._engine.report_component("carrier", False, self._now_ns(), f"{type(error).__name__}: {error}")

    def take(self, event: ev.Event) -> None:
        """News from outside (stream, probe, reconciliation): to the engine, and its commands on their way."""
        if not self.closed:
            self.start(self._engine.on_event(event))  # type: ignore[arg-type]

    async def settle(self) -> None:
        """Return when nothing is under way any more."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _durable(self, queue: deque[Command]) -> bool:
        """Commit; where the disk refuses, orders stay here and cancels go out all the same."""
        try:
            self._recorder.commit()
        except sqlite3.Error as error:
            self._engine.report_component("journal", False, self._now_ns(), str(error))
            for command in [c for c in queue if isinstance(c, Submit)]:
                queue.remove(command)
                queue.extend(self._engine.on_event(ev.OrderRejected(
                    ts=self._now_ns(), client_order_id=command.client_order_id, code=JOURNAL_FAILED,
                    message=f"not sent: the journal cannot be written ({error})")))
            return any(isinstance(c, Cancel | CancelAll) for c in queue)
        return True
