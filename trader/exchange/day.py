"""What a day does to the orders at the venue: the opening wakes them, the close sends them home."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from operator import attrgetter

from trader.exchange.desk import Desk
from trader.exchange.types import QUEUED_STATUSES, VenueOrder

_ARRIVAL = attrgetter("number")


def wake(desk: Desk, ts_ns: int, *, regular: bool) -> None:
    """Let queued orders work: all of them in regular hours, else those for extended hours."""
    for order in sorted(desk.queued.values(), key=_ARRIVAL):
        if order.status not in QUEUED_STATUSES:         # the venue has been asked to change it
            del desk.queued[order.id]
        elif regular or order.extended_hours:
            desk.open_up(order, ts_ns)


def suspend(desk: Desk, column: int, ts_ns: int) -> None:
    """Put the working orders of a halted symbol aside."""
    for order in desk.of_symbol(column):
        if order.status in ("new", "partially_filled"):
            desk.put_aside(order, "suspended", ts_ns)


def reinstate(desk: Desk, column: int, ts_ns: int) -> None:
    """Let the suspended orders of a symbol work again."""
    for order in desk.of_symbol(column):
        if order.status == "suspended":
            desk.open_up(order, ts_ns)


def send_home(desk: Desk, session: int, now_ns: int, *, closes: bool, ends: bool, tell: bool) -> None:
    """End the orders whose time is over: at the close (``closes``), those for extended hours as the day ``ends``.

    Orders for the day expire with their session, those good till cancelled are cancelled when too old; with
    ``tell`` the others are announced as done for the day.
    """
    old = desk.next_expiry <= now_ns
    mortal: Iterable[VenueOrder] = desk.in_the_books() if old or tell else desk.daily.values()
    for order in sorted(mortal, key=_ARRIVAL):
        if not order.is_open or not (ends if order.extended_hours else closes):
            continue
        if order.time_in_force == "day" and order.session <= session:
            desk.finish(order, "expired", now_ns)
        elif order.time_in_force == "gtc" and order.expires_ns <= now_ns:
            desk.finish(order, "canceled", now_ns)
        elif tell and order.status in ("new", "partially_filled"):
            desk.put_aside(order, "done_for_day", now_ns)
    if old:
        lasting = (order.expires_ns for order in desk.in_the_books() if order.time_in_force == "gtc")
        desk.next_expiry = min(lasting, default=inf)
