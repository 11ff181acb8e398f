"""What an order must fulfil before the venue takes it: tables of rules, each refusing in its own words.

`SHAPE_RULES` look at the request alone, `BOOK_RULES` at the account and the book as well. They run in the order of
the tables and raise `VenueError`. Each rule says which kinds of orders it concerns; `plan` gives an order's own ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import product
from typing import NamedTuple

from trader.core.money import CENT, MICRO_SHARE, SHARE, tick_size
from trader.exchange.book import Side, exempt
from trader.exchange.errors import VenueError, refusal
from trader.exchange.situation import Situation
from trader.exchange.types import BUY, SELL, SIGN, ZERO, OrderRequest, VenueOrder

TYPES = ("market", "limit", "stop", "stop_limit", "trailing_stop")
TIMES_IN_FORCE = ("day", "gtc", "opg", "cls", "ioc", "fok")
LASTING = frozenset({"day", "gtc"})
CLASSES = ("simple", "bracket", "oto", "oco")
NEEDS_LIMIT = frozenset({"limit", "stop_limit"})
NEEDS_STOP = frozenset({"stop", "stop_limit"})
INTENTS = frozenset({"buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close"})
MINIMUM_NOTIONAL = Decimal(1)
MINIMUM_TRAIL_PERCENT = Decimal("0.1")
MAXIMUM = Decimal(10**9)            # of any number: beyond it is a mistake
TAKES_FRACTIONS = frozenset({"market", "limit", "stop", "stop_limit"})


class Kind(NamedTuple):
    """The words of a request."""

    side: str
    type: str
    time_in_force: str
    order_class: str


_VOCABULARY: tuple[tuple[str, ...], ...] = (tuple(SIGN), TYPES, TIMES_IN_FORCE, CLASSES)


def check_client_id(client_order_id: str) -> None:
    """A client order id is neither empty nor endless."""
    if not 0 < len(client_order_id) <= 128:
        raise refusal("invalid", detail="client_order_id must have 1 to 128 characters")


def check_size(request: OrderRequest) -> None:
    """Shares or dollars, positive; fractions and dollars are day orders of class simple."""
    size, notional = request.qty, request.notional
    if (size is None) is (notional is None):
        raise refusal("invalid", detail="qty or notional is required, and not both")
    if size is None:
        size = notional
    if size is None or not size.is_finite() or not ZERO < size <= MAXIMUM:
        name = "notional" if request.qty is None else "qty"
        raise refusal("invalid", detail=f"{name} must be > 0 and at most {MAXIMUM}")
    if notional is not None:
        if notional < MINIMUM_NOTIONAL:
            raise refusal("unprocessable", detail="notional must be at least 1.00")
        if notional != notional.quantize(CENT):
            raise refusal("unprocessable", detail="notional is limited to 2 decimals")
    elif not size % SHARE:
        return
    elif size != size.quantize(MICRO_SHARE):
        raise refusal("unprocessable", detail="qty is limited to 9 decimals")
    if request.order_class != "simple":
        raise refusal("unprocessable", detail="fractional orders must be simple orders")
    if request.time_in_force != "day":
        raise refusal("unprocessable", detail="fractional orders must be DAY orders")
    if request.type not in TAKES_FRACTIONS:
        raise refusal("unprocessable", detail=f"fractional orders cannot be {request.type} orders")


def check_prices(request: OrderRequest) -> None:
    """The prices that the type needs, no others, on the tick. An OCO's limit is its take-profit's price."""
    kind, limit, stop, oco = request.type, request.limit_price, request.stop_price, request.order_class == "oco"
    if (limit is None) is (kind in NEEDS_LIMIT) and not oco:
        raise _misgiven(kind, "limit", limit)
    if (stop is None) is (kind in NEEDS_STOP) and (stop is None or not oco):
        raise _misgiven(kind, "stop", stop)
    if limit is not None:
        check_tick("limit_price", limit)
    if stop is not None:
        check_tick("stop_price", stop)


def _misgiven(kind: str, name: str, price: Decimal | None) -> VenueError:
    return refusal("invalid", detail=f"{kind} orders require {'' if price is None else 'no '}{name} price")


def check_exits(request: OrderRequest) -> None:
    """The prices of the legs are on the tick."""
    if request.take_profit is not None:
        check_tick("take_profit.limit_price", request.take_profit)
    if request.stop_loss is not None:
        check_tick("stop_loss.stop_price", request.stop_loss)
    if request.stop_loss_limit is not None:
        check_tick("stop_loss.limit_price", request.stop_loss_limit)


def check_distance(request: OrderRequest) -> None:
    """The distance of a trailing stop."""
    check_trail(request.type, request.trail_price, request.trail_percent)


def check_trail(kind: str, price: Decimal | None, percent: Decimal | None) -> None:
    """A trailing stop has one distance, in dollars or in per cent; nothing else has any."""
    if kind != "trailing_stop":
        if price is not None or percent is not None:
            raise refusal("invalid", detail=f"{kind} orders require no trail_price or trail_percent")
        return
    if (price is None) == (percent is None):
        raise refusal("invalid", detail="trailing_stop orders require either trail_price or trail_percent")
    if price is not None:
        check_tick("trail_price", price)
    elif percent is not None and not (percent.is_finite() and MINIMUM_TRAIL_PERCENT <= percent < 100):
        raise refusal("invalid", detail=f"trail_percent must be >= {MINIMUM_TRAIL_PERCENT} and < 100")


def check_extras(request: OrderRequest) -> None:
    """A plain order has no distance and no legs, and it may ask for extended hours."""
    if request.extended_hours or not (
        request.trail_price is None and request.trail_percent is None
        and request.take_profit is None and request.stop_loss is None
    ):
        check_distance(request)
        check_simple(request)
        check_hours(request)


def check_time_in_force(request: OrderRequest) -> None:
    """Auctions and immediate orders are simple market or limit orders."""
    if request.order_class != "simple":
        raise refusal("unprocessable", detail=f"{request.order_class} orders must be DAY or GTC orders")
    if request.type not in ("market", "limit"):
        raise refusal("unprocessable", detail=f"{request.type} orders must be DAY or GTC orders")


def check_tick(field: str, price: Decimal) -> None:
    """A price is positive and on its increment."""
    if not price.is_finite() or not ZERO < price <= MAXIMUM:
        raise refusal("invalid", detail=f"{field} must be > 0 and at most {MAXIMUM}")
    if price % tick_size(price):
        raise refusal("sub_penny", field=field, price=price)


def check_simple(request: OrderRequest) -> None:
    """A simple order has no legs."""
    if request.take_profit is not None or request.stop_loss is not None:
        raise refusal("invalid", detail="simple orders take neither take_profit nor stop_loss")


def check_class(request: OrderRequest) -> None:
    """The legs that a class needs, and the types that may carry them."""
    kind = request.order_class
    if kind in ("bracket", "oco"):
        if request.take_profit is None or request.stop_loss is None:
            name = "take_profit.limit_price" if request.take_profit is None else "stop_loss.stop_price"
            raise refusal("unprocessable", detail=f"{kind} orders require {name}")
    elif (request.take_profit is None) == (request.stop_loss is None):
        raise refusal("unprocessable", detail="oto orders require either take_profit or stop_loss")
    if kind == "oco" and request.type != "limit":
        raise refusal("invalid", detail="oco orders must be limit orders")
    if kind != "oco" and request.type not in ("market", "limit"):
        raise refusal("invalid", detail=f"{kind} orders must be market or limit orders")
    if request.extended_hours:
        raise refusal("unprocessable", detail=f"{kind} orders are not allowed in extended hours")


def check_hours(request: OrderRequest) -> None:
    """Extended hours take limit orders for the day."""
    if request.extended_hours and (request.type != "limit" or request.time_in_force != "day"):
        raise refusal("unprocessable", detail="extended hours order must be DAY limit orders")


def check_geometry(request: OrderRequest, situation: Situation) -> None:
    """Exits lie on their sides of the base price, at least a cent away; so do plain stops of the market."""
    oco, last = request.order_class == "oco", situation.last_price
    up = (request.side == BUY) is not oco
    if request.order_class == "simple":
        if request.stop_price is not None:
            check_stop(request.stop_price, last, above=up)
        return
    base = request.take_profit if oco else request.limit_price
    if base is None:
        base = last
    if request.take_profit is not None and not oco:
        check_beyond("take_profit.limit_price", request.take_profit, base, above=up)
    if request.stop_loss is not None:
        check_beyond("stop_loss.stop_price", request.stop_loss, base, above=not up)
        if base is not last:
            check_beyond("stop_loss.stop_price", request.stop_loss, last, above=not up)


def _written(value: Decimal) -> str:
    """A number in a refusal: nine places at most, no exponent, no trailing zeros."""
    return format(value.quantize(MICRO_SHARE).normalize(), "f")


def check_stop(stop: Decimal, last: Decimal, *, above: bool) -> None:
    """A plain stop lies ``above`` the market or below it: it must not be touched already."""
    if stop <= last if above else stop >= last:
        facts = {"market_price": _written(last), "stop_price": _written(stop)}
        detail = f"stop price must be {'greater' if above else 'less'} than current price"
        raise refusal("unprocessable", facts, detail=detail)


def check_beyond(field: str, price: Decimal, base: Decimal, *, above: bool) -> None:
    """A price is at least a cent above its base, or below."""
    if (price - base if above else base - price) < CENT:
        sign, word = ("+", ">=") if above else ("-", "<=")
        detail = f"{field} must be {word} base_price {sign} 0.01"
        raise refusal("unprocessable", {"base_price": _written(base)}, detail=detail)


def check_position(request: OrderRequest, situation: Situation) -> None:
    """Brackets open, OCOs close; nothing closes more than is there and not held by other orders."""
    closes = situation.closes
    if request.position_intent is not None:
        inferred = f"{request.side}_to_{'close' if closes else 'open'}"
        if request.position_intent != inferred:
            words = f"position intent mismatch, inferred: {inferred}, specified: {request.position_intent}"
            raise refusal("unprocessable", detail=words)
    if request.order_class in ("bracket", "oto") and closes:
        raise refusal("unprocessable", detail=f"{request.order_class} orders must be entry orders")
    if request.order_class == "oco" and not closes:
        raise refusal("unprocessable", detail="oco orders must be exit orders")
    if not closes:
        return
    existing, held = abs(situation.position), situation.mine.held
    available = existing - held
    requested = request.qty if request.qty is not None else (
        (request.notional or Decimal(0)) / situation.last_price
    )
    if requested > available:
        raise too_many(request.symbol, requested, existing, held, situation.mine)


def too_many(symbol: str, requested: Decimal, existing: Decimal, held: Decimal, mine: Side) -> VenueError:
    """More shares asked for than the position has beyond those that other orders of its side hold."""
    available = _written(existing - held)
    facts = {
        "available": available, "existing_qty": _written(existing), "held_for_orders": _written(held),
        "symbol": symbol, "related_orders": list(mine.orders),
    }
    return refusal("qty_available", facts, requested=_written(requested), available=available)


def check_shorting(request: OrderRequest, situation: Situation) -> None:
    """Opening shorts need a margin account, whole shares and a stock that can be borrowed."""
    if situation.closes:
        return
    rules = situation.rules
    allowed = rules.shorting and not situation.configured.no_shorting
    if not allowed or situation.figures.equity() < rules.margin_minimum_equity:
        raise refusal("shorting_disabled")
    if not situation.easy_to_borrow:
        raise refusal("not_shortable", symbol=request.symbol)
    if request.qty is None or request.qty % SHARE:
        raise refusal("unprocessable", detail="fractional orders cannot be sold short")


def check_account(request: OrderRequest, situation: Situation) -> None:
    """What the account's owner has switched off; new issues trade at a limit."""
    if situation.configured.suspend_trade:
        raise refusal("suspended_by_user")
    if not situation.configured.fractional_trading and (request.qty is None or request.qty % SHARE):
        raise refusal("unprocessable", detail="fractional trading is disabled for this account")
    if situation.rules.ipo and request.type not in NEEDS_LIMIT and request.symbol in situation.rules.ipo:
        raise refusal("unprocessable", detail=f"{request.symbol} is a new issue: only limit orders are accepted")


