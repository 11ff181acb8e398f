"""Plays one bar against the working orders: touches in the order of the path, fills within the bar's volume.

Inside a bar the order of events is the path's (`trader.exchange.path`), with one exception in favour of
caution: when a stop and the take-profit that excludes it are both touched, the stop counts as first, unless the
take-profit was marketable the moment that it could work.

At one point of the path the orders share the bar's volume as on an exchange: market orders first, then limits by how
far they reach beyond the price, then the stops that the price sets off; by arrival among equals.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal
from heapq import heappop, heappush
from math import inf
from operator import attrgetter

import msgspec

from trader.backtest.realistic_fills import BPS, NO_COSTS, FillCosts, RealisticFillSimulator
from trader.core.money import MICRO_SHARE
from trader.exchange.account import Account
from trader.exchange.decimals import exact, rounded
from trader.exchange.desk import Desk
from trader.exchange.exits import follow
from trader.exchange.path import END, Path, bar_path, price_at
from trader.exchange.rows import Row
from trader.exchange.types import (
    FLEETING,
    IDLE_STATUSES,
    IMMEDIATE,
    OPEN_STATUSES,
    QUEUED_STATUSES,
    STOP_BECOMES,
    ZERO,
    VenueOrder,
)

_PLACES = 4                             # of a price at which something was filled
_LEAST = Decimal("0.0001")
_ARRIVAL = attrgetter("number")


Touch = tuple[float, float, bool]       # where on the path, at what price, and whether at once


class Bar(msgspec.Struct, frozen=True, gc=False):
    """One symbol's bar with what the fill model wants to know of its past."""

    open: float
    high: float
    low: float
    close: float
    volume: float
    start_ns: int
    end_ns: int
    adv: float
    volatility: float
    opens: bool = False         # the session's first bar: its open is the opening auction
    closes: bool = False        # the session's last: its close is the closing auction


def touch(order: VenueOrder, path: Path, start: float) -> Touch | None:
    """The order's first touch from ``start`` on: limits at the limit or better, stops at the stop or worse."""
    kind = order.working_type
    if kind == "trailing_stop":
        return trailing_touch(order, path, start)
    if kind == "limit":
        level, rising = order.limit_level, order.sign < 0
    else:
        level, rising = order.stop_level, order.sign > 0
    _, one, other, _ = path
    if (level > one and level > other) if rising else (level < one and level < other):      # beyond both extremes
        return None
    here = price_at(path, start) if start else path[0]
    if here >= level if rising else here <= level:
        return start, here, True
    corner = int(start)
    before = path[corner]
    for there in path[corner + 1 :]:
        if there >= level if rising else there <= level:
            position = corner + (level - before) / (there - before)
            return (position, level, False) if position > start else (start, here, True)
        before = there
        corner += 1
    return None


def trailing_touch(order: VenueOrder, path: Path, start: float) -> Touch | None:
    """Where the path turns back to a stop that follows its best price; the best price is kept in the order."""
    selling = order.sign < 0        # then the best price is the highest
    position, price = start, price_at(path, start) if start else path[0]
    best, (factor, distance) = order.hwm_level, order.trail
    found: Touch | None = None
    for corner in range(int(start), int(END) + 1):
        if price > best if selling else price < best:
            best = price
        if corner >= END:
            break
        ahead = path[corner + 1]
        stop = best * factor + distance
        if price <= stop if selling else price >= stop:
            found = position, price, position == start
            break
        if ahead <= stop if selling else ahead >= stop:
            found = corner + (path[corner] - stop) / (path[corner] - ahead), stop, False
            break
        position, price = corner + 1.0, ahead
    _keep_best(order, best)
    return found


def _keep_best(order: VenueOrder, best: float) -> None:
    if best != order.hwm_level:
        order.hwm = exact(round(best, 9))
        follow(order)


