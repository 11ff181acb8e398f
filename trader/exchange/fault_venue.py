"""Faults inside the venue: fills that the market did not ask for, stop legs that get a new id by themselves."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal

from trader.core.money import SHARE
from trader.exchange.errors import VenueError
from trader.exchange.fault_rules import Fault, LegReplaced, PartialFill, VenueFault
from trader.exchange.faults import FaultPlan, matches_order
from trader.exchange.matching import Bar, BarMatch
from trader.exchange.types import STOP_BECOMES, VenueEvent, VenueOrder
from trader.exchange.venue import Venue

_PLENTY = 1e9
_STARTS = "new"                     # the event that says that an order works


def force_fill(venue: Venue, order: VenueOrder, quantity: Decimal) -> bool:
    """Fill so many shares of an order now, as a bar of one price and just enough volume would; whether it happened.

    The price is the last one, or what the order asks for where that is worse for the market.
    """
    if not order.is_open or order.status == "held":
        return False
    price = float(_fill_price(venue, order))
    model = venue.fill_model
    shares = float(quantity) + 0.5 if order.qty is not None else _PLENTY
    now = venue.now_ns
    bar = Bar(
        open=price, high=price, low=price, close=price, volume=shares / model.max_participation, start_ns=now,
        end_ns=now, adv=_PLENTY, volatility=0.0, opens=True, closes=True,
    )
    before = order.filled_qty
    BarMatch(venue.desk, venue.accounts_book, model, bar).play([order])
    return order.filled_qty > before


def _fill_price(venue: Venue, order: VenueOrder) -> Decimal:
    """A price at which the order can fill."""
    price = venue.last_price(order.column)
    bound = max if order.sign < 0 else min
    if order.working_type in STOP_BECOMES or order.working_type == "trailing_stop":
        level = Decimal(repr(order.stop_level))
        price = max(price, level) if order.sign > 0 else min(price, level)
    if order.limit_price is not None and order.working_type in ("limit", "stop_limit"):
        price = bound(price, order.limit_price)
    return price


class VenueFaults:
    """Looks at every event of the venue before it is told, and may add to them."""

    def __init__(self, plan: FaultPlan, venue: Venue) -> None:
        self._plan = plan
        self._venue = venue

    def drain(self) -> list[VenueEvent]:
        """The venue's new events and those that faults add."""
        told: list[VenueEvent] = []
        while events := self._venue.drain():
            told.extend(events)
            if self._plan.watches(VenueFault):
                for event in events:
                    if event.event == _STARTS:
                        self._strike(self._venue.desk.orders[event.order.id])
        return told

    def _strike(self, order: VenueOrder) -> None:
        if not order.is_open:
            return
        is_stop_leg = order.type in STOP_BECOMES and order.parent_id is not None and order.replaces is None
        matches = matches_order(order.symbol, order.side, order.type)

        def meant(fault: VenueFault) -> bool:
            return matches(fault) and (is_stop_leg if isinstance(fault, LegReplaced) else self._can_split(order, fault))

        what = {"order": order.id, "symbol": order.symbol, "side": order.side, "type": order.type}
        for fault in self._plan.strike(VenueFault, meant, what):
            self._act(order, fault)

    def _can_split(self, order: VenueOrder, fault: Fault) -> bool:
        return order.remaining >= 2 and self._venue.in_session

    def _act(self, order: VenueOrder, fault: Fault) -> None:
        if isinstance(fault, PartialFill):
            part = (order.remaining * Decimal(repr(fault.fraction))).quantize(SHARE, rounding=ROUND_DOWN)
            force_fill(self._venue, order, max(SHARE, part))
        elif isinstance(fault, LegReplaced) and order.stop_price is not None:
            tick = Decimal("0.01") if order.stop_price >= 1 else Decimal("0.0001")
            try:
                self._venue.replace(order.id, stop_price=order.stop_price + order.sign * tick)
            except VenueError:                      # the leg cannot move there; it stays
                return
