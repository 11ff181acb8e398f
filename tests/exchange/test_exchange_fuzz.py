"""Whatever a peer sends, the server answers as Alpaca would or shows it out, keeps little, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import struct
from collections.abc import AsyncIterator
from socket import create_connection
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from exchange_markets import FREE, panel_of
from exchange_raw import KEYS, Raw, stream
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from trader.exchange import http_connection
from trader.exchange.errors import VenueError
from trader.exchange.http import MAX_BODY, MAX_HEAD, Heads, Request, RequestReader
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue

CALM = (100.0, 100.5, 99.5, 100.0)
AUTH = b'{"action":"auth","key":"a","secret":"b"}'
HANDSHAKE = (
    b"GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n"
)


@pytest.fixture
async def server() -> AsyncIterator[ExchangeServer]:
    accidents: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: accidents.append(context))
    running = ExchangeServer(Venue(panel_of({"AAPL": [CALM] * 8}), start_index=1, fill_model=FREE))
    await running.start()
    yield running
    await running.stop()
    assert accidents == []
    assert running.connections == 0
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("venue")] == []


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Examples of a strategy, for tests that await between them."""
    examples: list[Any] = []

    @settings(max_examples=count, database=None)
    @given(strategy)
    def draw(value: Any) -> None:
        examples.append(value)

    draw()
    return examples


async def emptied(server: ExchangeServer) -> int:
    """The connections that are left once their clients have gone."""
    for _ in range(6_000):
        if not server.connections:
            break
        await asyncio.sleep(0.01)
    return server.connections


async def thrown(server: ExchangeServer, data: bytes) -> bytes:
    """Send bytes, end, and hear what comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    heard = b""
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        writer.write_eof()
        heard = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return heard


def masked(payload: bytes, opcode: int, fin: bool = True) -> bytes:
    """A client's frame, with a mask of zeros."""
    size = len(payload)
    head = bytes(((0x80 if fin else 0) | opcode,))
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + struct.pack(">H", size)
    return head + length + b"\0\0\0\0" + payload


# --- HTTP ---------------------------------------------------------------------------------------------------------

_heads = st.one_of(
    st.binary(max_size=400),
    st.builds(
        lambda method, path, lines, body: f"{method} {path} HTTP/1.1\r\n{KEYS}{''.join(lines)}\r\n".encode() + body,
        st.sampled_from(["GET", "POST", "DELETE", "PATCH", "BREW"]),
        st.sampled_from(["/v2/orders", "/v2/account", "/v2/orders/x", "/%ff", "/v2/stocks/bars?symbols=%00&limit=9e9"]),
        st.lists(st.sampled_from([
            "Content-Length: 3\r\n", "Content-Length: 9\r\n", "Content-Length: 99999999999999999999999\r\n",
            "Transfer-Encoding: chunked\r\n", "Expect: 100-continue\r\n", "Connection: close\r\n", ": x\r\n",
            " y: z\r\n", "Upgrade: h2c\r\n", "X: \x00\r\n",
        ]), max_size=3),
        st.sampled_from([b"", b"{}", b"[[[[", b"3\r\nabc\r\n0\r\n\r\n", b"zz\r\n", b"5\r\nabc", b"-1\r\n\r\n"]),
    ),
)


@settings(max_examples=150)
@given(st.lists(_heads, min_size=1, max_size=3), st.integers(1, 50))
def test_the_reader_takes_any_bytes_in_any_pieces(parts: list[bytes], size: int) -> None:
    data = b"".join(parts)

    def read(pieces: list[bytes]) -> tuple[list[Request], int | None]:
        reader, found = RequestReader(Heads()), []
        for piece in pieces:
            reader.feed(piece)
            try:
                while (request := reader.next()) is not None:
                    if request.websocket:
                        return found, None
                    found.append(request)
            except VenueError as error:
                return found, error.http_status
        return found, None

    assert read([data]) == read([data[at : at + size] for at in range(0, len(data), size)])


