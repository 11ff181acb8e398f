"""Faults inside the venue: fills that the market did not ask for, statuses to pass through, stop legs with new ids."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import ROUND_DOWN, Decimal

from trader.core.money import SHARE
from trader.exchange.errors import VenueError
from trader.exchange.fault_rules import (
    BEFORE_WORK,
    CALCULATED,
    ENDINGS,
    EVENTLESS,
    Fault,
    LegReplaced,
    PartialFill,
    PassStatus,
    VenueFault,
)
from trader.exchange.faults import FaultPlan, What, matches_order
from trader.exchange.matching import Bar
from trader.exchange.types import ASIDE_STATUSES, STOP_BECOMES, VenueEvent, VenueOrder
from trader.exchange.venue import Venue

_PLENTY = 1e9
_STARTS, _ENDS = "new", "fill"      # the events that say that an order works, and that it is filled
_WORKING = frozenset({"new", "partially_filled"})


def force_fill(venue: Venue, order: VenueOrder, quantity: Decimal) -> bool:
    """Fill so many shares of an order now, as a bar of one price and just enough volume would; whether it happened.

    The price is the last one, or what the order asks for where that is worse for the market.
    """
    if not order.is_open or order.status == "held":
        return False
    price = float(_fill_price(venue, order))
    model = venue.fill_model
    shares = float(quantity) + 0.5 if order.qty is not None else _PLENTY
    now = venue.now_ns
    bar = Bar(
        open=price, high=price, low=price, close=price, volume=shares / model.max_participation, start_ns=now,
        end_ns=now, adv=_PLENTY, volatility=0.0, opens=True, closes=True,
    )
    before = order.filled_qty
    venue.desk.bar = venue.index - 1
    venue.matcher.play(bar, [order])
    return order.filled_qty > before


def fill_late(venue: Venue, order: VenueOrder) -> bool:
    """Fill an order that was cancelled a moment ago, as an execution does that was on its way; whether it happened.

    One whose cancel pends fills as well. An exit fills only while the position still has its shares.
    """
    if order.status == "pending_cancel":
        return force_fill(venue, order, order.remaining)
    if order.status != "canceled" or (order.closing and not _covered(venue, order)):
        return False
    desk = venue.desk
    order.status = "partially_filled" if order.filled_qty else "new"
    desk.put(order)
    desk.reserve(order)
    filled = force_fill(venue, order, order.remaining)
    if order.is_open:                               # what could not fill stays cancelled
        desk.retire(order, "canceled", order.canceled_ns)
    return filled


def _covered(venue: Venue, order: VenueOrder) -> bool:
    """Whether the position has the shares of a closing order beyond what other orders hold."""
    held = venue.desk.held_quantity(order.column, order.side)
    return -order.sign * venue.accounts_book.quantity(order.symbol) - held >= order.remaining


def _fill_price(venue: Venue, order: VenueOrder) -> Decimal:
    """A price at which the order can fill."""
    price = venue.last_price(order.column)
    bound = max if order.sign < 0 else min
    if order.working_type in STOP_BECOMES or order.working_type == "trailing_stop":
        level = Decimal(repr(order.stop_level))
        price = max(price, level) if order.sign > 0 else min(price, level)
    if order.limit_price is not None and order.working_type in ("limit", "stop_limit"):
        price = bound(price, order.limit_price)
    return price


def _is_new_stop_leg(order: VenueOrder) -> bool:
    return order.type in STOP_BECOMES and order.parent_id is not None and order.replaces is None


def _what(order: VenueOrder) -> What:
    """An order as the log of the faults names it."""
    return {"order": order.id, "symbol": order.symbol, "side": order.side, "type": order.type}


class VenueFaults:
    """Looks at every event of the venue before it is told, and may add to them.

    Attributes
    ----------
    passing : dict
        Orders in a status of a fault, and the bar that ends it.
    passed : set of str
        Orders that were in one: they go on in peace.
    entered : dict
        Orders that came with the last `drain`, and the status of a fault that they began with.
    """

    def __init__(self, plan: FaultPlan, venue: Venue) -> None:
        self._plan = plan
        self._venue = venue
        self.passing: dict[str, int] = {}
        self.passed: set[str] = set()
        self.entered: dict[str, str] = {}
        self._late: list[VenueOrder] = []           # fill when their cancel is told

    @contextmanager
    def filling_late(self, orders: list[VenueOrder]) -> Iterator[None]:
        """Within it those of the orders that are cancelled fill as soon as that is told, and durable with it."""
        self._late = orders
        try:
            yield
        finally:
            self._late = []

    def drain(self) -> list[VenueEvent]:
        """The venue's new events and those that faults add."""
        if self.passing:
            self._go_on()
        told = events = self._venue.drain()
        self.entered.clear()
        while events and (self._late or self._plan.watches(VenueFault)):
            late, self._late = self._late, []
            for order in late:
                fill_late(self._venue, order)
            for event in events:
                if event.event in (_STARTS, _ENDS):
                    self._strike(event)
                if event.event == _STARTS:
                    self._strike_shadow(event)
            if self.passing:
                self._go_on()                       # those that pass at once
            events = self._venue.drain()
            told = told + events
        return told

    def _strike_shadow(self, event: VenueEvent) -> None:
        """A stop that works unseen begins with its target; of all faults it meets the one that gives it a new id."""
        desk = self._venue.desk
        for order in desk.siblings(desk.orders[event.order.id]):
            if order.unseen and _is_new_stop_leg(order):
                matches = matches_order(order.symbol, order.side, order.type)
                for fault in self._plan.strike(LegReplaced, matches, _what(order)):
                    self._act(order, event, fault)

    def _strike(self, event: VenueEvent) -> None:
        order = self._venue.desk.orders[event.order.id]
        is_stop_leg = _is_new_stop_leg(order)
        matches = matches_order(order.symbol, order.side, order.type)

        def meant(fault: VenueFault) -> bool:
            if not matches(fault):
                return False
            if isinstance(fault, PassStatus):
                return self._can_pass(order, fault, event.event)
            if event.event != _STARTS or not order.is_open:
                return False
            return is_stop_leg if isinstance(fault, LegReplaced) else self._can_split(order)

        for fault in self._plan.strike(VenueFault, meant, _what(order)):
            self._act(order, event, fault)

    def _can_split(self, order: VenueOrder) -> bool:
        return order.remaining >= 2 and self._venue.in_session and order.status in _WORKING

    def _can_pass(self, order: VenueOrder, fault: PassStatus, event: str) -> bool:
        if order.id in self.passed:
            return False
        if fault.status == CALCULATED:
            return event == _ENDS and order.status == "filled"
        return event == _STARTS and order.status == "new"

    def _act(self, order: VenueOrder, event: VenueEvent, fault: Fault) -> None:
        if isinstance(fault, PassStatus):
            self._pass(order, event, fault)
        elif isinstance(fault, PartialFill) and self._can_split(order):
            part = (order.remaining * Decimal(repr(fault.fraction))).quantize(SHARE, rounding=ROUND_DOWN)
            force_fill(self._venue, order, max(SHARE, part))
        elif isinstance(fault, LegReplaced) and order.stop_price is not None:
            tick = Decimal("0.01") if order.stop_price >= 1 else Decimal("0.0001")
            try:
                self._venue.replace(order.id, stop_price=order.stop_price + order.sign * tick)
            except VenueError:                      # the leg cannot move there; it stays
                return

    # --- statuses to pass through ---------------------------------------------------------------------------

    def _pass(self, order: VenueOrder, event: VenueEvent, fault: PassStatus) -> None:
        venue, status = self._venue, fault.status
        if not self._can_pass(order, fault, event.event):       # another fault was there first
            return
        self.passed.add(order.id)
        if status in BEFORE_WORK:                   # it does not work yet after all
            venue.desk.mark(order, status)
            self.entered[order.id] = status
            event.order.status = status
            event.event = "accepted" if status in EVENTLESS else status
        elif status == "done_for_day" or status not in ENDINGS:
            venue.desk.put_aside(order, status, venue.now_ns)
        else:
            venue.desk.finish(order, status, venue.now_ns)
        if status not in ENDINGS:
            self.passing[order.id] = venue.index + fault.bars

    def _go_on(self) -> None:
        """Orders whose time in a status is over go on, or what replaced them does."""
        venue = self._venue
        for order_id, due in tuple(self.passing.items()):
            order = venue.desk.orders[order_id]
            while order.replaced_by is not None:
                order = venue.desk.orders[order.replaced_by]
            if due > venue.index or (order.symbol in venue.halted and order.status == "stopped"):
                continue
            del self.passing[order_id]
            if order.status == CALCULATED:
                order.status = "filled"
                venue.desk.dirty.add(order.id)
            elif order.is_open and order.status in ASIDE_STATUSES | BEFORE_WORK:
                self._work(order)

    def _work(self, order: VenueOrder) -> None:
        venue = self._venue
        if order.status == "suspended" and order.symbol in venue.halted:
            return                                  # the halt's end lets it go on
        if order.status == "stopped":               # the trade that was guaranteed
            order.status = "partially_filled" if order.filled_qty else "new"
            if force_fill(venue, order, order.remaining):
                return
        venue.desk.open_up(order, venue.now_ns)
