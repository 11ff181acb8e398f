"""Random order flow never breaks the books."""

from __future__ import annotations

import random
from decimal import Decimal as D
from math import inf

import msgspec
import pytest
from exchange_markets import walk_panel
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core.money import to_tick
from trader.exchange.account import Account
from trader.exchange.errors import VenueError
from trader.exchange.types import OrderRequest, VenueEvent, VenueOrder, VenueRules
from trader.exchange.venue import Venue

SYMBOLS = ("AAPL", "MSFT")
PANEL = walk_panel(SYMBOLS, 240, volume=3_000)
CASH = D(100_000)


def random_request(rng: random.Random, venue: Venue) -> OrderRequest:
    """Any kind of order near the market; many of them are refused, which is part of the test."""
    symbol = rng.choice(SYMBOLS)
    column = venue.column(symbol)
    assert column is not None
    last = venue.last_price(column)
    side = rng.choice(("buy", "sell"))
    up = 1 if side == "buy" else -1

    def near(low: float, high: float) -> D:
        return (last * D(str(round(1 + rng.uniform(low, high), 4)))).quantize(D("0.01"))

    kind = rng.choice(("market", "limit", "stop", "stop_limit", "trailing_stop"))
    fields: dict[str, object] = {}
    if kind in ("limit", "stop_limit"):
        fields["limit_price"] = near(-0.01, 0.01)
    if kind in ("stop", "stop_limit"):
        fields["stop_price"] = near(-0.01, 0.01)
    if kind == "trailing_stop":
        fields[rng.choice(("trail_price", "trail_percent"))] = D(str(round(rng.uniform(0.2, 3), 2)))
    shape = rng.choice(("simple", "simple", "bracket", "oto", "oco"))
    if shape in ("bracket", "oto", "oco"):
        outward = up if shape != "oco" else -up
        fields["take_profit"] = near(0.002 * outward, 0.015 * outward)
        if shape != "oto":
            fields["stop_loss"] = near(-0.015 * outward, -0.002 * outward)
    qty: D | None = D(rng.randint(1, 800))
    if rng.random() < 0.1:
        qty = D(str(round(rng.uniform(0.1, 50), 4)))
    elif rng.random() < 0.05:
        qty, fields["notional"] = None, D(rng.randint(1, 5_000))
    moments = ("ioc", "fok", "cls") if venue.hours.inside_day(venue.index) else ("opg", "opg", "cls", "cls")
    time_in_force = rng.choice(("day", "gtc", *moments))
    if time_in_force in moments and shape != "simple":
        shape, fields = "simple", {name: value for name, value in fields.items() if name == "limit_price"}
        kind = "limit" if fields else "market"
    return OrderRequest(
        symbol=symbol, side=side, type=kind, qty=qty, order_class=shape, time_in_force=time_in_force, **fields,
    )


def act(rng: random.Random, venue: Venue) -> None:
    """One random deed of a client."""
    open_orders = venue.orders("open")
    deed = rng.random()
    try:
        if deed < 0.6:
            venue.submit(random_request(rng, venue))
        elif deed < 0.7 and open_orders:
            venue.cancel(rng.choice(open_orders).id)
        elif deed < 0.85 and open_orders:
            old = rng.choice(open_orders)
            change = D(str(round(rng.uniform(0.99, 1.01), 3)))
            trailing = old.type == "trailing_stop"
            price = (old.trail_price or old.trail_percent) if trailing else old.limit_price or old.stop_price
            field = "trail" if trailing else "limit_price" if old.limit_price else "stop_price"
            if price is not None and rng.random() < 0.7:
                venue.replace(old.id, **{field: (price * change).quantize(D("0.01"))})
            else:
                venue.replace(old.id, qty=D(rng.randint(1, 800)))
        elif deed < 0.95:
            venue.close_position(rng.choice(SYMBOLS))
        elif deed < 0.96:
            venue.cancel_all()
        elif deed < 0.97:
            venue.halt(rng.choice(SYMBOLS))
        elif deed < 0.99:
            for symbol in SYMBOLS:
                venue.resume(symbol)
        else:
            venue.set_borrow(rng.choice(SYMBOLS), easy=rng.random() < 0.6)
    except VenueError:
        pass


def check_books(venue: Venue, fills: dict[str, D]) -> None:
    """Identities that hold after every bar."""
    book = venue.accounts_book
    cost = sum((holding.cost for holding in book.holdings.values()), D(0))
    assert book.cash + cost == book.deposited + book.realized - book.fees
    for symbol in SYMBOLS:
        assert book.quantity(symbol) == fills.get(symbol, D(0))
    open_orders = venue.orders("open")
    assert venue.buying_power() == venue.account().buying_power
    expected = sum((order.reserved for order in open_orders), D(0))
    assert venue.desk.reserved == expected
    check_desk(venue)
    assert [order for order in venue.orders("all") if order.is_open] == open_orders
    for order in open_orders:
        assert order.qty is None or 0 <= order.filled_qty < order.qty
        if order.exits and order.status not in ("held", "pending_new"):
            # whatever the exits of one group still want is the same, and no more than the position
            wanted = {venue.order(other).remaining for other in order.exits if venue.order(other).is_open}
            assert len(wanted) == 1