async def test_random_requests_leave_nothing_behind(server: ExchangeServer) -> None:
    for data in drawn(_heads, 120):
        heard = await thrown(server, data)
        assert heard == b"" or heard.startswith(b"HTTP/1.1 "), (data, heard)
        if b"HTTP/1.1 4" in heard[:12]:
            body = heard.partition(b"\r\n\r\n")[2]
            assert {"code", "message"} <= set(msgspec.json.decode(body.split(b"HTTP/1.1")[0]))
        assert not heard.startswith(b"HTTP/1.1 5"), data
    assert await emptied(server) == 0
    client = await Raw.to(server.port)
    assert (await client.ask("GET", "/v2/account"))[0] == 200
    client.writer.close()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD + b"\r\n\r\n", 400),
        (b"POST /v2/orders HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1) + b"x" * 3_000_000, 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 400, 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n", 400),
    ],
)
async def test_too_much_is_refused_and_the_answer_arrives(server: ExchangeServer, data: bytes, status: int) -> None:
    client = await Raw.to(server.port)
    client.writer.write(data)
    answer = await client.hear()
    assert (answer[0], answer[1]["code"] // 100_000) == (status, status)
    client.writer.close()


CHUNKED = b"POST /v2/orders HTTP/1.1\r\nTransfer-Encoding: chunked\r\n%s\r\n%s0\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nX: a\nContent-Length: 5\r\n\r\n", b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", b"GET / HTTP/1.1\r\nX\0y: a\r\n\r\n", b"GET / HTTP/1.1\r\na b: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n",
        b"GET /a\0b HTTP/1.1\r\n\r\n", b"GET\t/ HTTP/1.1\r\n\r\n", b" / HTTP/1.1\r\n\r\n", b"G@T / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.x\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", b"GET v2/clock HTTP/1.1\r\n\r\n",
        CHUNKED % (b"Transfer-Encoding: gzip\r\n", b""), CHUNKED % (b"Transfer-Encoding: chunked\r\n", b""),
        CHUNKED.replace(b": c", b": \x0bc") % (b"", b""), CHUNKED.replace(b": c", b": \xa0c") % (b"", b""),
        CHUNKED % (b"", b" 2\r\n{}\r\n"), CHUNKED % (b"", b"2;a\nb\r\n{}\r\n"), CHUNKED % (b"", b"0x2\r\n{}\r\n"),
        CHUNKED % (b"", b"000000002\r\n{}\r\n"), CHUNKED % (b"", b"+2\r\n{}\r\n"),
        HANDSHAKE % (b"/stream", b"Content-Length: 5\r\n") + b"hello", HANDSHAKE % (b"/stream", b"X: \0\r\n"),
        HANDSHAKE % (b"/stream", b"Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n", HANDSHAKE % (b"/str\xe9am", b""),
    ],
)
async def test_what_others_could_read_otherwise_is_refused(server: ExchangeServer, data: bytes) -> None:
    heard = await thrown(server, data + b"GET /v2/clock HTTP/1.1\r\n" + KEYS.encode() + b"\r\n")
    assert (heard[:12], heard.count(b"HTTP/1.1 ")) == (b"HTTP/1.1 400", 1)
    assert set(json.loads(heard.partition(b"\r\n\r\n")[2])) == {"code", "message"}


async def test_a_length_may_have_zeros_before_it_and_a_target_its_host(server: ExchangeServer) -> None:
    head = b"POST /v2/orders HTTP/1.1\r\n" + KEYS.encode() + b"Content-Length: %025d\r\n\r\n"
    hidden = b"GET /v2/account HTTP/1.1\r\n" + KEYS.encode() + b"\r\n"
    heard = await thrown(server, head % len(hidden) + hidden)
    assert (heard[:12], heard.count(b"HTTP/1.1 ")) == (b"HTTP/1.1 400", 1)              # its body is no JSON
    heard = await thrown(server, b"GET http://paper.test:80/v2/clock?a HTTP/1.1\r\n" + KEYS.encode() + b"\r\n")
    assert heard[:12] == b"HTTP/1.1 200"
    heard = await thrown(server, b"GET http://paper.test HTTP/1.1\r\n" + KEYS.encode() + b"\r\n")
    assert heard[:12] == b"HTTP/1.1 404"


