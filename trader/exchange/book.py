"""One symbol's orders, kept so that a bar which touches none of them costs two comparisons.

Orders with a level lie sorted, the one nearest to the market last: what a falling price meets (buy limits, sell
stops) and what a rising price meets (sell limits, buy stops). Market orders and trailing stops are looked at by
every bar.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from decimal import Decimal
from math import inf

from trader.exchange.types import BUY, SELL, ZERO, VenueOrder

# How near the order is to the market (a rising price meets the lowest level first: its sign is turned), its number.
Entry = tuple[float, int, VenueOrder]


class Side:
    """One side of a symbol's book.

    Attributes
    ----------
    orders : dict
        All of them by id, in order of arrival here.
    limits, stops : list
        Sorted, nearest last.
    openers : int
        Orders that may open a position.
    plain_limits, plain_others : int
        Orders that are not `exempt`, with a limit price alone and others.
    alone : Decimal
        Shares that closing orders without a group want.
    shared : dict
        Closing orders of a group, by id.
    """

    __slots__ = ("alone", "limits", "openers", "orders", "plain_limits", "plain_others", "shared", "stops")

    def __init__(self) -> None:
        self.orders: dict[str, VenueOrder] = {}
        self.limits: list[Entry] = []
        self.stops: list[Entry] = []
        self.openers = self.plain_limits = self.plain_others = 0
        self.alone = ZERO
        self.shared: dict[str, VenueOrder] = {}

    @property
    def held(self) -> Decimal:
        """Shares that closing orders hold; exits of one group hold them once."""
        if not self.orders:
            return ZERO
        held = self.alone
        if held != (whole := held.to_integral_value()):     # sums of fractions keep their digits
            whole = held
        if not self.shared:
            return whole
        counted: set[str] = set()
        for order in self.shared.values():
            if order.id not in counted:
                whole += order.remaining
                counted.update(order.exits)
        return whole


NOBODY = Side()             # the side of a symbol without orders; nobody adds to it


def exempt(order_class: str, kind: str) -> bool:
    """Whether an order is beyond the rule against wash trades."""
    return order_class != "simple" or kind == "trailing_stop"


class Book:
    """One symbol's orders that can trade now.

    Attributes
    ----------
    floor, ceiling : float
        The highest level that a falling price meets, the lowest that a rising price meets.
    moving : dict
        Orders without a level, by id: market orders, trailing stops.
    """

    __slots__ = ("_buys", "_places", "_sells", "ceiling", "floor", "moving", "sides")

    def __init__(self) -> None:
        self._buys, self._sells = Side(), Side()
        self.sides = {BUY: self._buys, SELL: self._sells}
        self.moving: dict[str, VenueOrder] = {}
        self.floor, self.ceiling = -inf, inf
        self._places: dict[str, tuple[list[Entry], Entry]] = {}

    def orders(self) -> list[VenueOrder]:
        """All of them."""
        return [*self._buys.orders.values(), *self._sells.orders.values()]

    def put(self, order: VenueOrder) -> bool:
        """Take an order in; False when it is here already."""
        side, key = self.sides[order.side], order.id
        if key in side.orders:
            return False
        side.orders[key] = order
        if order.order_class == "simple":
            if order.type == "limit":
                side.plain_limits += 1
            elif order.type != "trailing_stop":
                side.plain_others += 1
        if not order.closing:
            side.openers += 1
        elif order.exits:
            side.shared[key] = order
        else:
            side.alone += order.estimate if order.qty is None else order.qty - order.filled_qty
        if order.working_type == "market":
            self.moving[key] = order
        else:
            self._place(order, side)
        return True

    def take(self, order: VenueOrder) -> bool:
        """Let an order go; False when it is not here."""
        side, key = self.sides[order.side], order.id
        if side.orders.pop(key, None) is None:
            return False
        if order.order_class == "simple":
            if order.type == "limit":
                side.plain_limits -= 1
            elif order.type != "trailing_stop":
                side.plain_others -= 1
        if not order.closing:
            side.openers -= 1
        elif order.exits:
            del side.shared[key]
        else:
            side.alone -= order.estimate if order.qty is None else order.qty - order.filled_qty
        if order.working_type == "market":
            del self.moving[key]
        else:
            self._displace(order)
        return True

    def turn(self, order: VenueOrder, kind: str) -> None:
        """An order here works as another kind from now on: a stop that was touched is a market or a limit order."""
        if order.id not in self.sides[order.side].orders:
            return
        self._displace(order)
        order.working_type = kind
        self._place(order, self.sides[order.side])

    def reached(self, low: float, high: float) -> list[VenueOrder]:
        """The orders that a bar of this range can touch."""
        found = []
        for order in self.moving.values():
            if order.working_type != "market":          # a trailing stop: set off, or carried along
                hwm = order.hwm_level
                if (low > order.stop_level and high <= hwm) if order.sign < 0 else (
                    high < order.stop_level and low >= hwm
                ):
                    continue
            found.append(order)
        if low <= self.floor:
            for entries in (self._buys.limits, self._sells.stops):
                for level, _, order in reversed(entries):
                    if level < low:
                        break
                    found.append(order)
        if high >= self.ceiling:
            for entries in (self._sells.limits, self._buys.stops):
                for level, _, order in reversed(entries):
                    if -level > high:
                        break
                    found.append(order)
        return found

    def _place(self, order: VenueOrder, side: Side) -> None:
        kind = order.working_type
        if kind == "limit":
            entries, level, falling = side.limits, order.limit_level, order.sign > 0
        elif kind in ("stop", "stop_limit"):
            entries, level, falling = side.stops, order.stop_level, order.sign < 0
        else:
            self.moving[order.id] = order
            return
        if falling:
            entry = level, order.number, order
            if level > self.floor:
                self.floor = level
        else:
            entry = -level, order.number, order
            if level < self.ceiling:
                self.ceiling = level
        if entries and entry < entries[-1]:
            insort(entries, entry)
        else:
            entries.append(entry)
        self._places[order.id] = entries, entry

    def _displace(self, order: VenueOrder) -> None:
        place = self._places.pop(order.id, None)
        if place is None:
            del self.moving[order.id]
            return
        entries, entry = place
        if entries[-1] is not entry:
            del entries[bisect_left(entries, entry)]
            return
        entries.pop()
        buys, sells = self._buys, self._sells
        if entries is buys.limits or entries is sells.stops:
            self.floor = _nearer(buys.limits, sells.stops)
        else:
            self.ceiling = -_nearer(sells.limits, buys.stops)


def _nearer(one: list[Entry], other: list[Entry]) -> float:
    """How near the nearest entry of two lists is."""
    if one and other:
        return max(one[-1][0], other[-1][0])
    return one[-1][0] if one else other[-1][0] if other else -inf
