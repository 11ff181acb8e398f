"""The execution engine under stress: many threads, shuffled news, a mocked broker; nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from trader.core import events as ev
from trader.core.commands import Submit
from trader.core.orders import TRANSITIONS, News, OrderState, advance
from trader.core.signals import Signal
from trader.execution.active_orders import ActiveOrders, TrackedOrder
from trader.execution.broker_errors import BrokerUnreachable
from trader.execution.broker_records import BrokerOrder, CancelResult
from trader.execution.order_manager import OrderManager, ProbePolicy
from trader.execution.outcomes import Accepted, Duplicate, SubmitOutcome, Unknown


class MockBroker:
    """Takes orders by client id; may lose the answer before or after taking one."""

    def __init__(self, lose: Callable[[], str] = lambda: "") -> None:
        self.orders: dict[str, BrokerOrder] = {}
        self.sends = 0
        self._lose = lose

    async def submit(self, command: Submit) -> SubmitOutcome:
        self.sends += 1
        await asyncio.sleep(0)
        way = self._lose()
        if way == "before":
            return Unknown("lost before it landed")
        if command.client_order_id in self.orders:
            return Duplicate(self.orders[command.client_order_id])
        order = BrokerOrder(
            id=f"B{len(self.orders)}", client_order_id=command.client_order_id, symbol=command.symbol,
            side=command.side, quantity=command.quantity, status="new")
        self.orders[command.client_order_id] = order
        return Unknown("lost after it landed") if way == "after" else Accepted(order)

    async def get_order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        if self._lose():
            raise BrokerUnreachable("mock")
        return self.orders.get(client_order_id)

    async def get_order(self, broker_order_id: str) -> BrokerOrder | None:
        return next((order for order in self.orders.values() if order.id == broker_order_id), None)

    async def cancel(self, broker_order_id: str) -> None:
        return None

    async def cancel_all(self) -> list[CancelResult]:
        return []


def command(number: int, quantity: int = 100) -> Submit:
    return Submit(client_order_id=f"run-e{number}", symbol="AAPL", side="buy", quantity=Decimal(quantity))


def fill(number: int, part: int, parts: int, quantity: int = 100) -> dict[str, Any]:
    size, cumulative = quantity // parts, quantity // parts * (part + 1)
    return {"stream": "trade_updates", "data": {
        "event": "fill" if part == parts - 1 else "partial_fill", "execution_id": f"x{number}-{part}", "qty": str(size),
        "price": "10.5", "order": {
            "id": f"B-{number}", "client_order_id": f"run-e{number}", "symbol": "AAPL", "side": "buy",
            "qty": str(quantity), "filled_qty": str(cumulative), "status": "partially_filled"}}}


def hammer(threads: int, work: Callable[[int], None]) -> None:
    """Run ``work(i)`` in many threads that start together; the first error is raised here."""
    barrier, errors = threading.Barrier(threads), []

    def run(index: int) -> None:
        barrier.wait()
        try:
            work(index)
        except BaseException as error:
            errors.append(error)

    crowd = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    if errors:
        raise errors[0]


async def test_callbacks_from_many_threads_count_every_fill_once() -> None:
    manager = OrderManager(MockBroker())
    await asyncio.gather(*(manager.execute(command(n)) for n in range(50)))
    updates = [fill(n, part, 5) for n in range(50) for part in range(5)]

    def work(index: int) -> None:                               # every thread brings every update, in its own order
        mine = updates[:]
        random.Random(index).shuffle(mine)
        for update in mine:
            manager.on_trade_update(update)

    await asyncio.to_thread(hammer, 16, work)
    for n in range(50):
        order = manager.order(f"run-e{n}")
        assert order is not None
        assert order.filled_quantity == 100
        assert order.filled_value == Decimal(1050)
        assert order.state is OrderState.FILLED
        assert len(order.executions) == 5
    assert manager.active_orders() == []


async def test_submits_and_callbacks_at_once_lose_nothing() -> None:
    manager = OrderManager(MockBroker())
    stop = threading.Event()
    seen: list[int] = []

    def read() -> None:                                         # the screen reads all the time
        while not stop.is_set():
            seen.append(len(manager.active_orders()))

    reader = threading.Thread(target=read)
    reader.start()
    told: list[ev.Event] = []
    lock = threading.Lock()

    def deliver(number: int) -> None:
        events = manager.on_trade_update(fill(number, 0, 1))
        with lock:
            told.extend(events)

    async def one(number: int) -> list[ev.Event]:
        answers, _ = await asyncio.gather(manager.execute(command(number)), asyncio.to_thread(deliver, number))
        return answers

    answers = await asyncio.gather(*(one(n) for n in range(300)))
    stop.set()
    reader.join()
    told += [event for events in answers for event in events]
    fills = [event.execution_id for event in told if isinstance(event, ev.OrderFilled)]
    assert sorted(fills) == sorted(f"x{n}-0" for n in range(300))
    assert seen
    for n in range(300):
        order = manager.order(f"run-e{n}")
        assert order is not None
        assert order.state is OrderState.FILLED


async def test_the_same_id_from_many_tasks_is_sent_once() -> None:
    broker = MockBroker()
    manager = OrderManager(broker)
    await asyncio.gather(*(manager.execute(command(n % 10)) for n in range(500)))
    assert broker.sends == 10
    assert len(broker.orders) == 10


@pytest.mark.parametrize("seed", range(5))
async def test_lost_answers_never_make_an_order_double_or_vanish(seed: int) -> None:
    source = random.Random(seed)
    broker = MockBroker(lambda: source.choices(["", "before", "after"], [4, 3, 3])[0])
    later: list[ev.Event] = []
    manager = OrderManager(broker, deliver=later.append, policy=ProbePolicy(first_wait_s=0.0005, longest_wait_s=0.002))
    first = await asyncio.gather(*(manager.execute(command(n)) for n in range(60)))
    await manager.settle()
    accepted = [e.client_order_id for e in (*(x for events in first for x in events), *later)
                if isinstance(e, ev.OrderAccepted)]
    assert sorted(accepted) == sorted(f"run-e{n}" for n in range(60))
    assert sorted(broker.orders) == sorted(accepted)
    assert all(order.state is OrderState.WORKING for order in manager.active_orders())


async def test_signals_become_orders_with_ids_of_their_own() -> None:
    broker = MockBroker()
    manager = OrderManager(broker)
    orders = await asyncio.gather(*(manager.submit(Signal("AAPL", 1, 1.0, 10.0, shares=5)) for _ in range(100)))
    assert len({order.client_order_id for order in orders}) == 100
    assert all(order.is_open and order.broker_order_id for order in orders)


EVENTS: dict[News, Callable[[str], ev.Event]] = {
    News.SUBMIT: lambda n: ev.OrderSubmitting(ts=1, client_order_id=n),
    News.HOLD: lambda n: ev.OrderAccepted(ts=1, client_order_id=n, broker_order_id="B", working=False),
    News.ACCEPT: lambda n: ev.OrderAccepted(ts=1, client_order_id=n, broker_order_id="B"),
    News.REJECT: lambda n: ev.OrderRejected(ts=1, client_order_id=n, code="1", message="no"),
    News.LOSE: lambda n: ev.OrderUnknown(ts=1, client_order_id=n, message="?"),
    News.FILL: lambda n: ev.OrderFilled(ts=1, client_order_id=n, execution_id="x1", symbol="A", side="buy",
                                        quantity=Decimal(4), price=Decimal(1)),
    News.FILL_ALL: lambda n: ev.OrderFilled(ts=1, client_order_id=n, execution_id="x2", symbol="A", side="buy",
                                            quantity=Decimal(10), price=Decimal(1)),
    News.ASK_CANCEL: lambda n: ev.OrderCancelRequested(ts=1, client_order_id=n),
    News.CANCEL: lambda n: ev.OrderCanceled(ts=1, client_order_id=n),
    News.EXPIRE: lambda n: ev.OrderExpired(ts=1, client_order_id=n),
    News.REPLACE: lambda n: ev.OrderReplaced(ts=1, client_order_id=n, new_client_order_id="n2",
                                             new_broker_order_id="B2", quantity=Decimal(10)),
}


@pytest.mark.parametrize("state", list(TRANSITIONS))
@pytest.mark.parametrize("news", list(EVENTS))
def test_every_state_takes_every_news_without_an_exception(state: OrderState, news: News) -> None:
    orders = ActiveOrders()
    orders.begin(TrackedOrder("e1", "A", "buy", Decimal(10), state))
    after = orders.apply(EVENTS[news]("e1"))
    expected = advance(state, news)
    assert after is not None
    assert after.state is (state if expected is None else expected)
    assert orders.anomalies == (1 if expected is None else 0)


def test_finished_orders_are_forgotten_only_when_many() -> None:
    orders = ActiveOrders(keep=10)
    for n in range(30):
        orders.begin(TrackedOrder(f"e{n}", "A", "buy", Decimal(1), OrderState.WORKING))
        if n >= 5:
            orders.apply(ev.OrderCanceled(ts=1, client_order_id=f"e{n}"))
    assert {order.client_order_id for order in orders.open()} == {f"e{n}" for n in range(5)}
    assert len(orders) <= 11
