"""Every fault over real sockets: what it does to a client that knows nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import MarketOrderRequest
from exchange_markets import FREE, panel_of, walk_panel
from exchange_raw import Raw, json_of, stream
from exchange_serving import serving
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from trader.exchange import fault_gate
from trader.exchange.fault_fields import remove_field, set_field, shift_moments
from trader.exchange.fault_rules import FAULTS
from trader.exchange.fault_script import FaultScript, load_fault_script, read_faults
from trader.exchange.persist import VenueStore
from trader.exchange.server import ExchangeServer
from trader.exchange.types import VenueRules
from trader.exchange.venue import Venue
from trader.utils.errors import UserError

CALM = (100.0, 100.5, 99.5, 100.0)
BUY = {"symbol": "AAPL", "side": "buy", "qty": 10}
BRACKET = {
    **BUY, "order_class": "bracket", "take_profit": {"limit_price": "110"}, "stop_loss": {"stop_price": "90"},
}


@pytest.fixture
async def server() -> AsyncIterator[ExchangeServer]:
    panel = panel_of({"AAPL": [CALM] * 24, "MSFT": [CALM] * 24})
    running = ExchangeServer(Venue(panel, start_index=1, fill_model=FREE))
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def client(server: ExchangeServer) -> AsyncIterator[Raw]:
    raw = await Raw.to(server.port)
    yield raw
    raw.writer.close()


def arm(server: ExchangeServer, *faults: dict[str, Any]) -> None:
    server.faults.add(read_faults(list(faults)))
    server.arm()


async def listening(server: ExchangeServer) -> ClientConnection:
    socket = await stream(server, "/stream")
    await socket.send('{"action":"authenticate","data":{"key_id":"a","secret_key":"b"}}')
    await socket.send('{"action":"listen","data":{"streams":["trade_updates"]}}')
    await socket.recv()
    await socket.recv()
    return socket


async def hearing_bars(server: ExchangeServer) -> ClientConnection:
    socket = await stream(server, "/v2/iex")
    for message in ('{"action":"auth","key":"a","secret":"b"}', '{"action":"subscribe","bars":["*"]}'):
        await socket.recv()
        await socket.send(message)
    await socket.recv()
    return socket


async def settled(value: Callable[[], int], wanted: int) -> int:
    """The value once it is the wanted one, or after a minute."""
    for _ in range(6_000):
        if value() == wanted:
            break
        await asyncio.sleep(0.01)
    return value()


async def events_of(socket: ClientConnection, count: int) -> list[str]:
    return [(await json_of(socket))["data"]["event"] for _ in range(count)]


# --- requests -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("kind", "orders"), [("drop_request", 0), ("drop_response", 1)])
async def test_a_lost_request_and_a_lost_answer_look_the_same(
    server: ExchangeServer, client: Raw, kind: str, orders: int
) -> None:
    arm(server, {"kind": kind, "method": "POST", "path": "/v2/orders"})
    client.say("POST", "/v2/orders", BUY)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.hear()
    again = await Raw.to(server.port)
    assert len((await again.ask("GET", "/v2/orders"))[1]) == orders
    again.writer.close()


async def test_a_delay_before_and_after_acceptance(
    server: ExchangeServer, client: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    delayed: list[Any] = []
    clock = SimpleNamespace(call_later=lambda *what: delayed.append(what))
    monkeypatch.setattr(fault_gate, "asyncio", SimpleNamespace(get_running_loop=lambda: clock))
    arm(server, {"kind": "delay", "seconds": 0.2, "when": "before", "method": "POST"},
        {"kind": "delay", "seconds": 0.2, "when": "after", "method": "POST", "skip": 1})
    other = await Raw.to(server.port)
    seen = []
    for _ in range(2):
        client.say("POST", "/v2/orders", BUY)
        assert await settled(lambda: len(delayed), 1) == 1
        seen.append(len((await other.ask("GET", "/v2/orders"))[1]))
        seconds, act, *arguments = delayed.pop()
        assert seconds == 0.2
        act(*arguments)
        assert (await client.hear())[0] == 200
    assert seen == [0, 2]                   # not there yet; there although its answer is not
    other.writer.close()


@pytest.mark.parametrize(("when", "orders"), [("before", 0), ("after", 1)])
async def test_a_hanging_request_never_ends(server: ExchangeServer, when: str, orders: int) -> None:
    arm(server, {"kind": "hang", "when": when, "method": "POST"})
    client, other = await Raw.to(server.port), await Raw.to(server.port)
    client.say("POST", "/v2/orders", BUY)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.read(1), 0.1)
    assert len((await other.ask("GET", "/v2/orders"))[1]) == orders
    client.writer.close()
    await client.writer.wait_closed()
    assert await settled(lambda: server.connections, 1) == 1       # the hanging connection goes when its client does
    other.writer.close()


async def test_a_burst_of_429_has_alpacas_headers(server: ExchangeServer, client: Raw) -> None:
    arm(server, {"kind": "rate_limit", "count": 2, "seconds": 3})
    for _ in range(2):
        client.say("GET", "/v2/clock")
        head = (await client.reader.readuntil(b"\r\n\r\n")).decode()
        assert "429 Too Many Requests" in head
        for line in ("X-RateLimit-Limit: 200", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: ", "Retry-After: 3"):
            assert line in head
        assert json.loads(await client.reader.readuntil(b"}"))["code"] == 42910000
    assert (await client.ask("GET", "/v2/clock"))[0] == 200


@pytest.mark.parametrize(
    ("status", "when", "orders", "start"),
    [(500, "before", 0, b'{"code":50010000'), (502, "before", 0, b"<html>"), (502, "after", 1, b"<html>"),
     (503, "after", 1, b'{"code":50310000'), (504, "after", 1, b'{"code":50410000')],
)
async def test_server_errors_before_and_after_acceptance(
    server: ExchangeServer, client: Raw, status: int, when: str, orders: int, start: bytes
) -> None:
    arm(server, {"kind": "server_error", "status": status, "when": when, "symbol": "AAPL"})
    client.say("POST", "/v2/orders", BUY)
    head = (await client.reader.readuntil(b"\r\n\r\n")).decode()
    assert int(head.split(" ")[1]) == status
    length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
    assert (await client.reader.readexactly(length)).startswith(start)
    assert len((await client.ask("GET", "/v2/orders"))[1]) == orders


async def test_answers_with_unknown_values_and_without_fields(server: ExchangeServer, client: Raw) -> None:
    arm(server, {"kind": "unknown_value", "method": "POST", "field": "status", "value": "in_superposition"},
        {"kind": "missing_field", "path": "/v2/account", "field": "cash"},
        {"kind": "clock_skew", "path": "/v2/clock", "seconds": -90})
    assert (await client.ask("POST", "/v2/orders", BUY))[1]["status"] == "in_superposition"
    assert "cash" not in (await client.ask("GET", "/v2/account"))[1]
    skewed, right = [(await client.ask("GET", "/v2/clock"))[1]["timestamp"] for _ in range(2)]
    assert (skewed[11:19], right[11:19]) == ("09:43:30", "09:45:00")


async def test_a_late_fill_in_place_of_a_cancel(server: ExchangeServer, client: Raw) -> None:
    arm(server, {"kind": "late_fill", "symbol": "AAPL", "when": "before"})
    socket = await listening(server)
    _, order = await client.ask("POST", "/v2/orders", {**BUY, "type": "limit", "limit_price": "90"})
    assert (await client.ask("DELETE", f"/v2/orders/{order['id']}"))[0] == 204
    assert await events_of(socket, 2) == ["new", "fill"]
    _, after = await client.ask("GET", f"/v2/orders/{order['id']}")
    assert (after["status"], after["filled_qty"], after["filled_avg_price"]) == ("filled", "10", "90")
    assert (await client.ask("DELETE", f"/v2/orders/{order['id']}"))[0] == 422
    assert (await client.ask("GET", "/v2/positions/AAPL"))[1]["qty"] == "10"
    await socket.close()


async def test_a_late_fill_after_a_cancel_was_told(server: ExchangeServer, client: Raw) -> None:
    arm(server, {"kind": "late_fill", "symbol": "AAPL"})
    socket = await listening(server)
    _, order = await client.ask("POST", "/v2/orders", {**BUY, "type": "limit", "limit_price": "90"})
    assert (await client.ask("DELETE", f"/v2/orders/{order['id']}"))[0] == 204
    told = [(await json_of(socket))["data"] for _ in range(3)]
    assert [(data["event"], data["order"]["status"]) for data in told] == [
        ("new", "new"), ("canceled", "canceled"), ("fill", "filled"),
    ]
    assert (told[2]["qty"], told[2]["position_qty"], told[2]["order"]["filled_qty"]) == ("10", "10", "10")
    _, after = await client.ask("GET", f"/v2/orders/{order['id']}")
    assert (after["status"], after["filled_avg_price"]) == ("filled", "90")
    assert after["canceled_at"]
    _, account = await client.ask("GET", "/v2/account")
    assert (account["cash"], account["equity"]) == ("99100", "100100")
    assert server.venue.desk.reserved == 0
    assert not server.venue.desk.working
    await socket.close()


async def test_late_fills_of_exits_keep_the_shares_together(server: ExchangeServer, client: Raw) -> None:
    """A take-profit fills after its cancel; its stop, cancelled with it, must not, nor a second sale of the shares."""
    arm(server, {"kind": "late_fill", "count": 0})
    _, entry = await client.ask("POST", "/v2/orders", BRACKET)
    server.advance()
    profit, stop = entry["legs"]
    assert (await client.ask("DELETE", f"/v2/orders/{profit['id']}"))[0] == 204
    statuses = [(await client.ask("GET", f"/v2/orders/{leg['id']}"))[1]["status"] for leg in (profit, stop)]
    assert statuses == ["filled", "canceled"]
    assert (await client.ask("GET", "/v2/positions"))[1] == []
    assert (await client.ask("DELETE", f"/v2/orders/{stop['id']}"))[0] == 422
    _, account = await client.ask("GET", "/v2/account")
    assert account["cash"] == "100100"                  # bought at 100, sold at 110


async def answers(server: ExchangeServer, count: int) -> list[int]:
    """The statuses of so many requests for the account; 0 for a broken connection."""
    found = []
    for _ in range(count):
        try:
            found.append((await (await Raw.to(server.port)).ask("GET", "/v2/account"))[0])
        except asyncio.IncompleteReadError:
            found.append(0)
    return found


async def test_one_request_is_lost_only_once(server: ExchangeServer) -> None:
    """A burst of 429 and then one of 503: what another fault has taken away is not counted as hit."""
    arm(
        server, {"kind": "rate_limit", "count": 3}, {"kind": "server_error", "status": 503, "count": 2},
        {"kind": "drop_response"}, {"kind": "server_error", "when": "after", "skip": 1}, {"kind": "missing_field"},
    )
    assert await answers(server, 9) == [429, 429, 429, 503, 503, 0, 200, 500, 200]
    assert [hit.kind for hit in server.faults.log][5:] == ["drop_response", "missing_field", "server_error"]


async def test_the_matches_to_hit_can_be_named(server: ExchangeServer) -> None:
    arm(server, {"kind": "server_error", "status": 503, "at": [2, 5], "path": "/v2/acc*"})
    assert await answers(server, 7) == [200, 503, 200, 200, 503, 200, 200]
    assert server.faults.armed[0].spent


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("path", ["/v2/orders", "/v2/positions?cancel_orders=true"])
async def test_late_fills_of_all_that_is_cancelled_at_once(
    server: ExchangeServer, client: Raw, path: str, when: str
) -> None:
    arm(server, {"kind": "late_fill", "symbol": "AAPL", "when": when})
    orders = [
        (await client.ask("POST", "/v2/orders", {**BUY, "symbol": symbol, "type": "limit", "limit_price": "90"}))[1]
        for symbol in ("AAPL", "MSFT", "AAPL")
    ]
    assert (await client.ask("DELETE", path))[0] == 207
    assert [server.venue.order(order["id"]).status for order in orders] == ["filled", "canceled", "filled"]
    assert server.venue.accounts_book.quantity("AAPL") == 20


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("other", "status"),
    [
        ({"kind": "drop_request"}, "new"), ({"kind": "server_error"}, "new"), ({"kind": "rate_limit"}, "new"),
        ({"kind": "drop_response"}, "filled"), ({"kind": "delay", "when": "before", "seconds": 0.05}, "filled"),
        ({"kind": "server_error", "when": "after"}, "filled"),
    ],
)
async def test_only_a_cancel_that_arrives_is_overtaken(
    server: ExchangeServer, client: Raw, when: str, other: dict[str, Any], status: str
) -> None:
    """A late fill belongs to the cancel, wherever other faults let it arrive; not to one that never did."""
    arm(server, {"kind": "late_fill", "when": when}, {**other, "method": "DELETE"})
    _, order = await client.ask("POST", "/v2/orders", {**BUY, "type": "limit", "limit_price": "90"})
    with contextlib.suppress(asyncio.IncompleteReadError):
        answered = (await client.ask("DELETE", f"/v2/orders/{order['id']}"))[0]
        assert answered in (204, 429, 500)
    held = server.venue.order(order["id"])
    assert held.status == status
    assert bool(held.canceled_ns) is (status == "filled" and when == "after")


async def test_an_exit_without_its_shares_stays_cancelled(server: ExchangeServer, client: Raw) -> None:
    await client.ask("POST", "/v2/orders", BUY)
    server.advance()
    _, resting = await client.ask("POST", "/v2/orders", {**BUY, "side": "sell", "qty": 4, "type": "limit",
                                                         "limit_price": "110"})
    venue = server.venue
    venue.accounts_book.book_fill("AAPL", Decimal(-8), Decimal(100), Decimal(0))      # gone by another way
    arm(server, {"kind": "late_fill"})
    assert (await client.ask("DELETE", f"/v2/orders/{resting['id']}"))[0] == 204
    assert venue.order(resting["id"]).status == "canceled"
    assert venue.accounts_book.quantity("AAPL") == 2


# --- orders -------------------------------------------------------------------------------------------------------

async def test_a_forced_partial_fill(server: ExchangeServer, client: Raw) -> None:
    arm(server, {"kind": "partial_fill", "fraction": 0.3, "side": "buy"})
    socket = await listening(server)
    _, order = await client.ask("POST", "/v2/orders", BUY)
    assert order["status"] == "new"                 # the fill comes after the answer
    assert await events_of(socket, 2) == ["new", "partial_fill"]
    _, after = await client.ask("GET", f"/v2/orders/{order['id']}")
    assert (after["status"], after["filled_qty"]) == ("partially_filled", "3")
    server.advance()
    assert (await json_of(socket))["data"]["qty"] == "7"
    await socket.close()


@pytest.mark.parametrize(("held", "status"), [(False, "new"), (True, "held")])
async def test_a_stop_leg_gets_a_new_id_by_itself(
    server: ExchangeServer, client: Raw, held: bool, status: str
) -> None:
    """Also where nobody is told that the stop begins to work."""
    server.venue.set_rules(VenueRules(held_stops=held))
    arm(server, {"kind": "leg_replaced"})
    socket = await listening(server)
    _, entry = await client.ask("POST", "/v2/orders", BRACKET)
    old = next(leg["id"] for leg in entry["legs"] if leg["type"] == "stop")
    server.advance()
    names = []
    while "replaced" not in names:
        names += await events_of(socket, 1)
    _, then = await client.ask("GET", f"/v2/orders/{old}")
    assert then["status"] == "replaced"
    _, new = await client.ask("GET", f"/v2/orders/{then['replaced_by']}")
    assert (new["status"], new["stop_price"], new["replaces"]) == (status, "89.99", old)
    assert new["client_order_id"] != then["client_order_id"]
    await socket.close()


# --- trade updates ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(
    ("fault", "after_order", "after_bar"),
    [
        ({"kind": "duplicate", "event": "new", "times": 2}, ["new", "new", "new"], ["fill"]),
        ({"kind": "omit", "event": "new"}, [], ["fill"]),
        ({"kind": "reorder", "event": "new"}, [], ["fill", "new"]),
        ({"kind": "delay_update", "event": "new", "bars": 2}, [], ["fill"]),
        ({"kind": "omit", "symbol": "MSFT"}, ["new"], ["fill"]),
        ([{"kind": "omit", "event": "new"}, {"kind": "duplicate", "event": "new"}], [], ["fill"]),
        ([{"kind": "reorder", "event": "new"}, {"kind": "duplicate", "event": "new"}], [], ["fill", "new", "new"]),
    ],
)
async def test_trade_updates_double_vanish_swap_and_wait(
    server: ExchangeServer, client: Raw, fault: Any, after_order: list[str], after_bar: list[str]
) -> None:
    arm(server, *(fault if isinstance(fault, list) else [fault]))
    socket = await listening(server)
    await client.ask("POST", "/v2/orders", BUY)
    assert await events_of(socket, len(after_order)) == after_order
    server.advance()
    assert await events_of(socket, len(after_bar)) == after_bar
    if fault == {"kind": "delay_update", "event": "new", "bars": 2}:
        server.advance()
        assert await events_of(socket, 1) == ["new"]
    await client.ask("POST", "/v2/orders", BUY)                # the fault is spent
    assert await events_of(socket, 1) == ["new"]
    await socket.close()


@pytest.mark.parametrize("lost", ["event", "order", "order.symbol"])
async def test_several_faults_bend_one_message(server: ExchangeServer, client: Raw, lost: str) -> None:
    """What a fault took out of a message is not missed by those that come after it."""
    arm(
        server, {"kind": "missing_in_update", "field": lost}, {"kind": "skew_in_update", "seconds": 60},
        {"kind": "unknown_in_update", "field": "order", "value": None, "skip": 1}, {"kind": "duplicate", "count": 2},
        {"kind": "missing_in_update", "field": "qty", "skip": 1},
    )
    socket = await listening(server)
    await client.ask("POST", "/v2/orders", BUY)
    server.advance()
    new, same, fill, _ = [(await json_of(socket))["data"] for _ in range(4)]
    assert new == same
    told = {"event": new.get("event"), "order": new.get("order", {}).get("symbol")}
    whole = {"event": "new", "order": "AAPL"}
    assert told == {**whole, lost.partition(".")[0]: None}
    assert fill["order"] is None
    assert "qty" not in fill
    await socket.close()


async def test_a_message_without_follower_leaves_after_the_bar(server: ExchangeServer, client: Raw) -> None:
    arm(server, {"kind": "reorder", "event": "new"})
    socket = await listening(server)
    await client.ask("POST", "/v2/orders", {**BUY, "type": "limit", "limit_price": "50"})
    server.advance()
    assert await events_of(socket, 1) == ["new"]
    await socket.close()


async def test_updates_with_unknown_values_and_without_fields(server: ExchangeServer, client: Raw) -> None:
    arm(server, {"kind": "unknown_in_update", "field": "order.status", "value": "odd"},
        {"kind": "missing_in_update", "event": "fill", "field": "price"})
    socket = await listening(server)
    await client.ask("POST", "/v2/orders", BUY)
    assert (await json_of(socket))["data"]["order"]["status"] == "odd"
    server.advance()
    assert "price" not in (await json_of(socket))["data"]
    arm(server, {"kind": "skew_in_update", "seconds": 90})
    await client.ask("POST", "/v2/orders", BUY)
    data = (await json_of(socket))["data"]
    assert (data["timestamp"][11:19], data["order"]["created_at"][11:19]) == ("15:01:30", "15:01:30")
    await socket.close()


# --- connections --------------------------------------------------------------------------------------------------

async def test_a_killed_stream_breaks_without_goodbye(server: ExchangeServer, client: Raw) -> None:
    arm(server, {"kind": "kill_stream", "event": "fill"})
    socket = await listening(server)
    await client.ask("POST", "/v2/orders", BUY)
    assert await events_of(socket, 1) == ["new"]
    server.advance()
    with pytest.raises(ConnectionClosed) as closed:
        await socket.recv()
    assert closed.value.rcvd is None                # no close frame
    again = await listening(server)                 # a new connection works, the fill is only known from REST
    assert (await client.ask("GET", "/v2/positions/AAPL"))[1]["qty"] == "10"
    await again.close()


async def test_half_open_answers_not_even_pings(server: ExchangeServer, client: Raw) -> None:
    arm(server, {"kind": "half_open", "event": "new"})
    socket = await listening(server)
    await client.ask("POST", "/v2/orders", BUY)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(await socket.ping(), 0.1)
    socket.transport.abort()


async def test_mute_answers_pings_and_speaks_again(server: ExchangeServer) -> None:
    arm(server, {"kind": "mute", "stream": "data", "bars": 2})
    socket = await hearing_bars(server)
    server.advance()
    await asyncio.wait_for(await socket.ping(), 60)
    for _ in range(3):
        server.advance()
    assert {bar["i"] for bar in await json_of(socket)} == {4}      # 1 was hit, 2 and 3 never came either
    await socket.close()


async def test_a_fault_of_the_step_needs_no_message(server: ExchangeServer) -> None:
    arm(server, {"kind": "kill_stream", "event": "step", "stream": "both", "from_bar": 3})
    trading, data = await listening(server), await hearing_bars(server)
    server.advance()
    assert len(await json_of(data)) == 2
    server.advance()
    for socket in (trading, data):
        await asyncio.wait_for(socket.wait_closed(), 60)
        assert socket.close_code == 1006            # no closing handshake


@pytest.mark.parametrize("code", [405, 406, 409, 411, 412, 413, 500])
async def test_any_error_of_the_data_stream(server: ExchangeServer, code: int) -> None:
    arm(server, {"kind": "stream_error", "code": code, "close": True})
    socket = await hearing_bars(server)
    server.advance()
    assert (await json_of(socket))[0]["code"] == code
    with pytest.raises(ConnectionClosed):
        await socket.recv()


async def test_data_messages_can_be_lost_too(server: ExchangeServer) -> None:
    arm(server, {"kind": "omit", "stream": "data", "event": "b", "symbol": "AAPL", "count": 0})
    socket = await hearing_bars(server)
    server.advance()
    assert [bar["S"] for bar in await json_of(socket)] == ["MSFT"]
    await socket.close()


async def back_at(port: int) -> Raw:
    """A client of a server that has been away, once it is back."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError):
                return await Raw.to(port)
            await asyncio.sleep(0.02)


