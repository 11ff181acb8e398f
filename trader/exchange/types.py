"""What the venue keeps and says: requests, orders, events, activities, rules. Prices and quantities are Decimals."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING

import msgspec

from trader.backtest.realistic_fills import FillCosts
from trader.core.money import MICRO_SHARE

ZERO = Decimal(0)

BUY, SELL = "buy", "sell"
SIGN = {BUY: 1, SELL: -1}
OPPOSITE = {BUY: SELL, SELL: BUY}

# In the book, but put aside for a while: no bar fills them.
ASIDE_STATUSES = frozenset({"suspended", "stopped", "accepted_for_bidding", "pending_review"})
# What no bar fills, though it is in the book.
IDLE_STATUSES = ASIDE_STATUSES | {"accepted", "pending_new", "done_for_day"}
# In the book: what a bar can fill, and what was put aside.
BOOK_STATUSES = ASIDE_STATUSES | {
    "accepted", "new", "partially_filled", "pending_cancel", "pending_replace", "done_for_day",
}
# In the book, or waiting for its entry or for the order that it replaces: everything that can still trade.
OPEN_STATUSES = BOOK_STATUSES | {"held", "pending_new"}
# Out of the client's hands until the venue has settled an earlier wish.
PENDING_STATUSES = frozenset({"pending_new", "pending_cancel", "pending_replace"})
# What a stop in the shadow of its target does unseen: it is shown as ``held``.
UNSEEN_STATUSES = BOOK_STATUSES - PENDING_STATUSES
# Waiting for a session to open.
QUEUED_STATUSES = frozenset({"accepted", "done_for_day"})

# The field that says when an order reached its end.
END_FIELDS = {
    "filled": "filled_ns", "canceled": "canceled_ns", "expired": "expired_ns", "replaced": "replaced_ns",
    "rejected": "failed_ns",
}
STOP_BECOMES = {"stop": "market", "stop_limit": "limit", "trailing_stop": "market"}
# Times in force of which nothing outlives the moment that they are for.
IMMEDIATE = frozenset({"ioc", "fok"})
FLEETING = frozenset({"ioc", "fok", "opg", "cls"})


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
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
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    extended_hours: bool = False
    position_intent: str | None = None


class VenueOrder(msgspec.Struct, gc=False):
    """An order at the venue. Events carry copies; the venue alone changes the original.

    What every order is born with comes first: given in this order it is made in a fifth of the time.

    ``working_type`` is what the order is now: a stop that was touched is a market order. ``exits`` names the
    orders of which only one may fill (take-profit and stop of one bracket), ``session`` the session after which
    a day order expires, ``closing`` an order that may only reduce a position. ``collar_price`` bounds what a
    touched stop may pay. A trailing stop keeps its best price so far in ``hwm``; its ``stop_price`` follows.
    A stop in the ``shadow`` of its target works as every other and is shown as ``held`` until it is touched.
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
    closing: bool = False
    reserve_price: Decimal = ZERO
    expires_ns: int = 0
    parent_id: str | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    limit_level: float = 0.0
    stop_level: float = 0.0
    notional: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    hwm: Decimal | None = None
    collar_price: Decimal | None = None
    filled_qty: Decimal = ZERO
    filled_avg_price: Decimal | None = None
    filled_value: Decimal = ZERO
    commission: Decimal = ZERO
    extended_hours: bool = False
    reserved: Decimal = ZERO
    filled_ns: int = 0
    expired_ns: int = 0
    canceled_ns: int = 0
    replaced_ns: int = 0
    failed_ns: int = 0
    replaced_by: str | None = None
    replaces: str | None = None
    legs: tuple[str, ...] = ()
    exits: tuple[str, ...] = ()
    shadow: bool = False

    if TYPE_CHECKING:
        def __copy__(self) -> VenueOrder:
            """Every struct has it; `copy.copy` takes a detour."""

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self.status in OPEN_STATUSES

    @property
    def unseen(self) -> bool:
        """Whether it works without being shown to."""
        return self.shadow and self.status in UNSEEN_STATUSES

    @property
    def remaining(self) -> Decimal:
        """Shares still to fill; zero for a notional order that was not priced yet."""
        return ZERO if self.qty is None else self.qty - self.filled_qty

    @property
    def estimate(self) -> Decimal:
        """Shares that a closing notional order comes to at the price that the market had when it came."""
        return ((self.notional or ZERO) / self.reserve_price).quantize(MICRO_SHARE, rounding=ROUND_DOWN)

    @property
    def cap_price(self) -> Decimal | None:
        """The price that it may not go beyond, in what it is now."""
        if self.working_type != "limit":
            return None
        return self.limit_price if self.collar_price is None else self.collar_price

    @property
    def hwm_level(self) -> float:
        """The best price so far as a float; 0 where it does not trail."""
        return 0.0 if self.hwm is None else float(self.hwm)

    @property
    def trail(self) -> tuple[float, float]:
        """Factor and distance from the best price to a trailing stop: below it for sells, above for buys."""
        if self.trail_price is not None:
            return 1.0, self.sign * float(self.trail_price)
        return 1.0 + self.sign * float(self.trail_percent or ZERO) / 100.0, 0.0


