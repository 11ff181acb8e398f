"""Plays one bar against the working orders: touches in the order of the path, fills within the bar's volume.

Inside a bar the order of events is the path's (`trader.exchange.path`), with one exception in favour of
caution: when a stop and the take-profit that excludes it are both touched, the stop counts as first, unless the
take-profit was marketable the moment that it could work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import ROUND_DOWN, Decimal
from heapq import heappop, heappush
from operator import attrgetter

import msgspec

from trader.backtest.realistic_fills import BPS, NO_COSTS, FillCosts, RealisticFillSimulator
from trader.core.money import MICRO_SHARE
from trader.exchange.account import Account
from trader.exchange.decimals import exact, rough
from trader.exchange.desk import Desk
from trader.exchange.exits import follow
from trader.exchange.path import END, Path, bar_path, first_at_or_above, first_at_or_below, price_at
from trader.exchange.types import (
    FLEETING,
    IDLE_STATUSES,
    IMMEDIATE,
    PENDING_STATUSES,
    QUEUED_STATUSES,
    STOP_BECOMES,
    ZERO,
    VenueOrder,
)

_FILL_QUANTUM = Decimal("0.0001")
_AVERAGE_QUANTUM = Decimal("0.000001")
_ARRIVAL = attrgetter("number")


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


class Touch(msgspec.Struct, frozen=True, gc=False):
    """Where on the path an order can act, at what price, and whether it could at once."""

    position: float
    price: float
    immediate: bool


def touch(order: VenueOrder, path: Path, start: float) -> Touch | None:
    """The order's first touch from ``start`` on: limits at the limit or better, stops at the stop or worse."""
    kind = order.working_type
    if kind == "market":
        return Touch(start, price_at(path, start), True)
    if kind == "trailing_stop":
        return trailing_touch(order, path, start)
    downward = (order.sign > 0) == (kind == "limit")
    level = order.limit_level if kind == "limit" else order.stop_level
    position = (first_at_or_below if downward else first_at_or_above)(path, level, start)
    if position is None:
        return None
    immediate = position == start
    return Touch(position, price_at(path, start) if immediate else level, immediate)


def trailing_touch(order: VenueOrder, path: Path, start: float) -> Touch | None:
    """Where the path turns back to a stop that follows its best price; the best price is kept in the order."""
    sign = -order.sign              # +1 where the best price is the highest
    position, price = start, price_at(path, start)
    best = order.hwm_level
    for corner in range(int(start), int(END) + 1):
        best = sign * max(sign * best, sign * price)
        if corner >= END:
            break
        ahead = path[corner + 1]
        stop = order.trail_from(best)
        if sign * (price - stop) <= 0.0:
            _keep_best(order, best)
            return Touch(position, price, position == start)
        if sign * (ahead - stop) <= 0.0:
            _keep_best(order, best)
            return Touch(corner + (path[corner] - stop) / (path[corner] - ahead), stop, False)
        position, price = corner + 1.0, ahead
    _keep_best(order, best)
    return None


def _keep_best(order: VenueOrder, best: float) -> None:
    if best != order.hwm_level:
        order.hwm = Decimal(repr(round(best, 9)))
        follow(order)


def rounded(price: float) -> Decimal:
    """What the price prints as, to four decimals, half to even; formatting is faster and differs at halves alone."""
    if 0.49999 < price * 1e4 % 1.0 < 0.50001:
        return Decimal(repr(price)).quantize(_FILL_QUANTUM)
    return Decimal(f"{price:.4f}")


