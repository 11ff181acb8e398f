"""The shapes of Alpaca's JSON: requests read, answers written. Numbers that are money travel as strings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

from trader.core.clock import SECOND_NS, from_ns
from trader.core.days import NEW_YORK
from trader.exchange.errors import refusal
from trader.exchange.identifiers import asset_id
from trader.exchange.params import DECIMAL
from trader.exchange.types import (
    OPEN_STATUSES,
    Activity,
    Configurations,
    Entry,
    OrderRequest,
    VenueEvent,
    VenueOrder,
)
from trader.exchange.venue import Venue
from trader.exchange.views import AccountView, PositionView

CREATED = "2024-01-01T00:00:00Z"
EXCHANGE = "NASDAQ"


# --- reading ------------------------------------------------------------------------------------------------

class LegBody(msgspec.Struct):
    """``take_profit`` or ``stop_loss`` of an order."""

    limit_price: msgspec.Raw = msgspec.Raw()
    stop_price: msgspec.Raw = msgspec.Raw()


class OrderBody(msgspec.Struct, gc=False):
    """The body of a new order; numbers may be JSON numbers or strings and stay as they are written until `_number`."""

    symbol: str
    side: str
    type: str = "market"
    time_in_force: str = "day"
    qty: msgspec.Raw = msgspec.Raw()
    notional: msgspec.Raw = msgspec.Raw()
    limit_price: msgspec.Raw = msgspec.Raw()
    stop_price: msgspec.Raw = msgspec.Raw()
    trail_price: msgspec.Raw = msgspec.Raw()
    trail_percent: msgspec.Raw = msgspec.Raw()
    client_order_id: str | None = None
    order_class: str | None = None
    take_profit: LegBody | None = None
    stop_loss: LegBody | None = None
    extended_hours: bool | None = None
    position_intent: str | None = None


class ReplaceBody(msgspec.Struct):
    """The body of a replacement."""

    qty: msgspec.Raw = msgspec.Raw()
    limit_price: msgspec.Raw = msgspec.Raw()
    stop_price: msgspec.Raw = msgspec.Raw()
    trail: msgspec.Raw = msgspec.Raw()
    time_in_force: str | None = None
    client_order_id: str | None = None


_ONE = Decimal(1)
_DAY_SECONDS = 86_400
_MINUTES = tuple(f"{hour:02d}:{minute:02d}" for hour in range(24) for minute in range(60))
_EPOCH = date(1970, 1, 1).toordinal()
_NO_LEG = LegBody()
_SETTINGS = frozenset(Configurations.__struct_fields__)
_NO_WORDS = None, None, None, None, None
_PLAIN = frozenset({"market", "limit"})
_SHORT = 32                         # bytes of a number that is known by heart
_order_body = msgspec.json.Decoder(OrderBody)
_decimal = msgspec.json.Decoder(Decimal | None)
_replace_body = msgspec.json.Decoder(ReplaceBody)


def read_order(body: bytes) -> OrderRequest:
    """A new order from its JSON; VenueError 400 for what is no JSON, 422 for wrong fields."""
    try:
        wish = _order_body.decode(body)
        qty, limit_price = _number(wish.qty, "qty"), _number(wish.limit_price, "limit_price")
        words = wish.order_class, wish.take_profit, wish.stop_loss, wish.extended_hours, wish.position_intent
        if words == _NO_WORDS and not (wish.notional or wish.stop_price or wish.trail_price or wish.trail_percent):
            return OrderRequest(    # most are so; to name all fields takes longer than to read the JSON
                symbol=wish.symbol, side=wish.side, type=wish.type, time_in_force=wish.time_in_force, qty=qty,
                limit_price=limit_price, client_order_id=wish.client_order_id or None,
            )
        notional, stop_price = _number(wish.notional, "notional"), _number(wish.stop_price, "stop_price")
        trail_price, percent = _number(wish.trail_price, "trail_price"), _number(wish.trail_percent, "trail_percent")
        profit, loss = wish.take_profit or _NO_LEG, wish.stop_loss or _NO_LEG
        take_profit = _number(profit.limit_price, "take_profit.limit_price")
        stop_loss = _number(loss.stop_price, "stop_loss.stop_price")
        stop_loss_limit = _number(loss.limit_price, "stop_loss.limit_price")
    except msgspec.ValidationError as error:
        raise refusal("invalid", detail=str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refusal("malformed", detail=f"request body format is invalid: {error}") from None
    return OrderRequest(
        symbol=wish.symbol, side=wish.side, type=wish.type, time_in_force=wish.time_in_force,
        qty=qty, notional=notional, limit_price=limit_price, stop_price=stop_price,
        client_order_id=wish.client_order_id or None, order_class=wish.order_class or "simple",
        take_profit=take_profit, stop_loss=stop_loss, stop_loss_limit=stop_loss_limit,
        trail_price=trail_price, trail_percent=percent,
        extended_hours=bool(wish.extended_hours), position_intent=wish.position_intent or None,
    )


def _number(raw: msgspec.Raw, name: str) -> Decimal | None:
    """A number as it is written, without trailing zeros; ValidationError that names it otherwise."""
    written = bytes(raw)
    try:
        return _short_number(written) if len(written) <= _SHORT else _read_number(written)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"{error} - at `$.{name}`") from None


@lru_cache(maxsize=16_384)
def _short_number(written: bytes) -> Decimal | None:
    return _read_number(written) if written else None


def _read_number(written: bytes) -> Decimal | None:
    """A JSON number, or a string that holds one: Python's Decimal takes more than that."""
    if written[:1] == b'"' and DECIMAL.fullmatch(written[1:-1].decode(errors="replace")) is None:
        raise msgspec.ValidationError("Invalid decimal string")
    return plain(_decimal.decode(written))


