"""The orders that are under way, safe to tell and to ask from any thread."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from decimal import Decimal

from trader.core import events as ev
from trader.core.money import ZERO
from trader.core.orders import OPEN, News, OrderState, advance


@dataclass(frozen=True, slots=True)
class TrackedOrder:
    """An order as known now; a snapshot, never changed."""

    client_order_id: str
    symbol: str
    side: str
    quantity: Decimal
    state: OrderState
    broker_order_id: str = ""
    parent: str = ""
    filled_quantity: Decimal = ZERO
    filled_value: Decimal = ZERO
    executions: frozenset[str] = frozenset()
    message: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it may still trade."""
        return self.state in OPEN

    @property
    def average_price(self) -> Decimal | None:
        """Mean price of the fills."""
        return self.filled_value / self.filled_quantity if self.filled_quantity else None


_NEWS: dict[type[ev.Event], News] = {
    ev.OrderSubmitting: News.SUBMIT, ev.OrderRejected: News.REJECT, ev.OrderUnknown: News.LOSE,
    ev.OrderCancelRequested: News.ASK_CANCEL, ev.OrderCanceled: News.CANCEL, ev.OrderExpired: News.EXPIRE,
    ev.OrderReplaced: News.REPLACE, ev.OrderWorking: News.ACCEPT,
}


class ActiveOrders:
    """Orders by client id, moved by events through the one state table, under one lock.

    Finished orders are kept (the latest ``keep``) so that a late or repeated fill still counts once.
    """

    def __init__(self, keep: int = 10_000) -> None:
        self._lock = threading.Lock()
        self._orders: OrderedDict[str, TrackedOrder] = OrderedDict()
        self._keep = keep
        self.anomalies = 0

    def begin(self, order: TrackedOrder) -> bool:
        """Enter an order; False when its id is there already (and nothing changes)."""
        with self._lock:
            if order.client_order_id in self._orders:
                return False
            self._orders[order.client_order_id] = order
            self._trim()
            return True

    def apply(self, event: ev.Event) -> TrackedOrder | None:
        """Tell what happened; the order as it stands then, None for one that is not known here."""
        with self._lock:
            if isinstance(event, ev.LegKnown):
                self._orders.setdefault(event.client_order_id, TrackedOrder(
                    event.client_order_id, event.symbol, event.side, event.quantity,
                    OrderState.WORKING if event.working else OrderState.HELD, event.broker_order_id,
                    event.parent_client_order_id,
                ))
            order = self._orders.get(getattr(event, "client_order_id", ""))
            if order is None:
                return None
            moved = self._moved(order, event)
            self._orders[order.client_order_id] = moved
            if isinstance(event, ev.OrderReplaced):
                self._orders.setdefault(event.new_client_order_id, TrackedOrder(
                    event.new_client_order_id, order.symbol, order.side, event.quantity, OrderState.WORKING,
                    event.new_broker_order_id, order.parent,
                ))
            return moved

    def get(self, client_order_id: str) -> TrackedOrder | None:
        """One order."""
        with self._lock:
            return self._orders.get(client_order_id)

    def open(self) -> list[TrackedOrder]:
        """All orders that may still trade."""
        with self._lock:
            return [order for order in self._orders.values() if order.is_open]

    def __len__(self) -> int:
        with self._lock:
            return len(self._orders)

    def _moved(self, order: TrackedOrder, event: ev.Event) -> TrackedOrder:
        if isinstance(event, ev.OrderFilled):
            return self._filled(order, event)
        if isinstance(event, ev.OrderAccepted):
            order = replace(order, broker_order_id=order.broker_order_id or event.broker_order_id)
            return self._to(order, News.ACCEPT if event.working else News.HOLD)
        if isinstance(event, ev.OrderWorking) and event.quantity is not None:
            order = replace(order, quantity=event.quantity)
        news = _NEWS.get(type(event))
        return order if news is None else self._to(order, news, getattr(event, "message", ""))

    def _filled(self, order: TrackedOrder, event: ev.OrderFilled) -> TrackedOrder:
        if event.execution_id in order.executions:
            return order
        filled = order.filled_quantity + event.quantity
        order = replace(
            order, filled_quantity=filled, filled_value=order.filled_value + event.quantity * event.price,
            executions=order.executions | {event.execution_id},
        )
        return self._to(order, News.FILL_ALL if filled >= order.quantity else News.FILL)

    def _to(self, order: TrackedOrder, news: News, message: str = "") -> TrackedOrder:
        state = advance(order.state, news)
        if state is None:
            self.anomalies += 1
            return order
        return replace(order, state=state, message=message or order.message)

    def _trim(self) -> None:
        surplus = len(self._orders) - self._keep
        if surplus > 0:
            for name in [n for n, order in self._orders.items() if not order.is_open][:surplus]:
                del self._orders[name]
