"""Our books and the broker's, side by side, and where they differ; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from trader.core.money import ZERO
from trader.core.orders import AT_BROKER, OPEN, TERMINAL, OrderState
from trader.execution.broker_records import BrokerFill, BrokerOrder, BrokerPosition, flatten

CASH_TOLERANCE = Decimal("0.01")
PRICE_TOLERANCE = Decimal("0.0001")        # of the price: the broker rounds its averages


@dataclass(frozen=True, slots=True)
class LocalOrder:
    """What our journal knows of an order."""

    client_order_id: str
    symbol: str
    side: str
    quantity: Decimal
    state: OrderState
    broker_order_id: str = ""
    filled_quantity: Decimal = ZERO
    filled_value: Decimal = ZERO
    commission: Decimal = ZERO
    executions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LocalPosition:
    """A position by our fills; ``quantity`` is signed."""

    quantity: Decimal
    average_price: Decimal


@dataclass(frozen=True, slots=True)
class LocalView:
    """Our side."""

    cash: Decimal
    positions: Mapping[str, LocalPosition] = field(default_factory=dict)
    orders: Mapping[str, LocalOrder] = field(default_factory=dict)

    @classmethod
    def from_book(cls, book: Any) -> LocalView:
        """A snapshot of a `trader.core.book.Book`."""
        return cls(
            book.cash,
            {s: LocalPosition(p.quantity, p.average_price) for s, p in book.positions.items() if p.quantity},
            {
                name: LocalOrder(
                    name, o.symbol, o.side, o.quantity, o.state, o.broker_order_id, o.filled_quantity, o.filled_value,
                    o.commission, frozenset(o.executions),
                )
                for name, o in book.orders.items() if o.state not in (OrderState.INTENT, OrderState.DENIED)
            },
        )


@dataclass(frozen=True, slots=True)
class BrokerView:
    """The broker's side. ``absent`` are client ids that it answered with a clean "not found"."""

    cash: Decimal
    positions: tuple[BrokerPosition, ...] = ()
    orders: tuple[BrokerOrder, ...] = ()
    fills: tuple[BrokerFill, ...] = ()
    absent: frozenset[str] = frozenset()

    def flat_orders(self) -> list[tuple[BrokerOrder, BrokerOrder | None]]:
        """Every order with its parent, legs included, each once."""
        seen: dict[str, tuple[BrokerOrder, BrokerOrder | None]] = {}
        for order, parent in flatten(self.orders):
            if order.id not in seen or parent is not None:
                seen[order.id] = (order, parent)
        return list(seen.values())


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One difference. ``type``: missing | unknown | quantity | price | status | cash.

    ``subject`` is ``order``, ``position`` or ``cash``; ``key`` the client order id or the symbol.
    """

    type: str
    subject: str
    key: str
    details: str
    local: str = ""
    broker: str = ""


def diff(local: LocalView, broker: BrokerView) -> list[Discrepancy]:
    """Every difference that matters, orders first, then positions, then cash."""
    return [*_orders(local, broker), *_positions(local, broker.positions), *_cash(local.cash, broker.cash)]


def confirm(first: Iterable[Discrepancy], second: Iterable[Discrepancy]) -> list[Discrepancy]:
    """The differences that two looks agree on to the letter; what moved between them was news on its way."""
    before = set(first)
    return [found for found in second if found in before]


def ended(order: BrokerOrder) -> OrderState | None:
    """The terminal state of an order at the broker; None while it may trade."""
    return {
        "filled": OrderState.FILLED, "canceled": OrderState.CANCELED, "expired": OrderState.EXPIRED,
        "rejected": OrderState.REJECTED, "replaced": OrderState.REPLACED,
    }.get(order.status)


def _orders(local: LocalView, broker: BrokerView) -> list[Discrepancy]:
    found: list[Discrepancy] = []
    for order, _ in broker.flat_orders():
        ours = local.orders.get(order.client_order_id)
        if ours is not None:
            found += _compare(ours, order)
        elif order.is_open:
            words = f"{order.side} {order.quantity} {order.symbol} {order.order_type}"
            text = f"{words} is open at the broker, not in the journal"
            found.append(Discrepancy("unknown", "order", order.client_order_id, text, "", order.status))
    for name in sorted(broker.absent):
        ours = local.orders.get(name)
        # Orders whose sending has no answer yet are the order manager's to find.
        if ours is not None and ours.state in AT_BROKER:
            words = f"{ours.side} {ours.quantity} {ours.symbol}"
            text = f"{words} is {ours.state} in the journal, the broker does not know it"
            found.append(Discrepancy("missing", "order", name, text, ours.state.value, ""))
    return found


def _compare(ours: LocalOrder, theirs: BrokerOrder) -> list[Discrepancy]:
    found: list[Discrepancy] = []
    name = ours.client_order_id

    def note(kind: str, what: str, local: object, broker: object) -> None:
        text = f"{what} of {ours.symbol} order {name}: {local} in the journal, {broker} at the broker"
        found.append(Discrepancy(kind, "order", name, text, str(local), str(broker)))

    if ours.filled_quantity != theirs.filled_quantity:
        note("quantity", "filled quantity", ours.filled_quantity, theirs.filled_quantity)
    if ours.state in OPEN and theirs.is_open and ours.quantity != theirs.quantity:
        note("quantity", "quantity", ours.quantity, theirs.quantity)
    if _states_differ(ours.state, theirs):
        note("status", "state", ours.state, theirs.status)
    return found


def _states_differ(ours: OrderState, theirs: BrokerOrder) -> bool:
    end = ended(theirs)
    if end is not None:                             # what is filled differs by its quantity, not by its word
        return ours in OPEN and end is not OrderState.FILLED
    if theirs.status == "pending_cancel":
        return False
    if ours is OrderState.HELD:
        return theirs.working
    return ours in TERMINAL or ours in (OrderState.SUBMITTING, OrderState.UNKNOWN, OrderState.PENDING_CANCEL)


def _positions(local: LocalView, positions: Iterable[BrokerPosition]) -> list[Discrepancy]:
    theirs = {p.symbol: p for p in positions if p.quantity}
    found: list[Discrepancy] = []
    for symbol in sorted(theirs.keys() | local.positions.keys()):
        ours, broker = local.positions.get(symbol), theirs.get(symbol)
        if ours is None:
            assert broker is not None
            text = f"{broker.quantity} {symbol} at the broker, none in the journal"
            found.append(Discrepancy("unknown", "position", symbol, text, "0", str(broker.quantity)))
        elif broker is None:
            text = f"{ours.quantity} {symbol} in the journal, none at the broker"
            found.append(Discrepancy("missing", "position", symbol, text, str(ours.quantity), "0"))
        elif ours.quantity != broker.quantity:
            text = f"{symbol}: {ours.quantity} in the journal, {broker.quantity} at the broker"
            found.append(Discrepancy("quantity", "position", symbol, text, str(ours.quantity), str(broker.quantity)))
        elif not _near(ours.average_price, broker.average_price):
            text = f"{symbol}: average price {ours.average_price} in the journal, {broker.average_price} at the broker"
            found.append(
                Discrepancy("price", "position", symbol, text, str(ours.average_price), str(broker.average_price))
            )
    return found


def _cash(ours: Decimal, theirs: Decimal) -> list[Discrepancy]:
    if abs(ours - theirs) <= CASH_TOLERANCE:
        return []
    text = f"cash: {ours} in the journal, {theirs} at the broker ({theirs - ours:+})"
    return [Discrepancy("cash", "cash", "cash", text, str(ours), str(theirs))]


def _near(a: Decimal, b: Decimal) -> bool:
    return abs(a - b) <= max(CASH_TOLERANCE / 2, PRICE_TOLERANCE * abs(b))
