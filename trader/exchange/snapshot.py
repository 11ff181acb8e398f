"""A venue's state as values, and a venue set back into it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from trader.exchange.account import Holding
from trader.exchange.halts import Standstill, put_standstills
from trader.exchange.splits import note_split
from trader.exchange.types import BOOK_STATUSES, ZERO, Activity, Change, Configurations, Entry, Split, VenueOrder
from trader.exchange.venue import Venue
from trader.exchange.views import EquityPoint
from trader.exchange.watchlists import Watchlist

STATE_VERSION = 3


class MarketMark(msgspec.Struct, frozen=True):
    """What tells one market from another: a state fits only the bars that it was made on."""

    symbols: tuple[str, ...]
    timeframe: str
    source: str
    bars: int
    first_ns: int
    last_ns: int


class VenueState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a venue that is small; orders, activities and equity points are kept row by row.

    ``surroundings`` is what the venue's server keeps with it (`trader.exchange.surroundings`).
    """

    version: int
    market: MarketMark
    seed: int
    id_count: int
    event_count: int
    account_id: str
    index: int
    now_ns: int = 0
    cash: Decimal
    deposited: Decimal
    realized: Decimal
    fees: Decimal
    holdings: dict[str, Holding]
    configurations: Configurations
    entries: list[Entry]
    splits: list[Split]
    changes: list[Change]
    watchlists: list[Watchlist]
    halted: frozenset[str]
    hard_to_borrow: frozenset[str]
    paused: dict[str, int] = {}
    reopened: dict[str, int] = {}
    standstills: list[Standstill] = []
    surroundings: bytes = b""


def market_mark(venue: Venue) -> MarketMark:
    """The mark of the venue's bars."""
    panel = venue.panel
    ends = (int(panel.ts_ns[0]), int(panel.ts_ns[-1])) if len(panel) else (0, 0)
    return MarketMark(panel.symbols, panel.timeframe, panel.source, len(panel), *ends)


def take_state(venue: Venue, surroundings: bytes = b"") -> VenueState:
    """The venue's small state now."""
    account, desk = venue.accounts_book, venue.desk
    return VenueState(
        version=STATE_VERSION, market=market_mark(venue), seed=desk.ids.seed, id_count=desk.ids.count,
        event_count=desk.event_count, account_id=venue.account_id, index=venue.index, now_ns=venue.now_ns,
        cash=account.cash, deposited=account.deposited, realized=account.realized, fees=account.fees,
        holdings=account.holdings, configurations=venue.configurations, entries=venue.entries, splits=venue.splits,
        changes=desk.changes, watchlists=list(venue.watchlists.values()), halted=frozenset(venue.halted),
        hard_to_borrow=frozenset(venue.hard_to_borrow), paused=venue.paused, reopened=venue.reopened,
        standstills=venue.standstills, surroundings=surroundings,
    )


def check_market(venue: Venue, state: VenueState) -> None:
    """ValueError when a state is of another format or of another market than the venue's."""
    here = market_mark(venue)
    if state.version != STATE_VERSION:
        raise ValueError(f"its format is version {state.version}, this program writes version {STATE_VERSION}")
    if state.market != here:
        raise ValueError(
            f"it belongs to another market: {state.market.bars} bars of {', '.join(state.market.symbols)} "
            f"({state.market.timeframe}, {state.market.source}), here are {here.bars} bars of "
            f"{', '.join(here.symbols)} ({here.timeframe}, {here.source})"
        )


def put_state(
    venue: Venue, state: VenueState, orders: Iterable[VenueOrder], activities: list[Activity],
    equity: list[EquityPoint],
) -> None:
    """Set a fresh venue back into a state of its market (`check_market`); ``orders`` in order of arrival.

    Splits that it knows are not noted again.
    """
    account, desk = venue.accounts_book, venue.desk
    account.cash, account.deposited = state.cash, state.deposited
    account.realized, account.fees = state.realized, state.fees
    account.holdings = dict(state.holdings)
    venue.configurations, venue.entries = state.configurations, state.entries
    venue.watchlists = {watchlist.id: watchlist for watchlist in state.watchlists}
    venue.halted, venue.hard_to_borrow = set(state.halted), set(state.hard_to_borrow)
    venue.paused, venue.reopened = dict(state.paused), dict(state.reopened)
    for split in state.splits:
        if split not in venue.splits:
            note_split(venue, split)
    put_standstills(venue, state.standstills)
    desk.changes = state.changes
    desk.ids.go_on(state.seed, state.id_count)
    desk.event_count = state.event_count
    desk.activities = activities
    desk.reserved = ZERO
    replacing = {change.new_id for change in state.changes}
    for order in orders:
        desk.orders[order.id] = order
        desk.by_client_id[order.client_order_id] = order.id
        desk.reserved += order.reserved
        if order.status in BOOK_STATUSES or (order.status == "pending_new" and order.id not in replacing):
            desk.put(order)
    venue.account_id = state.account_id
    venue.equity_history = equity
    venue.go_to(state.index)
    venue.now_ns = max(venue.now_ns, state.now_ns)
    venue.last_order_ns = max((order.created_ns for order in desk.orders.values()), default=0)
    venue.valuation.forget()
