"""From the broker's words about orders to core events; nothing the wire says makes it raise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from trader.core.events import (
    Event,
    LegKnown,
    Note,
    OrderAccepted,
    OrderAnomaly,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
    OrderWorking,
)
from trader.core.money import ZERO
from trader.execution.broker_records import BrokerOrder, Unreadable, parse_order

SOURCE = "trade_stream"


def standing(order: BrokerOrder, ts: int) -> list[Event]:
    """What an order's status says by itself, as events: its acceptance, its legs, its end (fills excepted)."""
    legs = leg_events(order, ts)
    name = order.client_order_id
    if order.status == "rejected":
        return [OrderRejected(ts=ts, client_order_id=name, code="rejected", message="rejected by the broker")]
    accepted = _acceptance(order, ts)
    ends: dict[str, Event] = {
        "canceled": OrderCanceled(ts=ts, client_order_id=name, reason="at the broker"),
        "expired": OrderExpired(ts=ts, client_order_id=name),
    }
    return [accepted, *legs, *([ends[order.status]] if order.status in ends else [])]


def leg_events(parent: BrokerOrder, ts: int) -> list[Event]:
    """A bracket's exits, under the client ids that the broker gave them."""
    return [
        LegKnown(
            ts=ts, client_order_id=leg.client_order_id, broker_order_id=leg.id,
            parent_client_order_id=parent.client_order_id, symbol=leg.symbol, side=leg.side, quantity=leg.quantity,
            role=leg.leg_role, order_type=leg.order_type, limit_price=leg.limit_price, stop_price=leg.stop_price,
            working=leg.working,
        )
        for leg in parent.legs
    ]


def replacement(client_order_id: str, successor: BrokerOrder, ts: int) -> OrderReplaced:
    """That another order has taken the place of one of ours."""
    return OrderReplaced(
        ts=ts, client_order_id=client_order_id, new_client_order_id=successor.client_order_id,
        new_broker_order_id=successor.id, quantity=successor.quantity, limit_price=successor.limit_price,
        stop_price=successor.stop_price,
    )


class Translator:
    """Trade updates → events, remembering per order what only differences tell.

    Alpaca's messages carry an order's cumulative commission and filled quantity; an execution's own commission
    is the difference to what was counted before. Fills that a reconciliation has booked already (``count``) and
    that the stream delivers after all are recognised by the cumulative quantity and dropped with a note.
    """

    def __init__(self) -> None:
        self._commission: dict[str, Decimal] = {}           # by broker order id
        self._booked: dict[str, Decimal] = {}               # filled quantity that a reconciliation booked
        self._known: dict[str, BrokerOrder] = {}            # as last seen, by broker order id
        self._legs: set[str] = set()
        self._replaced: set[str] = set()                    # announced as replaced, successor not seen yet
        self._succeeded: set[str] = set()                   # replaced, and that was said

    def know(self, order: BrokerOrder) -> None:
        """An order and its legs as an answer over HTTP has shown them."""
        self._known[order.id] = order
        for leg in order.legs:
            self._legs.add(leg.id)
            self._known[leg.id] = leg

    def count(self, orders: Iterable[BrokerOrder]) -> None:
        """Orders as a reconciliation has just booked them: their fills and commission are accounted for."""
        for order in orders:
            self.know(order)
            if order.filled_quantity:
                self._booked[order.id] = order.filled_quantity
                if order.commission is not None:
                    self._commission[order.id] = order.commission

    def translate(self, raw: Any, ts: int) -> list[Event]:
        """The events of one trade update.

        Parameters
        ----------
        raw : Any
            The message as received, with or without its ``stream`` envelope.
        ts : int
            Nanoseconds of the session's clock, given to every event.
        """
        body = raw.get("data", raw) if isinstance(raw, dict) else raw
        if not isinstance(body, dict):
            return [_note(ts, f"trade update that is no JSON object: {raw!r:.120}")]
        try:
            order = parse_order(body.get("order"))
        except Unreadable as error:
            return [_note(ts, f"trade update without a readable order: {error}")]
        event = str(body.get("event"))
        handler = _HANDLERS.get(event)
        if handler is None:
            return [*self._first_sight(order, event, ts), _anomaly(order, ts, event, "unknown event")]
        try:
            return [*self._first_sight(order, event, ts), *handler(self, order, body, ts)]
        except (Unreadable, ArithmeticError) as error:
            return [_anomaly(order, ts, event, str(error))]

    # --- one method an event -----------------------------------------------------------------------------

    def _accepted(self, order: BrokerOrder, body: dict[str, Any], ts: int) -> list[Event]:
        if order.id in self._legs and order.working:
            return [OrderWorking(ts=ts, client_order_id=order.client_order_id, quantity=order.quantity)]
        accepted = _acceptance(order, ts)
        if order.replaces in self._replaced:
            self._replaced.discard(order.replaces)
            return [self._replacement(order.replaces, order, ts), accepted]
        return [accepted]

    def _filled(self, order: BrokerOrder, body: dict[str, Any], ts: int) -> list[Event]:
        quantity, price = _positive(body, "qty"), _positive(body, "price")
        if order.filled_quantity <= self._booked.get(order.id, ZERO):
            return [Note(ts=ts, level="info", source=SOURCE,
                         text=f"fill of {order.client_order_id} was booked by reconciliation already")]
        commission = ZERO
        if order.commission is not None:
            commission = order.commission - self._commission.get(order.id, ZERO)
            self._commission[order.id] = order.commission
        if body.get("commission") is not None:                      # the embedded exchange tells each one
            commission = _finite(body, "commission")
        # Without an execution id the cumulative quantity makes the fill countable once.
        execution = str(body.get("execution_id") or f"{order.id}@{order.filled_quantity}")
        return [
            OrderFilled(
                ts=ts, client_order_id=order.client_order_id, execution_id=execution, symbol=order.symbol,
                side=order.side, quantity=quantity, price=price, commission=commission,
            )
        ]

    def _canceled(self, order: BrokerOrder, body: dict[str, Any], ts: int) -> list[Event]:
        return [OrderCanceled(ts=ts, client_order_id=order.client_order_id, reason=_reason(body) or "at the broker")]

    def _expired(self, order: BrokerOrder, body: dict[str, Any], ts: int) -> list[Event]:
        return [OrderExpired(ts=ts, client_order_id=order.client_order_id)]

    def _rejected(self, order: BrokerOrder, body: dict[str, Any], ts: int) -> list[Event]:
        message = _reason(body) or "rejected by the broker after acceptance"
        return [OrderRejected(ts=ts, client_order_id=order.client_order_id, code="rejected", message=message)]

    def _was_replaced(self, order: BrokerOrder, body: dict[str, Any], ts: int) -> list[Event]:
        if order.replaces and not order.replaced_by:                # the message speaks of the successor
            return [self._replacement(order.replaces, order, ts)]
        if order.id in self._succeeded:
            return []
        successor = self._known.get(order.replaced_by)
        if successor is not None:       # the stop that was touched beside it, or a successor whose `new` came first
            return [self._replacement(order.id, successor, ts)]
        self._replaced.add(order.id)                                # the successor introduces itself with `new`
        return []

    def _restated(self, order: BrokerOrder, body: dict[str, Any], ts: int) -> list[Event]:
        return [
            OrderWorking(
                ts=ts, client_order_id=order.client_order_id, quantity=order.quantity,
                limit_price=order.limit_price, stop_price=order.stop_price,
            )
        ]

    def _nothing(self, order: BrokerOrder, body: dict[str, Any], ts: int) -> list[Event]:
        return []

    def _mention(self, order: BrokerOrder, body: dict[str, Any], ts: int) -> list[Event]:
        reason = _reason(body)
        text = f"{order.client_order_id}: {body['event']}" + (f" ({reason})" if reason else "")
        return [Note(ts=ts, level="warning", source=SOURCE, text=text)]

    # --- helpers -----------------------------------------------------------------------------------------

    def _first_sight(self, order: BrokerOrder, event: str, ts: int) -> list[Event]:
        """What a message tells besides its event: that an order of ours is there, and a bracket's exits."""
        fresh: list[Event] = []
        if order.id not in self._known and event not in _ACCEPTANCES:
            fresh.append(_acceptance(order, ts))            # the stream was faster than the answer to the submit
        fresh += [
            known for known, leg in zip(leg_events(order, ts), order.legs, strict=True) if leg.id not in self._legs
        ]
        self.know(order)
        return fresh

    def _replacement(self, old_id: str, new: BrokerOrder, ts: int) -> Event:
        self._succeeded.add(old_id)
        old = self._known.get(old_id)
        return replacement(old.client_order_id if old else "", new, ts)


