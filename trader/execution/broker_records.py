"""What a broker says, as frozen records with exact decimals; parsed without trusting a single field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from trader.core.clock import to_ns
from trader.core.money import ZERO

# Statuses under which an order may still trade.
OPEN_STATUSES = frozenset({
    "new", "accepted", "pending_new", "accepted_for_bidding", "held", "partially_filled", "done_for_day",
    "pending_cancel", "pending_replace", "stopped", "suspended", "calculated", "pending_review",
})
# At the broker, but not (yet) live in the book.
WAITING_STATUSES = frozenset({
    "accepted", "pending_new", "accepted_for_bidding", "held", "pending_review", "suspended",
})


class Unreadable(ValueError):
    """An answer that lacks what its kind must have; says which field and shows the value."""


class BrokerOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as the broker holds it. ``commission`` is cumulative, None where the broker does not say."""

    id: str
    client_order_id: str
    symbol: str
    side: str
    quantity: Decimal
    status: str
    order_type: str = "market"
    order_class: str = "simple"
    time_in_force: str = "day"
    filled_quantity: Decimal = ZERO
    filled_average_price: Decimal = ZERO
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    submitted_ns: int = 0
    replaces: str = ""
    replaced_by: str = ""
    commission: Decimal | None = None
    legs: tuple[BrokerOrder, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it may still trade."""
        return self.status in OPEN_STATUSES

    @property
    def working(self) -> bool:
        """Whether it is live in the book."""
        return self.status not in WAITING_STATUSES

    @property
    def leg_role(self) -> str:
        """``stop_loss`` for stops, else ``take_profit``; meaningful for exit legs only."""
        return "stop_loss" if self.order_type in ("stop", "stop_limit", "trailing_stop") else "take_profit"


class BrokerPosition(msgspec.Struct, frozen=True, kw_only=True):
    """A position; ``quantity`` is signed."""

    symbol: str
    quantity: Decimal
    average_price: Decimal
    current_price: Decimal | None = None
    market_value: Decimal | None = None
    unrealized_pnl: Decimal | None = None

    @property
    def side(self) -> str:
        """``long`` or ``short``."""
        return "long" if self.quantity >= 0 else "short"


class BrokerAccount(msgspec.Struct, frozen=True, kw_only=True):
    """Money at the broker, in dollars."""

    id: str
    account_number: str
    status: str
    cash: Decimal
    equity: Decimal
    buying_power: Decimal
    trading_blocked: bool = False
    account_blocked: bool = False
    shorting_enabled: bool = True
    currency: str = "USD"


class BrokerClock(msgspec.Struct, frozen=True, kw_only=True):
    """The broker's time and the market's hours, ns UTC."""

    ts_ns: int
    is_open: bool
    next_open_ns: int
    next_close_ns: int


class BrokerFill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution from the account's activities. ``cumulative`` counts the order's shares through this one."""

    activity_id: str
    execution_id: str
    order_id: str
    symbol: str
    side: str
    quantity: Decimal
    price: Decimal
    cumulative: Decimal | None
    ts_ns: int


class CancelResult(msgspec.Struct, frozen=True, kw_only=True):
    """The broker's word on one order of a cancel-all or one symbol of a close-all; 2xx is yes."""

    subject: str
    status: int
    message: str = ""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


def parse_order(raw: Any) -> BrokerOrder:
    """A `BrokerOrder` of the wire's JSON; `Unreadable` where id, client id, symbol, side or status is missing."""
    body = _mapping(raw, "order")
    filled = _number(body, "filled_qty") or ZERO
    quantity = _number(body, "qty")
    return BrokerOrder(
        id=_text(body, "id"),
        client_order_id=_text(body, "client_order_id"),
        symbol=_text(body, "symbol"),
        side=_text(body, "side"),
        quantity=filled if quantity is None else quantity,      # an order by amount has no number of shares
        status=_text(body, "status"),
        order_type=str(body.get("type") or body.get("order_type") or "market"),
        order_class=str(body.get("order_class") or "simple"),
        time_in_force=str(body.get("time_in_force") or "day"),
        filled_quantity=filled,
        filled_average_price=_number(body, "filled_avg_price") or ZERO,
        limit_price=_number(body, "limit_price"),
        stop_price=_number(body, "stop_price"),
        submitted_ns=parse_time(body.get("submitted_at") or body.get("created_at")),
        replaces=str(body.get("replaces") or ""),
        replaced_by=str(body.get("replaced_by") or ""),
        commission=_number(body, "commission"),
        legs=tuple(parse_order(leg) for leg in _sequence(body, "legs")),
    )


def parse_position(raw: Any) -> BrokerPosition:
    """A `BrokerPosition`; the sign comes from ``side`` where the quantity itself has none."""
    body = _mapping(raw, "position")
    quantity = _number(body, "qty")
    average = _number(body, "avg_entry_price")
    if quantity is None or average is None:
        raise Unreadable(f"position without qty or avg_entry_price: {_excerpt(body)}")
    return BrokerPosition(
        symbol=_text(body, "symbol"),
        quantity=-abs(quantity) if body.get("side") == "short" else quantity,
        average_price=average,
        current_price=_number(body, "current_price"),
        market_value=_number(body, "market_value"),
        unrealized_pnl=_number(body, "unrealized_pl"),
    )


def parse_account(raw: Any) -> BrokerAccount:
    """A `BrokerAccount`; `Unreadable` without id, status or cash."""
    body = _mapping(raw, "account")
    cash = _number(body, "cash")
    if cash is None:
        raise Unreadable(f"account without cash: {_excerpt(body)}")
    equity = _number(body, "equity")
    buying_power = _number(body, "buying_power")
    return BrokerAccount(
        id=_text(body, "id"),
        account_number=str(body.get("account_number") or ""),
        status=_text(body, "status"),
        cash=cash,
        equity=cash if equity is None else equity,
        buying_power=cash if buying_power is None else buying_power,
        trading_blocked=bool(body.get("trading_blocked")),
        account_blocked=bool(body.get("account_blocked")),
        shorting_enabled=bool(body.get("shorting_enabled", True)),
        currency=str(body.get("currency") or "USD"),
    )


def parse_clock(raw: Any) -> BrokerClock:
    """A `BrokerClock`."""
    body = _mapping(raw, "clock")
    return BrokerClock(
        ts_ns=parse_time(_text(body, "timestamp")),
        is_open=bool(body.get("is_open")),
        next_open_ns=parse_time(_text(body, "next_open")),
        next_close_ns=parse_time(_text(body, "next_close")),
    )


def parse_fill(raw: Any) -> BrokerFill:
    """A FILL activity. Its id reads ``<time>::<uuid>``; the uuid is taken for the execution's id."""
    body = _mapping(raw, "activity")
    quantity, price = _number(body, "qty"), _number(body, "price")
    if quantity is None or price is None:
        raise Unreadable(f"fill without qty or price: {_excerpt(body)}")
    activity = _text(body, "id")
    side = _text(body, "side")
    return BrokerFill(
        activity_id=activity,
        execution_id=str(body.get("execution_id") or activity.rpartition("::")[2]),
        order_id=_text(body, "order_id"),
        symbol=_text(body, "symbol"),
        side="sell" if side.startswith("sell") else "buy",      # sell_short is a sell
        quantity=quantity,
        price=price,
        cumulative=_number(body, "cum_qty"),
        ts_ns=parse_time(body.get("transaction_time")),
    )


def parse_cancel_result(raw: Any) -> CancelResult:
    """One line of a 207 answer (cancel-all: ``id``; close-all: ``symbol``)."""
    body = _mapping(raw, "result")
    detail = body.get("body")
    message = detail.get("message", "") if isinstance(detail, Mapping) else ""
    try:
        status = int(body.get("status", 0))
    except (TypeError, ValueError):
        status = 0
    return CancelResult(subject=str(body.get("symbol") or body.get("id") or "?"), status=status, message=str(message))


def parse_time(value: Any) -> int:
    """Nanoseconds UTC of an RFC 3339 text (up to nine decimals); 0 for None or what cannot be read."""
    if not isinstance(value, str):
        return 0
    head, point, rest = value.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789")) if point else 0
    fraction, zone = (rest[:digits], rest[digits:]) if point else ("", "")
    try:
        moment = datetime.fromisoformat((head + zone).replace("Z", "+00:00"))
    except ValueError:
        return 0
    if moment.tzinfo is None:
        return 0
    return to_ns(moment) + int((fraction + "000000000")[:9])


def flatten(orders: Iterable[BrokerOrder]) -> list[tuple[BrokerOrder, BrokerOrder | None]]:
    """Every order with the order it is a leg of (None for parents), parents first."""
    out: list[tuple[BrokerOrder, BrokerOrder | None]] = []
    for order in orders:
        out.append((order, None))
        out.extend((leg, order) for leg in order.legs)
    return out


def _mapping(raw: Any, kind: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise Unreadable(f"expected {kind} as a JSON object, got {_excerpt(raw)}")
    return raw


def _sequence(body: Mapping[str, Any], field: str) -> list[Any]:
    value = body.get(field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unreadable(f"field {field!r} is no array: {_excerpt(value)}")
    return value


def _text(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not value:
        raise Unreadable(f"field {field!r} is missing or not text in {_excerpt(body)}")
    return value


def _number(body: Mapping[str, Any], field: str) -> Decimal | None:
    value = body.get(field)
    if value is None or value == "":
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise Unreadable(f"field {field!r} is no number: {value!r}") from None
    if not number.is_finite():
        raise Unreadable(f"field {field!r} is not finite: {value!r}")
    return number


def _excerpt(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."
