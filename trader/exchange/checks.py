"""What an order must fulfil before the venue takes it: one table of rules, each refusing in its own words.

`SHAPE_CHECKS` look at the request alone, `BOOK_CHECKS` at the account and the book as well. They run in the
order of the tables and raise `VenueError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from decimal import Decimal
from itertools import product
from typing import NamedTuple, Protocol

from trader.core.money import CENT, MICRO_SHARE, SHARE, tick_size
from trader.exchange.errors import refusal
from trader.exchange.types import BUY, SELL, SIGN, Configurations, OrderRequest, VenueOrder, VenueRules

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


class Figures(Protocol):
    """Exact figures that cost something to know."""

    def equity(self) -> Decimal:
        """Cash and positions."""

    def gross(self) -> Decimal:
        """The value of all positions, whatever their side."""

    def buying_power(self) -> Decimal:
        """What opening orders may still reserve."""

    def shut(self, time_in_force: str) -> bool:
        """Whether the window of an auction's time in force is shut."""


class Situation(NamedTuple):
    """What the rules may look at besides the request.

    ``position`` is signed, ``last_price`` the market's. ``sure_power`` is buying power that is certainly there,
    cheaply known; ``figures`` has the exact ones.
    """

    rules: VenueRules
    configured: Configurations
    easy_to_borrow: bool
    figures: Figures
    last_price: Decimal
    position: Decimal
    held: Decimal
    sure_power: float
    reserve_price: Decimal
    same_side_orders: Collection[VenueOrder]
    opposite_orders: Collection[VenueOrder]

    def closes(self, side: str) -> bool:
        """Whether an order of this side reduces the position."""
        return bool(self.position) and self.position * SIGN[side] < 0


_VOCABULARY: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("side", tuple(SIGN)), ("type", TYPES), ("time_in_force", TIMES_IN_FORCE), ("order_class", CLASSES),
)
_COMBINATIONS = frozenset(product(*(known for _, known in _VOCABULARY)))


def check_vocabulary(request: OrderRequest) -> None:
    """Side, type, time in force and class are words that this venue knows."""
    if (request.side, request.type, request.time_in_force, request.order_class) not in _COMBINATIONS:
        for name, known in _VOCABULARY:
            if getattr(request, name) not in known:
                value = getattr(request, name)
                raise refusal("invalid", detail=f"invalid {name} {value!r}: this venue takes {', '.join(known)}")
    if request.position_intent is not None and request.position_intent not in INTENTS:
        raise refusal("invalid", detail=f"invalid position_intent {request.position_intent!r}")
    if request.client_order_id is not None and not 0 < len(request.client_order_id) <= 128:
        raise refusal("invalid", detail="client_order_id must have 1 to 128 characters")


def check_size(request: OrderRequest) -> None:
    """Shares or dollars, positive; fractions and dollars are day orders of class simple."""
    if (request.qty is None) == (request.notional is None):
        raise refusal("invalid", detail="qty or notional is required, and not both")
    size = request.qty if request.qty is not None else request.notional
    if size is None or not size.is_finite() or not 0 < size <= MAXIMUM:
        name = "notional" if request.qty is None else "qty"
        raise refusal("invalid", detail=f"{name} must be > 0 and at most {MAXIMUM}")
    if request.notional is not None:
        if request.notional < MINIMUM_NOTIONAL:
            raise refusal("unprocessable", detail="notional must be at least 1.00")
        if request.notional != request.notional.quantize(CENT):
            raise refusal("unprocessable", detail="notional is limited to 2 decimals")
    elif size == size.to_integral_value():
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
    """The prices that the type needs, no others, on the tick."""
    oco = request.order_class == "oco"
    for name, value, needed in (
        ("limit", request.limit_price, request.type in NEEDS_LIMIT and not oco),
        ("stop", request.stop_price, request.type in NEEDS_STOP),
    ):
        if needed and value is None:
            raise refusal("invalid", detail=f"{request.type} orders require {name} price")
        if value is not None and not needed and not oco:
            raise refusal("invalid", detail=f"{request.type} orders require no {name} price")
    if request.limit_price is not None:
        check_tick("limit_price", request.limit_price)
    if request.stop_price is not None:
        check_tick("stop_price", request.stop_price)
    if request.order_class != "simple":
        for field, price in (
            ("take_profit.limit_price", request.take_profit), ("stop_loss.stop_price", request.stop_loss),
            ("stop_loss.limit_price", request.stop_loss_limit),
        ):
            if price is not None:
                check_tick(field, price)
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


def check_time_in_force(request: OrderRequest) -> None:
    """Auctions and immediate orders are simple market or limit orders."""
    if request.time_in_force in LASTING:
        return
    if request.order_class != "simple":
        raise refusal("unprocessable", detail=f"{request.order_class} orders must be DAY or GTC orders")
    if request.type not in ("market", "limit"):
        raise refusal("unprocessable", detail=f"{request.type} orders must be DAY or GTC orders")


def check_tick(field: str, price: Decimal) -> None:
    """A price is positive and on its increment."""
    if not price.is_finite() or not 0 < price <= MAXIMUM:
        raise refusal("invalid", detail=f"{field} must be > 0 and at most {MAXIMUM}")
    if price % tick_size(price):
        raise refusal("sub_penny", field=field, price=price)


