"""The in-process venue's side of the conversation: commands in, core events out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from trader.core import events as ev
from trader.core.clock import whole_ms
from trader.core.commands import Cancel, CancelAll, Command, Submit
from trader.core.engine import Engine
from trader.exchange.errors import VenueError
from trader.exchange.types import OrderRequest, VenueEvent, VenueOrder
from trader.exchange.venue import Venue


class InProcessBroker:
    """Carries out commands at a venue in this process and tells the engine what came of them."""

    def __init__(self, venue: Venue, engine: Engine) -> None:
        self._venue = venue
        self._engine = engine
        self._endings: dict[str, VenueOrder] = {}       # one order for each way to end

    def carry_out(self, commands: Sequence[Command]) -> None:
        """Carry out commands, and those that the answers set off, until there is none left."""
        if not commands:
            return
        queue = deque(commands)
        while queue:
            command = queue.popleft()
            for event in self._execute(command):
                queue.extend(self._engine.on_event(event))
            if self._venue.desk.events:
                queue.extend(self._hear())

    def hear(self) -> None:
        """Hand the venue's news to the engine."""
        self.carry_out(self._hear())

    def _hear(self) -> list[Command]:
        commands: list[Command] = []
        for news in self._venue.drain():
            event = translate(news)
            if event is not None:
                commands += self._engine.on_event(event)
            if not news.order.is_open:
                self._let_go(news.order)
        self._venue.desk.activities.clear()             # nobody will ask for them, nor store what changed
        self._venue.desk.dirty.clear()
        return commands

    def _let_go(self, order: VenueOrder) -> None:
        """Keep of an ended order that there was one and how it ended; its group and the engine ask for no more."""
        desk = self._venue.desk
        desk.orders[order.id] = self._endings.setdefault(order.status, order)
        desk.by_client_id.pop(order.client_order_id, None)

    def _execute(self, command: Command) -> list[ev.AnyEvent]:
        venue, now = self._venue, whole_ms(self._venue.now_ns)
        if isinstance(command, Submit):
            return self._submit(command, now)
        try:
            if isinstance(command, Cancel):
                venue.cancel(command.broker_order_id)
            else:
                assert isinstance(command, CancelAll)
                venue.cancel_all()
        except VenueError as error:
            return [ev.Note(ts=now, level="warning", source="venue", text=f"cancel: {error}")]
        return []

    def _submit(self, command: Submit, now: int) -> list[ev.AnyEvent]:
        venue = self._venue
        try:
            order = venue.submit(request_of(command))
        except VenueError as error:
            return [ev.OrderRejected(
                ts=now, client_order_id=command.client_order_id, code=str(error.code), message=error.message)]
        events: list[ev.AnyEvent] = [
            ev.OrderAccepted(ts=now, client_order_id=command.client_order_id, broker_order_id=order.id)]
        events.extend(leg_known(venue.order(leg), command.client_order_id, now) for leg in order.legs)
        return events


def request_of(command: Submit) -> OrderRequest:
    """The venue's form of a command."""
    both = command.take_profit is not None and command.stop_loss is not None
    either = command.take_profit is not None or command.stop_loss is not None
    return OrderRequest(
        symbol=command.symbol, side=command.side, type=command.order_type, time_in_force=command.time_in_force,
        qty=command.quantity, limit_price=command.limit_price, stop_price=command.stop_price,
        client_order_id=command.client_order_id, order_class="bracket" if both else "oto" if either else "simple",
        take_profit=command.take_profit, stop_loss=command.stop_loss,
    )


def leg_known(leg: VenueOrder, parent: str, ts: int) -> ev.LegKnown:
    """A bracket's leg as an event."""
    return ev.LegKnown(
        ts=ts, client_order_id=leg.client_order_id, broker_order_id=leg.id, parent_client_order_id=parent,
        symbol=leg.symbol, side=leg.side, quantity=leg.qty or leg.remaining,
        role="take_profit" if leg.type == "limit" else "stop_loss", order_type=leg.type,
        limit_price=leg.limit_price, stop_price=leg.stop_price, working=leg.status != "held",
    )


def _fill(news: VenueEvent, ts: int) -> ev.AnyEvent:
    assert news.qty is not None
    assert news.price is not None
    order = news.order
    return ev.OrderFilled(
        ts=ts, client_order_id=order.client_order_id, execution_id=news.execution_id, symbol=order.symbol,
        side=order.side, quantity=news.qty, price=news.price, commission=news.commission or 0 * news.qty,
    )


def _new(news: VenueEvent, ts: int) -> ev.AnyEvent | None:
    order = news.order
    if order.parent_id is None:                         # the answer to its submit has said so
        return None
    return ev.OrderWorking(ts=ts, client_order_id=order.client_order_id, quantity=order.qty)


def _restated(news: VenueEvent, ts: int) -> ev.AnyEvent:
    order = news.order
    return ev.OrderWorking(
        ts=ts, client_order_id=order.client_order_id, quantity=order.qty, limit_price=order.limit_price,
        stop_price=order.stop_price,
    )


_TRANSLATE: dict[str, Callable[[VenueEvent, int], ev.AnyEvent | None]] = {
    "new": _new,
    "accepted": _new,
    "fill": _fill,
    "partial_fill": _fill,
    "restated": _restated,
    "canceled": lambda n, ts: ev.OrderCanceled(ts=ts, client_order_id=n.order.client_order_id),
    "expired": lambda n, ts: ev.OrderExpired(ts=ts, client_order_id=n.order.client_order_id),
}


def translate(news: VenueEvent) -> ev.AnyEvent | None:
    """A trade update as a core event; None for what the engine knows or never asks for (replacements)."""
    handler = _TRANSLATE.get(news.event)
    return None if handler is None else handler(news, whole_ms(news.ts_ns))