def check_desk(venue: Venue) -> None:
    """What the desk keeps count of is what counting gives."""
    desk = venue.desk
    working = [order for order in venue.orders("open") if order.status not in ("held", "pending_new")]
    assert desk.working == len(working)
    for column, book in desk.books.items():
        here = [order for order in working if order.column == column]
        assert book.floor == max((level for order in here for level, down in levels(order) if down), default=-inf)
        assert book.ceiling == min((level for order in here for level, down in levels(order) if not down), default=inf)
        assert set(book.moving) == {order.id for order in here if not levels(order)}
        for name, side in book.sides.items():
            mine = [order for order in here if order.side == name]
            assert list(side.orders.values()) == sorted(mine, key=list(side.orders.values()).index)
            assert side.openers == sum(not order.closing for order in mine)
            groups = {
                (order.exits or (order.id,)): order.estimate if order.qty is None else order.remaining
                for order in mine if order.closing
            }
            assert side.held == sum(groups.values(), D(0))


def levels(order: VenueOrder) -> list[tuple[float, bool]]:
    """The price that an order waits for, and whether the market falls there; nothing for what waits for none."""
    if order.working_type == "limit":
        return [(order.limit_level, order.sign > 0)]
    return [(order.stop_level, order.sign < 0)] if order.working_type in ("stop", "stop_limit") else []


def check_queue(venue: Venue, waiting: list[VenueOrder], fresh: list[VenueEvent]) -> None:
    """No market order gets shares of a bar while an earlier one of its symbol still wants some."""
    took = [event.order for event in fresh if event.qty is not None]
    for first in waiting:
        for later in took:
            same = later.symbol == first.symbol and later.type == first.type == "market"
            patient = {first.time_in_force, later.time_in_force} <= {"day", "gtc"} and later.parent_id is None
            if same and patient and later.number > first.number and later.qty is not None and later.qty >= 2:
                assert not first.is_open, f"{later.id} overtook {first.id}"


class Flow:
    """A venue, its random client, and accounts kept beside it from the trade updates alone."""

    def __init__(self, seed: int) -> None:
        rules = VenueRules(slow_changes=seed % 2 == 1, stop_collars=seed % 3 == 1, done_for_day=seed % 5 == 1)
        model = RealisticFillSimulator()
        self.venue = Venue(PANEL, start_index=1, cash=CASH, fill_model=model, seed=seed, rules=rules)
        self.events: list[VenueEvent] = []
        self.mirror = Account(CASH)
        self.position: dict[str, D] = {}
        self._filled: dict[str, D] = {}

    @property
    def between_days(self) -> bool:
        """Whether the next bar begins a session."""
        return not self.venue.hours.inside_day(self.venue.index)

    def split(self, rng: random.Random) -> None:
        """A split between two sessions, in the venue and in the accounts beside it."""
        venue, symbol, ratio = self.venue, rng.choice(SYMBOLS), D(rng.choice(("2", "1.5", "0.5")))
        column = venue.column(symbol)
        assert column is not None
        price = to_tick(venue.last_price(column) / ratio)
        venue.apply_split(symbol, ratio)
        assert venue.last_price(column) == price
        self.position[symbol] = self.position.get(symbol, D(0)) + self.mirror.split(symbol, ratio, price)[0]
        for order in venue.orders("open"):          # what was filled counts in new shares from now on
            self._filled[order.id] = order.filled_qty

    def bar(self) -> None:
        """The next bar, and whether what it did could be."""
        venue = self.venue
        waiting = [order for order in venue.orders("open") if order.status != "held"]
        venue.step()
        fresh = venue.drain()
        check_queue(venue, waiting, fresh)
        for event in fresh:
            assert event.seq == len(self.events) + 1
            self.events.append(event)
            if event.qty is not None:
                self._fill(event)
        self.check()

    def _fill(self, event: VenueEvent) -> None:
        order, venue = event.order, self.venue
        assert event.qty is not None
        assert event.price is not None
        assert event.commission is not None
        low = float(PANEL.low[venue.index - 1, order.column])
        high = float(PANEL.high[venue.index - 1, order.column])
        assert low * 0.95 <= float(event.price) <= high * 1.05
        if order.limit_price is not None:
            assert (event.price - order.limit_price) * order.sign <= 0
        assert order.filled_qty >= self._filled.get(order.id, D(0)) + event.qty     # a replacement takes fills over
        self._filled[order.id] = order.filled_qty
        symbol = order.symbol
        self.position[symbol] = self.position.get(symbol, D(0)) + order.sign * event.qty
        assert event.position_qty == self.position[symbol]
        self.mirror.book_fill(symbol, order.sign * event.qty, event.price, event.commission)

    def check(self) -> None:
        """The books balance, and agree with those beside them to the last digit."""
        check_books(self.venue, self.position)
        assert self.mirror.cash == self.venue.account().cash
        assert self.mirror.realized == self.venue.accounts_book.realized

    def check_end(self) -> None:
        """Of exits that exclude each other one filled at most; the history has every fill."""
        venue = self.venue
        for order in venue.orders("all"):
            done = [venue.order(other) for other in order.exits]
            assert sum(other.status == "filled" for other in done) <= 1, f"two exits of one group filled: {done}"
        told = [event.qty for event in self.events if event.qty is not None]
        assert [activity.qty for activity in venue.activities] == told


