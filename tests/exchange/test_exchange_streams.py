"""The streams: every channel, what trades add up to, every error code, plans, slow clients, frames shared by many."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import msgpack
import msgspec
import numpy as np
import pytest
from exchange_markets import FREE, panel_of, walk_panel
from exchange_raw import Raw, json_of, stream
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from trader.exchange import data_stream, trading_stream, websocket
from trader.exchange.data_messages import SliceMessages, array_of, quote_around, timestamp_ext
from trader.exchange.data_stream import CHANNELS, DATA_PLANS, ERRORS, DataPlan
from trader.exchange.server import ExchangeServer
from trader.exchange.types import OrderRequest
from trader.exchange.venue import Venue

CALM = (100.0, 101.0, 98.0, 100.5, 1_000.0)
AUTH = '{"action":"auth","key":"a","secret":"b"}'
Make = Callable[..., Any]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Start servers; all are stopped at the end."""
    running: list[ExchangeServer] = []

    async def start(**arguments: Any) -> ExchangeServer:
        panel = panel_of({"AAPL": [CALM] * 60, "MSFT": [CALM] * 60})
        server = ExchangeServer(Venue(panel, start_index=1, fill_model=FREE), **arguments)
        await server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        await server.stop()


async def authed(server: ExchangeServer, feed: str = "iex") -> ClientConnection:
    socket = await stream(server, f"/v2/{feed}")
    await socket.recv()
    await socket.send(AUTH)
    assert (await json_of(socket))[0].get("msg") == "authenticated"
    return socket


async def ask(socket: ClientConnection, action: str, **channels: list[str]) -> dict[str, Any]:
    await socket.send(json.dumps({"action": action, **channels}))
    return (await json_of(socket))[0]


async def rest(server: ExchangeServer, kind: str, **query: str) -> dict[str, Any]:
    client = await Raw.to(server.port)
    status, body = await client.ask("GET", f"/v2/stocks/{kind}?{urlencode(query)}")
    client.writer.close()
    assert status == 200
    return body


async def last_trade(server: ExchangeServer) -> dict[str, Any]:
    body = await rest(server, "trades", symbols="AAPL", start="2024-01-08", sort="desc", limit="1")
    return body["trades"]["AAPL"][0]


