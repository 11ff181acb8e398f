"""The order that takes another's place: what may change, and what it inherits."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from trader.core.money import SHARE
from trader.exchange.checks import (
    LASTING,
    MAXIMUM,
    NEEDS_LIMIT,
    NEEDS_STOP,
    check_beyond,
    check_client_id,
    check_crossing,
    check_stop,
    check_tick,
    check_trail,
    too_dear,
    too_many,
)
from trader.exchange.desk import Desk
from trader.exchange.errors import refusal
from trader.exchange.exits import follow
from trader.exchange.orders import collar, lifetime
from trader.exchange.situation import reserve_price
from trader.exchange.types import OPPOSITE, ZERO, VenueOrder, VenueRules

if TYPE_CHECKING:
    from trader.exchange.venue import Venue


def replacement(
    old: VenueOrder,
    desk: Desk,
    rules: VenueRules,
    last_price: Decimal,
    *,
    qty: Decimal | None,
    limit_price: Decimal | None,
    stop_price: Decimal | None,
    trail: Decimal | None,
    time_in_force: str | None,
    client_order_id: str | None,
) -> VenueOrder:
    """A changed copy of ``old``, not yet born (`bear`); VenueError when the change is not allowed.

    ``last_price`` is the market's. How long it lives and what it reserves says `cover`.
    """
    for field, price, carried in (
        ("limit_price", limit_price, old.type in NEEDS_LIMIT),
        ("stop_price", stop_price, old.type in NEEDS_STOP),
    ):
        if price is not None:
            if not carried:
                raise refusal("unprocessable", detail=f"{old.type} orders have no {field}")
            check_tick(field, price)
    if time_in_force is not None and time_in_force not in LASTING and time_in_force != old.time_in_force:
        raise refusal("invalid", detail=f"invalid time_in_force {time_in_force!r}: orders change to day or gtc")
    trailing = old.type == "trailing_stop"
    if trail is not None:
        if not trailing:
            raise refusal("unprocessable", detail=f"{old.type} orders have no trail")
        check_trail(old.type, trail if old.trail_price is not None else None,
                    trail if old.trail_percent is not None else None)
    if old.notional is not None:
        raise refusal("unprocessable", detail="notional orders cannot be replaced")
    if qty is not None:
        if old.status == "held":
            raise refusal("unprocessable", detail="qty of a held leg follows its entry")
        if not qty.is_finite() or not old.filled_qty < qty <= MAXIMUM:
            raise refusal("unprocessable", detail=f"qty must be > filled_qty and at most {MAXIMUM}")
        if qty % SHARE or (old.qty or ZERO) % SHARE:
            raise refusal("unprocessable", detail="qty of fractional orders cannot be replaced, nor by a fraction")
    wanted = old.qty if qty is None else qty
    if time_in_force not in (None, "day"):
        if (wanted or ZERO) % SHARE:
            raise refusal("unprocessable", detail="fractional orders must be DAY orders")
        if old.extended_hours:
            raise refusal("unprocessable", detail="extended hours order must be DAY limit orders")
    if client_order_id is not None:
        check_client_id(client_order_id)
    changed = (qty, limit_price, stop_price, trail, time_in_force)
    current = (old.qty, old.limit_price, old.stop_price, old.trail_price or old.trail_percent, old.time_in_force)
    if all(want in (None, have) for want, have in zip(changed, current, strict=True)):
        raise refusal("unchanged")
    _check_group(old, desk, limit_price or old.limit_price, stop_price or old.stop_price)
    if stop_price is not None:
        up = old.sign > 0
        if old.order_class == "simple":
            check_stop(stop_price, last_price, above=up)
        else:
            check_beyond("stop_loss.stop_price", stop_price, last_price, above=up)
    new = old.__copy__()
    new.replaces, new.replaced_by = old.id, None
    new.reserved = old.reserved * 0
    new.qty = wanted
    new.time_in_force = time_in_force or old.time_in_force
    if limit_price is not None:
        new.limit_price, new.limit_level = limit_price, float(limit_price)
    if stop_price is not None:
        new.stop_price, new.stop_level = stop_price, float(stop_price)
        new.working_type = new.type
        new.collar_price = collar(new.type, new.side, stop_price, rules)
    if trail is not None:
        if old.trail_price is not None:
            new.trail_price = trail
        else:
            new.trail_percent = trail
        follow(new)
    if new.status == "partially_filled":
        new.status = "new"
    return new


def cover(venue: Venue, new: VenueOrder, old: VenueOrder, last_price: Decimal) -> None:
    """Let a replacement live and reserve as a new order does; VenueError when the account or its orders forbid it.

    The larger of the old and the new reserve must be covered.
    """
    rules, desk = venue.rules, venue.desk
    new.session, new.expires_ns = lifetime(
        new.time_in_force, new.extended_hours, rules, venue.hours, venue.index, venue.now_ns,
    )
    if rules.wash_trades:
        check_crossing(new, desk.side(new.column, OPPOSITE[new.side]))
    if new.closing:
        existing, mine = abs(venue.accounts_book.quantity(new.symbol)), desk.side(new.column, new.side)
        others = mine.held - old.remaining
        if old.status != "held" and new.remaining > existing - others:
            raise too_many(new.symbol, new.remaining, existing, others, mine)
        return
    new.reserve_price = reserve_price(venue, new, last_price)
    cost, power = new.reserve_price * new.remaining, venue.buying_power() + old.reserved
    if cost > power:
        raise too_dear(power, cost)


def bear(new: VenueOrder, old: VenueOrder, desk: Desk, client_order_id: str | None, now_ns: int) -> None:
    """Give a replacement that nothing speaks against its ids and its moment; one that is refused takes none."""
    new.id = desk.ids.next()
    new.client_order_id = client_order_id or desk.ids.next()
    new.number = len(desk.orders) + 1
    new.created_ns = new.updated_ns = now_ns
    new.exits = tuple(new.id if exit_id == old.id else exit_id for exit_id in old.exits)


def _check_group(old: VenueOrder, desk: Desk, limit: Decimal | None, stop: Decimal | None) -> None:
    """Exits stay on their sides of each other with the new prices, and of a limit entry while they are held."""
    for other in desk.group_of(old):
        if not other.is_open:
            continue
        if old.exits and other.exits:
            target, guard = (limit, other.stop_price) if stop is None else (other.limit_price, stop)
            if target is not None and guard is not None:
                check_beyond("stop_loss.stop_price", guard, target, above=old.sign > 0)
        elif other.parent_id == old.id and limit is not None:
            _check_entry(other.limit_price, other.stop_price, limit, above=old.sign > 0)
        elif old.parent_id == other.id and other.limit_price is not None:
            _check_entry(limit, stop, other.limit_price, above=other.sign > 0)


def _check_entry(limit: Decimal | None, stop: Decimal | None, base: Decimal, *, above: bool) -> None:
    """A held exit and the limit of its entry: a profit lies ``above`` it, a stop on the other side."""
    if stop is not None:
        check_beyond("stop_loss.stop_price", stop, base, above=not above)
    elif limit is not None:
        check_beyond("take_profit.limit_price", limit, base, above=above)
