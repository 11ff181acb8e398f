"""One HTTP connection without a socket: packets cut anywhere, pipelines, known heads, gates, the clock."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.exchange import http, http_connection
from trader.exchange.errors import VenueError
from trader.exchange.http import KNOWN_BYTES, KNOWN_HEADS, Heads, Request, RequestReader, Response
from trader.exchange.http_connection import Gate, HttpConnection, Reply, Service


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[bytes] = []
        self.gone = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said.append(bytes(data))

    def write_eof(self) -> None:
        self.said.append(b"<eof>")

    def is_closing(self) -> bool:
        return self.gone

    def close(self) -> None:
        self.gone = True

    abort = close

    def pause_reading(self) -> None:
        """Nobody reads here."""

    resume_reading = pause_reading

    @property
    def heard(self) -> bytes:
        """All that was written, without what is never the same twice."""
        return re.sub(rb"X-Request-ID: [0-9a-f]{32}\r\n", b"", b"".join(self.said))


def echo(request: Request) -> Response:
    """An answer that tells what was understood."""
    return Response(200, f"{request.method} {request.path} {dict(request.query)}".encode() + b" " + request.body)


def connected(gate: Gate | None = None, answer: Callable[[Request], Response] = echo) -> tuple[HttpConnection, Wire]:
    connection, wire = HttpConnection(Service(answer, None, lambda: gate)), Wire()
    connection._service._wind = lambda: None            # no loop, no clock
    connection.connection_made(wire)
    return connection, wire


GET = b"GET /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nContent-Length: 5\r\n\r\n%b"
CHUNKED = b"PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n"
TWICE = b"POST /d HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"
FEW = [GET, POST % b"first", CHUNKED, POST % b"\r\n\r\n!", TWICE, POST % b"other", GET]


def test_packets_may_be_cut_at_every_byte() -> None:
    data = b"".join(FEW)
    connection, wire = connected()
    connection.data_received(data)
    expected = wire.heard
    assert expected.count(b"HTTP/1.1 200") == len(FEW)
    warm, _ = connected()
    for one in FEW:
        warm.data_received(one)                                  # its heads are known from here on
    for service in (None, warm._service):
        for at in range(1, len(data)):
            connection, wire = connected()
            if service is not None:
                connection._reader = RequestReader(service.heads)
            connection.data_received(data[:at])
            connection.data_received(data[at:])
            assert wire.heard == expected, at


@settings(max_examples=100)
@given(st.lists(st.sampled_from(FEW), min_size=1, max_size=8), st.lists(st.integers(1, 400), max_size=8))
def test_packets_may_be_cut_anywhere_and_joined(requests: list[bytes], cuts: list[int]) -> None:
    data = b"".join(requests)
    places = [0, *sorted({cut for cut in cuts if cut < len(data)}), len(data)]
    alone, expected = b"", connected()[0]
    for one in requests:
        wire = Wire()
        expected.transport = wire
        expected.data_received(one)
        alone += wire.heard
    connection, wire = connected()
    for start, stop in pairwise(places):
        connection.data_received(data[start:stop])
    assert wire.heard == alone


@pytest.mark.parametrize("gated", [False, True])
def test_a_long_pipeline_is_answered_in_order_and_in_few_writes(gated: bool) -> None:
    def gate(request: Request, answer: Callable[[], Response], reply: Reply) -> None:
        reply(answer())

    connection, wire = connected(gate if gated else None)
    connection.data_received(b"".join(POST % b"%05d" % number for number in range(2_000)))
    assert re.findall(rb"\{\} (\d{5})", wire.heard) == [b"%05d" % number for number in range(2_000)]
    assert gated or len(wire.said) < 10


def test_a_gate_that_holds_an_answer_holds_those_behind_it() -> None:
    held: list[tuple[Callable[[], Response], Reply]] = []
    connection, wire = connected(lambda request, answer, reply: held.append((answer, reply)))
    connection.data_received(GET + POST % b"later")
    connection.data_received(POST % b"third")
    assert (len(held), wire.said) == (1, [])
    for number in range(3):
        answer, reply = held[number]
        reply(answer())
    assert [b"later" in wire.heard, b"third" in wire.heard, wire.heard.count(b"200 OK")] == [True, True, 3]


def test_the_last_answer_closes_and_what_follows_is_not_heard() -> None:
    connection, wire = connected()
    connection.data_received(b"GET / HTTP/1.1\r\nConnection: TE, Close\r\n\r\n" + GET)
    assert (wire.gone, wire.heard.count(b"200 OK"), b"Connection: close" in wire.heard) == (True, 1, True)
    for head in (b"GET / HTTP/1.0\r\n\r\n", b"HEAD / HTTP/1.1\r\n\r\n"):
        connection, wire = connected()
        connection.data_received(head)
        assert wire.gone


def test_broken_requests_behind_good_ones_get_their_answer_last() -> None:
    connection, wire = connected()
    connection.data_received(GET + b"nonsense\r\n\r\n" + GET)
    assert [wire.heard.index(b"200 OK") < wire.heard.index(b"400 Bad"), wire.said[-1]] == [True, b"<eof>"]
    connection.data_received(GET)
    assert wire.heard.count(b"200 OK") == 1


# --- known heads --------------------------------------------------------------------------------------------------

def test_heads_are_kept_in_bounds() -> None:
    heads = Heads()
    reader = RequestReader(heads)
    for number in range(KNOWN_HEADS * 4):
        reader.feed(b"GET /%d HTTP/1.1\r\n\r\n" % number)
        assert reader.next() is not None
    assert len(heads) == KNOWN_HEADS
    assert heads.get(b"GET /0 HTTP/1.1\r\n\r\n") is None            # the oldest went
    long = b"GET / HTTP/1.1\r\nX: " + b"x" * KNOWN_BYTES + b"\r\n\r\n"
    odd = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
    asking = b"POST / HTTP/1.1\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n"
    for data in (long, CHUNKED, odd, asking):
        RequestReader(heads).feed(data)
        other = RequestReader(heads)
        other.feed(data)
        other.next()
        assert heads.get(data[: data.index(b"\r\n\r\n") + 4]) is None


def test_broken_heads_are_not_kept() -> None:
    heads = Heads()
    for data in (b"x\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"):
        for _ in range(2):
            with pytest.raises(VenueError):
                heads.read(data)
    assert len(heads) == 0


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(["/a", "/b"]), st.sampled_from(["k1", "k2"]), st.binary(max_size=4)),
                max_size=12))
def test_a_known_head_never_answers_for_another(asked: list[tuple[str, str, bytes]]) -> None:
    reader = RequestReader(Heads())
    for path, key, body in asked:
        data = f"POST {path} HTTP/1.1\r\nKey: {key}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        request = reader.whole(data)
        if request is None:
            reader.feed(data)
            request = reader.next()
        assert request is not None
        assert (request.path, request.headers["key"], request.body) == (path, key, body)


# --- the clock ----------------------------------------------------------------------------------------------------

def test_the_time_of_a_request_is_not_prolonged_by_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(http_connection, "monotonic", lambda: now[0])
    connection, wire = connected()
    assert connection.due == http_connection.IDLE_SECONDS
    body = POST % b"tardy"
    connection.data_received(body)                               # the head is known from here on
    for at in range(len(body) - 1):
        now[0] = 10.0 + at / 10
        connection.data_received(body[at : at + 1])
        assert connection.due == 10.0 + http_connection.REQUEST_SECONDS
    connection.expire()
    assert b"408 Request Timeout" in wire.heard
    assert connection.due == now[0] + http_connection.LINGER_SECONDS
    connection.expire()
    assert wire.gone


def test_whoever_does_not_take_its_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(http_connection, "monotonic", lambda: now[0])
    connection, wire = connected(answer=lambda request: (connection.pause_writing(), Response(200))[1])
    connection.data_received(GET)
    assert connection.due == http_connection.REQUEST_SECONDS
    connection.data_received(GET)
    assert wire.heard.count(b"200 OK") == 1             # nothing is answered to somebody who does not read
    connection.expire()
    assert wire.gone


def test_answers_have_names_of_their_own() -> None:
    connection, wire = connected()
    connection.data_received(GET * 50)
    names = re.findall(rb"X-Request-ID: ([0-9a-f]{32})\r\n", b"".join(wire.said))
    assert len(set(names)) == 50


def test_a_204_has_no_length() -> None:
    assert Response(204).wire(keep_alive=True) == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert http.json_response([]).wire(keep_alive=False).endswith(b"Connection: close\r\nContent-Length: 2\r\n\r\n[]")