class VenueEvent(msgspec.Struct, gc=False):
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


class Activity(msgspec.Struct, frozen=True, gc=False):
    """One execution in the account's history; ``index`` is the bar that it belongs to, also where it was its last."""

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
    index: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A movement in the account that is no execution: ``JNLC`` (deposit), ``SPLIT``, ``CIL`` (cash in lieu).

    ``qty`` is the change of the position, ``net_amount`` of the cash; ``index`` the bar before which it happened.
    """

    id: str
    ts_ns: int
    index: int
    type: str
    description: str
    net_amount: Decimal = ZERO
    symbol: str | None = None
    qty: Decimal = ZERO
    price: Decimal | None = None


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """``ratio`` new shares for one old, from bar ``index`` on."""

    id: str
    symbol: str
    index: int
    ts_ns: int
    ratio: Decimal


class Change(msgspec.Struct, frozen=True):
    """A cancel (``new_id`` is None) or a replacement that the venue has not settled yet."""

    order_id: str
    new_id: str | None = None


class Configurations(msgspec.Struct, frozen=True, kw_only=True):
    """What the account's owner set; the names are Alpaca's."""

    fractional_trading: bool = True
    max_margin_multiplier: str = "4"
    max_options_trading_level: int | None = None
    no_shorting: bool = False
    ptp_no_exception_entry: bool = False
    suspend_trade: bool = False
    trade_confirm_email: str = "none"


class VenueRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue's broker allows. ``Venue.rules`` may be exchanged at any time.

    Below ``margin_minimum_equity`` there is neither margin nor shorting. A short sale reserves the larger of its
    limit and ``short_reserve_factor`` times the ask. An account whose positions exceed ``closing_only_above`` times
    its equity may only close. ``stop_collars`` turns touched buy stops into limits 4 % (below $50) or 2.5 % above.
    ``slow_changes`` lets cancels and replacements pend until the end of the next bar, which may fill the order
    first. ``done_for_day`` announces at the close which orders sleep until the next session. Orders that are good
    till cancelled end after ``gtc_days``. With ``luld`` a symbol whose bar opens beyond its price bands pauses for five
    minutes, one bar at least (`trader.exchange.luld`). Symbols in ``ipo`` are new issues: limit orders only.
    Without ``recent_sip`` REST has no SIP data of the last 15 minutes, as on Alpaca's free plan.

    With ``held_stops`` a stop beside a take-profit (bracket, OCO) is shown as Alpaca shows it: it stays ``held`` while
    the target works, is told of and listed as open by itself no more than a held leg, and triggers as ever; touched,
    it takes the place of the target, which is ``replaced`` by it. It is ``new`` only where it then rests.
    """

    margin_multiplier: Decimal = Decimal(2)
    margin_minimum_equity: Decimal = Decimal(2000)
    shorting: bool = True
    hard_to_borrow: frozenset[str] = frozenset()
    short_reserve_factor: Decimal = Decimal("1.03")
    closing_only_above: Decimal = Decimal(6)
    wash_trades: bool = True
    stop_collars: bool = False
    slow_changes: bool = False
    done_for_day: bool = False
    gtc_days: int = 90
    luld: bool = False
    ipo: frozenset[str] = frozenset()
    recent_sip: bool = True
    held_stops: bool = False
