"""Random order flow while everything goes wrong inside the venue: cash and shares are kept all the same."""

from __future__ import annotations

import random
from decimal import Decimal as D

from hypothesis import given, settings
from hypothesis import strategies as st
from test_exchange_properties import CASH, PANEL, SYMBOLS, act

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.exchange.account import Account
from trader.exchange.errors import VenueError
from trader.exchange.fault_rules import PASSABLE
from trader.exchange.fault_script import read_faults
from trader.exchange.fault_venue import VenueFaults, fill_late
from trader.exchange.faults import FaultPlan
from trader.exchange.types import VenueEvent, VenueRules
from trader.exchange.venue import Venue

FAULTS = [
    {"kind": "partial_fill", "fraction": 0.4, "probability": 0.3, "count": 0},
    {"kind": "leg_replaced", "probability": 0.5, "count": 0},
    *({"kind": "status", "status": status, "bars": bars, "probability": 0.05, "count": 0}
      for status in PASSABLE for bars in (0, 2)),
]


def late(rng: random.Random, venue: Venue) -> bool:
    """Cancel something that then fills; whether it did."""
    open_orders = [order for order in venue.orders("open") if order.status != "held"]
    if not open_orders:
        return False
    order = rng.choice(open_orders)
    try:
        venue.cancel(order.id)
    except VenueError:
        return False
    return fill_late(venue, order)


def flow(seed: int, bars: int) -> tuple[list[VenueEvent], int, FaultPlan]:
    """Events, late fills, faults of a random run; the books are checked after every bar."""
    rng = random.Random(seed)
    rules = VenueRules(slow_changes=seed % 2 == 1, done_for_day=seed % 3 == 1, luld=seed % 5 == 1)
    venue = Venue(PANEL, start_index=1, cash=CASH, fill_model=RealisticFillSimulator(), seed=seed, rules=rules)
    plan = FaultPlan(lambda: (venue.index, venue.now_ns), seed)
    plan.add(read_faults(FAULTS))
    faults = VenueFaults(plan, venue)
    events: list[VenueEvent] = []
    mirror = Account(CASH)
    filled: dict[str, D] = {}
    late_fills = 0
    while venue.index < bars:
        for _ in range(rng.randint(1, 4)):
            act(rng, venue)
            fresh = faults.drain()
            if rng.random() < 0.2:
                late_fills += late(rng, venue)
                fresh += faults.drain()
            events += fresh
            book(fresh, mirror, filled)
        venue.step()
        fresh = faults.drain()
        events += fresh
        book(fresh, mirror, filled)
        check(venue, mirror)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    for order in venue.orders("all"):
        assert sum(venue.order(other).status in ("filled", "calculated") for other in order.exits) <= 1
    return events, late_fills, plan


def book(fresh: list[VenueEvent], mirror: Account, filled: dict[str, D]) -> None:
    """Keep an account from what was told alone."""
    for event in fresh:
        if event.qty is None:
            continue
        assert event.price is not None
        assert event.commission is not None
        order = event.order
        mirror.book_fill(order.symbol, order.sign * event.qty, event.price, event.commission)
        assert event.position_qty == mirror.quantity(order.symbol)
        assert filled.get(order.id, D(0)) < order.filled_qty
        assert order.qty is not None
        assert order.filled_qty <= order.qty
        filled[order.id] = order.filled_qty


def check(venue: Venue, mirror: Account) -> None:
    """What was told adds up to what the venue has."""
    account = venue.accounts_book
    assert mirror.cash == account.cash
    assert {symbol: mirror.quantity(symbol) for symbol in SYMBOLS} == {
        symbol: account.quantity(symbol) for symbol in SYMBOLS
    }
    cost = sum((holding.cost for holding in account.holdings.values()), D(0))
    assert account.cash + cost == account.deposited + account.realized - account.fees
    open_orders = venue.orders("open")
    assert venue.desk.reserved == sum((order.reserved for order in open_orders), D(0))
    assert [order for order in venue.orders("all") if order.is_open] == open_orders


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_faults_inside_the_venue_keep_the_books(seed: int) -> None:
    flow(seed, 60)


def test_long_flows_meet_every_fault() -> None:
    met = set()
    late_fills = 0
    for seed in (1, 2, 6):
        _, late_here, plan = flow(seed, 200)
        late_fills += late_here
        met |= {(hit.kind, hit.rule.get("status")) for hit in plan.log}
    assert met == {("partial_fill", None), ("leg_replaced", None), *(("status", status) for status in PASSABLE)}
    assert late_fills > 5
