"""Random order flow never breaks the books."""

from __future__ import annotations

import random
from decimal import Decimal as D

import msgspec
from exchange_markets import walk_panel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    assert venue.valuation.sure_power(venue.index, venue.multiplier, venue.rules) <= float(venue.account().buying_power)
    expected = sum((order.reserved for order in open_orders), D(0))
    assert venue.desk.reserved == expected
    assert [order for order in venue.orders("all") if order.is_open] == open_orders
    for order in open_orders:
        assert order.qty is None or 0 <= order.filled_qty < order.qty
        if order.exits and order.status not in ("held", "pending_new"):
            # whatever the exits of one group still want is the same, and no more than the position
            wanted = {venue.order(other).remaining for other in order.exits if venue.order(other).is_open}
            assert len(wanted) == 1


def check_queue(venue: Venue, waiting: list[VenueOrder], fresh: list[VenueEvent]) -> None:
    """No market order gets shares of a bar while an earlier one of its symbol still wants some."""
    took = [event.order for event in fresh if event.qty is not None]
    for first in waiting:
        for later in took:
            same = later.symbol == first.symbol and later.type == first.type == "market"
            patient = {first.time_in_force, later.time_in_force} <= {"day", "gtc"} and later.parent_id is None
            if same and patient and later.number > first.number and later.qty is not None and later.qty >= 2:
                assert not first.is_open, f"{later.id} overtook {first.id}"


def split(rng: random.Random, venue: Venue, position: dict[str, D], mirror: Account) -> None:
    """A split between two sessions, in the venue and in the accounts kept beside it."""
    symbol, ratio = rng.choice(SYMBOLS), D(rng.choice(("2", "1.5", "0.5")))
    column = venue.column(symbol)
    assert column is not None
    price = to_tick(venue.last_price(column) / ratio)
    venue.apply_split(symbol, ratio)
    assert venue.last_price(column) == price
    position[symbol] = position.get(symbol, D(0)) + mirror.split(symbol, ratio, price)[0]


def run(seed: int, bars: int, *, splits: bool = False) -> list[VenueEvent]:
    """Random deeds between bars; the events, checked on the way."""
    rng = random.Random(seed)
    rules = VenueRules(slow_changes=seed % 2 == 1, stop_collars=seed % 3 == 1, done_for_day=seed % 5 == 1)
    venue = Venue(PANEL, start_index=1, cash=CASH, fill_model=RealisticFillSimulator(), seed=seed, rules=rules)
    filled: dict[str, D] = {}
    position: dict[str, D] = {}
    mirror = Account(CASH)
    events: list[VenueEvent] = []
    while venue.index < bars:
        if splits and not venue.hours.inside_day(venue.index) and rng.random() < 0.5:
            split(rng, venue, position, mirror)
        for _ in range(rng.randint(0, 3)):
            act(rng, venue)
        if not venue.hours.inside_day(venue.index):
            for _ in range(3):
                act(rng, venue)
        waiting = [order for order in venue.orders("open") if order.status != "held"]
        venue.step()
        fresh = venue.drain()
        check_queue(venue, waiting, fresh)
        for event in fresh:
            order = event.order
            assert event.seq == len(events) + 1
            events.append(event)
            if event.qty is None:
                continue
            assert event.price is not None
            assert event.commission is not None
            low = float(PANEL.low[venue.index - 1, order.column])
            high = float(PANEL.high[venue.index - 1, order.column])
            assert low * 0.95 <= float(event.price) <= high * 1.05
            if order.limit_price is not None:
                assert (event.price - order.limit_price) * order.sign <= 0
            root = order.id
            assert filled.get(root, D(0)) < order.filled_qty
            filled[root] = order.filled_qty
            symbol = order.symbol
            position[symbol] = position.get(symbol, D(0)) + order.sign * event.qty
            assert event.position_qty == position[symbol]
            mirror.book_fill(symbol, order.sign * event.qty, event.price, event.commission)
        check_books(venue, position)
        assert mirror.cash == venue.account().cash
    for order in venue.orders("all"):
        done = [venue.order(other) for other in order.exits]
        if sum(other.status == "filled" for other in done) > 1:
            raise AssertionError(f"two exits of one group filled: {done}")
    assert [activity.qty for activity in venue.activities] == [e.qty for e in events if e.qty is not None]
    return events


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_random_flow_keeps_cash_shares_and_groups(seed: int) -> None:
    run(seed, 120)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_splits_in_between_keep_them_too(seed: int) -> None:
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