def read_configurations(now: Configurations, body: bytes) -> Configurations:
    """The configurations with the given ones changed; VenueError for what Alpaca does not know."""
    try:
        given = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        changed = {**msgspec.structs.asdict(now), **{
            name: value for name, value in given.items() if name in _SETTINGS and value is not None
        }}
        wanted = msgspec.convert(changed, Configurations)
    except msgspec.ValidationError as error:
        raise refusal("invalid", detail=str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refusal("malformed", detail=f"request body format is invalid: {error}") from None
    for name, value, known in (
        ("max_margin_multiplier", wanted.max_margin_multiplier, ("1", "2", "4")),
        ("trade_confirm_email", wanted.trade_confirm_email, ("all", "none")),
        ("max_options_trading_level", wanted.max_options_trading_level, (None, 0, 1, 2, 3)),
    ):
        if value not in known:
            raise refusal("invalid", detail=f"{name} must be one of {', '.join(str(word) for word in known)}")
    return wanted


def read_replacement(body: bytes) -> dict[str, Any]:
    """The fields of a replacement that were given."""
    try:
        wish = _replace_body.decode(body or b"{}")
        given = {
            name: _number(value, name) if isinstance(value, msgspec.Raw) else value
            for name, value in msgspec.structs.asdict(wish).items()
        }
    except msgspec.ValidationError as error:
        raise refusal("invalid", detail=str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refusal("malformed", detail=f"request body format is invalid: {error}") from None
    return {name: value for name, value in given.items() if value not in (None, "")}


def plain(value: Decimal | None) -> Decimal | None:
    """The number without trailing zeros or exponent: 10.0 and 1E1 are 10."""
    return value if value is None or not value.is_finite() else _plain(value)


@lru_cache(maxsize=16_384)
def _plain(value: Decimal) -> Decimal:
    if abs(value.adjusted()) > 18:
        return value
    whole = value.to_integral_value()
    return whole.quantize(_ONE) if whole == value else value.normalize()


# --- writing ------------------------------------------------------------------------------------------------

@lru_cache(maxsize=16_384)
def text(value: Decimal | None) -> str | None:
    """A decimal as Alpaca writes it: no exponent, no trailing zeros."""
    if value is None:
        return None
    written = format(value, "f")
    written = written.rstrip("0").rstrip(".") if "." in written else written
    return "0" if written == "-0" else written


def rfc3339(ns: int) -> str | None:
    """A moment in UTC with as many digits as it needs; None for 0, which stands for never."""
    if not ns:
        return None
    seconds, rest = divmod(ns, SECOND_NS)
    return f"{_second(seconds)}.{rest:09d}".rstrip("0") + "Z" if rest else _second(seconds) + "Z"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    """A second since 1970 in ISO 8601."""
    days, second = divmod(seconds, _DAY_SECONDS)
    return f"{_date(days)}T{_MINUTES[second // 60]}:{second % 60:02d}"


@lru_cache(maxsize=512)
def _date(days: int) -> str:
    """A day since 1970 in ISO 8601."""
    return date.fromordinal(_EPOCH + days).isoformat()


def new_york(ns: int) -> str:
    """A moment with New York's offset, as the clock endpoint gives it."""
    return datetime.fromtimestamp(ns // SECOND_NS, NEW_YORK).isoformat()


class OrderJson(msgspec.Struct, gc=False):
    """An order as Alpaca writes it. ``commission`` is an addition to Alpaca's fields.

    What most orders have comes first: in this order it is written in half the time.
    """

    id: str
    client_order_id: str
    created_at: str | None
    updated_at: str | None
    submitted_at: str | None
    expires_at: str | None
    asset_id: str
    symbol: str
    qty: str | None
    filled_qty: str | None
    order_class: str
    order_type: str
    type: str
    side: str
    time_in_force: str
    limit_price: str | None
    status: str
    position_intent: str
    commission: str | None
    asset_class: str = "us_equity"
    extended_hours: bool = False
    filled_at: str | None = None
    expired_at: str | None = None
    canceled_at: str | None = None
    failed_at: str | None = None
    replaced_at: str | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    notional: str | None = None
    filled_avg_price: str | None = None
    stop_price: str | None = None
    legs: list[OrderJson] | None = None
    trail_percent: str | None = None
    trail_price: str | None = None
    hwm: str | None = None
    subtag: str | None = None
    source: str | None = None


def order_json(order: VenueOrder, legs: Sequence[VenueOrder] = ()) -> OrderJson:
    """An order; ``legs`` are nested when given."""
    kind, side, created, updated = order.type, order.side, order.created_ns, order.updated_ns
    submitted, status = rfc3339(created), "held" if order.unseen else order.status
    shown = OrderJson(
        order.id, order.client_order_id, submitted, submitted if updated == created else rfc3339(updated), submitted,
        rfc3339(order.expires_ns), asset_id(order.symbol), order.symbol, text(order.qty), text(order.filled_qty),
        order.order_class, kind, kind, side, order.time_in_force, text(order.limit_price), status,
        f"{side}_to_close" if order.closing else f"{side}_to_open", text(order.commission),
    )
    if status not in OPEN_STATUSES or order.filled_avg_price is not None or order.replaces is not None:
        shown.filled_at, shown.filled_avg_price = rfc3339(order.filled_ns), text(order.filled_avg_price)
        shown.expired_at, shown.canceled_at = rfc3339(order.expired_ns), rfc3339(order.canceled_ns)
        shown.failed_at, shown.replaced_at = rfc3339(order.failed_ns), rfc3339(order.replaced_ns)
        shown.replaced_by, shown.replaces = order.replaced_by, order.replaces
    if kind not in _PLAIN or order.notional is not None or order.extended_hours:
        shown.stop_price, shown.notional = text(order.stop_price), text(order.notional)
        shown.trail_percent, shown.trail_price = text(order.trail_percent), text(order.trail_price)
        shown.hwm, shown.extended_hours = text(order.hwm), order.extended_hours
    if legs:
        shown.legs = [order_json(leg) for leg in legs]
    return shown


def nested_json(venue: Venue, order: VenueOrder) -> OrderJson:
    """An order with its legs as they stand."""
    return order_json(order, [venue.desk.orders[leg] for leg in order.legs])


def trade_update_json(event: VenueEvent) -> dict[str, Any]:
    """A trade update; ``seq``, ``commission`` and ``costs_bps`` are additions to Alpaca's fields."""
    data: dict[str, Any] = {
        "event": event.event,
        "execution_id": event.execution_id,
        "order": order_json(event.order),
        "timestamp": rfc3339(event.ts_ns),
        "seq": event.seq,
    }
    if event.qty is not None:
        data["price"] = text(event.price)
        data["qty"] = text(event.qty)
        data["position_qty"] = text(event.position_qty)
        data["commission"] = text(event.commission)
        data["costs_bps"] = None if event.costs is None else event.costs._asdict()
    return {"stream": "trade_updates", "data": data}


def position_json(position: PositionView) -> dict[str, Any]:
    """A position; fractions as strings."""
    cost, profit = position.cost_basis, position.unrealized_pl
    today = position.intraday_pl
    return {
        "asset_id": asset_id(position.symbol),
        "symbol": position.symbol,
        "exchange": EXCHANGE,
        "asset_class": "us_equity",
        "asset_marginable": True,
        "qty": text(position.qty),
        "qty_available": text(position.available.copy_sign(position.qty)),
        "avg_entry_price": text(round(position.avg_entry_price, 6)),
        "side": "long" if position.qty > 0 else "short",
        "market_value": text(position.market_value),
        "cost_basis": text(round(cost, 6)),
        "unrealized_pl": text(round(profit, 6)),
        "unrealized_plpc": text(round(profit / abs(cost), 10)),
        "unrealized_intraday_pl": text(round(today, 6)),
        "unrealized_intraday_plpc": text(round(today / abs(position.day_cost), 10)),
        "current_price": text(position.current_price),
        "lastday_price": text(position.lastday_price),
        "change_today": text(round(position.current_price / position.lastday_price - 1, 10)),
    }


def _day(ns: int) -> str:
    return datetime.fromtimestamp(ns // SECOND_NS, NEW_YORK).date().isoformat()


def account_json(venue: Venue, view: AccountView) -> dict[str, Any]:
    """The account, without the fields on pattern day trading: Alpaca's answers have had none since July 2026."""
    gross = view.long_market_value - view.short_market_value
    equity = text(view.equity)
    return {
        "id": venue.account_id,
        "account_number": "SIM" + venue.account_id[:8].upper(),
        "status": "ACTIVE",
        "crypto_status": "INACTIVE",
        "balance_asof": _day(view.last.ts_ns),
        "currency": "USD",
        "cash": text(view.cash),
        "equity": equity,
        "portfolio_value": equity,
        "last_equity": text(view.last.equity),
        "long_market_value": text(view.long_market_value),
        "short_market_value": text(view.short_market_value),
        "position_market_value": text(gross),
        "buying_power": text(view.buying_power),
        "regt_buying_power": text(view.buying_power),
        "non_marginable_buying_power": text(max(Decimal(0), view.cash - view.reserved)),
        "options_buying_power": "0",
        "options_approved_level": 0,
        "options_trading_level": 0,
        "multiplier": text(view.multiplier),
        "initial_margin": text(gross / 2),
        "maintenance_margin": text(round(venue.maintenance(), 6)),
        "last_maintenance_margin": text(round(view.last.maintenance, 6)),
        "sma": "0",
        "accrued_fees": "0",
        "pending_reg_taf_fees": "0",
        "intraday_adjustments": "0",
        "pending_transfer_in": "0",
        "pending_transfer_out": "0",
        "trading_blocked": False,
        "transfers_blocked": False,
        "account_blocked": False,
        "trade_suspended_by_user": venue.configurations.suspend_trade,
        "shorting_enabled": venue.rules.shorting and not venue.configurations.no_shorting and view.multiplier > 1,
        "created_at": CREATED,
    }


def asset_json(venue: Venue, symbol: str) -> dict[str, Any]:
    """A symbol of the panel; both the old and the new word for what can be borrowed."""
    easy = venue.rules.shorting and symbol not in venue.hard_to_borrow
    return {
        "id": asset_id(symbol),
        "class": "us_equity",
        "exchange": EXCHANGE,
        "symbol": symbol,
        "name": symbol,
        "status": "active",
        "tradable": True,
        "marginable": True,
        "shortable": easy,
        "easy_to_borrow": easy,
        "borrow_status": "easy_to_borrow" if easy else "hard_to_borrow",
        "fractionable": True,
        "maintenance_margin_requirement": 30,
        "margin_requirement_long": "30",
        "margin_requirement_short": "30" if easy else "100",
        "attributes": ["fractional_eh_enabled", *(["ipo"] if symbol in venue.rules.ipo else [])],
    }


def activity_id(ts_ns: int, name: str) -> str:
    """As Alpaca's: the moment in New York to the millisecond and a UUID."""
    moment = from_ns(ts_ns).astimezone(NEW_YORK)
    return f"{moment:%Y%m%d%H%M%S}{moment.microsecond // 1000:03d}::{name}"


def activity_json(venue: Venue, activity: Activity | Entry) -> dict[str, Any]:
    """A fill, or another movement, in the account's history."""
    if isinstance(activity, Entry):
        return {
            "id": activity_id(activity.ts_ns, activity.id),
            "account_id": venue.account_id,
            "activity_type": activity.type,
            "date": _day(activity.ts_ns),
            "created_at": rfc3339(activity.ts_ns),
            "net_amount": text(activity.net_amount),
            "description": activity.description,
            "status": "executed",
            "symbol": activity.symbol,
            "qty": text(activity.qty),
            "price": text(activity.price),
            "per_share_amount": None,
        }
    return {
        "id": activity_id(activity.ts_ns, activity.execution_id),
        "account_id": venue.account_id,
        "activity_type": "FILL",
        "transaction_time": rfc3339(activity.ts_ns),
        "type": activity.type,
        "price": text(activity.price),
        "qty": text(activity.qty),
        "side": activity.side,
        "symbol": activity.symbol,
        "leaves_qty": text(activity.leaves_qty),
        "order_id": activity.order_id,
        "cum_qty": text(activity.cum_qty),
        "order_status": activity.order_status,
        "commission": text(activity.commission),
    }
