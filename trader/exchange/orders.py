"""A new order's record, made from what the client asked for and the moment at which it came."""

from __future__ import annotations

from decimal import Decimal

from trader.core.clock import DAY_NS
from trader.core.money import to_tick
from trader.exchange.checks import Situation
from trader.exchange.desk import Desk
from trader.exchange.exits import follow
from trader.exchange.hours import Hours
from trader.exchange.types import BUY, SIGN, OrderRequest, VenueOrder, VenueRules

_FIFTY = Decimal(50)
_COLLAR_BELOW, _COLLAR_ABOVE = Decimal("1.04"), Decimal("1.025")


def new_order(
    request: OrderRequest, column: int, situation: Situation, desk: Desk, hours: Hours, rules: VenueRules,
    *, index: int, now_ns: int,
) -> VenueOrder:
    """The order before it is entered: working at once while its hours run, else queued (``accepted``)."""
    extended = request.extended_hours
    works = hours.inside_day(index) if extended else hours.open_now(index)
    over = index >= len(hours.session)
    session = hours.sessions if over else hours.session[index] if extended else hours.next_session[index]
    limit = request.take_profit if request.order_class == "oco" else request.limit_price
    order = VenueOrder(
        id=desk.ids.next(), client_order_id=request.client_order_id or desk.ids.next(),
        number=len(desk.orders) + 1, symbol=request.symbol, column=column, side=request.side,
        sign=SIGN[request.side], type=request.type, working_type=request.type,
        time_in_force=request.time_in_force, order_class=request.order_class,
        status="new" if works and request.time_in_force != "opg" else "accepted", session=session,
        created_ns=now_ns, updated_ns=now_ns, expires_ns=_expiry(request, session, hours, rules, now_ns),
        qty=request.qty, notional=request.notional,
        limit_price=limit, stop_price=request.stop_price, limit_level=float(limit or 0),
        stop_level=float(request.stop_price or 0), closing=situation.closes(request.side),
        extended_hours=extended, reserve_price=situation.reserve_price,
    )
    if request.type == "trailing_stop":
        order.trail_price, order.trail_percent = request.trail_price, request.trail_percent
        order.hwm = situation.last_price
        follow(order)
    if rules.stop_collars and request.type == "stop" and request.side == BUY and request.stop_price is not None:
        factor = _COLLAR_BELOW if request.stop_price < _FIFTY else _COLLAR_ABOVE
        order.collar_price = to_tick(request.stop_price * factor)
    return order


def _expiry(request: OrderRequest, session: int, hours: Hours, rules: VenueRules, now_ns: int) -> int:
    """When the order ends if nothing else ends it; 0 where the stored bars do not reach so far."""
    if request.time_in_force == "gtc":
        return now_ns + rules.gtc_days * DAY_NS
    return hours.closes_ns[session] if session < hours.sessions else 0
