"""From differences to events and commands; pure. The broker wins on facts, the journal wins on intent.

Events that no message brought have ids made of what they say, so that resolving twice counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from trader.core import events as ev
from trader.core.commands import Cancel, Command
from trader.core.money import ZERO
from trader.core.orders import TERMINAL, OrderState
from trader.execution.broker_records import BrokerFill, BrokerOrder
from trader.execution.discrepancies import CASH_TOLERANCE, BrokerView, Discrepancy, LocalOrder, LocalPosition, LocalView
from trader.execution.discrepancies import diff as compare
from trader.execution.translate import leg_events, replacement, standing

_SIGN = {"buy": 1, "sell": -1}


@dataclass(frozen=True, slots=True)
class Resolution:
    """What to record, what to order, what was done in words; ``booked`` are the orders now accounted for."""

    events: tuple[ev.Event, ...]
    commands: tuple[Command, ...]
    actions: tuple[str, ...]
    booked: tuple[BrokerOrder, ...]


def resolve(local: LocalView, broker: BrokerView, discrepancies: Iterable[Discrepancy], ts: int) -> Resolution:
    """Events that bring our books to the broker's facts, and commands that bring the broker to our intents.

    Order by order first: legs and foreign orders are taken in, missing executions are booked from the account's
    activities (their own ids and prices; a remainder that no activity explains gets a made one at the price that the
    broker's average implies), states are aligned. What then still differs in positions and cash is adjusted.
    """
    work = _Work(ts)
    by_broker_id = {order.broker_order_id: order for order in local.orders.values() if order.broker_order_id}
    pairs = {order.client_order_id: (order, parent) for order, parent in broker.flat_orders()}
    shown = {order.id: order for order, _ in pairs.values()}
    fills: dict[str, list[BrokerFill]] = {}
    for fill in broker.fills:
        fills.setdefault(fill.order_id, []).append(fill)
    names = dict.fromkeys(d.key for d in discrepancies if d.subject == "order")
    # What became of an order's exits and successor belongs to what became of the order: all is booked in one go.
    for name in [n for n in names if n in pairs]:
        names.update(dict.fromkeys(leg.client_order_id for leg in pairs[name][0].legs))
        names[_latest(pairs[name][0], shown).client_order_id] = None
    # What introduces others comes first: parents before their legs, successors before what they replaced.
    for name in sorted(names, key=lambda n: _rank(pairs.get(n))):
        if name in pairs:
            order, parent = pairs[name]
            ours = local.orders.get(name) or _take_in(work, order, parent, _replaced(order, shown, by_broker_id))
            _align(work, ours, order, fills.get(order.id, []), _latest(order, shown))
        else:
            gone = ev.OrderCanceled(ts=ts, client_order_id=name, reason="the broker does not know it")
            work.say(gone, f"dropped {name}")
    expected = _after(local, work.fills)
    for found in compare(expected, replace(broker, orders=(), absent=frozenset())):
        _adjust(work, found, broker)
    residual = broker.cash - expected.cash
    if abs(residual) > CASH_TOLERANCE:
        work.say(ev.CashAdjusted(ts=ts, amount=residual, reason="reconciliation"), f"cash {residual:+}")
    return Resolution(tuple(work.events), tuple(work.commands), tuple(work.actions), tuple(work.booked))


class _Work:
    def __init__(self, ts: int) -> None:
        self.ts = ts
        self.events: list[ev.Event] = []
        self.commands: list[Command] = []
        self.actions: list[str] = []
        self.fills: list[ev.OrderFilled] = []
        self.booked: list[BrokerOrder] = []
        self.succeeded: set[str] = set()            # orders that another one replaced

    def say(self, event: ev.Event, action: str) -> None:
        self.events.append(event)
        self.actions.append(action)


def _rank(pair: tuple[BrokerOrder, BrokerOrder | None] | None) -> int:
    if pair is None:
        return 3
    order, parent = pair
    return 0 if order.replaces else 1 if parent is None else 2


def _replaced(
    order: BrokerOrder, shown: Mapping[str, BrokerOrder], ours: Mapping[str, LocalOrder]
) -> LocalOrder | None:
    """The order of ours that this one has replaced, perhaps by way of others."""
    for _ in shown:
        if order.replaces in ours or order.replaces not in shown:
            break
        order = shown[order.replaces]
    return ours.get(order.replaces)


def _latest(order: BrokerOrder, shown: Mapping[str, BrokerOrder]) -> BrokerOrder:
    """What stands in an order's place now: itself, or the last that replaced it."""
    for _ in shown:
        if order.replaced_by not in shown:
            break
        order = shown[order.replaced_by]
    return order


def _align(
    work: _Work, ours: LocalOrder, order: BrokerOrder, fills: list[BrokerFill], latest: BrokerOrder
) -> None:
    """Bring an order of ours to what the broker says; ``latest`` is what stands in its place now."""
    state = ours.state
    if state in (OrderState.SUBMITTING, OrderState.UNKNOWN):
        work.events += standing(order, work.ts)
        work.actions.append(f"{order.client_order_id} is {order.status} at the broker")
    _book_fills(work, ours, order, fills)
    if not order.is_open:
        if state not in TERMINAL and order.status != "filled":
            end = _end(order, latest, work.ts)
            if end is not None and end not in work.events and order.client_order_id not in work.succeeded:
                work.say(end, f"{order.client_order_id} {order.status}")
        return
    if state in TERMINAL or (state is OrderState.PENDING_CANCEL and order.status != "pending_cancel"):
        work.commands.append(Cancel(client_order_id=order.client_order_id, broker_order_id=order.id))
        work.actions.append(f"cancel {order.client_order_id}, which the journal holds for {state}")
    elif (state is OrderState.HELD and order.working) or order.quantity != ours.quantity:
        work.say(
            ev.OrderWorking(
                ts=work.ts, client_order_id=order.client_order_id, quantity=order.quantity,
                limit_price=order.limit_price, stop_price=order.stop_price,
            ),
            f"{order.client_order_id} works with {order.quantity}",
        )


def _take_in(
    work: _Work, order: BrokerOrder, parent: BrokerOrder | None, replaced: LocalOrder | None
) -> LocalOrder:
    """Make an order known that our books lack: as a successor, as a bracket's leg, or as a stranger."""
    if replaced is not None:
        work.succeeded.add(replaced.client_order_id)
        work.say(
            replacement(replaced.client_order_id, order, work.ts),
            f"{replaced.client_order_id} was replaced by {order.client_order_id}",
        )
    elif parent is not None:
        work.events += [
            event for event, leg in zip(leg_events(parent, work.ts), parent.legs, strict=True) if leg.id == order.id
        ]
        work.actions.append(f"took in the {order.leg_role} of {parent.client_order_id}")
    else:
        adopted = ev.OrderAdopted(
            ts=work.ts, client_order_id=order.client_order_id, broker_order_id=order.id, symbol=order.symbol,
            side=order.side, quantity=order.quantity, order_type=order.order_type, limit_price=order.limit_price,
            stop_price=order.stop_price,
        )
        work.say(adopted, f"adopted {order.client_order_id}")
    return LocalOrder(
        order.client_order_id, order.symbol, order.side, order.quantity, OrderState.WORKING, order.id,
    )


def _book_fills(work: _Work, ours: LocalOrder, order: BrokerOrder, fills: list[BrokerFill]) -> None:
    gap = order.filled_quantity - ours.filled_quantity
    if gap <= 0:
        return
    value_gap = order.filled_quantity * order.filled_average_price - ours.filled_value
    missing = _missing(ours, fills, gap)
    parts = [(fill.execution_id, fill.quantity, fill.price) for fill in missing]
    rest = gap - sum((fill.quantity for fill in missing), ZERO)
    if rest > 0:
        explained = sum((fill.quantity * fill.price for fill in missing), ZERO)
        implied = (value_gap - explained) / rest
        price = implied if implied > 0 else order.filled_average_price
        parts.append((f"recon-{order.id}-{order.filled_quantity}", rest, price.quantize(Decimal("0.000001"))))
    commission = ZERO if order.commission is None else max(ZERO, order.commission - ours.commission)
    for number, (execution, quantity, price) in enumerate(parts, 1):
        event = ev.OrderFilled(
            ts=work.ts, client_order_id=order.client_order_id, execution_id=execution, symbol=order.symbol,
            side=order.side, quantity=quantity, price=price, commission=commission if number == len(parts) else ZERO,
        )
        work.fills.append(event)
        work.say(event, f"booked {order.side} {quantity} {order.symbol} at {price}")
    work.booked.append(order)


def _missing(ours: LocalOrder, fills: list[BrokerFill], gap: Decimal) -> list[BrokerFill]:
    """The executions that our books lack: by id, and by the cumulative quantity where the two sides' ids differ."""
    chosen: list[BrokerFill] = []
    for fill in sorted(fills, key=lambda f: (f.cumulative or ZERO, f.ts_ns, f.activity_id)):
        known = fill.execution_id in ours.executions or (
            fill.cumulative is not None and fill.cumulative <= ours.filled_quantity
        )
        if not known and fill.quantity <= gap:
            chosen.append(fill)
            gap -= fill.quantity
    return chosen


def _end(order: BrokerOrder, latest: BrokerOrder, ts: int) -> ev.Event | None:
    if order.status == "replaced":
        if latest is not order:
            return replacement(order.client_order_id, latest, ts)
        return ev.OrderCanceled(ts=ts, client_order_id=order.client_order_id, reason=f"replaced by {order.replaced_by}")
    last = standing(order, ts)[-1]
    return None if isinstance(last, ev.OrderAccepted | ev.LegKnown) else last


def _after(local: LocalView, fills: Iterable[ev.OrderFilled]) -> LocalView:
    """Cash and positions once the fills are booked (average cost; a position that turns takes the fill's price)."""
    cash, positions = local.cash, dict(local.positions)
    for fill in fills:
        signed = fill.quantity * _SIGN[fill.side]
        cash -= signed * fill.price + fill.commission
        held = positions.get(fill.symbol, LocalPosition(ZERO, ZERO))
        total = held.quantity + signed
        if held.quantity * signed >= 0:
            average = (held.average_price * abs(held.quantity) + fill.price * abs(signed)) / abs(total)
        else:
            average = held.average_price if total * held.quantity > 0 else fill.price
        if total:
            positions[fill.symbol] = LocalPosition(total, average)
        else:
            positions.pop(fill.symbol, None)
    return LocalView(cash, positions)


def _adjust(work: _Work, found: Discrepancy, broker: BrokerView) -> None:
    if found.subject != "position":
        return
    theirs = next((p for p in broker.positions if p.symbol == found.key), None)
    quantity, average = (theirs.quantity, theirs.average_price) if theirs else (ZERO, ZERO)
    event = ev.PositionAdjusted(
        ts=work.ts, symbol=found.key, quantity=quantity, average_price=average, reason="reconciliation"
    )
    work.say(event, f"{found.key} set to {quantity} at {average}")