def _acceptance(order: BrokerOrder, ts: int) -> OrderAccepted:
    return OrderAccepted(
        ts=ts, client_order_id=order.client_order_id, broker_order_id=order.id, working=order.working
    )


_Handler = Callable[[Translator, BrokerOrder, dict[str, Any], int], list[Event]]

_HANDLERS: dict[str, _Handler] = {
    "new": Translator._accepted,
    "accepted": Translator._accepted,
    "pending_new": Translator._accepted,
    "held": Translator._accepted,
    "fill": Translator._filled,
    "partial_fill": Translator._filled,
    "canceled": Translator._canceled,
    "expired": Translator._expired,
    "rejected": Translator._rejected,
    "replaced": Translator._was_replaced,
    "restated": Translator._restated,
    "pending_cancel": Translator._nothing,
    "pending_replace": Translator._nothing,
    "calculated": Translator._nothing,
    "done_for_day": Translator._mention,
    "stopped": Translator._mention,
    "suspended": Translator._mention,
    "order_replace_rejected": Translator._mention,
    "order_cancel_rejected": Translator._mention,
}


_ACCEPTANCES = frozenset(name for name, handler in _HANDLERS.items() if handler is Translator._accepted) | {"rejected"}


def _finite(body: dict[str, Any], field: str) -> Decimal:
    value = Decimal(str(body.get(field)))
    if not value.is_finite():
        raise Unreadable(f"fill with {field} {body.get(field)!r}")
    return value


def _positive(body: dict[str, Any], field: str) -> Decimal:
    value = _finite(body, field)
    if value <= 0:
        raise Unreadable(f"fill with {field} {value}")
    return value


def _reason(body: dict[str, Any]) -> str:
    order = body.get("order")
    nested = order.get("reject_reason") if isinstance(order, dict) else None
    return str(body.get("reject_reason") or body.get("reason") or nested or "")


def _anomaly(order: BrokerOrder, ts: int, news: str, detail: str) -> Event:
    return OrderAnomaly(
        ts=ts, client_order_id=order.client_order_id, state=order.status, news=news, detail=detail
    )


def _note(ts: int, text: str) -> Event:
    return Note(ts=ts, level="error", source=SOURCE, text=text)