class BarMatch:
    """One symbol, one bar: a queue of touches, worked off in the order of the path and of arrival."""

    __slots__ = ("_account", "_bar", "_capacity", "_desk", "_model", "_path", "_queue")

    def __init__(self, desk: Desk, account: Account, model: RealisticFillSimulator, bar: Bar) -> None:
        self._desk = desk
        self._account = account
        self._model = model
        self._bar = bar
        self._path = bar_path(bar.open, bar.high, bar.low, bar.close)
        self._capacity = model.capacity(bar.volume)
        self._queue: list[tuple[float, int, VenueOrder, Touch]] = []

    def play(self, orders: list[VenueOrder]) -> None:
        """Work off all touches of these orders and of the legs that they set free."""
        for order in orders:
            self._expect(order, 0.0)
        while self._queue:
            _, _, order, found = heappop(self._queue)
            if not order.is_open:
                continue
            becomes = STOP_BECOMES.get(order.working_type)
            if becomes is None:
                self._fill(order, found)
                continue
            if order.collar_price is not None:
                becomes, order.limit_level = "limit", float(order.collar_price)
            self._desk.turn(order, becomes)
            if becomes == "market" or order.sign * (order.limit_level - found.price) >= 0.0:
                self._fill(order, found)
            else:
                self._expect(order, found.position)

    def _expect(self, order: VenueOrder, start: float) -> None:
        fleeting = order.time_in_force in FLEETING
        if fleeting and order.time_in_force not in IMMEDIATE:
            auction = order.time_in_force
            if not (self._bar.opens if auction == "opg" else self._bar.closes):
                return
            start = 0.0 if auction == "opg" else END
        found = touch(order, self._path, start)
        if order.working_type == "trailing_stop":
            self._desk.dirty.add(order.id)
        if found is None:
            return
        if not found.immediate and (fleeting or self._stop_comes_first(order, start)):
            return
        heappush(self._queue, (found.position, order.number, order, found))

    def _stop_comes_first(self, order: VenueOrder, start: float) -> bool:
        if order.working_type != "limit" or not order.exits:
            return False
        return any(
            other.working_type in STOP_BECOMES and touch(other, self._path, start) is not None
            for other in self._desk.siblings(order)
        )

    def _fill(self, order: VenueOrder, found: Touch) -> None:
        bar, position = self._bar, found.position
        ts_ns = bar.start_ns + int((bar.end_ns - bar.start_ns) * (position / END)) if position else bar.start_ns
        if order.qty is None:
            self._price_notional(order, found)
        wanted = order.remaining
        if order.closing:
            wanted = min(wanted, max(ZERO, -order.sign * self._account.quantity(order.symbol)))
            if not wanted:
                self._desk.finish(order, "canceled", ts_ns)
                return
        size, quantity = rough(wanted), wanted
        most = self._model.fillable(size, self._capacity)
        if most < size:
            quantity = Decimal(int(most))
            size = float(quantity)
        if quantity <= 0 or (order.time_in_force == "fok" and quantity < wanted):
            return
        self._capacity -= size
        price, costs = self._price(order, found, size)
        self._book(order, quantity, price, costs, ts_ns)
        if order.exits or order.legs:
            self._after_fill(order, position, ts_ns)

    def _price_notional(self, order: VenueOrder, found: Touch) -> None:
        """A dollar amount becomes shares at the price that it will fill at."""
        amount = order.notional or ZERO
        price, _ = self._price(order, found, float(amount) / found.price)
        order.qty = (amount / price).quantize(MICRO_SHARE, rounding=ROUND_DOWN)
        self._desk.hold(order, order.qty)

    def _price(self, order: VenueOrder, found: Touch, quantity: float) -> tuple[Decimal, FillCosts]:
        """A resting limit is hit at its price; taking liquidity costs, and a limit caps the cost."""
        limit = order.cap_price
        if limit is not None and not found.immediate:
            return limit, NO_COSTS
        bar, sign, reference = self._bar, order.sign, found.price
        costs = self._model.costs(sign, quantity, reference, bar.close, bar.volume, bar.adv, bar.volatility)
        spread, permanent, temporary, adverse = costs
        total = spread + permanent + temporary + adverse
        level = reference * (1.0 + sign * total / BPS)
        price = rounded(level)
        if limit is not None and (price - limit) * sign > 0:
            room = max(0.0, sign * (order.limit_level / reference - 1.0) * BPS)
            share = room / total if total else 0.0
            return limit, FillCosts(*(part * share for part in costs))
        return max(price, _FILL_QUANTUM), costs

    def _book(
        self, order: VenueOrder, quantity: Decimal, price: Decimal, costs: FillCosts, ts_ns: int
    ) -> None:
        fee = quantity * exact(self._model.commission_per_share)
        position = self._account.book_fill(order.symbol, quantity if order.sign > 0 else -quantity, price, fee)
        desk = self._desk
        if order.closing:
            desk.hold(order, -quantity)
        order.filled_qty += quantity
        order.filled_value += quantity * price
        order.filled_avg_price = (order.filled_value / order.filled_qty).quantize(_AVERAGE_QUANTUM)
        order.commission += fee
        left = order.remaining
        if left:
            if order.status not in PENDING_STATUSES:
                order.status = "partially_filled"
            desk.reserve(order)
        else:
            desk.retire(order, "filled", ts_ns)
        desk.announce_fill(order, ts_ns, left, price, quantity, position, fee, costs)

    def _after_fill(self, order: VenueOrder, position: float, ts_ns: int) -> None:
        """Exits of one group exclude each other; a completed entry sets its exits to work."""
        if order.exits:
            for other in self._desk.siblings(order):
                if order.is_open:
                    self._desk.match_remaining(other, order, ts_ns)
                else:
                    self._desk.retire(other, "canceled", ts_ns)
                    self._desk.announce("canceled", other, ts_ns)
        elif order.legs and not order.is_open:
            self._activate(order, position, ts_ns)

    def _activate(self, entry: VenueOrder, position: float, ts_ns: int) -> None:
        """Legs cover what the entry filled, and never more than the position can give."""
        legs = [self._desk.orders[leg] for leg in entry.legs]
        held = self._desk.held_quantity(entry.column, legs[0].side)
        free = entry.sign * self._account.quantity(entry.symbol) - held
        quantity = min(entry.filled_qty, max(ZERO, free))
        for leg in legs:
            if not leg.is_open:
                continue
            if not quantity:
                self._desk.finish(leg, "canceled", ts_ns)
                continue
            leg.qty = quantity
            leg.session = entry.session
            self._desk.open_up(leg, ts_ns)
        for leg in legs:
            if leg.is_open:
                self._expect(leg, position)