class Matcher:
    """Plays bars: for each a queue of touches, worked off in the order of the path, of rank and of arrival."""

    __slots__ = ("_account", "_bar", "_capacity", "_commission", "_desk", "_model", "_path", "_queue")

    _bar: Bar                           # that is played

    def __init__(self, desk: Desk, account: Account, model: RealisticFillSimulator) -> None:
        self._desk = desk
        self._account = account
        self._model = model
        self._commission = exact(model.commission_per_share)
        self._path: Path | None = None                  # drawn when an order waits for a price on it
        self._capacity = 0.0                            # shares of the bar that are left
        self._queue: list[tuple[float, float, int, VenueOrder, float, bool]] = []

    def play_row(self, row: Row, bar_of: Callable[[int], Bar | None], *, extended: bool = False) -> int:
        """Play a bar for every symbol with orders in the book; how many symbols had any that the bar can reach.

        ``row`` are the bar's prices by column; ``bar_of(column)`` is None where a symbol has no bar. In an ``extended``
        bar only orders act that ask for extended hours. The events of one symbol come in the order of time, one symbol
        after the other: `Desk.sort_events` mingles those of several.
        """
        played = 0
        for column, book in self._desk.books.items():
            _, high, low, _, _ = row[column]
            if low <= book.floor or high >= book.ceiling or book.moving:
                orders = book.reached(low, high)
                bar = bar_of(column) if orders else None
                if bar is not None:
                    played += 1
                    self.play(bar, orders, extended=extended)
        return played

    def play(self, bar: Bar, orders: list[VenueOrder], *, extended: bool = False) -> None:
        """Work off all touches of one symbol's orders and of the legs that they set free."""
        self._bar, self._path = bar, None
        self._capacity = self._model.capacity(bar.volume)
        queue = self._queue
        for order in orders:
            if order.status not in IDLE_STATUSES and (order.extended_hours or not extended):
                self._expect(order, 0.0)
        while queue:
            position, _, _, order, price, immediate = heappop(queue)
            if order.status not in OPEN_STATUSES:
                continue
            becomes = STOP_BECOMES.get(order.working_type)
            if becomes is None:
                self._fill(order, position, price, immediate)
                continue
            if order.collar_price is not None:
                becomes, order.limit_level = "limit", float(order.collar_price)
            shadow = order.shadow
            if shadow:
                self._desk.step_forward(order, self._moment(position))
            self._desk.turn(order, becomes)
            if becomes == "market" or order.sign * (order.limit_level - price) >= 0.0:
                self._fill(order, position, price, True)        # it takes what is there, up to its limit
            else:
                self._expect(order, position)
            if shadow and order.status == "new":
                self._desk.announce("new", order, self._moment(position))

    def _moment(self, position: float) -> int:
        """When the path is there, ns."""
        start, end = self._bar.start_ns, self._bar.end_ns
        return start + int((end - start) * (position / END))

    def _expect(self, order: VenueOrder, start: float) -> None:
        """Queue an order's first touch from ``start`` on, if it has one that counts."""
        kind, time_in_force = order.working_type, order.time_in_force
        fleeting = time_in_force in FLEETING
        if fleeting and time_in_force not in IMMEDIATE:         # for an auction
            if not (self._bar.opens if time_in_force == "opg" else self._bar.closes):
                return
            start = 0.0 if time_in_force == "opg" else END
        if kind == "market" and not start:
            heappush(self._queue, (start, -inf, order.number, order, self._bar.open, True))
            return
        path = self._path
        if path is None:
            bar = self._bar
            self._path = path = bar_path(bar.open, bar.high, bar.low, bar.close)
        if kind == "market":
            heappush(self._queue, (start, -inf, order.number, order, price_at(path, start), True))
            return
        found = touch(order, path, start)
        if kind == "trailing_stop":
            self._desk.dirty.add(order.id)
        if found is None:
            return
        position, price, immediate = found
        if immediate or not (fleeting or (order.exits and self._stop_comes_first(order, path, start))):
            rank = order.sign * (price - order.limit_level) if kind == "limit" else inf
            heappush(self._queue, (position, rank, order.number, order, price, immediate))

    def _stop_comes_first(self, order: VenueOrder, path: Path, start: float) -> bool:
        if order.working_type != "limit":
            return False
        orders = self._desk.orders
        for key in order.exits:
            other = orders[key]
            if other.working_type in STOP_BECOMES and other.status in OPEN_STATUSES and (
                touch(other, path, start) is not None
            ):
                return True
        return False

    def _fill(self, order: VenueOrder, position: float, reference: float, immediate: bool) -> None:
        """Fill what the bar's volume allows at the price that the market had, or cancel what has nothing to close."""
        bar = self._bar                 # the moment is worked out in place: every fill comes by here
        ts_ns = bar.start_ns + int((bar.end_ns - bar.start_ns) * (position / END)) if position else bar.start_ns
        qty, account = order.qty, self._account
        wanted = self._shares(order, reference, immediate) if qty is None else qty - order.filled_qty
        if order.closing:
            holding = account.holdings.get(order.symbol)
            held = ZERO if holding is None else holding.qty
            most = -held if order.sign > 0 else held
            if qty is None:             # dollars that come to more shares than they held leave others theirs
                most -= self._desk.held_quantity(order.column, order.side) - order.estimate
            if most < wanted:
                wanted = most
        if wanted <= ZERO:
            if order.closing:
                self._desk.finish(order, "canceled", ts_ns)
            return
        size, quantity = float(wanted), wanted
        if size > self._capacity:
            shares = self._model.fillable(size, self._capacity)
            if shares < size:
                quantity = Decimal(int(shares))
                size = float(quantity)
                if shares <= 0.0 or order.time_in_force == "fok":
                    return
        if qty is None:
            self._desk.hold(order, wanted - order.estimate)
            order.qty = wanted
        self._capacity -= size
        price, costs = self._price(order, reference, immediate, size)
        fee = quantity * self._commission
        held = account.book_fill(order.symbol, quantity if order.sign > 0 else -quantity, price, fee)
        self._desk.execute(order, ts_ns, price, quantity, held, fee, costs)
        if order.exits:
            self._end_siblings(order, ts_ns)
        elif order.legs and order.status == "filled":
            self._activate(order, held, position, ts_ns)

    def _shares(self, order: VenueOrder, reference: float, immediate: bool) -> Decimal:
        """What a dollar amount buys at the price that it would fill at."""
        amount = order.notional or ZERO
        price, _ = self._price(order, reference, immediate, float(amount) / reference)
        return (amount / price).quantize(MICRO_SHARE, rounding=ROUND_DOWN)

    def _price(
        self, order: VenueOrder, reference: float, immediate: bool, quantity: float
    ) -> tuple[Decimal, FillCosts]:
        """A resting limit is hit at its price; taking liquidity costs, and a limit caps the cost."""
        limit = order.cap_price if order.working_type == "limit" else None
        if limit is not None and not immediate:
            return limit, NO_COSTS
        bar, sign = self._bar, order.sign
        costs = self._model.costs(sign, quantity, reference, bar.close, bar.volume, bar.adv, bar.volatility)
        spread, permanent, temporary, adverse = costs
        total = spread + permanent + temporary + adverse
        price = rounded(reference * (1.0 + sign * total / BPS), _PLACES)
        if limit is not None and (price > limit if sign > 0 else price < limit):
            room = max(0.0, sign * (order.limit_level / reference - 1.0) * BPS)
            share = room / total if total else 0.0
            return limit, FillCosts(*(part * share for part in costs))
        return price if price > ZERO else _LEAST, costs

    def _end_siblings(self, order: VenueOrder, ts_ns: int) -> None:
        """Exits of one group exclude each other: the others want as much as this one still does, or nothing."""
        desk, over = self._desk, order.status not in OPEN_STATUSES
        for other in desk.siblings(order):
            if over:
                desk.retire(other, "canceled", ts_ns)
                desk.announce("canceled", other, ts_ns)
            else:
                desk.match_remaining(other, order, ts_ns)

    def _activate(self, entry: VenueOrder, held: Decimal, position: float, ts_ns: int) -> None:
        """A completed entry sets its legs to work, for what it filled and never more than is ``held`` can give."""
        desk = self._desk
        legs = [desk.orders[leg] for leg in entry.legs]
        free = (held if entry.sign > 0 else -held) - desk.held_quantity(entry.column, legs[0].side)
        quantity = entry.filled_qty if entry.filled_qty <= free else free
        for leg in legs:
            if leg.status not in OPEN_STATUSES:
                continue
            if quantity <= ZERO:
                desk.finish(leg, "canceled", ts_ns)
                continue
            leg.qty = quantity
            leg.session = entry.session
            desk.open_up(leg, ts_ns)
        bar, book = self._bar, desk.books[entry.column]
        if bar.low <= book.floor or bar.high >= book.ceiling:           # else it reaches none of them
            for leg in legs:
                if leg.status in OPEN_STATUSES:
                    self._expect(leg, position)


def sweep(desk: Desk, start_ns: int, end_ns: int, *, opens: bool, closes: bool) -> None:
    """Cancel what was for the moment alone: ioc and fok after any bar, opg after the open, cls after the close."""
    for order in sorted(desk.fleeting.values(), key=_ARRIVAL):
        if order.status in QUEUED_STATUSES:
            continue
        kind = order.time_in_force
        if kind in IMMEDIATE or (opens if kind == "opg" else closes):
            desk.finish(order, "canceled", end_ns if kind == "cls" else start_ns)