def check_window(request: OrderRequest, situation: Situation) -> None:
    """Orders for an auction come before it, or in the evening for the next one."""
    kind = request.time_in_force
    if situation.figures.shut(kind):
        hours = "9:28am" if kind == "opg" else "3:50pm"
        raise refusal("unprocessable", detail=f"{kind} orders are not accepted from {hours} to 7:00pm ET")


def check_wash_trade(request: OrderRequest, situation: Situation) -> None:
    """No order may trade with one's own, nor may both sides wait to open a position.

    Orders that carry a limit price (limit, stop limit) conflict only when they would cross; market and stop orders
    always. Compound and trailing orders are exempt.
    """
    opposite = situation.opposite
    if not opposite.orders:
        return
    if situation.rules.wash_trades:
        check_crossing(request, opposite)
    if opposite.openers and not situation.closes:
        raise refusal("opposite_open" if request.side == SELL else "opposite_open_short")


def check_crossing(request: OrderRequest | VenueOrder, opposite: Side) -> None:
    """No order, new or changed, trades with one of the opposite side."""
    if exempt(request.order_class, request.type):
        return
    for other in _candidates(request, opposite):
        if request.limit_price is not None and other.limit_price is not None:
            if (request.limit_price - other.limit_price) * SIGN[request.side] < 0:
                continue
            kind = "limit"
        else:
            kind = "market/stop" if other.limit_price is None else "limit"
        raise refusal("wash_trade", {
            "existing_order_id": other.id, "reject_reason": f"opposite side {kind} order exists",
        })


