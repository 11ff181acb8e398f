"""Every status and every trade update of Alpaca's list, each brought about over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, OrderStatus, TimeInForce
from alpaca.trading.requests import MarketOrderRequest
from exchange_markets import FREE, panel_of
from exchange_raw import Raw, json_of, stream
from exchange_serving import serving
from websockets.asyncio.client import ClientConnection

from trader.exchange.coverage import STATUSES, TRADE_EVENTS
from trader.exchange.fault_rules import EVENTLESS, PASSABLE
from trader.exchange.fault_script import FaultScript, read_faults
from trader.exchange.persist import VenueStore
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue

CALM = (100.0, 100.5, 99.5, 100.0)
BUY = {"symbol": "AAPL", "side": "buy", "qty": 10}
BRACKET = {
    **BUY, "order_class": "bracket", "take_profit": {"limit_price": "110"}, "stop_loss": {"stop_price": "90"},
}


class Scene:
    """A server with one client that asks and one that listens; it keeps every event and status that it sees."""

    def __init__(self, server: ExchangeServer, client: Raw, socket: ClientConnection) -> None:
        self.server, self.client, self._socket = server, client, socket
        self.events: list[tuple[str, str]] = []
        self.answers: set[str] = set()

    async def order(self, **fields: object) -> dict[str, Any]:
        status, order = await self.client.ask("POST", "/v2/orders", {**BUY, **fields})
        assert status == 200, order
        self.answers.add(order["status"])
        self.answers.update(leg["status"] for leg in order["legs"] or ())
        return order

    async def status(self, order: dict[str, Any]) -> str:
        _, now = await self.client.ask("GET", f"/v2/orders/{order['id']}")
        self.answers.add(now["status"])
        return now["status"]

    def arm(self, **fault: object) -> None:
        self.server.faults.add(read_faults(fault))
        self.server.arm()

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.server.advance()

    async def hear(self, count: int) -> list[tuple[str, str]]:
        """The next events with the order's status in each; every one has an execution id."""
        heard = []
        for _ in range(count):
            data = (await json_of(self._socket))["data"]
            assert data["execution_id"]
            assert ("position_qty" in data) == (data["event"] in ("fill", "partial_fill"))
            heard.append((data["event"], data["order"]["status"]))
        self.events += heard
        return heard


@asynccontextmanager
async def scene(bars: list[tuple[float, ...]], per_day: int = 26, **rules: object) -> AsyncIterator[Scene]:
    venue = Venue(panel_of({"AAPL": bars}, per_day), start_index=1, fill_model=FREE)
    server = ExchangeServer(venue, faults=FaultScript(rules=dict(rules)))
    await server.start()
    client, socket = await Raw.to(server.port), await stream(server, "/stream")
    await socket.send('{"action":"authenticate","data":{"key_id":"a","secret_key":"b"}}')
    await socket.send('{"action":"listen","data":{"streams":["trade_updates"]}}')
    await socket.recv()
    await socket.recv()
    try:
        yield Scene(server, client, socket)
    finally:
        await socket.close()
        client.writer.close()
        await server.stop()


# --- a status that a script makes an order pass --------------------------------------------------------------------

@pytest.mark.parametrize("status", ["accepted", "pending_new", "accepted_for_bidding", "pending_review"])
async def test_an_order_waits_before_it_works(status: str) -> None:
    async with scene([CALM] * 9) as on:
        on.arm(kind="status", status=status, bars=2)
        order = await on.order()
        assert order["status"] == status            # the answer says it
        event = "accepted" if status in EVENTLESS else status
        assert await on.hear(1) == [(event, status)]
        assert (await on.client.ask("GET", "/v2/orders"))[1][0]["status"] == status
        assert (await on.client.ask("GET", "/v2/account"))[1]["buying_power"] == "198999.8"
        assert (await on.client.ask("PATCH", f"/v2/orders/{order['id']}", {"qty": "5"}))[0] == 422
        on.step()
        assert await on.status(order) == status
        on.step()
        assert await on.hear(1) == [("new", "new")]
        on.step()
        assert await on.hear(1) == [("fill", "filled")]


@pytest.mark.parametrize("status", ["pending_new", "pending_review", "suspended"])
async def test_a_status_may_pass_at_once(status: str) -> None:
    async with scene([CALM] * 4) as on:
        on.arm(kind="status", status=status, bars=0)
        await on.order()
        heard = await on.hear(3 if status == "suspended" else 2)
        assert heard[-2:] == [("accepted" if status in EVENTLESS else status, status), ("new", "new")]
        on.step()
        assert await on.hear(1) == [("fill", "filled")]