async def test_chunked_bodies_and_leave_to_send_them(server: ExchangeServer) -> None:
    client = await Raw.to(server.port)
    body = json.dumps({"symbol": "AAPL", "side": "buy", "qty": 1}).encode()
    head = f"POST /v2/orders HTTP/1.1\r\n{KEYS}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    client.writer.write(head.encode())
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    for part in (body[:7], body[7:]):
        client.writer.write(b"%x;ext=1\r\n%s\r\n" % (len(part), part))
        await asyncio.sleep(0.01)
    client.writer.write(b"0\r\nTrailer: x\r\n\r\n")
    assert (await client.hear())[1]["status"] == "new"
    assert (await client.ask("GET", "/v2/account"))[0] == 200           # the connection goes on
    client.writer.close()


@pytest.mark.parametrize("written", ["1_0", "\u0661", "\uff11", " 1", "1 ", "1\n", "0x1", "1e", "NaN", "-Infinity"])
async def test_numbers_are_written_in_digits(server: ExchangeServer, written: str) -> None:
    client = await Raw.to(server.port)
    order = {"symbol": "AAPL", "side": "buy", "qty": "1", "type": "limit", "limit_price": "99"}
    legs = {"take_profit": {"limit_price": "105"}, "stop_loss": {"stop_price": "90"}}
    bracket = {**order, "order_class": "bracket", **legs}
    status, resting = await client.ask("POST", "/v2/orders", order)
    assert status == 200
    place = f"/v2/orders/{resting['id']}"
    for method, path, body in (
        *(("POST", "/v2/orders", {**order, name: written}) for name in ("qty", "limit_price")),
        ("POST", "/v2/orders", {**bracket, "take_profit": {"limit_price": written}}),
        ("POST", "/v2/orders", {**bracket, "stop_loss": {"stop_price": written}}),
        ("POST", "/v2/orders", {**bracket, "stop_loss": {"stop_price": "90", "limit_price": written}}),
        *(("PATCH", place, {name: written}) for name in ("qty", "limit_price", "stop_price", "trail")),
    ):
        status, answer = await client.ask(method, path, body)
        assert (status, set(answer)) == (422, {"code", "message"}), (method, body, answer)
    client.writer.close()


@pytest.mark.parametrize("digits", ["9" * 5_000, "0" * 5_000 + "1", "\u0663", "1_0"])
async def test_parameters_of_many_digits_are_refused(server: ExchangeServer, digits: str) -> None:
    client, many = await Raw.to(server.port), quote(digits)
    for place in (
        "orders?limit=", "orders?after=", "account/activities?page_size=", "account/portfolio/history?period=",
        "stocks/bars?symbols=AAPL&timeframe=15Min&limit=", "stocks/quotes?symbols=AAPL&limit=",
        "stocks/trades?symbols=AAPL&limit=", "stocks/bars?symbols=AAPL&timeframe=", "calendar?start=",
    ):
        status, answer = await client.ask("GET", f"/v2/{place}{many}")
        assert status in (400, 422), (place, answer)
    client.writer.close()