def _candidates(request: OrderRequest | VenueOrder, opposite: Side) -> Iterable[VenueOrder]:
    """The opposite orders that might conflict; none where the nearest limit lies beyond the request's."""
    if not opposite.plain_others:
        if not opposite.plain_limits:
            return ()
        if request.limit_price is not None:
            nearest = abs(opposite.limits[-1][0])
            if (float(request.limit_price) - nearest) * SIGN[request.side] < 0:
                return ()
    return (order for order in opposite.orders.values() if not exempt(order.order_class, order.type))


def check_buying_power(request: OrderRequest, situation: Situation) -> None:
    """Opening orders need their reserve, and an account whose positions are not out of proportion."""
    if situation.closes:
        return
    qty = request.qty
    cost = (request.notional or ZERO) if qty is None else qty * situation.reserve_price
    if cost + situation.reserved <= situation.room:
        return
    if situation.figures.gross() > situation.rules.closing_only_above * situation.figures.equity():
        raise refusal("closing_only")
    power = situation.figures.buying_power()
    if cost > power:
        raise too_dear(power, cost)


def too_dear(power: Decimal, cost: Decimal) -> VenueError:
    """A reserve beyond what the account may buy for."""
    return refusal("buying_power", {"buying_power": _written(power), "cost_basis": _written(cost)})