async def test_suspended_and_back() -> None:
    async with scene([CALM] * 6) as on:
        on.arm(kind="status", status="suspended")
        order = await on.order()
        assert order["status"] == "new"
        on.step()
        assert await on.hear(3) == [("new", "new"), ("suspended", "suspended"), ("new", "new")]
        on.step()
        assert await on.hear(1) == [("fill", "filled")]
        assert (await on.client.ask("GET", "/v2/positions/AAPL"))[1]["qty"] == "10"


async def test_a_suspended_order_can_be_cancelled_and_replaced() -> None:
    async with scene([CALM] * 6) as on:
        on.arm(kind="status", status="suspended", count=2, bars=2)
        gone, changed = await on.order(), await on.order(type="limit", limit_price="90")
        assert (await on.client.ask("DELETE", f"/v2/orders/{gone['id']}"))[0] == 204
        status, new = await on.client.ask("PATCH", f"/v2/orders/{changed['id']}", {"limit_price": "91"})
        assert (status, new["status"]) == (200, "suspended")
        on.step(3)
        assert await on.status(gone) == "canceled"
        assert await on.status(new) == "new"


async def test_stopped_guarantees_a_fill() -> None:
    async with scene([CALM] * 6) as on:
        on.arm(kind="status", status="stopped")
        await on.order(type="limit", limit_price="90")
        assert await on.hear(2) == [("new", "new"), ("stopped", "stopped")]
        on.step()
        assert await on.hear(1) == [("fill", "filled")]         # though no bar came near its limit
        assert (await on.client.ask("GET", "/v2/positions/AAPL"))[1]["avg_entry_price"] == "90"


async def test_calculated_after_a_fill() -> None:
    async with scene([CALM] * 6) as on:
        on.arm(kind="status", status="calculated", bars=2)
        order = await on.order()
        on.step()
        assert await on.hear(3) == [("new", "new"), ("fill", "filled"), ("calculated", "calculated")]
        assert await on.status(order) == "calculated"
        assert (await on.client.ask("GET", "/v2/orders"))[1] == []
        assert (await on.client.ask("DELETE", f"/v2/orders/{order['id']}"))[0] == 422
        on.step(2)
        assert await on.status(order) == "filled"


@pytest.mark.parametrize("status", ["rejected", "canceled", "expired"])
async def test_the_market_ends_an_order(status: str) -> None:
    async with scene([CALM] * 4) as on:
        on.arm(kind="status", status=status)
        order = await on.order(**{name: BRACKET[name] for name in ("order_class", "take_profit", "stop_loss")})
        assert (await on.hear(2))[1] == (status, status)
        assert {await on.status(leg) for leg in order["legs"]} == {status}
        assert (await on.client.ask("GET", "/v2/account"))[1]["buying_power"] == "200000"


async def test_every_status_that_can_be_passed_is_tested_here() -> None:
    text = Path(__file__).read_text()
    assert [status for status in PASSABLE if f'"{status}"' not in text] == []


