"""The session's link to its broker: account, orders, trade updates, reconciliation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from trader.core import events as ev
from trader.core.book import Book, Order
from trader.core.clock import Clock, VirtualClock, to_ns, whole_ms
from trader.core.commands import Submit
from trader.core.orders import OrderState
from trader.execution.broker_api import AlpacaBroker
from trader.execution.order_manager import OrderManager
from trader.execution.reconciliation import ReconciliationEngine
from trader.execution.trade_stream import TradeUpdateStream, stream_url
from trader.session.carrier import Carrier
from trader.utils.errors import UserError
from trader.utils.tasks import end

COMPONENT = "trade_stream"


class BrokerLink:
    """Built with the address and keys; `attach` connects it to an engine's carrier and book."""

    def __init__(self, *, key: str, secret: str, base_url: str, data_url: str | None, clock: Clock) -> None:
        self.broker = AlpacaBroker(key, secret, base_url, data_url)
        self._clock = clock
        self._key, self._secret, self._url = key, secret, stream_url(base_url)
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def attach(
        self, carrier_of: Callable[[], Carrier], book: Book, *, still_wanted: Callable[[str], bool],
        on_halt: Callable[[str], None], reconcile_interval_s: float, fills_after_ns: int,
    ) -> OrderManager:
        """Make the order manager, the stream and the reconciler; the manager is what a carrier executes with."""
        self._carrier_of = carrier_of
        self.orders = OrderManager(
            self.broker, self._clock, deliver=self._take, still_wanted=still_wanted, on_halt=on_halt)
        self.stream = TradeUpdateStream(self._key, self._secret, self._url, self._on_update, self._on_state)
        self.reconciler = ReconciliationEngine(
            self.broker, book, reconcile_interval_s, deliver=self._deliver, execute=self._execute,
            booked=self.orders.booked, clock=self._clock, fills_after=lambda: fills_after_ns)
        return self.orders

    async def start(self, timeout_s: float) -> None:
        """Connect the stream and wait until it listens."""
        self._task = asyncio.create_task(self.stream.run(), name="trade stream")
        try:
            async with asyncio.timeout(timeout_s):
                await self._up.wait()
        except TimeoutError:
            raise UserError(
                f"the broker's trade stream at {self._url} did not come up within {timeout_s:g} s; "
                "check the address, the keys and the network") from None

    async def reconcile(self) -> bool:
        """Compare and resolve until both sides agree; BrokerError when the broker is away."""
        return await self.reconciler.run_until_green()

    async def recover(self, book: Book, wait_s: float) -> None:
        """Look for orders that an earlier session was sending when it died, and wait for their fate.

        Whoever is still unknown after ``wait_s`` seconds goes on being looked for; its symbol stays locked.
        """
        deadline = time.monotonic() + wait_s
        for order in _unsure(book):
            self._take(ev.OrderUnknown(
                ts=self._clock.now_ns(), client_order_id=order.client_order_id,
                message="it was being sent when the session before ended"))
            self.orders.recover(Submit(
                client_order_id=order.client_order_id, symbol=order.symbol, side=order.side,
                quantity=order.quantity, order_type=order.order_type, time_in_force=order.time_in_force,
                limit_price=order.limit_price, stop_price=order.stop_price, take_profit=order.take_profit,
                stop_loss=order.stop_loss,
            ))
        while _unsure(book) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Close stream, probes and connections."""
        if self._task is not None:
            await end(self._task, again_s=2.0)
            await self.orders.close()
        await self.broker.close()

    # --- news --------------------------------------------------------------------------------------------

    def _on_update(self, raw: dict[str, Any]) -> None:
        if isinstance(self._clock, VirtualClock):
            self._clock.advance_to(whole_ms(_moment(raw)))
        for event in self.orders.on_trade_update(raw):
            self._take(event)

    def _on_state(self, state: str, detail: str) -> None:
        if state == "up":
            if self._up.is_set():
                self.reconciler.request()           # what happened in between was not replayed
            self._up.set()
        self._take(ev.ConnectionChanged(ts=self._clock.now_ns(), component=COMPONENT, state=state, detail=detail))

    def _take(self, event: ev.Event) -> None:
        self._carrier_of().take(event)

    def _deliver(self, events: Sequence[ev.Event]) -> None:
        for event in events:
            self._take(event)

    async def _execute(self, command: Any) -> None:
        await self._carrier_of().carry_out([command])


def _unsure(book: Book) -> list[Order]:
    """Orders that may or may not be at the broker."""
    return [order for order in book.open_orders.values()
            if order.state in (OrderState.SUBMITTING, OrderState.UNKNOWN) and not order.parent]


def _moment(raw: dict[str, Any]) -> int:
    """When the venue says that it happened, ns; 0 where it does not say."""
    body = raw.get("data", raw)
    stamp = body.get("timestamp") if isinstance(body, dict) else None
    if not isinstance(stamp, str):
        return 0
    try:
        whole, _, rest = stamp.removesuffix("Z").partition(".")
        return to_ns(datetime.fromisoformat(whole + "+00:00")) + int((rest + "000000000")[:9] if rest else 0)
    except ValueError:
        return 0