async def test_a_restart_on_the_same_port(server: ExchangeServer, client: Raw) -> None:
    arm(server, {"kind": "restart", "seconds": 1.0, "from_bar": 1})
    _, order = await client.ask("POST", "/v2/orders", {**BUY, "type": "limit", "limit_price": "50"})
    socket = await listening(server)
    port = server.port
    server.advance()
    await asyncio.wait_for(socket.wait_closed(), 60)
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)
    again = await back_at(port)
    assert (await again.ask("GET", f"/v2/orders/{order['id']}"))[1]["status"] == "new"
    again.writer.close()


async def test_a_restart_waits_for_its_port(server: ExchangeServer, client: Raw) -> None:
    """Who takes the port while the venue is away delays its return, and does not end it."""
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    server.port = taken.sockets[0].getsockname()[1]
    server.restart(0.0)
    assert await settled(lambda: server.connections, 0) == 0
    await asyncio.sleep(0.05)                   # its first attempt
    taken.close()
    await taken.wait_closed()
    again = await back_at(server.port)
    assert (await again.ask("GET", "/v2/clock"))[0] == 200
    again.writer.close()


async def test_a_restart_on_a_full_disk_comes_to_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with VenueStore(tmp_path / "venue.db") as store:
        server = ExchangeServer(Venue(walk_panel(("AAPL",), 60), start_index=1, fill_model=FREE), persist=store)
        await server.start()
        client = await Raw.to(server.port)
        store.save = Mock(side_effect=OSError("the disk is full"))      # type: ignore[method-assign]
        server.venue.halt("AAPL")
        server.restart(0.0)
        assert await asyncio.wait_for(client.reader.read(), 60) == b""
        again = await back_at(server.port)
        again.writer.close()
        await server.stop()
    assert "the disk is full" in [record.message for record in caplog.records]


