"""A new order's record, made from what the client asked for and the moment at which it came."""

from __future__ import annotations

from decimal import Decimal

from trader.core.clock import DAY_NS, SECOND_NS
from trader.core.money import to_tick
from trader.exchange.desk import Desk
from trader.exchange.exits import follow
from trader.exchange.hours import Hours
from trader.exchange.situation import Situation
from trader.exchange.types import BUY, SIGN, OrderRequest, VenueOrder, VenueRules

_FIFTY = Decimal(50)
_COLLAR_BELOW, _COLLAR_ABOVE = Decimal("1.04"), Decimal("1.025")


def new_order(
    request: OrderRequest, column: int, situation: Situation, desk: Desk, hours: Hours, index: int, now_ns: int
) -> VenueOrder:
    """The order before it is entered: working at once while its hours run, else queued (``accepted``)."""
    extended, time_in_force = request.extended_hours, request.time_in_force
    works = hours.inside[index] if extended else hours.open_at[index]
    session, expires_ns = lifetime(time_in_force, extended, situation.rules, hours, index, now_ns)
    side, kind, limit = request.side, request.type, request.limit_price
    if request.order_class == "oco":                # its limit is the take-profit's price
        limit = request.take_profit
    status = "new" if works and time_in_force != "opg" else "accepted"
    next_id = desk.ids.next
    order = VenueOrder(
        next_id(), request.client_order_id or next_id(), len(desk.orders) + 1, request.symbol, column, side, SIGN[side],
        kind, kind, time_in_force, request.order_class, status, session, now_ns, now_ns, request.qty,
        situation.closes, situation.reserve_price, expires_ns, None, limit, None,
        0.0 if limit is None else float(limit),
    )
    if request.notional is not None:
        order.notional = request.notional
    if extended:
        order.extended_hours = True
    if kind not in ("market", "limit"):
        _set_stop(order, request, situation)
    return order


def lifetime(
    time_in_force: str, extended: bool, rules: VenueRules, hours: Hours, index: int, now_ns: int
) -> tuple[int, int]:
    """The session that an order of this moment is for, and when it ends (0 beyond the stored bars)."""
    if not extended:
        session, ends_ns = hours.next_session[index], hours.closes_ns
    else:
        session, ends_ns = hours.session[index] if index < len(hours.session) else hours.sessions, hours.ends_ns
    if time_in_force == "gtc":
        return session, now_ns - now_ns % SECOND_NS + rules.gtc_days * DAY_NS
    return session, ends_ns[session] if session < hours.sessions else 0


def collar(kind: str, side: str, stop: Decimal, rules: VenueRules) -> Decimal | None:
    """What a touched stop may pay at most; None where nothing bounds it."""
    if not rules.stop_collars or kind != "stop" or side != BUY:
        return None
    return to_tick(stop * (_COLLAR_BELOW if stop < _FIFTY else _COLLAR_ABOVE))


def _set_stop(order: VenueOrder, request: OrderRequest, situation: Situation) -> None:
    """What a stop waits for, exactly and as a float."""
    stop = request.stop_price
    if stop is not None:
        order.stop_price, order.stop_level = stop, float(stop)
        order.collar_price = collar(order.type, order.side, stop, situation.rules)
    elif order.type == "trailing_stop":
        order.trail_price, order.trail_percent = request.trail_price, request.trail_percent
        order.hwm = situation.last_price
        follow(order)
