"""What a server keeps with its venue, so that it comes back in the same surroundings: bars, faults, rules."""

from __future__ import annotations

import msgspec

from trader.exchange.data_stream import DataStream
from trader.exchange.fault_script import FaultScript
from trader.exchange.fault_venue import VenueFaults
from trader.exchange.faults import FaultPlan, PlanState
from trader.exchange.market_events import Entry, MarketEvents
from trader.exchange.types import Split, VenueRules
from trader.exchange.venue import Venue

_encode = msgspec.msgpack.Encoder().encode
_mark = msgspec.msgpack.Encoder(order="deterministic").encode       # the same in every process


class _Around(msgspec.Struct, frozen=True, kw_only=True):
    begun: bytes
    events: list[Entry]
    passing: dict[str, int]
    passed: frozenset[str]
    plan: PlanState
    rules: VenueRules
    bars_sent: int = 0


class VenueSurroundings:
    """The surroundings of one server's venue.

    Changed bars and orders that faults have put aside always come back. Armed faults, what they have drawn, and the
    rules do so when the server is started with the script and the rules of its earlier life; with others it begins
    anew with those.
    """

    def __init__(
        self, venue: Venue, script: FaultScript, plan: FaultPlan, orders: VenueFaults, market: MarketEvents,
        data: DataStream,
    ) -> None:
        self._begun = _mark([script, venue.rules])
        self._venue = venue
        self._plan = plan
        self._orders = orders
        self._market = market
        self._data = data

    def value(self) -> bytes:
        """They as they stand."""
        return _encode(_Around(
            begun=self._begun, events=self._market.entries, passing=self._orders.passing,
            passed=frozenset(self._orders.passed), plan=self._plan.state, rules=self._venue.rules,
            bars_sent=self._data.bars_sent,
        ))

    def take_up(self, value: bytes, splits: list[Split]) -> None:
        """Be what they were, the venue's bars too; before the venue is set back."""
        around = msgspec.msgpack.decode(value, type=_Around)
        self._market.replay(around.events, splits)
        self._orders.passing, self._orders.passed = around.passing, set(around.passed)
        self._data.bars_sent = around.bars_sent
        if around.begun == self._begun:
            self._plan.go_on(around.plan)
            self._venue.set_rules(around.rules)