@pytest.mark.parametrize("depth", [10, 200_000])
async def test_deep_json_is_refused(server: ExchangeServer, depth: int) -> None:
    client = await Raw.to(server.port)
    data = b'{"symbol":' + b"[" * depth + b"]" * depth + b"}"
    client.writer.write(f"POST /v2/orders HTTP/1.1\r\n{KEYS}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    assert (await client.hear())[0] in (400, 422)
    client.writer.close()
    control = await Raw.to(server.control_port)
    control.writer.write(f"POST /v1/step HTTP/1.1\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    assert (await control.hear())[0] == 400
    control.writer.close()


async def test_a_slow_loris_is_shown_out(server: ExchangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "REQUEST_SECONDS", 0.2)
    with create_connection(("127.0.0.1", server.port)) as wire:     # a stream forgets what came before a reset
        wire.setblocking(False)
        for byte in b"GET /v2/account HTTP/1.1\r\nX: " + b"x" * 60:
            with contextlib.suppress(ConnectionError):
                wire.send(bytes((byte,)))
            await asyncio.sleep(0.01)
        heard = await asyncio.get_running_loop().sock_recv(wire, MAX_HEAD)
    assert heard.startswith(b"HTTP/1.1 408")
    assert await emptied(server) == 0


async def test_one_clock_shows_many_slow_loris_out(server: ExchangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "REQUEST_SECONDS", 0.3)
    loop = asyncio.get_running_loop()
    head = f"POST /v2/orders HTTP/1.1\r\n{KEYS}Content-Length: 40\r\n\r\n"
    good = await Raw.to(server.port)
    assert (await good.ask("GET", "/v2/clock"))[0] == 200
    timers = len(getattr(loop, "_scheduled", ()))
    clients = [await Raw.to(server.port) for _ in range(150)]
    for number, client in enumerate(clients):           # stopped in their heads, and in bodies behind known heads
        client.writer.write(head.encode() + b"{" if number % 2 else head[: 10 + number % 60].encode())
    await asyncio.sleep(0.1)
    assert len(getattr(loop, "_scheduled", ())) < timers + 10           # not one for each of them
    assert {(await client.hear())[0] for client in clients} == {408}
    assert (await good.ask("GET", "/v2/clock"))[0] == 200
    for client in (*clients, good):
        client.writer.close()
    assert await emptied(server) == 0


async def test_as_many_connections_as_there_is_room_for(server: ExchangeServer) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * http_connection.MAX_CONNECTIONS + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"{needed} open files are needed, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    clients = [await Raw.to(server.port) for _ in range(http_connection.MAX_CONNECTIONS)]
    last = await Raw.to(server.port)
    assert (await last.hear())[0] == 503
    last.writer.close()
    order = {"symbol": "AAPL", "side": "buy", "qty": "1", "type": "limit", "limit_price": "1"}
    for client in clients[::10]:
        client.say("POST", "/v2/orders", order)
    assert {(await client.hear())[0] for client in clients[::10]} == {200}
    for client in clients:
        client.writer.transport.abort()
    assert await emptied(server) == 0
    assert len(server.venue.orders("open")) == len(clients[::10])


async def test_a_known_head_asks_for_its_keys_each_time(server: ExchangeServer) -> None:
    client = await Raw.to(server.port)
    assert [(await client.ask("GET", "/v2/account"))[0] for _ in range(3)] == [200] * 3
    server._keys = {"other": "pair"}
    assert (await client.ask("GET", "/v2/account"))[0] == 401
    server._keys = {"key": "secret"}
    assert (await client.ask("GET", "/v2/account"))[0] == 200
    client.writer.close()


async def test_idle_connections_end(server: ExchangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "IDLE_SECONDS", 0.1)
    client = await Raw.to(server.port)
    assert await asyncio.wait_for(client.reader.read(), 60) == b""
    client.writer.close()


async def test_more_connections_than_there_is_room_for(server: ExchangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "MAX_CONNECTIONS", 3)
    clients = [await Raw.to(server.port) for _ in range(3)]
    assert (await clients[2].ask("GET", "/v2/clock"))[0] == 200
    fourth = await Raw.to(server.port)
    assert (await fourth.hear())[0] == 503
    for client in (*clients, fourth):
        client.writer.close()


async def test_whoever_does_not_read_is_not_read_from(server: ExchangeServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**10)
    writer.transport.pause_reading()
    request = f"GET /v2/assets HTTP/1.1\r\n{KEYS}\r\n".encode()
    for _ in range(40):
        writer.write(request * 500)
        await asyncio.sleep(0.005)
    (connection,) = server._clients.connections
    assert connection.transport is not None
    assert connection.transport.get_write_buffer_size() < 2 * MAX_BODY
    assert connection._reader.buffered < 2 * MAX_BODY
    writer.transport.resume_reading()
    assert (await asyncio.wait_for(reader.readexactly(12), 60)).startswith(b"HTTP/1.1 200")
    writer.transport.abort()
    assert await emptied(server) == 0


# --- streams ------------------------------------------------------------------------------------------------------

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2**63, 2**63) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=8,
)
_messages = st.fixed_dictionaries(
    {"action": st.sampled_from(["auth", "subscribe", "unsubscribe", "listen", "authenticate", "", 5])},
    optional=dict.fromkeys(("key", "secret", "bars", "trades", "quotes", "data", "streams", "news"), _values),
)