async def test_the_script_halts_a_symbol(server: ExchangeServer, client: Raw) -> None:
    arm(server, {"kind": "market_event", "event": "halt", "arguments": {"symbol": "AAPL"}, "from_bar": 1},
        {"kind": "market_event", "event": "resume", "arguments": {"symbol": "AAPL"}, "from_bar": 3})
    await client.ask("POST", "/v2/orders", BUY)
    server.advance()                                # fills; halted after it
    await client.ask("POST", "/v2/orders", BUY)
    server.advance()
    assert (await client.ask("GET", "/v2/positions/AAPL"))[1]["qty"] == "10"
    server.advance()                                # resumed after it
    server.advance()
    assert (await client.ask("GET", "/v2/positions/AAPL"))[1]["qty"] == "20"


# --- the unmodified client ----------------------------------------------------------------------------------------

def test_alpaca_py_meets_the_faults() -> None:
    panel = panel_of({"AAPL": [CALM] * 6})
    script = FaultScript(faults=read_faults([
        {"kind": "drop_response", "method": "POST"}, {"kind": "server_error", "status": 502, "path": "/v2/account"},
        {"kind": "unknown_value", "path": "/v2/orders", "method": "GET", "field": "status"},
    ]))
    server = ExchangeServer(Venue(panel, start_index=1, fill_model=FREE), faults=script)
    with serving(server) as control:
        trading = TradingClient("key", "secret", url_override=f"http://127.0.0.1:{server.port}")
        trading._retry = 0
        order = MarketOrderRequest(
            symbol="AAPL", qty=5, side=OrderSide.BUY, time_in_force=TimeInForce.DAY, client_order_id="mine",
        )
        with pytest.raises(requests.exceptions.ConnectionError):
            trading.submit_order(order)
        assert trading.get_order_by_client_id("mine").qty == "5"       # it is live, nobody was told
        with pytest.raises(APIError, match="Bad Gateway") as broken:
            trading.get_account()
        assert broken.value.status_code == 502
        with pytest.raises(json.JSONDecodeError):
            _ = broken.value.code                                      # the client expects JSON in every error
        with pytest.raises(ValueError, match="status"):
            trading.get_orders()
        answer = control.get("faults")
        assert [(hit["kind"], hit["what"]["method"]) for hit in answer["log"]] == [
            ("drop_response", "POST"), ("server_error", "GET"), ("unknown_value", "GET"),
        ]
        assert all(fault["spent"] for fault in answer["faults"])