async def told(socket: ClientConnection) -> AsyncIterator[str | bytes]:
    """All that comes until the connection ends, however it does."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            yield await asyncio.wait_for(socket.recv(), 60)


async def code_of(socket: ClientConnection) -> int:
    (message,) = await json_of(socket)
    assert message["msg"] == ERRORS[message["code"]]
    return message["code"]


# --- channels -----------------------------------------------------------------------------------------------------

async def test_every_channel_in_one_slice(make: Make) -> None:
    server = await make()
    socket = await authed(server)
    await ask(socket, "subscribe", trades=["AAPL"], quotes=["AAPL"], bars=["*"], dailyBars=["AAPL"], lulds=["MSFT"])
    server.advance()
    server.advance()
    first, second = await json_of(socket), await json_of(socket)
    assert [message["T"] for message in first] == ["q", "t"] * 4 + ["b", "b", "d", "l"]
    assert [message["T"] for message in second] == ["q", "t"] * 4 + ["b", "b", "d", "l"]
    day = second[-2]
    assert (day["S"], day["o"], day["h"], day["l"], day["c"], day["v"]) == ("AAPL", 100.0, 101.0, 98.0, 100.5, 3_000)
    assert day["t"] == "2024-01-08T05:00:00Z"                     # midnight in New York
    assert (second[-1]["d"], second[-1]["u"]) == (95.475, 105.525)
    await socket.close()


async def test_halts_corrections_and_cancelled_trades(make: Make) -> None:
    server = await make()
    socket = await authed(server)
    echo = await ask(socket, "subscribe", trades=["AAPL"], statuses=["*"], updatedBars=["AAPL"], lulds=["*"])
    assert echo["corrections"] == echo["cancelErrors"] == ["AAPL"]         # they come with trades
    server.market.take("halt", {"symbol": "MSFT"})
    status, band = await json_of(socket)
    assert (status["T"], status["S"], status["sc"], status["rc"]) == ("s", "MSFT", "P", "LUDP")
    assert (band["T"], band["i"]) == ("l", "D")
    server.market.take("halt", {"symbol": "AAPL", "reason": "T1"})
    assert (await json_of(socket))[0]["sc"] == "H"
    server.market.take("resume", {"symbol": "AAPL"})
    assert (await json_of(socket))[0]["sc"] == "T"
    before = await last_trade(server)
    server.market.take("correct", {"symbol": "AAPL", "close": 102.5})
    last = await last_trade(server)
    correction, bar = await json_of(socket)
    assert correction["T"] == "c"
    assert (correction["oi"], correction["op"], correction["os"]) == (before["i"], before["p"], before["s"])
    assert (correction["ci"], correction["cp"], correction["cs"]) == (last["i"], last["p"], last["s"])
    assert last["p"] == 102.5
    assert (bar["T"], bar["c"], bar["h"], bar["t"]) == ("u", 102.5, 102.5, "2024-01-08T14:30:00Z")
    server.market.take("cancel_trade", {"symbol": "AAPL"})
    cancelled = (await json_of(socket))[0]
    assert (cancelled["T"], cancelled["i"], cancelled["p"], cancelled["s"]) == ("x", last["i"], last["p"], last["s"])
    await socket.close()


async def test_the_day_so_far_is_what_rest_and_snapshots_say() -> None:
    panel = walk_panel(("AAPL", "MSFT"), 60)
    vwap, count = (panel.high + panel.low) / 2, np.full(panel.close.shape, 7.0)
    fields = {name: getattr(panel, name).copy() for name in ("open", "high", "low", "close", "volume")}
    for values in fields.values():
        values[26:30, 1] = np.nan                                 # MSFT opens late on the second day
    fields["volume"][31, 1], vwap[31, 1], count[40, 0] = 0.0, np.nan, np.nan
    full = dataclasses.replace(panel, **fields, vwap=vwap, trade_count=count)
    server = ExchangeServer(Venue(full, start_index=1, fill_model=FREE))
    await server.start()
    socket = await authed(server)
    await ask(socket, "subscribe", dailyBars=["*"])
    for _ in range(59):
        server.advance()
        for said in await json_of(socket):
            symbol = said.pop("S")
            assert said.pop("T") == "d"
            days = await rest(server, "bars", symbols=symbol, timeframe="1Day", start="2024-01-01")
            assert days["bars"][symbol][-1] == said
            assert (await rest(server, "snapshots", symbols=symbol))[symbol]["dailyBar"] == said
            assert (said["n"] is None) == (symbol == "AAPL" and 40 < server.venue.index <= 52)
            assert said["vw"] is not None
    await socket.close()
    await server.stop()


async def test_unsubscribing_and_stars(make: Make) -> None:
    server = await make()
    socket = await authed(server)
    await ask(socket, "subscribe", bars=["*", "AAPL"])
    echo = await ask(socket, "unsubscribe", bars=["*"])
    assert echo["bars"] == ["AAPL"]
    assert set(echo) == {"T", *CHANNELS} - {"imbalances"}
    server.advance()
    assert [bar["S"] for bar in await json_of(socket)] == ["AAPL"]
    await socket.close()


async def test_msgpack_carries_the_same(make: Make) -> None:
    server = await make()
    text = await authed(server)
    packed = await stream(server, "/v2/iex", **{"Content-Type": "application/msgpack"})
    await packed.recv()
    subscribe = {"action": "subscribe", "quotes": ["*"], "bars": ["*"]}
    for body in ({"action": "auth", "key": "a", "secret": "b"}, subscribe):
        await packed.send(msgspec.msgpack.encode(body))
        await packed.recv()
    await ask(text, "subscribe", quotes=["*"], bars=["*"])
    server.advance()
    one, other = await json_of(text), msgspec.msgpack.decode(await packed.recv())
    assert len(one) == len(other) == 10
    for left, right in zip(one, other, strict=True):
        moment = datetime.fromisoformat(left.pop("t"))
        assert abs((right.pop("t") - moment).total_seconds()) <= 1e-6       # its decoder rounds to microseconds
        assert left == right
    await text.close()
    await packed.close()


async def test_subscribers_with_one_wish_share_a_frame(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await make()
    sockets = [await authed(server) for _ in range(5)]
    for socket in sockets:
        await ask(socket, "subscribe", bars=["*"])
    built = []

    def counted(parts: list[bytes], *, binary: bool) -> bytes:
        built.append(len(parts))
        return array_of(parts, binary=binary)

    monkeypatch.setattr(data_stream, "array_of", counted)
    server.advance()
    assert len({json.dumps(await json_of(socket)) for socket in sockets}) == 1
    assert built == [2]
    for socket in sockets:
        await socket.close()


# --- errors -------------------------------------------------------------------------------------------------------

async def test_the_codes_of_a_conversation(make: Make) -> None:
    server = await make(api_keys={"a": "b"}, data_plan=DataPlan(symbol_limit=1))
    socket = await stream(server, "/v2/iex")
    await socket.recv()
    for text, code in (
        ("{", 400), ('{"action":"subscribe"}', 401), ('{"action":"auth","key":"a","secret":"c"}', 402),
    ):
        await socket.send(text)
        assert await code_of(socket) == code
    await socket.send(AUTH)
    await socket.recv()
    for text, code in (
        (AUTH, 403), ('{"action":"subscribe","trades":["AAPL","MSFT"]}', 405),
        ('{"action":"subscribe","orderbooks":["AAPL"]}', 410), ('{"action":"subscribe","bars":[1]}', 400),
    ):
        await socket.send(text)
        assert await code_of(socket) == code
    assert (await ask(socket, "subscribe", orderbooks=[], bars=["A", "B"]))["trades"] == []       # the set stayed
    await socket.close()


async def test_a_star_is_beyond_a_limit_of_symbols(make: Make) -> None:
    server = await make(data_plan=DATA_PLANS["basic"])
    socket = await authed(server)
    for channel in ("trades", "quotes"):
        await socket.send(json.dumps({"action": "subscribe", channel: ["*"]}))
        assert await code_of(socket) == 405
    assert (await ask(socket, "subscribe", bars=["*"], trades=["AAPL"]))["bars"] == ["*"]
    await socket.close()


async def test_keys_may_come_with_the_handshake(make: Make) -> None:
    server = await make(api_keys={"a": "b"})
    for secret, answer in (("b", "authenticated"), ("c", "auth failed")):
        async with stream(server, "/v2/iex", **{"APCA-API-KEY-ID": "a", "APCA-API-SECRET-KEY": secret}) as socket:
            assert [(await json_of(socket))[0]["msg"] for _ in range(2)] == ["connected", answer]
            await socket.send(AUTH)
            assert (await json_of(socket))[0]["msg"] == {"b": "already authenticated", "c": "authenticated"}[secret]


async def test_text_that_is_no_utf_8_ends_the_connection(make: Make) -> None:
    server = await make()
    for path in ("/v2/iex", "/stream"):
        async with stream(server, path) as socket:
            await socket.send([b'{"action":"\xc3', b"\xa9\xff", b'"}'], text=True)
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await asyncio.wait_for(socket.recv(), 60)
            assert socket.close_code == 1007
        async with stream(server, path) as socket:
            await socket.send([b'{"action":"\xc3', b"\xa9\"}"], text=True)
            assert b"invalid" in b"".join([await packed_or_text(socket) for _ in range(1 + (path != "/stream"))])


async def test_who_sends_too_much_may_finish_and_read_why(make: Make) -> None:
    server = await make()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"GET /v2/iex HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    await reader.readuntil(b"connected")
    size = 400_000
    for first in (0x01, *[0x00] * 19):                            # one text message that never ends
        writer.write(bytes((first, 0xFF)) + size.to_bytes(8, "big") + bytes(4) + b"x" * size)
        await writer.drain()
    said = await asyncio.wait_for(reader.read(), 60)
    assert b"\x03\xf1frame with 400000 bytes after reading 800000" in said
    writer.close()
    for _ in range(1_000):
        await asyncio.sleep(0.001)
        if not server.connections:
            break
    assert server.connections == 0


async def packed_or_text(socket: ClientConnection) -> bytes:
    said = await asyncio.wait_for(socket.recv(), 60)
    return said.encode() if isinstance(said, str) else said


async def test_trade_updates_in_msgpack_are_those_in_json(make: Make) -> None:
    server = await make()
    text = await stream(server, "/stream")
    packed = await stream(server, "/stream", **{"Content-Type": "application/msgpack"})
    for said in (json.loads(AUTH), {"action": "listen", "data": {"streams": ["trade_updates", "nothing"]}}):
        await text.send(json.dumps(said))
        await packed.send(msgspec.msgpack.encode(said))
        assert msgspec.msgpack.decode(await packed.recv()) == json.loads(await text.recv())
    server.venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=Decimal(3), type="market", time_in_force="day"))
    server.advance()
    for event in ("new", "fill"):
        told = msgspec.msgpack.decode(await packed.recv())
        assert told["data"]["event"] == event
        assert told == json.loads(await text.recv())
    for socket in (text, packed):
        await socket.close()


async def test_an_accident_is_500_and_the_stream_lives(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await make()
    socket = await authed(server)
    monkeypatch.setattr(data_stream, "MAX_SYMBOLS", None)
    await socket.send('{"action":"subscribe","bars":["AAPL"]}')
    assert await code_of(socket) == 500
    monkeypatch.undo()
    assert (await ask(socket, "subscribe", bars=["AAPL"]))["bars"] == ["AAPL"]
    await socket.close()


async def test_plans_limit_feeds_and_connections(make: Make) -> None:
    server = await make(data_plan=DATA_PLANS["basic"])
    first = await authed(server)
    for feed, code in (("iex", 406), ("sip", 409)):
        socket = await stream(server, f"/v2/{feed}")
        await socket.recv()
        await socket.send(AUTH)
        assert await code_of(socket) == code
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    await first.close()
    again = await authed(server)                                 # the place is free again
    await again.close()


async def test_whoever_shows_no_keys_is_shown_out(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_stream, "AUTH_SECONDS", 0.05)
    monkeypatch.setattr(trading_stream, "AUTH_SECONDS", 0.05)
    server = await make()
    async with stream(server, "/v2/iex") as data, stream(server, "/stream") as trading:
        await data.recv()
        assert await code_of(data) == 404
        assert (await json_of(trading))["data"]["error"] == "auth timeout"
        for socket in (data, trading):
            with pytest.raises(ConnectionClosed):
                await socket.recv()


async def test_a_slow_client_is_told_407(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MAX_BACKLOG", 200_000)
    server = await make()
    socket = await authed(server)
    await ask(socket, "subscribe", bars=["*"])
    while server.data_stream.subscribed:
        server.data_stream.publish_slice(server.venue.panel, 1, half_spread_bps=1.0, session_start=0)
    messages = [json.loads(message) async for message in told(socket)]
    assert messages[-1][0]["code"] == 407
    assert socket.close_code == 1008


async def test_large_batches_travel_in_frames_that_clients_read() -> None:
    symbols = tuple(f"S{i}" for i in range(4_000))
    venue = Venue(panel_of({symbol: [CALM] * 2 for symbol in symbols}), fill_model=FREE)
    server = ExchangeServer(venue)
    await server.start()
    socket = await authed(server)
    await ask(socket, "subscribe", bars=["*"])
    server.advance()
    sizes = []
    while sum(sizes) < 4_000:
        sizes.append(len(await json_of(socket)))
    assert sizes == [1_500, 1_500, 1_000]
    await socket.close()
    await server.stop()


# --- pure parts ---------------------------------------------------------------------------------------------------

@settings(max_examples=50)
@given(st.integers(0, 10_000))
def test_trades_add_up_to_their_bar(seed: int) -> None:
    panel = walk_panel(("AAPL", "MSFT"), 5, seed=seed, volume=1_000)
    made = SliceMessages(panel, 3, 1.5)
    for column in made.columns:
        said = [outgoing.message for outgoing in made.ticks(column, trades=True, quotes=True)]
        trades = [message for message in said if message["T"] == "t"]
        prices = [trade["p"] for trade in trades]
        assert (prices[0], max(prices), min(prices), prices[-1]) == (
            panel.open[3, column], panel.high[3, column], panel.low[3, column], panel.close[3, column],
        )
        assert sum(trade["s"] for trade in trades) == int(panel.volume[3, column])
        assert len({trade["i"] for trade in trades}) == 4
        times = [message["t"] for message in said]
        assert times == sorted(times)
        assert panel.ts_ns[3] == times[0]
        assert times[-1] < panel.available_ns[3]
        for quote, trade in zip(said[::2], said[1::2], strict=True):
            assert quote["bp"] < trade["p"] < quote["ap"]


@given(st.floats(0.02, 5_000), st.floats(0, 0.01))
def test_quotes_stand_around_the_price_on_the_tick(price: float, half: float) -> None:
    bid, ask_price = quote_around(price, half)
    assert 0 < bid <= ask_price
    assert bid <= price + 1e-6
    assert ask_price >= price - 1e-6
    tick = 0.01 if price >= 1 else 0.0001
    assert abs(bid / tick - round(bid / tick)) < 1e-6


@given(st.integers(-(2**33), 2**33), st.sampled_from((0, 1, 999_999_999)))
def test_extension_timestamps_are_msgpacks_own(seconds: int, rest: int) -> None:
    ns = seconds * 10**9 + rest
    packed = timestamp_ext(ns)
    expected = msgpack.Timestamp.from_unix_nano(ns)
    assert (packed.code, packed.data) == (-1, expected.to_bytes())
    assert msgpack.unpackb(msgspec.msgpack.encode(packed)) == expected


@given(st.lists(st.integers(), max_size=40))
def test_arrays_are_joined_from_parts(values: list[int]) -> None:
    small = [value % 1000 for value in values]
    for module, binary in ((msgspec.json, False), (msgspec.msgpack, True)):
        parts = [module.encode(value) for value in small]
        assert module.decode(array_of(parts, binary=binary)) == small
    assert len(msgspec.msgpack.decode(array_of([b"\x01"] * 70_000, binary=True))) == 70_000


async def test_two_servers_say_the_same_market() -> None:
    async def heard() -> list[bytes]:
        server = ExchangeServer(Venue(walk_panel(("AAPL", "MSFT"), 20), start_index=1, fill_model=FREE))
        await server.start()
        socket = await authed(server)
        await ask(socket, "subscribe", **{channel: ["*"] for channel in CHANNELS})
        for _ in range(10):
            server.advance()
        said = [await socket.recv() for _ in range(10)]
        await socket.close()
        await server.stop()
        return said

    first, second = await heard(), await heard()
    assert first == second
    assert {message["T"] for message in json.loads(first[0])} == set("qtbdl")