@pytest.mark.parametrize("binary", [False, True])
async def test_any_message_is_answered(server: ExchangeServer, binary: bool) -> None:
    examples = drawn(_messages | _values, 80)
    headers = {"Content-Type": "application/msgpack"} if binary else {}
    module = msgspec.msgpack if binary else msgspec.json
    for path, first in (("/v2/iex", True), ("/stream", False)):
        async with stream(server, path, **(headers if first else {})) as socket:
            if first:
                await socket.recv()
                await socket.send(AUTH if not binary else msgspec.msgpack.encode(json.loads(AUTH)))
                await socket.recv()
            for value in examples:
                try:
                    data = (module if first else msgspec.json).encode(value)
                except (OverflowError, msgspec.MsgspecError):
                    continue
                await socket.send(data)
                await asyncio.wait_for(socket.recv(), 60)
    assert await emptied(server) == 0


async def test_random_bytes_behind_the_handshake(server: ExchangeServer) -> None:
    frames = st.builds(masked, st.binary(max_size=150), st.integers(0, 15), st.booleans()) | st.binary(max_size=60)
    examples = drawn(st.lists(frames, max_size=4).map(b"".join), 30)
    for path in (b"/v2/iex", b"/stream", b"/nowhere"):
        for extra in (b"", b"Content-Type: application/msgpack\r\n"):
            for data in examples:
                heard = await thrown(server, HANDSHAKE % (path, extra) + data)
                status = b"HTTP/1.1 404" if path == b"/nowhere" else b"HTTP/1.1 101"
                assert heard[:12] in (status, b"")              # nothing where a reset overtook the answer
    assert await emptied(server) == 0


async def test_a_close_and_a_broken_message_in_one_packet(server: ExchangeServer) -> None:
    bye, broken = masked(struct.pack(">H", 1000), 8), masked(b"\xff", 1)
    for data in (broken + bye, bye + broken, broken + broken + bye, broken + masked(b"", 9) + bye, bye + bye):
        for path in (b"/v2/iex", b"/stream"):
            heard = await thrown(server, HANDSHAKE % (path, b"") + data)
            assert heard[:12] in (b"HTTP/1.1 101", b"")
    assert await emptied(server) == 0


async def test_huge_and_endless_messages(server: ExchangeServer) -> None:
    async with stream(server, "/v2/iex") as socket:
        await socket.recv()
        with contextlib.suppress(ConnectionClosed):
            await socket.send(b"x" * 2_000_000)
        await asyncio.wait_for(socket.wait_closed(), 60)
        assert socket.close_code == 1009
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HANDSHAKE % (b"/stream", b"") + masked(b"x", 1, fin=False) + masked(b"", 0, fin=False) * 50_000)
    writer.write(masked(b"all of it", 9))
    await asyncio.wait_for(reader.readuntil(b"all of it"), 60)
    (connection,) = server._clients.connections
    assert len(connection._upgraded._parts) == 1            # fragments of nothing are not kept
    writer.write(masked(b"", 0))
    heard = await asyncio.wait_for(reader.readuntil(b"is expected"), 60)
    assert b"invalid message" in heard
    writer.transport.abort()
    assert await emptied(server) == 0


