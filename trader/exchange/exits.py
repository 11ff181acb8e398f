"""Exits: the legs of bracket, OTO and OCO orders, and the stop price that trails."""

from __future__ import annotations

from decimal import Decimal

from trader.core.money import to_tick
from trader.exchange.decimals import rough
from trader.exchange.identifiers import IdSource
from trader.exchange.types import OPPOSITE, ZERO, OrderRequest, VenueOrder


def entry_legs(entry: VenueOrder, request: OrderRequest, ids: IdSource, known: int) -> list[VenueOrder]:
    """Held exits of an entry, linked both ways; ``known`` orders exist already."""
    legs: list[VenueOrder] = []
    side = OPPOSITE[entry.side]
    if request.take_profit is not None:
        legs.append(_leg(entry, ids, known + 2, side, "held", limit=request.take_profit))
    if request.stop_loss is not None:
        legs.append(_stop_leg(entry, request, ids, known + 2 + len(legs), side, "held"))
    exits = tuple(leg.id for leg in legs)
    for leg in legs:
        leg.exits = exits
    entry.legs = exits
    return legs


def oco_leg(order: VenueOrder, request: OrderRequest, ids: IdSource, known: int) -> list[VenueOrder]:
    """The stop that excludes the OCO's limit order; both work at once."""
    leg = _stop_leg(order, request, ids, known + 2, order.side, order.status)
    order.legs = (leg.id,)
    order.exits = leg.exits = (order.id, leg.id)
    return [leg]


def _stop_leg(
    parent: VenueOrder, request: OrderRequest, ids: IdSource, number: int, side: str, status: str
) -> VenueOrder:
    return _leg(parent, ids, number, side, status, limit=request.stop_loss_limit, stop=request.stop_loss)


def _leg(
    parent: VenueOrder, ids: IdSource, number: int, side: str, status: str,
    limit: Decimal | None = None, stop: Decimal | None = None,
) -> VenueOrder:
    kind = "limit" if stop is None else ("stop" if limit is None else "stop_limit")
    leg = VenueOrder(
        ids.next(), ids.next(), number, parent.symbol, parent.column, side,
        parent.sign if side == parent.side else -parent.sign, kind, kind, parent.time_in_force, parent.order_class,
        status, parent.session, parent.created_ns, parent.updated_ns, parent.qty, True, ZERO, parent.expires_ns,
    )
    leg.parent_id = parent.id
    if limit is not None:
        leg.limit_price, leg.limit_level = limit, rough(limit)
    if stop is not None:
        leg.stop_price, leg.stop_level = stop, rough(stop)
    return leg


def follow(order: VenueOrder) -> None:
    """Set the stop of a trailing stop behind its best price so far, on the tick."""
    order.stop_level = order.trail_from(order.hwm_level)
    order.stop_price = to_tick(repr(round(order.stop_level, 9)))
