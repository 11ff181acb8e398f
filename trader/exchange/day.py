"""What a day does to the orders at the venue: the opening wakes them, the close sends them home."""

from __future__ import annotations

from trader.exchange.desk import Desk
from trader.exchange.types import QUEUED_STATUSES, VenueOrder


def in_the_book(desk: Desk) -> list[VenueOrder]:
    """Every order that a bar could fill, in order of arrival."""
    found = [order for orders in desk.book.values() for order in orders.values()]
    return sorted(found, key=lambda order: order.number)


def wake(desk: Desk, ts_ns: int, *, regular: bool) -> None:
    """Let queued orders work: all of them in regular hours, else those for extended hours."""
    for order in in_the_book(desk):
        if order.status in QUEUED_STATUSES and (regular or order.extended_hours):
            desk.open_up(order, ts_ns)


def suspend(desk: Desk, column: int, ts_ns: int) -> None:
    """Put the working orders of a halted symbol aside."""
    for order in tuple(desk.book.get(column, {}).values()):
        if order.status in ("new", "partially_filled"):
            desk.put_aside(order, "suspended", ts_ns)


def reinstate(desk: Desk, column: int, ts_ns: int) -> None:
    """Let the suspended orders of a symbol work again."""
    for order in tuple(desk.book.get(column, {}).values()):
        if order.status == "suspended":
            desk.open_up(order, ts_ns)


def send_home(desk: Desk, session: int, now_ns: int, *, closes: bool, ends: bool, tell: bool) -> None:
    """End the orders whose time is over: at the close (``closes``), those for extended hours as the day ``ends``.

    Orders for the day expire with their session, those good till cancelled are cancelled when too old; with
    ``tell`` the others are announced as done for the day.
    """
    for order in in_the_book(desk):
        if not order.is_open or not (ends if order.extended_hours else closes):
            continue
        if order.time_in_force == "day" and order.session <= session:
            desk.finish(order, "expired", now_ns)
        elif order.time_in_force == "gtc" and order.expires_ns <= now_ns:
            desk.finish(order, "canceled", now_ns)
        elif tell and order.status in ("new", "partially_filled"):
            order.status = "done_for_day"
            desk.announce("done_for_day", order, now_ns)
