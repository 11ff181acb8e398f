"""`AlpacaBroker` over real sockets: every ending of a submit, reads that page, nothing sent twice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from fault_broker import FaultBroker

from trader.core.commands import Submit
from trader.execution.broker_api import AlpacaBroker
from trader.execution.broker_errors import BrokerRefused, BrokerUnreachable, is_duplicate, read_refusal
from trader.execution.outcomes import Accepted, Duplicate, Rejected, Unknown
from trader.utils.errors import UserError


@pytest.fixture
async def server() -> AsyncIterator[FaultBroker]:
    async with FaultBroker() as running:
        yield running


@pytest.fixture
async def broker(server: FaultBroker) -> AsyncIterator[AlpacaBroker]:
    client = AlpacaBroker("key", "secret", server.url)
    yield client
    await client.close()


@pytest.fixture
async def impatient(server: FaultBroker) -> AsyncIterator[AlpacaBroker]:
    """For servers that hang; a busy machine may make it give up an answer that was on its way."""
    client = AlpacaBroker("key", "secret", server.url, read_timeout_s=0.4, deadline_s=1.2)
    yield client
    await client.close()


def submit(name: str = "run-e1", **fields: object) -> Submit:
    return Submit(**{"client_order_id": name, "symbol": "AAPL", "side": "buy", "quantity": Decimal(10), **fields})  # type: ignore[arg-type]


async def test_a_bracket_goes_out_on_the_tick_and_its_legs_come_back(server: FaultBroker, broker: AlpacaBroker) -> None:
    command = submit(take_profit=Decimal("0.1") + Decimal("100.2"), stop_loss=Decimal("95.123"), time_in_force="gtc")
    outcome = await broker.submit(command)
    assert isinstance(outcome, Accepted)
    body = server.requests[-1][2]
    assert body["take_profit"] == {"limit_price": 100.3}
    assert body["stop_loss"] == {"stop_price": 95.12}
    assert body["order_class"] == "bracket"
    assert body["client_order_id"] == "run-e1"
    legs = [(leg.leg_role, leg.status) for leg in outcome.order.legs]
    assert legs == [("take_profit", "held"), ("stop_loss", "held")]


LOST = ["504:after", "hang", "hang:after", "reset", "reset:after", "html502", "garbage", "503", "drip"]


@pytest.mark.parametrize("fault", LOST)
async def test_no_readable_answer_is_unknown_and_was_sent_once(
    server: FaultBroker, broker: AlpacaBroker, impatient: AlpacaBroker, fault: str
) -> None:
    server.fault("POST /orders", fault)
    sender = impatient if fault.startswith(("hang", "drip")) else broker
    outcome = await sender.submit(submit())
    assert isinstance(outcome, Unknown)
    assert not outcome.never_left
    # The lane is usable again, even when the call before it is still stuck.
    while isinstance(answer := await sender.submit(submit("run-e2")), Unknown):
        assert sender is impatient
    assert isinstance(answer, Accepted | Duplicate)
    assert [body["client_order_id"] for method, _, body in server.requests if method == "POST"].count("run-e1") == 1
    assert len(server.by_client_id("run-e1")) == (1 if fault.endswith("after") else 0)


async def test_the_same_id_again_is_read_back(server: FaultBroker, broker: AlpacaBroker) -> None:
    server.fault("POST /orders", "504:after")
    assert isinstance(await broker.submit(submit()), Unknown)
    again = await broker.submit(submit())
    assert isinstance(again, Duplicate)
    assert again.order.id == server.by_client_id("run-e1")[0]["id"]
    server.fault("GET /orders:by_client_order_id", "503")
    assert isinstance(await broker.submit(submit()), Unknown)


async def test_refusals_and_throttling_are_definite(server: FaultBroker, broker: AlpacaBroker) -> None:
    server.fault("POST /orders", "429")
    throttled = await broker.submit(submit())
    assert throttled == Rejected(429, 42910000, "rate limit exceeded", 0.0)
    assert server.count("POST", "/orders") == 1
    server.refuse_orders = (403, 40310000, "insufficient buying power")
    assert await broker.submit(submit()) == Rejected(403, 40310000, "insufficient buying power")


async def test_a_refused_connection_never_left() -> None:
    with socket.socket() as held:                   # bound, so that nobody else gets the port, and deaf
        held.bind(("127.0.0.1", 0))
        outcome = await AlpacaBroker("key", "secret", f"http://127.0.0.1:{held.getsockname()[1]}").submit(submit())
    assert isinstance(outcome, Unknown)
    assert outcome.never_left


async def test_not_found_is_none_but_an_error_is_raised(
    server: FaultBroker, broker: AlpacaBroker, impatient: AlpacaBroker
) -> None:
    assert await broker.get_order_by_client_id("nobody") is None
    server.fault("GET /orders:by_client_order_id", "503", "hang")
    for asking in (broker, impatient):
        with pytest.raises(BrokerUnreachable):
            await asking.get_order_by_client_id("nobody")


async def test_a_read_survives_an_idle_connection_that_was_cut(server: FaultBroker, broker: AlpacaBroker) -> None:
    await broker.get_account()
    server.fault("GET /account", "reset")
    assert (await broker.get_account()).cash == Decimal(100000)


async def test_orders_page_past_the_limit_without_loss(server: FaultBroker, broker: AlpacaBroker) -> None:
    for n in range(1203):
        server.add(client_order_id=f"o{n}")
    # Neighbours across the first page's edge share their time.
    listed = list(server.orders.values())
    for order in listed[495:505]:
        order["submitted_at"] = listed[498]["submitted_at"]
    found = await broker.get_orders("all")
    assert [order.client_order_id for order in found] == [f"o{n}" for n in range(1203)]


async def test_fill_activities_page_by_token(server: FaultBroker, broker: AlpacaBroker) -> None:
    server.fills = [
        {"id": f"2026::x{n}", "order_id": "o", "symbol": "A", "side": "sell_short", "qty": "1", "price": "2.5",
         "cum_qty": str(n + 1), "transaction_time": "2026-01-05T15:00:00.123456789Z"} for n in range(250)
    ]
    fills = await broker.get_fill_activities()
    assert [fill.execution_id for fill in fills] == [f"x{n}" for n in range(250)]
    assert fills[0].side == "sell"
    assert fills[0].ts_ns % 1_000_000_000 == 123456789


async def test_positions_close_and_cancel(server: FaultBroker, broker: AlpacaBroker) -> None:
    server.positions["AAPL"] = {"symbol": "AAPL", "qty": "-5", "side": "short", "avg_entry_price": "10.5"}
    position, = await broker.get_positions()
    assert (position.symbol, position.quantity, position.side) == ("AAPL", Decimal(-5), "short")
    closing = await broker.close_position("AAPL")
    assert closing.side == "buy"
    assert await broker.get_positions() == []
    await broker.cancel(closing.id)
    with pytest.raises(BrokerRefused) as refusal:
        await broker.cancel(closing.id)
    assert (refusal.value.status, refusal.value.code) == (422, 42210000)
    server.add()
    assert [result.ok for result in await broker.cancel_all()] == [True]


async def test_a_slow_submit_holds_up_neither_reads_nor_the_loop(server: FaultBroker, broker: AlpacaBroker) -> None:
    server.fault("POST /orders", "hang")
    slow = asyncio.create_task(broker.submit(submit()))
    await broker.get_account()
    assert not slow.done()
    server.let_go.set()
    assert isinstance(await slow, Unknown)


async def test_connect_names_what_is_wrong(server: FaultBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALPACA_API_KEY", "ALPACA_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="ALPACA_API_KEY"):
        await AlpacaBroker(base_url=server.url).connect()
    with pytest.raises(UserError, match="refused the keys"):
        await AlpacaBroker("wrong", "secret", server.url).connect()
    with pytest.raises(UserError, match="cannot reach"):
        await AlpacaBroker("key", "secret", "http://127.0.0.1:9").connect()
    monkeypatch.setenv("ALPACA_API_KEY", "key")
    monkeypatch.setenv("ALPACA_SECRET_KEY", "secret")
    monkeypatch.setenv("ALPACA_BASE_URL", server.url + "/v2")
    broker = AlpacaBroker()
    assert (await broker.connect()).status == "ACTIVE"
    assert (await broker.health_check()).healthy


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (422, '{"code": 40010001, "message": "client_order_id must be unique"}', "duplicate"),
        (422, '{"code": 40010001, "message": "bracket orders must be market or limit"}', "no"),
        (403, "forbidden by a proxy", "no"),
        (404, '["odd"]', "no"),
        (408, "{}", "lost"),
        (502, "<html>", "lost"),
        (302, "", "lost"),
    ],
)
def test_answers_are_read_by_status_and_raw_text(status: int, text: str, kind: str) -> None:
    error = read_refusal(status, text)
    if kind == "lost":
        assert isinstance(error, BrokerUnreachable)
    else:
        assert isinstance(error, BrokerRefused)
        assert is_duplicate(error) == (kind == "duplicate")


async def test_what_cannot_be_sent_is_not_sent(server: FaultBroker, broker: AlpacaBroker) -> None:
    for command in (
        submit(quantity=Decimal(0)), submit(order_type="limit"), submit(order_type="iceberg"),
        submit(order_type="limit", limit_price=Decimal("-1")), submit(quantity=Decimal("123456789012.123456789")),
    ):
        with pytest.raises(ValueError):
            await broker.submit(command)
    assert server.requests == []
