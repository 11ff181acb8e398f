"""The executor against a misbehaving broker over real sockets: one intent, one order, whatever happens."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import pytest
from fault_broker import FaultBroker, until

from trader.core import events as ev
from trader.core.commands import Cancel, CancelAll, Submit
from trader.core.signals import Signal
from trader.execution import rejection_handler
from trader.execution.broker_api import AlpacaBroker
from trader.execution.order_manager import OrderManager, ProbePolicy

FAST = ProbePolicy(first_wait_s=0.01, longest_wait_s=0.04)


@pytest.fixture
async def server() -> AsyncIterator[FaultBroker]:
    async with FaultBroker() as running:
        yield running


@pytest.fixture
async def broker(server: FaultBroker) -> AsyncIterator[AlpacaBroker]:
    client = AlpacaBroker("key", "secret", server.url)
    yield client
    await client.close()


def submit(name: str = "run-e1", **fields: object) -> Submit:
    return Submit(**{"client_order_id": name, "symbol": "AAPL", "side": "buy", "quantity": Decimal(10), **fields})  # type: ignore[arg-type]


def kinds(events: list[ev.Event]) -> list[str]:
    return [type(event).__name__ for event in events]


async def test_yes_and_no(server: FaultBroker, broker: AlpacaBroker) -> None:
    manager = OrderManager(broker)
    events = await manager.execute(submit(take_profit=Decimal(110), stop_loss=Decimal(90)))
    assert kinds(events) == ["OrderAccepted", "LegKnown", "LegKnown"]
    assert [e.role for e in events if isinstance(e, ev.LegKnown)] == ["take_profit", "stop_loss"]
    server.refuse_orders = (403, 40310000, "insufficient buying power")
    rejected, = await manager.execute(submit("run-e2"))
    assert isinstance(rejected, ev.OrderRejected)
    assert rejected.code == "40310000"
    assert await manager.execute(submit("run-e3", order_type="limit")) == [
        ev.OrderRejected(ts=pytest.approx(rejected.ts, abs=10**10), client_order_id="run-e3", code="0",
                         message="a limit order needs limit_price")]


async def test_the_same_command_twice_is_sent_once(server: FaultBroker, broker: AlpacaBroker) -> None:
    manager = OrderManager(broker)
    first, second = await asyncio.gather(manager.execute(submit()), manager.execute(submit()))
    assert sorted(kinds(first) + kinds(second)) == ["Note", "OrderAccepted"]
    assert server.count("POST", "/orders") == 1


async def test_a_lost_answer_of_an_order_that_landed_is_found(server: FaultBroker, broker: AlpacaBroker) -> None:
    later: list[ev.Event] = []
    manager = OrderManager(broker, deliver=later.append, policy=FAST)
    server.fault("POST /orders", "hang:after")
    server.fault("GET /orders:by_client_order_id", "503", "reset", "garbage")
    sending = asyncio.create_task(manager.execute(submit()))
    await until(lambda: bool(server.orders))
    server.let_go.set()
    assert kinds(await sending) == ["OrderUnknown"]
    await manager.settle()
    assert kinds(later) == ["OrderAccepted"]
    assert server.count("POST", "/orders") == 1
    assert len(server.by_client_id("run-e1")) == 1


async def test_an_order_that_did_not_land_is_sent_again_under_its_own_id(
    server: FaultBroker, broker: AlpacaBroker
) -> None:
    later: list[ev.Event] = []
    manager = OrderManager(broker, deliver=later.append, policy=FAST)
    server.fault("POST /orders", "504", "html502", "reset:after")
    await manager.execute(submit())
    await manager.settle()
    # Three sends: two did not land and needed three clean 404s each; the third landed unheard and was found.
    assert kinds(later) == ["OrderAccepted"]
    assert [body["client_order_id"] for m, p, body in server.requests if m == "POST"] == ["run-e1"] * 3
    assert server.count("GET", "/orders:by_client_order_id") >= 7
    assert len(server.by_client_id("run-e1")) == 1


async def test_network_errors_are_never_not_found(server: FaultBroker, broker: AlpacaBroker) -> None:
    manager = OrderManager(broker, policy=FAST)
    server.fault("POST /orders", "504")
    server.fault("GET /orders:by_client_order_id", *["503"] * 1000)
    await manager.execute(submit())
    await until(lambda: server.count("GET", "/orders:by_client_order_id") > 8)
    assert manager.unresolved == ["run-e1"]
    assert server.count("POST", "/orders") == 1
    await manager.close()


async def test_what_is_wanted_no_more_is_not_sent_again(server: FaultBroker, broker: AlpacaBroker) -> None:
    later: list[ev.Event] = []
    manager = OrderManager(broker, deliver=later.append, policy=FAST, still_wanted=lambda name: False)
    server.fault("POST /orders", "504")
    await manager.execute(submit())
    await manager.settle()
    assert kinds(later) == ["OrderRejected"]
    assert server.count("POST", "/orders") == 1


async def test_a_cancel_of_an_order_of_unknown_fate_reaches_it(server: FaultBroker, broker: AlpacaBroker) -> None:
    manager = OrderManager(broker, policy=FAST)
    server.fault("POST /orders", "504:after")
    server.fault("GET /orders:by_client_order_id", "503", "503", "503")
    await manager.execute(submit())
    await manager.execute(Cancel(client_order_id="run-e1", broker_order_id=""))
    await manager.settle()
    assert server.by_client_id("run-e1")[0]["status"] == "canceled"


async def test_throttling_is_waited_out_with_the_same_id(
    server: FaultBroker, broker: AlpacaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = tuple(replace(rule, wait_s=min(rule.wait_s, 0.01)) for rule in rejection_handler.RULES)
    monkeypatch.setattr(rejection_handler, "RULES", quick)
    manager = OrderManager(broker)
    server.fault("POST /orders", "429", "429")
    assert kinds(await manager.execute(submit())) == ["OrderAccepted"]
    server.fault("POST /orders", *["429"] * 4)
    assert kinds(await manager.execute(submit("run-e2"))) == ["OrderRejected"]
    assert server.count("POST", "/orders") == 3 + 4


async def test_cancels_tell_what_became_of_a_finished_order(server: FaultBroker, broker: AlpacaBroker) -> None:
    manager = OrderManager(broker, policy=FAST)
    accepted = (await manager.execute(submit()))[0]
    assert isinstance(accepted, ev.OrderAccepted)
    cancel = Cancel(client_order_id="run-e1", broker_order_id=accepted.broker_order_id)
    server.fault(f"DELETE /orders/{accepted.broker_order_id}", "503", "reset")
    assert await manager.execute(cancel) == []
    assert kinds(await manager.execute(cancel)) == ["OrderAccepted", "OrderCanceled"]
    assert kinds(await manager.execute(Cancel(client_order_id="x", broker_order_id="nobody"))) == ["Note"]
    await manager.execute(submit("run-e2"))
    server.fault("DELETE /orders", "504")
    assert await manager.execute(CancelAll()) == []
    assert server.by_client_id("run-e2")[0]["status"] == "canceled"


async def test_recovery_finds_what_a_dead_session_was_sending(server: FaultBroker, broker: AlpacaBroker) -> None:
    later: list[ev.Event] = []
    server.add(client_order_id="old-e7", qty=10)
    manager = OrderManager(broker, deliver=later.append, policy=FAST)
    manager.recover(submit("old-e7"))
    manager.recover(submit("old-e8"))
    await manager.settle()
    assert sorted((type(e).__name__, e.client_order_id) for e in later) == [
        ("OrderAccepted", "old-e7"), ("OrderAccepted", "old-e8")]
    assert server.count("POST", "/orders") == 1


async def test_a_signal_is_sent_as_a_bracket(server: FaultBroker, broker: AlpacaBroker) -> None:
    journal: list[ev.Event] = []
    manager = OrderManager(broker, deliver=journal.append)
    order = await manager.submit(
        Signal("AAPL", -1, 1.0, 100.0, take_profit_pct=0.04, stop_loss_pct=0.02, shares=7))
    assert order.is_open
    assert kinds(journal) == ["OrderSubmitting", "OrderAccepted", "LegKnown", "LegKnown"]
    body = server.requests[-1][2]
    assert (body["side"], body["qty"], body["stop_loss"]["stop_price"], body["take_profit"]["limit_price"]) == (
        "sell", 7.0, 102.0, 96.0)
    with pytest.raises(ValueError, match="number of shares"):
        await manager.submit(Signal("AAPL", 1, 1.0, 100.0))


async def test_early_news_of_legs_waits_for_the_acceptance(server: FaultBroker, broker: AlpacaBroker) -> None:
    manager = OrderManager(broker)
    server.fault("POST /orders", "hang:after")
    sending = asyncio.create_task(manager.execute(submit(take_profit=Decimal(110), stop_loss=Decimal(90))))
    await until(lambda: bool(server.orders))
    order = server.by_client_id("run-e1")[0]
    leg = order["legs"][0] | {"status": "new"}
    assert manager.on_trade_update({"data": {"event": "new", "order": leg}}) == []
    own = manager.on_trade_update(
        {"data": {"event": "fill", "order": order | {"legs": None, "status": "filled", "filled_qty": "10"},
                  "qty": "10", "price": "100", "execution_id": "x1"}})
    assert kinds(own) == ["OrderAccepted", "OrderFilled"]
    server.let_go.set()
    assert kinds(await sending) == ["OrderUnknown", "OrderAccepted"]
    await manager.close()


async def test_random_faults_never_double_nor_lose_an_order(server: FaultBroker, broker: AlpacaBroker) -> None:
    source = random.Random(7)
    ways = ["504", "html502", "reset", "garbage", "503"]
    endings = [*ways, *(f"{way}:after" for way in ways)]
    later: list[ev.Event] = []
    manager = OrderManager(broker, deliver=later.append, policy=FAST)
    server.fault("POST /orders", *(source.choice(endings) if source.random() < 0.5 else "" for _ in range(200)))
    server.fault("GET /orders:by_client_order_id", *(source.choice(["503", "reset", ""]) for _ in range(300)))
    names = [f"run-e{n}" for n in range(25)]
    first = await asyncio.gather(*(manager.execute(submit(name)) for name in names))
    await manager.settle()
    told = [e.client_order_id for e in (*itertools.chain(*first), *later) if isinstance(e, ev.OrderAccepted)]
    assert sorted(told) == sorted(names)
    assert sorted(order["client_order_id"] for order in server.orders.values()) == sorted(names)