# --- scripts and draws --------------------------------------------------------------------------------------------

STORM = [
    {"kind": "server_error", "probability": 0.2, "count": 0, "method": "POST"},
    {"kind": "drop_response", "probability": 0.1, "count": 0, "method": "POST", "symbol": "AAPL"},
    {"kind": "omit", "probability": 0.3, "count": 0}, {"kind": "duplicate", "probability": 0.3, "count": 0},
    {"kind": "reorder", "probability": 0.3, "count": 0}, {"kind": "partial_fill", "probability": 0.5, "count": 0},
    {"kind": "late_fill", "probability": 0.5, "count": 0},
    {"kind": "status", "status": "suspended", "bars": 2, "probability": 0.2, "count": 0},
    {"kind": "status", "status": "pending_review", "bars": 0, "probability": 0.2, "count": 0},
]


async def storm(seed: int, script: FaultScript | None = None) -> tuple[str, bytes]:
    """The log of the faults and everything that the trading stream said."""
    log = io.StringIO()
    venue = Venue(walk_panel(("AAPL", "MSFT"), 60), start_index=1, fill_model=FREE, seed=3)
    faults = script or FaultScript(faults=read_faults(STORM), seed=seed)
    server = ExchangeServer(venue, faults=faults, fault_log=log)
    await server.start()
    socket = await listening(server)
    for i in range(40):
        client = await Raw.to(server.port)
        order = {"symbol": ("AAPL", "MSFT")[i % 2], "side": "buy", "qty": 5 + i % 3, "type": "limit",
                 "limit_price": str(round(venue.last_price(i % 2) - 1, 2)), "client_order_id": f"o{i}"}
        try:
            _, answer = await client.ask("POST", "/v2/orders", order)
            if "id" in answer and i % 4 == 0:
                await client.ask("DELETE", f"/v2/orders/{answer['id']}")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        client.writer.close()
        await asyncio.sleep(0)                  # what this request caused leaves before the bar
        server.advance()
    heard = b""
    server.trading_stream.send([{"stream": "end", "data": {}}])
    while not heard.endswith(b'{"stream":"end","data":{}}'):
        heard += await socket.recv()
    await server.stop()
    return log.getvalue(), heard


