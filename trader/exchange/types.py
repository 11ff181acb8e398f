"""What the venue keeps and says: requests, orders, events, activities, rules. Prices and quantities are Decimals."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from trader.backtest.realistic_fills import FillCosts

ZERO = Decimal(0)

BUY, SELL = "buy", "sell"
SIGN = {BUY: 1, SELL: -1}
OPPOSITE = {BUY: SELL, SELL: BUY}

# In the book, or waiting for its entry: everything that can still trade.
OPEN_STATUSES = frozenset({"accepted", "new", "partially_filled", "held"})
BOOK_STATUSES = frozenset({"accepted", "new", "partially_filled"})

# The field that says when an order reached its end.
END_FIELDS = {
    "filled": "filled_ns", "canceled": "canceled_ns", "expired": "expired_ns", "replaced": "replaced_ns",
}
# Classes whose first order opens a position and whose legs wait for it.
NEEDS_ENTRY = frozenset({"bracket", "oto"})
STOP_BECOMES = {"stop": "market", "stop_limit": "limit"}


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order as a client asks for it; either ``qty`` (shares) or ``notional`` (dollars)."""

    symbol: str
    side: str
    type: str = "market"
    time_in_force: str = "day"
    qty: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    client_order_id: str | None = None
    order_class: str = "simple"
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    stop_loss_limit: Decimal | None = None
    extended_hours: bool = False


class VenueOrder(msgspec.Struct, kw_only=True):
    """An order at the venue. Events carry copies; the venue alone changes the original.

    ``working_type`` is what the order is now: a stop that was touched is a market order. ``exits`` names the
    orders of which only one may fill (take-profit and stop of one bracket), ``session`` the session after which
    a day order expires, ``closing`` an order that may only reduce a position.
    """

    id: str
    client_order_id: str
    number: int
    symbol: str
    column: int
    side: str
    sign: int
    type: str
    working_type: str
    time_in_force: str
    order_class: str
    status: str
    session: int
    created_ns: int
    updated_ns: int
    qty: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    limit_level: float = 0.0
    stop_level: float = 0.0
    filled_qty: Decimal = ZERO
    filled_avg_price: Decimal | None = None
    filled_value: Decimal = ZERO
    commission: Decimal = ZERO
    closing: bool = False
    extended_hours: bool = False
    reserve_price: Decimal = ZERO
    reserved: Decimal = ZERO
    filled_ns: int = 0
    expired_ns: int = 0
    canceled_ns: int = 0
    replaced_ns: int = 0
    replaced_by: str | None = None
    replaces: str | None = None
    parent_id: str | None = None
    legs: tuple[str, ...] = ()
    exits: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self.status in OPEN_STATUSES

    @property
    def remaining(self) -> Decimal:
        """Shares still to fill; zero for a notional order that was not priced yet."""
        return ZERO if self.qty is None else self.qty - self.filled_qty


class VenueEvent(msgspec.Struct, kw_only=True):
    """One trade update. ``seq`` counts all events of the venue's life from 1, across restarts.

    ``price``, ``qty``, ``position_qty`` (signed, after the fill) and ``costs`` belong to fills alone.
    """

    seq: int
    event: str
    execution_id: str
    ts_ns: int
    order: VenueOrder
    price: Decimal | None = None
    qty: Decimal | None = None
    position_qty: Decimal | None = None
    commission: Decimal | None = None
    costs: FillCosts | None = None


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """One execution in the account's history."""

    execution_id: str
    ts_ns: int
    type: str
    order_id: str
    symbol: str
    side: str
    qty: Decimal
    price: Decimal
    cum_qty: Decimal
    leaves_qty: Decimal
    order_status: str
    commission: Decimal


class VenueRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue's broker allows.

    Below ``margin_minimum_equity`` there is neither margin nor shorting. A short sale reserves the larger of its
    limit and ``short_reserve_factor`` times the last price.
    """

    margin_multiplier: Decimal = Decimal(2)
    margin_minimum_equity: Decimal = Decimal(2000)
    shorting: bool = True
    hard_to_borrow: frozenset[str] = frozenset()
    short_reserve_factor: Decimal = Decimal("1.03")
    wash_trades: bool = True
