"""Both sides' books compared and brought together; the resolver's result is checked with the real Book."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from fault_broker import FaultBroker
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.core import events as ev
from trader.core.book import Book
from trader.core.commands import Cancel
from trader.core.orders import OrderState
from trader.execution.broker_api import AlpacaBroker
from trader.execution.broker_records import BrokerFill, BrokerOrder, BrokerPosition
from trader.execution.discrepancies import BrokerView, LocalView, confirm, diff
from trader.execution.reconciliation import ReconciliationEngine
from trader.execution.resolver import resolve

D = Decimal


def book_with(*events: ev.Event, cash: str = "100000") -> Book:
    book = Book(("AAPL", "MSFT"), D(cash))
    for event in events:
        book.apply(event)  # type: ignore[arg-type]
    return book


def order_events(name: str = "e1", quantity: str = "10", accepted: bool = True) -> list[ev.Event]:
    return [
        ev.OrderIntent(ts=1, client_order_id=name, symbol="AAPL", side="buy", quantity=D(quantity), role="entry",
                       strategy="s", signal_price=100.0),
        ev.RiskVerdict(ts=1, client_order_id=name, symbol="AAPL", action="allow", quantity_asked=D(quantity),
                       quantity=D(quantity), checks=()),
        ev.OrderSubmitting(ts=1, client_order_id=name),
        *([ev.OrderAccepted(ts=2, client_order_id=name, broker_order_id=f"B-{name}")] if accepted else []),
    ]


def fill(name: str, execution: str, quantity: str, price: str) -> ev.OrderFilled:
    return ev.OrderFilled(ts=3, client_order_id=name, execution_id=execution, symbol="AAPL", side="buy",
                          quantity=D(quantity), price=D(price))


def broker_order(name: str = "e1", **fields: Any) -> BrokerOrder:
    return BrokerOrder(**{"id": f"B-{name}", "client_order_id": name, "symbol": "AAPL", "side": "buy",
                          "quantity": D(10), "status": "new"} | fields)


def activity(execution: str, quantity: str, price: str, cumulative: str, order: str = "B-e1") -> BrokerFill:
    return BrokerFill(activity_id=f"2026::{execution}", execution_id=execution, order_id=order, symbol="AAPL",
                      side="buy", quantity=D(quantity), price=D(price), cumulative=D(cumulative), ts_ns=5)


def settle(book: Book, broker: BrokerView, ts: int = 9) -> list[str]:
    """Resolve into the book, then demand that both sides agree; returns the kinds of events."""
    local = LocalView.from_book(book)
    resolution = resolve(local, broker, diff(local, broker), ts)
    for event in resolution.events:
        book.apply(event)  # type: ignore[arg-type]
    left = [d for d in diff(LocalView.from_book(book), broker) if d.key not in
            {c.client_order_id for c in resolution.commands if isinstance(c, Cancel)}]
    assert left == []
    return [type(event).__name__ for event in resolution.events]


def test_equal_books_have_no_difference() -> None:
    book = book_with(*order_events(), fill("e1", "x1", "4", "100"))
    broker = BrokerView(D("99600"), (BrokerPosition(symbol="AAPL", quantity=D(4), average_price=D(100)),),
                        (broker_order(status="partially_filled", filled_quantity=D(4), filled_average_price=D(100)),))
    assert diff(LocalView.from_book(book), broker) == []


def test_missed_executions_are_booked_with_their_own_ids_and_prices() -> None:
    book = book_with(*order_events(), fill("e1", "x1", "4", "100"))
    broker = BrokerView(
        D("98985"), (BrokerPosition(symbol="AAPL", quantity=D(10), average_price=D("101.5")),),
        (broker_order(status="filled", filled_quantity=D(10), filled_average_price=D("101.5")),),
        (activity("x1", "4", "100", "4"), activity("x2", "5", "102", "9"), activity("x3", "1", "105", "10")),
    )
    assert settle(book, broker) == ["OrderFilled", "OrderFilled"]
    assert book.orders["e1"].executions == {"x1", "x2", "x3"}
    assert book.orders["e1"].state is OrderState.FILLED


def test_a_gap_without_activities_is_booked_at_the_implied_price_once() -> None:
    book = book_with(*order_events(), fill("e1", "x1", "4", "100"))
    broker = BrokerView(
        D("98985"), (BrokerPosition(symbol="AAPL", quantity=D(10), average_price=D("101.5")),),
        (broker_order(status="filled", filled_quantity=D(10), filled_average_price=D("101.5")),))
    local = LocalView.from_book(book)
    twice = [resolve(local, broker, diff(local, broker), ts).events[0] for ts in (9, 10)]
    assert all(isinstance(e, ev.OrderFilled) and e.price == D("102.5") for e in twice)
    assert twice[0].execution_id == twice[1].execution_id  # type: ignore[attr-defined]
    assert settle(book, broker) == ["OrderFilled"]


def test_activities_under_other_ids_are_told_by_their_cumulative_quantity() -> None:
    book = book_with(*order_events(), fill("e1", "stream-id", "4", "100"))
    broker = BrokerView(
        D("98988"), (BrokerPosition(symbol="AAPL", quantity=D(10), average_price=D("101.2")),),
        (broker_order(status="filled", filled_quantity=D(10), filled_average_price=D("101.2")),),
        (activity("a1", "4", "100", "4"), activity("a2", "6", "102", "10")))
    assert settle(book, broker) == ["OrderFilled"]
    assert book.orders["e1"].executions == {"stream-id", "a2"}


@pytest.mark.parametrize(("status", "state"), [
    ("canceled", OrderState.CANCELED), ("expired", OrderState.EXPIRED), ("rejected", OrderState.REJECTED)])
def test_the_broker_wins_on_how_an_order_ended(status: str, state: OrderState) -> None:
    book = book_with(*order_events())
    settle(book, BrokerView(D(100000), (), (broker_order(status=status),)))
    assert book.orders["e1"].state is state


def test_an_order_that_was_being_sent_is_found() -> None:
    book = book_with(*order_events(accepted=False))
    assert settle(book, BrokerView(D(100000), (), (broker_order(),))) == ["OrderAccepted"]
    assert book.orders["e1"].state is OrderState.WORKING
    lost = book_with(*order_events(accepted=False))
    assert settle(lost, BrokerView(D(100000), absent=frozenset({"e1"}))) == []
    assert lost.orders["e1"].state is OrderState.SUBMITTING        # the order manager's to find


def test_an_order_that_the_broker_does_not_know_is_dropped() -> None:
    book = book_with(*order_events())
    found, = diff(LocalView.from_book(book), BrokerView(D(100000), absent=frozenset({"e1"})))
    assert (found.type, found.subject) == ("missing", "order")
    assert settle(book, BrokerView(D(100000), absent=frozenset({"e1"}))) == ["OrderCanceled"]


def test_strangers_are_adopted_and_legs_taken_in() -> None:
    leg = broker_order("leg", side="sell", order_type="stop", stop_price=D(90), status="held")
    book = book_with(*order_events())
    broker = BrokerView(D(100000), (), (broker_order(legs=(leg,)), broker_order("web", symbol="MSFT")))
    assert sorted(d.type for d in diff(LocalView.from_book(book), broker)) == ["unknown", "unknown"]
    assert settle(book, broker) == ["OrderAdopted", "LegKnown"]
    assert book.orders["leg"].parent == "e1"
    assert book.orders["leg"].role == "stop_loss"


def test_the_journal_wins_on_intent() -> None:
    book = book_with(*order_events(), ev.OrderCanceled(ts=4, client_order_id="e1"))
    local = LocalView.from_book(book)
    broker = BrokerView(D(100000), (), (broker_order(),))
    resolution = resolve(local, broker, diff(local, broker), 9)
    assert resolution.commands == (Cancel(client_order_id="e1", broker_order_id="B-e1"),)


def test_a_replaced_order_passes_to_its_successor() -> None:
    book = book_with(*order_events())
    broker = BrokerView(D(100000), (), (
        broker_order(status="replaced", replaced_by="B-n"), broker_order("n", replaces="B-e1", quantity=D(6))))
    assert settle(book, broker) == ["OrderReplaced"]
    assert book.orders["e1"].state is OrderState.REPLACED
    assert book.orders["n"].quantity == 6


@pytest.mark.parametrize("state", ["held", "filled"])
def test_a_chain_of_replacements_passes_to_its_last(state: str) -> None:
    filled = D(10) if state == "filled" else D(0)
    book = book_with(*order_events())
    broker = BrokerView(D(100000) - 100 * filled, tuple(
        BrokerPosition(symbol="AAPL", quantity=filled, average_price=D(100)) for _ in range(state == "filled")), (
        broker_order(status="replaced", replaced_by="B-m"),
        broker_order("m", status="replaced", replaces="B-e1", replaced_by="B-n"),
        broker_order("n", status=state, replaces="B-m", filled_quantity=filled, filled_average_price=D(100))))
    assert settle(book, broker) == ["OrderReplaced", *["OrderFilled"] * (state == "filled")]
    assert book.orders["e1"].state is OrderState.REPLACED
    assert (book.orders["n"].state, "m" in book.orders) == (
        OrderState.FILLED if state == "filled" else OrderState.WORKING, False)


def test_orders_that_replace_one_another_in_a_circle_end() -> None:
    book = book_with(*order_events())
    settle(book, BrokerView(D(100000), (), (
        broker_order(status="replaced", replaced_by="B-n", replaces="B-n"),
        broker_order("n", status="replaced", replaces="B-e1", replaced_by="B-e1"))))
    assert not book.orders["e1"].is_open


def test_only_what_two_looks_agree_on_counts() -> None:
    book = book_with(*order_events())
    local = LocalView.from_book(book)
    passing = diff(local, BrokerView(D(99000), (), (broker_order(),)))
    lasting = diff(local, BrokerView(D(98000), (), (broker_order(status="canceled"),)))
    assert confirm(passing, lasting) == []
    assert confirm(lasting, lasting) == lasting


QUANTITY = st.integers(-50, 50).map(D)
PRICE = st.integers(1, 50_000).map(lambda cents: D(cents) / 100)


@settings(max_examples=150)
@given(
    ours=st.lists(st.tuples(st.integers(1, 5), PRICE), max_size=2), theirs=st.integers(0, 10), average=PRICE,
    status=st.sampled_from(["new", "canceled", "expired", "pending_cancel"]),
    state=st.sampled_from(["", "cancel", "done"]),
    held=QUANTITY, other=QUANTITY, price=PRICE, cash=st.integers(-10**6, 10**6), absent=st.booleans(),
)
def test_whatever_differs_one_resolution_makes_the_books_equal(
    ours: list[tuple[int, Decimal]], theirs: int, average: Decimal, status: str, state: str, held: Decimal,
    other: Decimal, price: Decimal, cash: int, absent: bool,
) -> None:
    book = book_with(*order_events(), *(fill("e1", f"x{n}", str(q), str(p)) for n, (q, p) in enumerate(ours)))
    if state:
        book.apply(ev.OrderCanceled(ts=4, client_order_id="e1") if state == "cancel"
                   else ev.OrderExpired(ts=4, client_order_id="e1"))
    theirs = max(theirs, sum(q for q, _ in ours))
    order = broker_order(
        status="filled" if theirs == 10 else status, filled_quantity=D(theirs), filled_average_price=average)
    positions = tuple(BrokerPosition(symbol=s, quantity=q, average_price=price)
                      for s, q in (("AAPL", held), ("MSFT", other)) if q)
    settle(book, BrokerView(D(cash) / 100, positions, () if absent else (order,),
                            absent=frozenset({"e1"}) if absent else frozenset()))


@pytest.fixture
async def server() -> AsyncIterator[FaultBroker]:
    async with FaultBroker() as running:
        yield running


async def test_the_guides_snippet_over_real_sockets(server: FaultBroker, capsys: pytest.CaptureFixture[str]) -> None:
    broker_api = AlpacaBroker("key", "secret", server.url)
    server.add(client_order_id="e1", id="B-e1", qty=10, status="filled", filled_qty="10", filled_avg_price="100")
    server.fills = [{"id": "2026::x9", "order_id": "B-e1", "symbol": "AAPL", "side": "buy", "qty": "10", "price": "100",
                     "cum_qty": "10"}]
    server.positions["AAPL"] = {"symbol": "AAPL", "qty": "10", "side": "long", "avg_entry_price": "100"}
    server.cash = "99000"
    book = book_with(*order_events())
    reconciler = ReconciliationEngine(broker_api=broker_api, local_state=book, reconcile_interval=30)
    report = await reconciler.reconcile()
    if report.has_discrepancies:
        print(f"Found {len(report.discrepancies)} discrepancies:")
        for disc in report.discrepancies:
            print(f"  - {disc.type}: {disc.details}")
        await reconciler.resolve_discrepancies(report)
    assert capsys.readouterr().out.startswith("Found 3 discrepancies:\n  - quantity: filled quantity")
    assert book.orders["e1"].executions == {"x9"}
    assert book.cash == 99000
    assert await reconciler.run_until_green()
    await broker_api.close()


async def test_differences_that_pass_are_not_reported(server: FaultBroker) -> None:
    broker_api = AlpacaBroker("key", "secret", server.url)
    looks = iter([book_with(cash="90000"), book_with(cash="100000")])     # the stream was late by one look
    reconciler = ReconciliationEngine(broker_api, lambda: next(looks), confirm_after=0.01)
    assert not (await reconciler.reconcile()).has_discrepancies
    await broker_api.close()
