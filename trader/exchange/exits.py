"""Exits: the legs of bracket, OTO and OCO orders, and the stop price that trails."""

from __future__ import annotations

from decimal import Decimal

from trader.core.money import to_tick
from trader.exchange.identifiers import IdSource
from trader.exchange.types import OPPOSITE, OrderRequest, VenueOrder


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
    return VenueOrder(
        id=ids.next(), client_order_id=ids.next(), number=number, symbol=parent.symbol, column=parent.column,
        side=side, sign=parent.sign if side == parent.side else -parent.sign, type=kind, working_type=kind,
        time_in_force=parent.time_in_force, order_class=parent.order_class, status=status,
        session=parent.session, created_ns=parent.created_ns, updated_ns=parent.updated_ns,
        expires_ns=parent.expires_ns, qty=parent.qty,
        limit_price=limit, stop_price=stop, limit_level=float(limit or 0), stop_level=float(stop or 0),
        closing=True, parent_id=parent.id,
    )


def follow(order: VenueOrder) -> None:
    """Set the stop of a trailing stop behind its best price so far, on the tick."""
    order.stop_level = order.trail_from(order.hwm_level)
    order.stop_price = to_tick(repr(round(order.stop_level, 9)))