def test_an_unmodified_client_reads_them_all() -> None:
    """alpaca-py makes an `OrderStatus` of each; its model of trade events lacks some, its order model none."""
    for status in PASSABLE:
        server = ExchangeServer(
            Venue(panel_of({"AAPL": [CALM] * 6}), start_index=1, fill_model=FREE),
            faults=FaultScript(faults=read_faults({"kind": "status", "status": status, "bars": 9})),
        )
        with serving(server) as control:
            trading = TradingClient("key", "secret", url_override=f"http://127.0.0.1:{server.port}")
            wish = MarketOrderRequest(symbol="AAPL", qty=5, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
            order = trading.submit_order(wish)
            if status == "calculated":
                control.post("step")
            assert trading.get_order_by_id(order.id).status == OrderStatus(status)


async def test_a_crash_in_the_midst_of_a_status(tmp_path: Path) -> None:
    """Whoever comes back lets the order go on when it would have."""
    order = {}
    for life in range(2):
        venue = Venue(panel_of({"AAPL": [CALM] * 9}), start_index=1, fill_model=FREE)
        store = VenueStore(tmp_path / "venue.db")
        faults = read_faults({"kind": "status", "status": "pending_review", "bars": 2} if not life else [])
        server = ExchangeServer(venue, persist=store, faults=FaultScript(faults=faults))
        await server.start()
        client = await Raw.to(server.port)
        if not life:
            _, order = await client.ask("POST", "/v2/orders", BUY)
        assert (await client.ask("GET", f"/v2/orders/{order['id']}"))[1]["status"] == "pending_review"
        if life:
            for status in ("pending_review", "new", "filled"):
                server.advance()
                assert (await client.ask("GET", f"/v2/orders/{order['id']}"))[1]["status"] == status
        client.writer.close()
        await server.stop()
        store.close()


# --- the whole list ------------------------------------------------------------------------------------------------

async def halted(on: Scene) -> None:
    order = await on.order(type="limit", limit_price="90")
    on.server.market.take("halt", {"symbol": "AAPL"})
    on.server.settle()
    await on.status(order)
    on.server.market.take("resume", {"symbol": "AAPL"})
    on.server.settle()
    await on.status(order)
    assert (await on.hear(5))[1:] == [("suspended", "suspended")] * 2 + [("new", "new")] * 2


async def slow_changes(on: Scene) -> None:
    gone, moved, filled, kept = [
        await on.order(type="limit", limit_price=price) for price in ("90", "91", "99.8", "99.7")
    ]
    for order, body in ((moved, {"limit_price": "92"}), (kept, {"qty": "6"})):
        _, new = await on.client.ask("PATCH", f"/v2/orders/{order['id']}", body)
        on.answers.add(new["status"])
    for order in (gone, filled):
        await on.client.ask("DELETE", f"/v2/orders/{order['id']}")
    for order in (gone, moved):
        await on.status(order)
    on.step()
    await on.hear(4 + 4 + 2)
    heard = [event for event, _ in await on.hear(on.server.venue.desk.event_count - len(on.events))]
    assert {"canceled", "replaced", "order_cancel_rejected", "order_replace_rejected"} <= set(heard)
    for order in (gone, moved, filled, kept):
        await on.status(order)


async def parts(on: Scene) -> None:
    """An OCO whose limit fills in part: its stop shrinks."""
    await on.order(qty=2)
    on.step()
    await on.client.ask("GET", "/v2/positions")
    order = await on.order(
        side="sell", qty=2, type="limit", order_class="oco", take_profit={"limit_price": "100.2"},
        stop_loss={"stop_price": "90"},
    )
    on.arm(kind="partial_fill", side="sell", type="limit")
    again = await on.client.ask("PATCH", f"/v2/orders/{order['id']}", {"limit_price": "100.3"})
    assert again[0] == 200
    await on.status(again[1])
    await on.hear(on.server.venue.desk.event_count - len(on.events))


async def night(on: Scene) -> None:
    await on.order(type="limit", limit_price="50", time_in_force="gtc")
    expired = await on.order(type="limit", limit_price="50")
    on.step(2)
    await on.client.ask("GET", "/v2/clock")
    await on.order(type="limit", limit_price="51")
    await on.status(expired)
    for order in (await on.client.ask("GET", "/v2/orders"))[1]:
        on.answers.add(order["status"])
    await on.hear(on.server.venue.desk.event_count - len(on.events))


async def passed(on: Scene) -> None:
    for status in PASSABLE:
        on.arm(kind="status", status=status)
        order = await on.order(qty=1)
        if status == "calculated":
            on.step()
        await on.status(order)
    await on.hear(on.server.venue.desk.event_count - len(on.events))


async def test_the_whole_list_can_be_reached() -> None:
    events: set[str] = set()
    statuses: set[str] = set()
    acts: list[tuple[Callable[[Scene], Awaitable[None]], dict[str, Any]]] = [
        (halted, {}), (slow_changes, {"slow_changes": True}), (parts, {}),
        (night, {"per_day": 3, "done_for_day": True}), (passed, {}),
    ]
    for act, settings in acts:
        async with scene([CALM] * 12, **settings) as on:
            await on.order(**{name: BRACKET[name] for name in ("order_class", "take_profit", "stop_loss")})
            await on.hear(1)
            await act(on)
            events.update(event for event, _ in on.events)
            statuses |= on.answers | {status for _, status in on.events}
    assert events == set(TRADE_EVENTS)
    assert statuses == set(STATUSES)


def test_the_lists_are_alpacas() -> None:
    assert {status.value for status in OrderStatus} == set(STATUSES)
