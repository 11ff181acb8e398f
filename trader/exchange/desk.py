"""The order desk: every order, which ones are in the book, and what is announced about them."""

from __future__ import annotations

from decimal import Decimal
from math import inf
from operator import attrgetter

from trader.backtest.realistic_fills import FillCosts
from trader.exchange.book import NOBODY, Book, Side
from trader.exchange.identifiers import IdSource
from trader.exchange.types import (
    BOOK_STATUSES,
    END_FIELDS,
    OPEN_STATUSES,
    PENDING_STATUSES,
    QUEUED_STATUSES,
    UNSEEN_STATUSES,
    ZERO,
    Activity,
    Change,
    VenueEvent,
    VenueOrder,
)

ACCOUNT = "account"
_AVERAGE_QUANTUM = Decimal("0.000001")
_MOMENT, _ARRIVAL = attrgetter("ts_ns"), attrgetter("number")


class Desk:
    """Keeps orders and their groups consistent; knows nothing of prices or cash.

    Attributes
    ----------
    orders : dict
        Every order ever, by id, in the order of arrival.
    by_client_id : dict
        Client order id to id; never forgotten.
    books : dict
        Column to the orders that can trade there now, by column; ``working`` counts them all.
    fleeting, daily, queued : dict
        The orders in the books that do not outlive their moment (ioc, fok, opg, cls), those that do not outlive
        their day, those that may be waiting for a session.
    next_expiry : float
        No order that is good till cancelled ends before.
    changes : list
        Cancels and replacements that pend.
    bar : int
        The bar that is played, or was last.
    reserved : Decimal
        Dollars set aside for opening orders.
    dirty : set
        Ids of orders changed since somebody last cleared it; `ACCOUNT` where something else of the account did.
    """

    def __init__(self, ids: IdSource) -> None:
        self.ids = ids
        self.orders: dict[str, VenueOrder] = {}
        self.by_client_id: dict[str, str] = {}
        self.books: dict[int, Book] = {}
        self.working = 0
        self.fleeting: dict[str, VenueOrder] = {}
        self.daily: dict[str, VenueOrder] = {}
        self.queued: dict[str, VenueOrder] = {}
        self.next_expiry: float = inf
        self.changes: list[Change] = []
        self.events: list[VenueEvent] = []
        self.event_count = 0
        self.activities: list[Activity] = []
        self.bar = 0
        self.reserved = ZERO
        self.dirty: set[str] = set()

    def enter(self, order: VenueOrder) -> None:
        """Take a new order; it goes into the book unless it is held."""
        key = order.id
        self.orders[key] = order
        self.by_client_id[order.client_order_id] = key
        self.dirty.add(key)
        if order.status in BOOK_STATUSES:
            self.put(order)
        if not order.closing:
            self.reserve(order)

    def put(self, order: VenueOrder) -> None:
        """Into the book, where it may be already."""
        book = self.books.get(order.column)
        if book is None:
            book = self.books[order.column] = Book()
            self.books = dict(sorted(self.books.items()))
        if not book.put(order):
            return
        self.working += 1
        time_in_force = order.time_in_force
        if time_in_force == "gtc":
            if order.expires_ns < self.next_expiry:
                self.next_expiry = order.expires_ns
        elif time_in_force == "day":
            self.daily[order.id] = order
        else:
            self.fleeting[order.id] = order
        if order.status in QUEUED_STATUSES:
            self.queued[order.id] = order

    def sort_anew(self, column: int) -> None:
        """Put a symbol's orders in their places again after their prices and quantities have changed."""
        before = self.books.get(column)
        if before is not None:
            book = self.books[column] = Book()
            for order in before.orders():
                book.put(order)

    def of_symbol(self, column: int) -> list[VenueOrder]:
        """A symbol's orders in the book, in order of arrival."""
        book = self.books.get(column)
        return [] if book is None else sorted(book.orders(), key=_ARRIVAL)

    def side(self, column: int, side: str) -> Side:
        """One side of a symbol's book."""
        book = self.books.get(column)
        return NOBODY if book is None else book.sides[side]

    def hold(self, order: VenueOrder, quantity: Decimal) -> None:
        """Note that an order in the book wants so many shares more, or less."""
        if order.closing and not order.exits:
            side = self.side(order.column, order.side)
            if order.id in side.orders:
                side.alone += quantity

    def reserve(self, order: VenueOrder) -> None:
        """Set aside what the rest of an order may cost; closing orders cost nothing."""
        if order.closing:
            return
        amount = ZERO
        if order.status in BOOK_STATUSES:
            qty = order.qty
            amount = (order.notional or ZERO) if qty is None else order.reserve_price * (qty - order.filled_qty)
        self.reserved += amount - order.reserved
        order.reserved = amount

    def announce(self, event: str, order: VenueOrder, ts_ns: int) -> None:
        """Append a trade update with a copy of the order as it stands; what a shadow does unseen is not told."""
        order.updated_ns = ts_ns
        self.dirty.add(order.id)
        if order.shadow and event in UNSEEN_STATUSES:
            return
        self.event_count = seq = self.event_count + 1
        self.events.append(VenueEvent(seq, event, self.ids.next(), ts_ns, order.__copy__()))

    def execute(
        self, order: VenueOrder, ts_ns: int, price: Decimal, qty: Decimal, position_qty: Decimal, fee: Decimal,
        costs: FillCosts,
    ) -> None:
        """Count a fill in its order and take a filled one out of the book; tell it, and keep it in the history."""
        if order.filled_qty:
            filled, value = order.filled_qty + qty, order.filled_value + qty * price
            order.filled_avg_price = (value / filled).quantize(_AVERAGE_QUANTUM)
            order.commission += fee
        else:
            filled, value = qty, qty * price
            order.filled_avg_price, order.commission = price, fee
        order.filled_qty, order.filled_value, order.updated_ns = filled, value, ts_ns
        left = ZERO if order.qty is None else order.qty - filled
        if order.closing and not order.exits:
            self.hold(order, -qty)
        if left:
            event = "partial_fill"
            if order.status not in PENDING_STATUSES:
                order.status = "partially_filled"
            self.reserve(order)
        else:
            event = "fill"
            self.retire(order, "filled", ts_ns)
        self.dirty.add(order.id)
        execution_id = self.ids.next()
        self.event_count = seq = self.event_count + 1
        self.events.append(VenueEvent(
            seq, event, execution_id, ts_ns, order.__copy__(), price, qty, position_qty, fee, costs,
        ))
        self.activities.append(Activity(
            execution_id, ts_ns, event, order.id, order.symbol, order.side, qty, price, filled, left, order.status, fee,
            self.bar,
        ))

    def turn(self, order: VenueOrder, kind: str) -> None:
        """An order works as another kind from now on."""
        book = self.books.get(order.column)
        if book is not None:
            book.turn(order, kind)
        order.working_type = kind
        self.dirty.add(order.id)

    def step_forward(self, order: VenueOrder, ts_ns: int) -> None:
        """A touched stop leaves the shadow of its target and takes the target's place."""
        order.shadow = False
        self.dirty.add(order.id)
        for target in self.siblings(order):
            target.replaced_by = order.id
            self.retire(target, "replaced", ts_ns)
            self.announce("replaced", target, ts_ns)

    def open_up(self, order: VenueOrder, ts_ns: int) -> None:
        """An order that was queued, held or put aside starts to work."""
        order.status = "partially_filled" if order.filled_qty else "new"
        if self.queued:
            self.queued.pop(order.id, None)
        self.put(order)
        if not order.closing:
            self.reserve(order)
        self.announce("new", order, ts_ns)

    def put_aside(self, order: VenueOrder, status: str, ts_ns: int) -> None:
        """An order stops to trade, under a status that says why, until `open_up`."""
        self.mark(order, status)
        self.announce(status, order, ts_ns)

    def mark(self, order: VenueOrder, status: str) -> None:
        """Give an order in the book a status that keeps bars from filling it, silently."""
        order.status = status
        self.dirty.add(order.id)
        if status in QUEUED_STATUSES:
            self.queued[order.id] = order

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
                new.shadow = old.shadow
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
                    other.qty, other.time_in_force, other.expires_ns = new.qty, new.time_in_force, new.expires_ns
            self.dirty.add(other.id)
        self.enter(new)
        new.updated_ns = ts_ns
        self.announce("replaced", old, ts_ns)
        if new.status != "held":
            self.announce(new.status, new, ts_ns)
        for sibling in self.siblings(new):
            self.match_remaining(sibling, new, ts_ns)

    def retire(self, order: VenueOrder, status: str, ts_ns: int) -> None:
        """Set a final status and take the order out of the book; whoever calls says so."""
        order.status = status
        if status == "filled":                  # the most frequent end
            order.filled_ns = ts_ns
        else:
            setattr(order, END_FIELDS[status], ts_ns)
        book = self.books.get(order.column)
        if book is not None and book.take(order):
            self.working -= 1
            time_in_force = order.time_in_force
            if time_in_force != "gtc":
                (self.daily if time_in_force == "day" else self.fleeting).pop(order.id, None)
            if self.queued:
                self.queued.pop(order.id, None)
        if order.reserved:
            self.reserved -= order.reserved
            order.reserved = ZERO

    def group_of(self, order: VenueOrder) -> list[VenueOrder]:
        """The other orders that end when this one is cancelled: legs, siblings, the entry of a held leg."""
        if not (order.legs or order.exits or order.parent_id):
            return []
        related = [*order.legs, *order.exits]
        if order.parent_id is not None:
            related.append(order.parent_id)
        return [self.orders[other] for other in related if other != order.id]

    def siblings(self, order: VenueOrder) -> list[VenueOrder]:
        """Open orders of which only one may fill together with this one."""
        orders, own = self.orders, order.id
        return [orders[other] for other in order.exits if other != own and orders[other].status in OPEN_STATUSES]

    def open_orders(self) -> list[VenueOrder]:
        """What can still trade, held legs and pending replacements too, in order of arrival."""
        found = self.in_the_books()
        pending = (self.orders[change.new_id] for change in self.changes if change.new_id is not None)
        found.extend(order for order in pending if order.status == "pending_new")
        held = {leg: self.orders[leg] for order in found for leg in order.legs}     # two orders' while one is replaced
        found.extend(leg for leg in held.values() if leg.status == "held")
        return sorted(found, key=_ARRIVAL)

    def in_the_books(self) -> list[VenueOrder]:
        """Every order that a bar could fill."""
        return [order for book in self.books.values() for order in book.orders()]

    def match_remaining(self, order: VenueOrder, sibling: VenueOrder, ts_ns: int) -> None:
        """Exits of one group always want the same number of shares."""
        if order.remaining != sibling.remaining:
            order.qty = order.filled_qty + sibling.remaining
            self.announce("restated", order, ts_ns)

    def held_quantity(self, column: int, side: str) -> Decimal:
        """Shares that open closing orders of this side hold; exits of one group hold them once."""
        return self.side(column, side).held

    def sort_events(self, first: int, first_activity: int) -> None:
        """Bring the events of one bar, made symbol by symbol, into the order of time; renumber them."""
        tail = self.events[first:]
        moments = [event.ts_ns for event in tail]
        if moments == sorted(moments):
            return
        tail.sort(key=_MOMENT)
        number = self.event_count - len(tail)
        for event in tail:
            number += 1
            event.seq = number
        self.events[first:] = tail
        self.activities[first_activity:] = sorted(self.activities[first_activity:], key=_MOMENT)