@pytest.mark.parametrize("path", [b"/v2/iex", b"/stream"])
async def test_frames_that_promise_too_much(server: ExchangeServer, path: bytes) -> None:
    endless = masked(b"x" * 1_000, 1, fin=False) + masked(b"yz" * 500, 0, fin=False) * 1_100    # 1.1 MB, never done
    for data in (
        b"\x81\xff" + struct.pack(">Q", 2**62) + b"\0\0\0\0x", b"\x81\xff" + b"\xff" * 8 + b"\0\0\0\0x",
        b"\x82\xff" + struct.pack(">Q", 2_000_000) + b"\0\0\0\0x", endless,
    ):
        heard = await thrown(server, HANDSHAKE % (path, b"") + data)
        code = heard.rpartition(b"\x88")[2]             # the closing frame: its length, its code, its words
        assert heard[:12] in (b"HTTP/1.1 101", b"")
        assert not heard or int.from_bytes(code[1:3], "big") in (1002, 1009), (data[:20], heard)
    assert await emptied(server) == 0


BOMBS = [
    b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff\xa1a", b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01", b"\xdb\xff\xff\xff\xff", b"\x81\xa6action" + b"\x91" * 60_000, b"\xc1",
    b"\x81\xa6action\xd6\xff\0\0\0\0", b"\x81\x90\x01", b"\x82\xa6action\xa9subscribe\xa4bars\xdd\x0f\xff\xff\xff",
    b"\xd7\xff" + b"\xff" * 8, b"",
]


@pytest.mark.parametrize("shown", [False, True])
async def test_msgpack_that_explodes(server: ExchangeServer, shown: bool) -> None:
    async with stream(server, "/v2/iex", **{"Content-Type": "application/msgpack"}) as socket:
        await socket.recv()
        if shown:
            await socket.send(msgspec.msgpack.encode(json.loads(AUTH)))
            await socket.recv()
        for bomb in BOMBS:
            await socket.send(bomb)
            (answer,) = msgspec.msgpack.decode(await asyncio.wait_for(socket.recv(), 60))
            assert (answer["T"], answer["code"]) == ("error", 400), bomb[:20]
        await socket.send(msgspec.msgpack.encode({"action": "subscribe", "bars": ["AAPL"]}))
        (answer,) = msgspec.msgpack.decode(await asyncio.wait_for(socket.recv(), 60))
        assert answer.get("bars") == ["AAPL"] if shown else answer["code"] == 401


async def test_a_flood_of_pings_by_a_client_that_does_not_read(server: ExchangeServer) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HANDSHAKE % (b"/v2/iex", b""))
    writer.transport.pause_reading()
    for _ in range(60):
        writer.write(masked(b"p" * 125, 9) * 2_000)
        await asyncio.sleep(0.002)
    (connection,) = server._clients.connections
    assert connection.transport is not None
    assert connection.transport.get_write_buffer_size() < 2 * MAX_BODY
    writer.transport.abort()
    assert await emptied(server) == 0


async def test_many_lives_leave_no_objects(server: ExchangeServer) -> None:
    async def live() -> None:
        client = await Raw.to(server.port)
        await client.ask("GET", "/v2/clock")
        client.writer.close()
        for path in ("/v2/iex", "/stream"):
            async with stream(server, path) as socket:
                await socket.send(AUTH)
                await socket.recv()

    def census() -> dict[str, int]:
        gc.collect()
        names = [type(thing).__name__ for thing in gc.get_objects()]
        return {name: names.count(name) for name in ("WebSocket", "HttpConnection", "Subscriber", "ServerProtocol")}

    await live()
    assert await emptied(server) == 0
    before = census()
    for _ in range(20):
        await live()
    assert await emptied(server) == 0
    assert census() == before