def check_class(request: OrderRequest) -> None:
    """The legs that a class needs, and the types that may carry them."""
    kind = request.order_class
    if kind == "simple":
        if request.take_profit is not None or request.stop_loss is not None:
            raise refusal("invalid", detail="simple orders take neither take_profit nor stop_loss")
        return
    if kind in ("bracket", "oco"):
        for name, leg in (
            ("take_profit.limit_price", request.take_profit), ("stop_loss.stop_price", request.stop_loss)
        ):
            if leg is None:
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
    up = 1 if (request.side == BUY) != (request.order_class == "oco") else -1
    if request.order_class == "simple":
        if request.stop_price is not None and (request.stop_price - situation.last_price) * up <= 0:
            word = "greater" if up > 0 else "less"
            detail = f"stop price must be {word} than the current price"
            raise refusal("unprocessable", {"base_price": str(situation.last_price)}, detail=detail)
        return
    base = situation.last_price if request.limit_price is None else request.limit_price
    if request.order_class == "oco" and request.take_profit is not None:
        base = request.take_profit
    for field, price, direction, bases in (
        ("take_profit.limit_price", request.take_profit, up, () if request.order_class == "oco" else (base,)),
        ("stop_loss.stop_price", request.stop_loss, -up, (base, situation.last_price)),
    ):
        for beyond in bases:
            if price is not None and (price - beyond) * direction < CENT:
                sign, word = ("+", ">=") if direction > 0 else ("-", "<=")
                detail = f"{field} must be {word} base_price {sign} 0.01"
                raise refusal("unprocessable", {"base_price": str(beyond)}, detail=detail)


def check_position(request: OrderRequest, situation: Situation) -> None:
    """Brackets open, OCOs close; nothing closes more than is there and not held by other orders."""
    closes = situation.closes(request.side)
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
    existing = abs(situation.position)
    available = existing - situation.held
    requested = request.qty if request.qty is not None else (
        (request.notional or Decimal(0)) / situation.last_price
    )
    if requested > available:
        related = [order.id for order in situation.same_side_orders]
        facts = {
            "available": str(available), "existing_qty": str(existing),
            "held_for_orders": str(situation.held), "symbol": request.symbol, "related_orders": related,
        }
        raise refusal("qty_available", facts, requested=requested, available=available)


def check_shorting(request: OrderRequest, situation: Situation) -> None:
    """Opening shorts need a margin account, whole shares and a stock that can be borrowed."""
    if request.side == BUY or situation.closes(request.side):
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
    whole = request.qty is not None and request.qty % SHARE == 0
    if not situation.configured.fractional_trading and not whole:
        raise refusal("unprocessable", detail="fractional trading is disabled for this account")
    if request.type not in NEEDS_LIMIT and request.symbol in situation.rules.ipo:
        raise refusal("unprocessable", detail=f"{request.symbol} is a new issue: only limit orders are accepted")


def check_window(request: OrderRequest, situation: Situation) -> None:
    """Orders for an auction come before it, or in the evening for the next one."""
    kind = request.time_in_force
    if kind in ("opg", "cls") and situation.figures.shut(kind):
        hours = "9:28am" if kind == "opg" else "3:50pm"
        raise refusal("unprocessable", detail=f"{kind} orders are not accepted from {hours} to 7:00pm ET")


def check_wash_trade(request: OrderRequest, situation: Situation) -> None:
    """No order may trade with one's own, nor may both sides wait to open a position.

    Orders that carry a limit price (limit, stop limit) conflict only when they would cross; market and stop orders
    always. Compound and trailing orders are exempt.
    """
    if not situation.opposite_orders:
        return
    if situation.rules.wash_trades and not _exempt(request.order_class, request.type):
        for other in situation.opposite_orders:
            if _exempt(other.order_class, other.type):
                continue
            if request.limit_price is not None and other.limit_price is not None:
                if (request.limit_price - other.limit_price) * SIGN[request.side] < 0:
                    continue
                kind = "limit"
            else:
                kind = "market/stop" if other.limit_price is None else "limit"
            raise refusal("wash_trade", {
                "existing_order_id": other.id, "reject_reason": f"opposite side {kind} order exists",
            })
    if not situation.closes(request.side) and any(not other.closing for other in situation.opposite_orders):
        raise refusal("opposite_open" if request.side == SELL else "opposite_open_short")


def _exempt(order_class: str, kind: str) -> bool:
    return order_class != "simple" or kind == "trailing_stop"


def check_buying_power(request: OrderRequest, situation: Situation) -> None:
    """Opening orders need their reserve, and an account whose positions are not out of proportion."""
    if situation.closes(request.side):
        return
    qty = request.qty
    cost = (request.notional or Decimal(0)) if qty is None else qty * situation.reserve_price
    if float(cost) <= situation.sure_power:
        return
    if situation.figures.gross() > situation.rules.closing_only_above * situation.figures.equity():
        raise refusal("closing_only")
    power = situation.figures.buying_power()
    if cost > power:
        raise refusal("buying_power", {"buying_power": str(power), "cost_basis": str(cost)})


ShapeCheck = Callable[[OrderRequest], None]
BookCheck = Callable[[OrderRequest, Situation], None]

SHAPE_CHECKS: tuple[ShapeCheck, ...] = (
    check_vocabulary, check_size, check_prices, check_class, check_time_in_force, check_hours,
)
BOOK_CHECKS: tuple[BookCheck, ...] = (
    check_account, check_window, check_position, check_geometry, check_shorting, check_wash_trade, check_buying_power,
)

