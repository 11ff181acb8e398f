"""The wire itself: HTTP by hand, both stream formats, broken input, the gate, determinism over sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
from exchange_markets import FREE, MONDAY_OPEN, QUARTER, panel_of, walk_panel
from exchange_raw import KEYS, Raw, json_of, stream
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.exchange import websocket
from trader.exchange.errors import VenueError
from trader.exchange.http import MAX_BODY, Request, Response, parse_head
from trader.exchange.routes import TRADING_ROUTES, find_route
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue
from trader.exchange.wire import plain, read_order, rfc3339, text
from trader.utils.errors import UserError

CALM = (100.0, 100.5, 99.5, 100.0)


@pytest.fixture
async def server() -> AsyncIterator[ExchangeServer]:
    panel = panel_of({"AAPL": [CALM] * 8, "MSFT": [CALM] * 8})
    running = ExchangeServer(Venue(panel, start_index=1, fill_model=FREE))
    await running.start()
    yield running
    await running.stop()


async def test_requests_in_one_packet_and_in_single_bytes(server: ExchangeServer) -> None:
    client = await Raw.to(server.port)
    client.say("GET", "/v2/clock")
    client.say("GET", "/v2/positions")
    assert [(await client.hear())[0] for _ in range(2)] == [200, 200]
    for byte in f"GET /v2/account HTTP/1.1\r\n{KEYS}\r\n".encode():
        client.writer.write(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await client.hear())[1]["cash"] == "100000"
    client.writer.close()


@pytest.mark.parametrize("keys", ["", "APCA-API-KEY-ID: key\r\n", "APCA-API-KEY-ID:\r\nAPCA-API-SECRET-KEY:\r\n"])
async def test_without_a_pair_of_keys_nothing_is_answered(server: ExchangeServer, keys: str) -> None:
    client = await Raw.to(server.port)
    assert await client.ask("GET", "/v2/account", keys=keys) == (
        401, {"code": 40110000, "message": "request is not authorized"},
    )
    client.writer.close()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET ftp://elsewhere/ HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbroken\r\n\r\n", 400),
        (b"POST /v2/orders HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /v2/orders HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
        (b"POST /v2/orders HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 400),
        (b"GET /" + b"x" * 40_000, 400),
    ],
)
async def test_broken_http_gets_one_answer_and_the_door(server: ExchangeServer, data: bytes, status: int) -> None:
    client = await Raw.to(server.port)
    client.writer.write(data)
    assert (await client.hear())[0] == status
    assert await client.reader.read() == b""
    client.writer.close()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, 40010000), (b"\xff\xfe", 400, 40010000), (b"[]", 422, 40010001), (b"{}", 422, 40010001),
        (b'{"symbol":"AAPL","side":"buy","qty":1e999999}', 422, 40010001),
        (b'{"symbol":"AAPL","side":"buy","qty":"Infinity"}', 422, 40010001),
        (b'{"symbol":"AAPL","side":"buy","qty":1,"type":"limit","limit_price":1e400}', 422, 40010001),
        (b'{"symbol":"AAPL","side":"buy","qty":1,"take_profit":5}', 422, 40010001),
    ],
)
async def test_broken_orders_are_refused(server: ExchangeServer, body: bytes, status: int, code: int) -> None:
    client = await Raw.to(server.port)
    head = f"POST /v2/orders HTTP/1.1\r\n{KEYS}Content-Length: {len(body)}\r\n\r\n"
    client.writer.write(head.encode() + body)
    answer = await client.hear()
    assert (answer[0], answer[1]["code"]) == (status, code)
    client.writer.close()


@pytest.mark.parametrize(("method", "path", "status"), [
    ("PUT", "/v2/orders", 405), ("GET", "/v2", 404), ("GET", "/v2/orders/a/b", 404), ("GET", "/", 404),
    ("DELETE", "/v2/positions/AAPL?qty=NaN", 422), ("GET", "/v2/stocks/bars", 400),
    ("GET", "/v2/stocks/bars?symbols=AAPL&timeframe=1Min", 400),
    ("GET", "/v2/stocks/bars?symbols=AAPL&timeframe=15Min&page_token=%FF", 400),
    ("GET", "/v2/stocks/bars?symbols=AAPL&timeframe=1D&start=soon", 400),
    ("GET", "/v2/stocks/AAPL/bars?timeframe=15Min", 200), ("GET", "/v2/stocks/AAPL/bars", 400),
    ("GET", "/v2/stocks/NOPE/snapshot", 404), ("GET", "/v2/stocks/AAPL/snapshot", 200),
    ("GET", "/v2/calendar?start=tomorrow", 400), ("GET", "/v2/orders?nested=maybe", 400),
    ("GET", "/v2/stocks/bars?symbols=NOPE&timeframe=15Min", 200),
])
async def test_paths_and_parameters(server: ExchangeServer, method: str, path: str, status: int) -> None:
    client = await Raw.to(server.port)
    assert (await client.ask(method, path))[0] == status
    client.writer.close()


async def test_the_gate_can_hold_change_and_cut_answers(server: ExchangeServer) -> None:
    held: asyncio.Queue[tuple[Any, Any]] = asyncio.Queue()
    server.gate = lambda request, answer, reply: held.put_nowait((answer, reply))
    client = await Raw.to(server.port)
    client.say("GET", "/v2/clock")
    client.say("GET", "/v2/positions")
    answer, reply = await held.get()
    assert held.empty()                     # the second request waits for the first one's answer
    reply(answer())
    assert (await client.hear())[0] == 200
    _, reply = await held.get()
    reply(Response(503, b"{}"))
    assert (await client.hear())[0] == 503
    client.say("GET", "/v2/positions")
    _, reply = await held.get()
    reply(None)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.hear()


async def test_a_taken_port_is_named(server: ExchangeServer) -> None:
    second = ExchangeServer(Venue(panel_of({"AAPL": [CALM] * 3}), fill_model=FREE), port=server.port)
    with pytest.raises(UserError, match=str(server.port)):
        await second.start()


async def test_control_refuses_what_it_does_not_know(server: ExchangeServer) -> None:
    client = await Raw.to(server.control_port)
    for method, path, body, status in (
        ("POST", "/v1/step", {"count": 0}, 400), ("POST", "/v1/step", [], 400), ("GET", "/v1/step", None, 404),
        ("POST", "/v1/speed", {"speed": -1}, 400), ("POST", "/v1/speed", {}, 400),
    ):
        assert (await client.ask(method, path, body))[0] == status
    assert (await client.ask("POST", "/v1/speed", {"speed": 1e-6}))[0] == 200
    assert (await client.ask("POST", "/v1/step"))[0] == 409
    assert (await client.ask("POST", "/v1/pause"))[1]["paused"] is True
    status, answer = await client.ask("POST", "/v1/step", {"count": 100})
    assert (status, answer["done"], answer["index"]) == (200, True, 8)
    client.writer.close()


# --- streams --------------------------------------------------------------------------------------------------

async def test_data_stream_in_json(server: ExchangeServer) -> None:
    async with stream(server, "/v2/sip") as socket:
        assert await json_of(socket) == [{"T": "success", "msg": "connected"}]
        await socket.send('{"action":"subscribe","bars":["AAPL"]}')
        assert (await json_of(socket))[0]["code"] == 401
        await socket.send('{"action":"auth","key":"","secret":""}')
        assert (await json_of(socket))[0]["code"] == 402
        await socket.send('{"action":"auth","key":"a","secret":"b"}')
        assert await json_of(socket) == [{"T": "success", "msg": "authenticated"}]
        await socket.send('{"action":"auth","key":"a","secret":"b"}')
        assert (await json_of(socket))[0]["code"] == 403
        for broken in ("{", '"x"', '{"action":"dance"}', '{"action":"subscribe","bars":"AAPL"}'):
            await socket.send(broken)
            assert (await json_of(socket))[0]["code"] == 400
        await socket.send(['{"action":"subscribe",', '"bars":["MSFT"],"quotes"', ':["AAPL"]}'])      # three fragments
        assert await json_of(socket) == [{
            "T": "subscription", "trades": [], "quotes": ["AAPL"], "bars": ["MSFT"], "updatedBars": [],
            "dailyBars": [], "statuses": [], "lulds": [], "corrections": [], "cancelErrors": [],
        }]
        server.advance()
        *quotes, bar = await json_of(socket)
        assert [(quote["T"], quote["S"]) for quote in quotes] == [("q", "AAPL")] * 4
        assert bar == {
            "T": "b", "S": "MSFT", "o": 100.0, "h": 100.5, "l": 99.5, "c": 100.0, "v": 1_000_000, "n": None,
            "vw": None, "t": "2024-01-08T14:45:00Z", "i": 1, "seq": 2,
        }
        await socket.send('{"action":"unsubscribe","bars":["MSFT"]}')
        assert (await json_of(socket))[0]["bars"] == []


async def test_data_stream_in_msgpack_has_extension_timestamps(server: ExchangeServer) -> None:
    async with stream(server, "/v2/iex", **{"Content-Type": "application/msgpack"}) as socket:
        await socket.recv()
        for body in ({"action": "auth", "key": "a", "secret": "b"}, {"action": "subscribe", "bars": ["*"]}):
            await socket.send(msgspec.msgpack.encode(body))
            await socket.recv()
        server.advance()
        bars = msgspec.msgpack.decode(await socket.recv())
        assert [bar["S"] for bar in bars] == ["AAPL", "MSFT"]
        assert bars[0]["t"].timestamp() == (MONDAY_OPEN + QUARTER) / 1e9     # decoded from extension type -1


async def test_trading_stream_says_what_the_clients_expect(server: ExchangeServer) -> None:
    async with stream(server, "/stream") as socket:
        await socket.send('{"action":"listen","data":{"streams":["trade_updates"]}}')
        assert (await json_of(socket))["data"] == {"status": "unauthorized", "action": "listen"}
        await socket.send('{"action":"authenticate","data":{"key_id":"","secret_key":""}}')
        assert (await json_of(socket))["data"]["status"] == "unauthorized"
        await socket.send('{"action":"authenticate","data":{"key_id":"a","secret_key":"b"}}')
        assert await json_of(socket) == {
            "stream": "authorization", "data": {"status": "authorized", "action": "authenticate"},
        }
        await socket.send('{"action":"listen","data":{"streams":["trade_updates"]}}')
        assert await json_of(socket) == {"stream": "listening", "data": {"streams": ["trade_updates"]}}
        for broken in ("{", "[]", '{"action":1}'):
            await socket.send(broken)
            assert "error" in (await json_of(socket))["data"]
        client = await Raw.to(server.port)
        _, order = await client.ask("POST", "/v2/orders", {"symbol": "AAPL", "side": "buy", "qty": "1.50"})
        update = (await json_of(socket))["data"]
        assert (update["event"], update["order"]["id"], update["order"]["qty"]) == ("new", order["id"], "1.5")
        server.advance()
        fill = (await json_of(socket))["data"]
        assert (fill["price"], fill["qty"], fill["position_qty"], fill["seq"]) == ("100", "1.5", "1.5", 2)
        assert set(fill["costs_bps"]) == {"spread_bps", "permanent_bps", "temporary_bps", "adverse_selection_bps"}
        client.writer.close()


async def test_an_unknown_stream_is_not_found(server: ExchangeServer) -> None:
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus, match="404"):
        await stream(server, "/v2/crypto")


HANDSHAKE = (
    b"GET /v2/iex HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.parametrize("data", [
    HANDSHAKE + b"\x81\x05hello",                                 # an unmasked frame
    HANDSHAKE + b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",        # reserved bits
    HANDSHAKE + b"\x82\xff\x00\x00\x00\x10\x00\x00\x00\x00",       # 64 GB announced
    HANDSHAKE.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
    HANDSHAKE.replace(b"Version: 13", b"Version: 7"),
])
async def test_broken_sockets_are_closed_and_the_server_lives(server: ExchangeServer, data: bytes) -> None:
    client = await Raw.to(server.port)
    client.writer.write(data)
    await asyncio.wait_for(client.reader.read(), 60)
    client.writer.close()
    other = await Raw.to(server.port)
    assert (await other.ask("GET", "/v2/clock"))[0] == 200
    other.writer.close()


async def test_a_client_that_does_not_read_is_dropped(
    server: ExchangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "MAX_BACKLOG", 100_000)
    async with stream(server, "/v2/iex") as socket:
        for message in ('{"action":"auth","key":"a","secret":"b"}', '{"action":"subscribe","bars":["*"]}'):
            await socket.recv()
            await socket.send(message)
        await socket.recv()
        assert server.data_stream.subscribed == 1
        sent = 0
        while server.data_stream.subscribed:                        # without a pause for the client to read in
            server.data_stream.publish_slice(server.venue.panel, 1, half_spread_bps=0.0, session_start=0)
            sent += 1
            assert sent < 200_000, "the server keeps what nobody reads"
        socket.transport.abort()


async def record(seed: int) -> bytes:
    """Everything that both streams say during a scripted session."""
    venue = Venue(walk_panel(("AAPL", "MSFT"), 60), start_index=1, fill_model=RealisticFillSimulator(), seed=seed)
    server = ExchangeServer(venue)
    await server.start()
    heard = b""
    async with stream(server, "/stream") as trading, stream(server, "/v2/iex") as data:
        await trading.send('{"action":"authenticate","data":{"key_id":"a","secret_key":"b"}}')
        await trading.send('{"action":"listen","data":{"streams":["trade_updates"]}}')
        await data.send('{"action":"auth","key":"a","secret":"b"}')
        await data.send('{"action":"subscribe","bars":["*"]}')
        for socket, greetings in ((trading, 2), (data, 3)):
            for _ in range(greetings):
                await socket.recv()
        client, control = await Raw.to(server.port), await Raw.to(server.control_port)
        updates = 0
        for i in range(50):
            price = venue.last_price(0)
            await client.ask("POST", "/v2/orders", {
                "symbol": "AAPL", "side": "buy", "qty": 10 + i, "order_class": "bracket",
                "take_profit": {"limit_price": str(price + 1)}, "stop_loss": {"stop_price": str(price - 1)},
            })
            _, answer = await control.ask("POST", "/v1/step")
            while updates < answer["trade_updates"]:
                heard += await trading.recv()
                updates += 1
            heard += (await data.recv()).encode()
        client.writer.close()
        control.writer.close()
    await server.stop()
    return heard


async def test_two_sessions_say_the_same_bytes() -> None:
    first, second, other = [await record(seed) for seed in (1, 1, 2)]
    assert first == second
    assert len(first) > 50_000
    assert first != other


# --- pure parts -----------------------------------------------------------------------------------------------

def test_numbers_keep_every_digit() -> None:
    order = read_order(b'{"symbol":"AAPL","side":"buy","qty":10.0,"type":"limit","limit_price":0.30000000000000004}')
    assert (str(order.qty), str(order.limit_price)) == ("10", "0.30000000000000004")
    assert [text(D(value)) for value in ("1E+3", "1.500", "-0.00", "0")] == ["1000", "1.5", "0", "0"]
    assert rfc3339(MONDAY_OPEN + 1) == "2024-01-08T14:30:00.000000001Z"
    assert str(plain(D("1E+2"))) == "100"


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_any_head_is_parsed_or_refused(head: bytes) -> None:
    path, status = "/", 400
    try:
        path = parse_head(head).path
    except VenueError as error:
        status = error.http_status
    assert path.startswith("/")
    assert status == 400


_scalars = st.one_of(st.none(), st.booleans(), st.integers(-10**30, 10**30), st.floats(), st.text(max_size=12))
_bodies = st.dictionaries(
    st.sampled_from([
        "symbol", "side", "type", "time_in_force", "qty", "notional", "limit_price", "stop_price", "order_class",
        "take_profit", "stop_loss", "client_order_id", "extended_hours",
    ]),
    st.one_of(
        _scalars, st.sampled_from(["AAPL", "buy", "sell", "limit", "stop", "day", "gtc", "bracket", "oco", "10", "99"]),
        st.dictionaries(st.sampled_from(["limit_price", "stop_price"]), _scalars, max_size=2),
    ),
)


@settings(max_examples=300)
@given(_bodies)
def test_any_json_is_an_order_or_a_refusal(body: dict[str, Any]) -> None:
    venue = Venue(panel_of({"AAPL": [CALM] * 3}), start_index=1, fill_model=FREE)
    full = {"symbol": "AAPL", "side": "buy", "qty": 1, **body}
    handler, _ = find_route(TRADING_ROUTES, "POST", "/v2/orders")
    data = json.dumps(full).encode()
    refused: VenueError | None = None
    try:
        handler(venue, Request("POST", "/v2/orders", {}, {}, data), "")
    except VenueError as error:
        refused = error
    if refused is None:
        venue.step()
        assert len(venue.orders("all")) in (1, 2, 3)
    else:
        assert refused.http_status in (400, 403, 422)
        assert json.loads(msgspec.json.encode(refused.body()))["code"] == refused.code
        assert not venue.orders("all")