async def test_a_storm_replays_byte_for_byte() -> None:
    first, second, other = await storm(1), await storm(1), await storm(2)
    assert first == second
    assert first != other
    kinds = {json.loads(line)["kind"] for line in first[0].splitlines()}
    assert len(kinds) >= 6
    assert [json.loads(line)["number"] for line in first[0].splitlines()] == list(range(1, first[0].count("\n") + 1))


async def test_a_log_is_a_script_that_hits_the_same_again(tmp_path: Path) -> None:
    log, heard = await storm(1)
    path = tmp_path / "hits.jsonl"
    path.write_text(log)
    again = load_fault_script(path)
    assert all(fault.probability == 1 and fault.count == 1 for fault in again.faults)
    replayed, heard_again = await storm(99, again)
    assert heard_again == heard                         # every byte of the stream
    assert hits_of(replayed) == hits_of(log)
    path.write_text(log.splitlines()[0] + "\n{broken\n")
    with pytest.raises(UserError, match="one hit a line"):
        load_fault_script(path)


async def test_what_was_armed_on_the_way_is_replayed_from_there(tmp_path: Path) -> None:
    """Matches of a fault that came late count from its bar on, in the replay as well."""
    path, told = tmp_path / "hits.jsonl", []
    for _ in range(2):
        log = io.StringIO()
        script = load_fault_script(path, ("AAPL",)) if path.exists() else None
        venue = Venue(panel_of({"AAPL": [CALM] * 24}), start_index=1, fill_model=FREE)
        server = ExchangeServer(venue, faults=script, fault_log=log)
        await server.start()
        client, control = await Raw.to(server.port), await Raw.to(server.control_port)
        found = []
        for bar in range(8):
            if bar == 4 and script is None:
                await control.ask("POST", "/v1/faults", {"kind": "server_error", "status": 503, "skip": 1, "count": 2})
            found.append((await client.ask("GET", "/v2/clock"))[0])
            server.advance()
        await server.stop()
        path.write_text(log.getvalue())
        told.append((found, hits_of(log.getvalue())))
    assert told[0][0] == [200] * 5 + [503] * 2 + [200]
    assert told[1] == told[0]


