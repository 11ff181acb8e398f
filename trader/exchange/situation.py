"""What the rules may know when an order comes: the account, the symbol's book, and what the order may cost."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

import msgspec

from trader.exchange.book import NOBODY, Side
from trader.exchange.prices import ask_above
from trader.exchange.types import (
    BUY,
    OPPOSITE,
    SELL,
    ZERO,
    Configurations,
    OrderRequest,
    VenueOrder,
    VenueRules,
)

if TYPE_CHECKING:
    from trader.exchange.venue import Venue


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


class Situation(msgspec.Struct, gc=False):
    """What the rules may look at besides the request.

    ``position`` is signed, ``last_price`` the market's; ``closes`` says that the order reduces the position. ``room``
    is what opening orders may reserve and ``reserved`` what they do, ``mine`` and ``opposite`` are the sides of the
    symbol's book.
    """

    rules: VenueRules
    configured: Configurations
    easy_to_borrow: bool
    figures: Figures
    last_price: Decimal
    position: Decimal
    closes: bool
    room: Decimal
    reserved: Decimal
    reserve_price: Decimal
    mine: Side
    opposite: Side


def situation_of(venue: Venue, request: OrderRequest, column: int) -> Situation:
    """The situation in which a request comes."""
    side = request.side
    holding = venue.accounts_book.holdings.get(request.symbol)
    position = ZERO if holding is None else holding.qty
    closes = holding is not None and (position > ZERO) is (side == SELL)
    last = reserve = venue.price_book.last(column, venue.index)
    if not closes:
        reserve = reserve_price(venue, request, last)
    book = venue.desk.books.get(column)
    rules, configured = venue.rules, venue.configurations
    return Situation(
        rules, configured, request.symbol not in venue.hard_to_borrow, venue, last, position, closes,
        ZERO if closes else venue.valuation.room(venue.index, rules, configured), venue.desk.reserved, reserve,
        NOBODY if book is None else book.sides[side], NOBODY if book is None else book.sides[OPPOSITE[side]],
    )


def reserve_price(venue: Venue, request: OrderRequest | VenueOrder, last: Decimal) -> Decimal:
    """What a share of an opening order may cost: its own price, else in session the market's far side."""
    if request.side == BUY:
        named = request.limit_price or request.stop_price
        if named is not None and request.type != "trailing_stop":
            return named
        if request.type != "market" or not venue.hours.open_at[venue.index]:
            return last
    ask = ask_above(last, venue.fill_model.half_spread_bps)
    if request.side == BUY:
        return ask
    return max(request.limit_price or ZERO, ask * venue.rules.short_reserve_factor)