ShapeCheck = Callable[[OrderRequest], None]
BookCheck = Callable[[OrderRequest, Situation], None]


class Plan(NamedTuple):
    """The checks that one kind of order has to pass."""

    shape: tuple[ShapeCheck, ...]
    book: tuple[BookCheck, ...]


def _every(kind: Kind) -> bool:
    return True


def _plain(kind: Kind) -> bool:
    return kind.order_class == "simple" and kind.type != "trailing_stop"


def _compound(kind: Kind) -> bool:
    return kind.order_class != "simple"


SHAPE_RULES: tuple[tuple[ShapeCheck, Callable[[Kind], bool]], ...] = (
    (check_size, _every),
    (check_prices, _every),
    (check_exits, _compound),
    (check_extras, _plain),
    (check_distance, lambda kind: not _plain(kind)),
    (check_simple, lambda kind: kind.order_class == "simple" and not _plain(kind)),
    (check_class, _compound),
    (check_time_in_force, lambda kind: kind.time_in_force not in LASTING),
    (check_hours, lambda kind: not _plain(kind)),
)
BOOK_RULES: tuple[tuple[BookCheck, Callable[[Kind], bool]], ...] = (
    (check_account, _every),
    (check_window, lambda kind: kind.time_in_force in ("opg", "cls")),
    (check_position, _every),
    (check_geometry, lambda kind: kind.order_class != "simple" or kind.type in NEEDS_STOP),
    (check_shorting, lambda kind: kind.side == SELL),
    (check_wash_trade, _every),
    (check_buying_power, _every),
)
_PLANS: dict[tuple[str, ...], Plan] = {
    kind: Plan(
        tuple(check for check, concerns in SHAPE_RULES if concerns(kind)),
        tuple(check for check, concerns in BOOK_RULES if concerns(kind)),
    )
    for kind in map(Kind._make, product(*_VOCABULARY))
}


def plan(request: OrderRequest) -> Plan:
    """The checks for a request; VenueError when its side, type, time in force, class or intent is an unknown word."""
    if request.position_intent is not None and request.position_intent not in INTENTS:
        raise refusal("invalid", detail=f"invalid position_intent {request.position_intent!r}")
    words = request.side, request.type, request.time_in_force, request.order_class
    try:
        return _PLANS[words]
    except (KeyError, TypeError):           # a word that is not known; one that is no word at all
        name, known, value = next(
            fact for fact in zip(Kind._fields, _VOCABULARY, words, strict=True) if fact[2] not in fact[1]
        )
        detail = f"invalid {name} {value!r}: this venue takes {', '.join(known)}"
        raise refusal("invalid", detail=detail) from None