def run(seed: int, bars: int, *, splits: bool = False) -> list[VenueEvent]:
    """Random deeds between bars; the events, checked on the way."""
    rng = random.Random(seed)
    flow = Flow(seed)
    while flow.venue.index < bars:
        if splits and flow.between_days and rng.random() < 0.5:
            flow.split(rng)
        for _ in range(rng.randint(0, 3) + 3 * flow.between_days):
            act(rng, flow.venue)
        flow.bar()
    flow.check_end()
    return flow.events


SEEDS = st.integers(0, 2**32)


class OrderFlow(RuleBasedStateMachine):
    """Deeds, bars and splits in any order; after every one of them the books balance."""

    @initialize(seed=SEEDS)
    def open(self, seed: int) -> None:
        self.flow = Flow(seed)

    @rule(seed=SEEDS)
    def client(self, seed: int) -> None:
        act(random.Random(seed), self.flow.venue)

    @precondition(lambda self: not self.flow.venue.done)
    @rule(seed=SEEDS, deeds=st.integers(0, 3))
    def bar(self, seed: int, deeds: int) -> None:
        rng = random.Random(seed)
        for _ in range(deeds):
            act(rng, self.flow.venue)
        self.flow.bar()

    @precondition(lambda self: not self.flow.venue.done)
    @rule(count=st.integers(2, 12))
    def bars(self, count: int) -> None:
        for _ in range(min(count, len(PANEL) - self.flow.venue.index)):
            self.flow.bar()

    @precondition(lambda self: self.flow.between_days)
    @rule(seed=SEEDS)
    def split(self, seed: int) -> None:
        self.flow.split(random.Random(seed))

    @invariant()
    def books_balance(self) -> None:
        self.flow.check()

    def teardown(self) -> None:
        self.flow.check_end()


def test_no_flow_of_orders_breaks_the_books() -> None:
    """Some 9,000 steps."""
    run_state_machine_as_test(OrderFlow, settings=settings(max_examples=60, stateful_step_count=150))


@pytest.mark.slow
def test_no_long_flow_of_orders_breaks_the_books() -> None:
    run_state_machine_as_test(OrderFlow, settings=settings(max_examples=300, stateful_step_count=300))


@settings(max_examples=10)
@given(seed=SEEDS)
def test_busy_days_keep_cash_shares_and_groups(seed: int) -> None:
    run(seed, 120, splits=True)


def test_long_flows_tell_of_everything() -> None:
    events = [event for seed in (11, 12, 31) for event in run(seed, 240, splits=True)]
    kinds, statuses = {event.event for event in events}, {event.order.status for event in events}
    assert kinds == {
        "accepted", "new", "pending_new", "fill", "partial_fill", "canceled", "expired", "done_for_day", "replaced",
        "rejected", "pending_cancel", "pending_replace", "restated", "order_replace_rejected",
        "order_cancel_rejected", "suspended",
    }
    assert statuses - {"held"} == {         # legs are announced when they start to work
        "accepted", "new", "pending_new", "partially_filled", "filled", "canceled", "expired", "done_for_day",
        "replaced", "rejected", "pending_cancel", "pending_replace", "suspended",
    }
    kinds_filled = {(event.order.type, event.order.time_in_force) for event in events if event.qty is not None}
    assert {time_in_force for _, time_in_force in kinds_filled} == {"day", "gtc", "ioc", "fok", "cls", "opg"}
    assert {kind for kind, _ in kinds_filled} == {"market", "limit", "stop", "stop_limit", "trailing_stop"}
    assert sum(event.qty is not None for event in events) > 200


def test_two_runs_give_the_same_bytes() -> None:
    first, second = (msgspec.json.encode(run(3, 150)) for _ in range(2))
    assert first == second
    assert first != msgspec.json.encode(run(4, 150))
