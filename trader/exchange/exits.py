"""Exits: the legs of bracket, OTO and OCO orders, and the stop price that trails."""

from __future__ import annotations

from decimal import Decimal

from trader.core.money import to_tick
from trader.exchange.decimals import rounded
from trader.exchange.identifiers import IdSource
from trader.exchange.types import OPPOSITE, SIGN, ZERO, OrderRequest, VenueOrder

_NEAR_A_DOLLAR = 1.001          # above it ticks are cents for certain


def entry_legs(
    entry: VenueOrder, request: OrderRequest, ids: IdSource, known: int, held_stops: bool
) -> list[VenueOrder]:
    """Held exits of an entry, linked both ways; ``known`` orders exist already. See `VenueRules` on ``held_stops``."""
    side, profit, loss = OPPOSITE[entry.side], request.take_profit, request.stop_loss
    legs: list[VenueOrder] = []
    if profit is not None:
        legs.append(_leg(entry, ids, known + 2, side, "held", profit, None))
    if loss is not None:
        legs.append(_leg(entry, ids, known + 2 + len(legs), side, "held", request.stop_loss_limit, loss))
    first, last = legs[0], legs[-1]
    entry.legs = first.exits = last.exits = (first.id,) if first is last else (first.id, last.id)
    if held_stops and first is not last:
        legs[-1].shadow = True
    return legs


def oco_leg(
    order: VenueOrder, request: OrderRequest, ids: IdSource, known: int, held_stops: bool
) -> list[VenueOrder]:
    """The stop that excludes the OCO's limit order; both work at once."""
    leg = _leg(order, ids, known + 2, order.side, order.status, request.stop_loss_limit, request.stop_loss)
    order.legs = (leg.id,)
    order.exits = leg.exits = (order.id, leg.id)
    leg.shadow = held_stops
    return [leg]


def _leg(
    parent: VenueOrder, ids: IdSource, number: int, side: str, status: str,
    limit: Decimal | None, stop: Decimal | None,
) -> VenueOrder:
    kind = "limit" if stop is None else ("stop" if limit is None else "stop_limit")
    return VenueOrder(
        ids.next(), ids.next(), number, parent.symbol, parent.column, side, SIGN[side], kind, kind,
        parent.time_in_force, parent.order_class, status, parent.session, parent.created_ns, parent.updated_ns,
        parent.qty, True, ZERO, parent.expires_ns, parent.id, limit, stop,
        0.0 if limit is None else float(limit), 0.0 if stop is None else float(stop),
    )


def follow(order: VenueOrder) -> None:
    """Set the stop of a trailing stop behind its best price so far, on the tick."""
    factor, distance = order.trail
    level = order.stop_level = order.hwm_level * factor + distance
    if level > _NEAR_A_DOLLAR:
        order.stop_price = rounded(round(level, 9), 2)
    else:
        order.stop_price = to_tick(repr(round(level, 9)))