def hits_of(log: str) -> list[tuple[object, ...]]:
    """What was hit, without the numbers of the faults."""
    return [(hit["kind"], hit["bar"], hit["what"]) for hit in map(json.loads, log.splitlines())]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("- kind: hang\n- kind: delay\n  seconds: -4\n", 3, "0.0"),
        ("seed: 1\nfaults:\n  - kind: boom\n", 3, "the kinds are drop_request"),
        ("seed: 1\nfaults:\n  - kind: hang\n  - kind: omit\n    evnt: fill\n", 4, "evnt"),
        ('{"faults": [\n {"kind": "omit",\n  "probability": 2}]}', 3, "1.0"),
        ("- kind: market_event\n  event: flood\n", 1, "halt"),
        ("- kind: status\n  status: dreaming\n", 2, "pending_review"),
        ("seed: 1\nfaults: []\nrules: {shorting: maybe}\n", 3, "bool"),
        ("faults: []\nrules:\n  shorting: false\n  gtc_dys: 3\n", 2, "there is no rule 'gtc_dys'"),
        ("- kind: delay\n- kind: hang\n  when: bfore\n", 3, "one of before, after"),
        ("- kind: drop_request\n  method: PSOT\n", 2, "one of GET, POST"),
        ("- kind: drop_request\n  path: v2/orders\n", 2, "path"), ("- kind: partial_fill\n  side: byu\n", 2, "sell"),
        ("- kind: hang\n- kind: omit\n  event: filled\n", 2, "partial_fill"), ("- {kind: omit, event: b}", 1, "fill"),
        ("- {kind: kill_stream, stream: data, event: fill}", 1, "step"), ("- {kind: omit, event: step}", 1, "fill"),
        ("- {kind: hang, from_bar: 5, until_bar: 5}", 1, "after from_bar"), ("- {kind: hang, at: [0]}", 1, "1"),
        ("- {kind: hang, at: [3], count: 0}", 1, "leave skip"), ("- kind: hang\n  from_bar: -1\n", 2, "0"),
        ("- kind: hang\n- kind: omit\n  symbol: aapl\n", 3, "the symbols are AAPL, MSFT"),
        ("- kind: market_event\n  event: halt\n  arguments:\n    symbol: IBM\n", 4, "the symbols are AAPL, MSFT"),
        ("- {kind: unknown_value, value: 1" + "0" * 40 + "}", 1, "cannot be sent"),
        ("[" * 3000, 0, "nested too deeply"),
        ("rules: {shrting: true}", 1, "the rules are"),
        ("a: [", 1, "YAML or JSON"), ("faults: 3", 1, "array"), ("", 1, "object"), ("- 5", 1, "object"),
    ],
)
def test_mistakes_in_a_script_have_their_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=what) as wrong:
        load_fault_script(path, ("AAPL", "MSFT"))
    assert f"faults.yaml{f':{line}' * (line > 0)}: " in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_scripts_are_read_in_both_shapes(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text('[{"kind": "omit", "event": "fill", "count": 0}]')
    assert load_fault_script(path).faults == read_faults({"kind": "omit", "event": "fill", "count": 0})
    path.write_text("seed: 9\nfaults:\n  - {kind: restart, seconds: 1}\n")
    assert load_fault_script(path).seed == 9
    with pytest.raises(UserError, match="cannot read"):
        load_fault_script(tmp_path / "none.yaml")


def test_fields_are_changed_in_copies() -> None:
    body = {"order": {"status": "new", "created_at": "2024-01-08T14:30:00Z"}, "t": 5, "list": [{"a": 1}, {"a": 2}]}
    assert set_field(body, "order.status", 1)["order"]["status"] == 1
    assert remove_field(body, "list.a")["list"] == [{}, {}]
    assert set_field(body, "no.way", 1) == body
    assert shift_moments(body, 60)["order"]["created_at"] == "2024-01-08T14:31:00Z"
    assert shift_moments({"t": 10**18, "expires_at": "2024-01-08T14:30:00Z"}, 2) == {
        "t": 10**18 + 2 * 10**9, "expires_at": "2024-01-08T14:30:02Z",
    }
    assert shift_moments({"timestamp": [1_704_724_200, 1_704_725_100]}, -60)["timestamp"][1] == 1_704_725_040
    assert body["order"]["status"] == "new"


def test_every_kind_of_fault_is_tested_here() -> None:
    text = Path(__file__).read_text()
    assert {kind for kind in FAULTS if f'"{kind}"' not in text} == set()