def play_bar(
    desk: Desk, account: Account, model: RealisticFillSimulator, lows: Sequence[float], highs: Sequence[float],
    bar_of: Callable[[int, float, float], Bar | None], *, extended: bool = False,
) -> None:
    """Play a bar for every symbol with orders in the book.

    ``lows`` and ``highs`` are by column; ``bar_of(column, low, high)`` is None where a symbol has no bar. In an
    ``extended`` bar only orders act that ask for extended hours. The events come symbol by symbol:
    `Desk.sort_events` brings them into the order of time.
    """
    for column, book in desk.books.items():
        low, high = lows[column], highs[column]
        if not (low <= book.floor or high >= book.ceiling or book.moving):
            continue
        orders = [
            order for order in book.reached(low, high)
            if order.status not in IDLE_STATUSES and (order.extended_hours or not extended)
        ]
        bar = bar_of(column, low, high) if orders else None
        if bar is not None:
            BarMatch(desk, account, model, bar).play(orders)


def sweep(desk: Desk, start_ns: int, end_ns: int, *, opens: bool, closes: bool) -> None:
    """Cancel what was for the moment alone: ioc and fok after any bar, opg after the open, cls after the close."""
    for order in sorted(desk.fleeting.values(), key=_ARRIVAL):
        if order.status in QUEUED_STATUSES:
            continue
        kind = order.time_in_force
        if kind in IMMEDIATE or (opens if kind == "opg" else closes):
            desk.finish(order, "canceled", end_ns if kind == "cls" else start_ns)
