"""The order desk: every order, which ones are in the book, and what is announced about them."""

from __future__ import annotations

import copy
from collections.abc import Collection
from decimal import Decimal

from trader.backtest.realistic_fills import FillCosts
from trader.exchange.identifiers import IdSource
from trader.exchange.types import (
    BOOK_STATUSES,
    END_FIELDS,
    FLEETING,
    ZERO,
    Activity,
    Change,
    VenueEvent,
    VenueOrder,
)

ACCOUNT = "account"


class Desk:
    """Keeps orders and their groups consistent; knows nothing of prices or cash.

    Attributes
    ----------
    orders : dict
        Every order ever, by id, in the order of arrival.
    by_client_id : dict
        Client order id to id; never forgotten.
    book : dict
        Column to the orders that can trade there now; ``sides`` has the same by column and side.
    fleeting : dict
        The orders in the book that do not outlive their moment (ioc, fok, opg, cls).
    changes : list
        Cancels and replacements that pend.
    reserved : Decimal
        Dollars set aside for opening orders.
    dirty : set
        Ids of orders changed since somebody last cleared it; `ACCOUNT` where something else of the account did.
    """

    def __init__(self, ids: IdSource) -> None:
        self.ids = ids
        self.orders: dict[str, VenueOrder] = {}
        self.by_client_id: dict[str, str] = {}
        self.book: dict[int, dict[str, VenueOrder]] = {}
        self.sides: dict[tuple[int, str], dict[str, VenueOrder]] = {}
        self.fleeting: dict[str, VenueOrder] = {}
        self.changes: list[Change] = []
        self.events: list[VenueEvent] = []
        self.event_count = 0
        self.activities: list[Activity] = []
        self.reserved = ZERO
        self.dirty: set[str] = set()

    def enter(self, order: VenueOrder) -> None:
        """Take a new order; it goes into the book unless it is held."""
        self.orders[order.id] = order
        self.by_client_id[order.client_order_id] = order.id
        self.dirty.add(order.id)
        if order.status in BOOK_STATUSES:
            self.put(order)
        self.reserve(order)

    def put(self, order: VenueOrder) -> None:
        """Into the book."""
        self.book.setdefault(order.column, {})[order.id] = order
        self.sides.setdefault((order.column, order.side), {})[order.id] = order
        if order.time_in_force in FLEETING:
            self.fleeting[order.id] = order

    def reserve(self, order: VenueOrder) -> None:
        """Set aside what the rest of an opening order may cost."""
        amount = ZERO
        if order.status in BOOK_STATUSES and not order.closing:
            unpriced = order.qty is None and order.notional is not None
            amount = (order.notional or ZERO) if unpriced else order.reserve_price * order.remaining
        self.reserved += amount - order.reserved
        order.reserved = amount

    def announce(
        self, event: str, order: VenueOrder, ts_ns: int, *, execution_id: str | None = None,
        price: Decimal | None = None, qty: Decimal | None = None, position_qty: Decimal | None = None,
        commission: Decimal | None = None, costs: FillCosts | None = None,
    ) -> None:
        """Append a trade update with a copy of the order as it stands."""
        order.updated_ns = ts_ns
        self.dirty.add(order.id)
        self.event_count += 1
        self.events.append(VenueEvent(
            seq=self.event_count, event=event, execution_id=execution_id or self.ids.next(), ts_ns=ts_ns,
            order=copy.copy(order), price=price, qty=qty, position_qty=position_qty, commission=commission,
            costs=costs,
        ))

    def open_up(self, order: VenueOrder, ts_ns: int) -> None:
        """An order that was queued, held or put aside starts to work."""
        order.status = "partially_filled" if order.filled_qty else "new"
        self.put(order)
        self.reserve(order)
        self.announce("new", order, ts_ns)

    def put_aside(self, order: VenueOrder, status: str, ts_ns: int) -> None:
        """An order stops to trade, under a status that says why, until `open_up`."""
        order.status = status
        self.announce(status, order, ts_ns)

    def finish(self, order: VenueOrder, status: str, ts_ns: int) -> None:
        """An order ends without (further) fills; the rest of its group ends with it."""
        self.retire(order, status, ts_ns)
        self.announce(status, order, ts_ns)
        for other in self.group_of(order):
            if other.is_open:
                self.finish(other, status, ts_ns)

    def pend(self, old: VenueOrder, new: VenueOrder | None, ts_ns: int) -> None:
        """Note a cancel, or a replacement by ``new``, that the venue settles later.

        Meanwhile the larger of both orders' reserves is set aside.
        """
        old.status = "pending_cancel" if new is None else "pending_replace"
        self.changes.append(Change(old.id, None if new is None else new.id))
        self.announce(old.status, old, ts_ns)
        if new is not None:
            need = ZERO if new.closing else new.reserve_price * new.remaining
            new.status = "pending_new"
            self.enter(new)
            new.reserved = max(ZERO, need - old.reserved)
            self.reserved += new.reserved
            self.announce("pending_new", new, ts_ns)

    def settle(self, ts_ns: int) -> None:
        """Carry out what pends, or refuse it where the order has ended meanwhile."""
        changes, self.changes = self.changes, []
        for change in changes:
            old = self.orders[change.order_id]
            new = None if change.new_id is None else self.orders[change.new_id]
            if new is None:
                if old.is_open:
                    self.finish(old, "canceled", ts_ns)
                else:
                    self.announce("order_cancel_rejected", old, ts_ns)
            elif not new.is_open:
                continue
            elif old.is_open and (new.qty is None or new.qty > old.filled_qty):
                new.filled_qty, new.filled_value = old.filled_qty, old.filled_value
                new.filled_avg_price, new.commission = old.filled_avg_price, old.commission
                new.working_type = old.working_type if old.stop_price == new.stop_price else new.working_type
                new.legs, new.parent_id = old.legs, old.parent_id       # a leg may have been replaced meanwhile
                new.exits = tuple(new.id if exit_id == old.id else exit_id for exit_id in old.exits)
                new.status = "new"
                self.swap(old, new, ts_ns)
            else:
                if old.is_open:
                    old.status = "partially_filled"
                self.retire(new, "rejected", ts_ns)
                self.announce("rejected", new, ts_ns)
                self.announce("order_replace_rejected", old, ts_ns)

    def swap(self, old: VenueOrder, new: VenueOrder, ts_ns: int) -> None:
        """Put ``new`` where ``old`` stood, in the book and in the group."""
        old.replaced_by = new.id
        self.retire(old, "replaced", ts_ns)
        for other in self.group_of(old):
            other.exits = tuple(new.id if exit_id == old.id else exit_id for exit_id in other.exits)
            other.legs = tuple(new.id if leg == old.id else leg for leg in other.legs)
            if other.parent_id == old.id:
                other.parent_id = new.id
                if other.status == "held":
                    other.qty, other.time_in_force = new.qty, new.time_in_force
            self.dirty.add(other.id)
        self.enter(new)
        new.updated_ns = ts_ns
        self.announce("replaced", old, ts_ns)
        if new.status != "held":
            self.announce(new.status, new, ts_ns)
        for sibling in self.siblings(new):
            self.match_remaining(sibling, new, ts_ns)

    def retire(self, order: VenueOrder, status: str, ts_ns: int) -> None:
        """Set a final status and take the order out of the book, silently."""
        order.status = status
        setattr(order, END_FIELDS[status], ts_ns)
        queue = self.book.get(order.column)
        if queue is not None and queue.pop(order.id, None) is not None:
            del self.sides[order.column, order.side][order.id]
            self.fleeting.pop(order.id, None)
            if not queue:
                del self.book[order.column]
        self.reserve(order)
        self.dirty.add(order.id)

    def group_of(self, order: VenueOrder) -> list[VenueOrder]:
        """The other orders that end when this one is cancelled: legs, siblings, the entry of a held leg."""
        related = [*order.legs, *order.exits]
        if order.parent_id is not None:
            related.append(order.parent_id)
        return [self.orders[other] for other in related if other != order.id]

    def siblings(self, order: VenueOrder) -> list[VenueOrder]:
        """Open orders of which only one may fill together with this one."""
        return [
            other for other in (self.orders[i] for i in order.exits if i != order.id) if other.is_open
        ]

    def open_orders(self) -> list[VenueOrder]:
        """What can still trade, held legs and pending replacements too, in order of arrival."""
        found = [order for queue in self.book.values() for order in queue.values()]
        pending = (self.orders[change.new_id] for change in self.changes if change.new_id is not None)
        found.extend(order for order in pending if order.status == "pending_new")
        legs = [self.orders[leg] for order in found for leg in order.legs]
        found.extend(leg for leg in legs if leg.status == "held")
        return sorted(found, key=lambda order: order.number)

    def match_remaining(self, order: VenueOrder, sibling: VenueOrder, ts_ns: int) -> None:
        """Exits of one group always want the same number of shares."""
        if order.remaining != sibling.remaining:
            order.qty = order.filled_qty + sibling.remaining
            self.announce("restated", order, ts_ns)

    def on_side(self, column: int, side: str) -> Collection[VenueOrder]:
        """The orders in the book of one symbol and side, in order of arrival there."""
        return self.sides.get((column, side), {}).values()

    def held_quantity(self, column: int, side: str) -> Decimal:
        """Shares that open closing orders of this side hold; exits of one group hold them once."""
        held = ZERO
        counted: set[str] = set()
        for order in self.on_side(column, side):
            if order.closing and order.id not in counted:
                held += order.remaining
                counted.update(order.exits)
        return held

    def sort_events(self, first: int, first_activity: int) -> None:
        """Bring the events of one bar, made symbol by symbol, into the order of time; renumber them."""
        if len(self.events) - first < 2:
            return
        tail = sorted(self.events[first:], key=lambda event: event.ts_ns)
        number = self.event_count - len(tail)
        for event in tail:
            number += 1
            event.seq = number
        self.events[first:] = tail
        self.activities[first_activity:] = sorted(
            self.activities[first_activity:], key=lambda activity: activity.ts_ns
        )
