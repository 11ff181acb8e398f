"""HTTP/1.1 by hand on asyncio: one protocol object a connection, one write an answer, WebSockets handed over.

Only what API clients send: a head, a body of known length, keep-alive. Requests on one connection are answered
in order. Nothing here knows of orders or markets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote

import msgspec

from trader.exchange.errors import VenueError, refusal

MAX_HEAD = 32_768
MAX_BODY = 1_048_576
HEAD_SECONDS = 30.0             # a request must be complete within

REASONS = {
    200: "OK", 204: "No Content", 207: "Multi-Status", 400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict",
    411: "Length Required", 413: "Content Too Large", 422: "Unprocessable Entity",
    429: "Too Many Requests", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}


class Request(NamedTuple):
    """One request. Header names are lower case; of repeated ones the last counts."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Response(NamedTuple):
    """One answer; ``body`` is JSON unless ``content_type`` says otherwise."""

    status: int
    body: bytes = b""
    content_type: str = "application/json; charset=UTF-8"
    headers: tuple[tuple[str, str], ...] = ()

    def wire(self, *, keep_alive: bool) -> bytes:
        """The bytes of head and body."""
        extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        kind = f"Content-Type: {self.content_type}\r\n" if self.body else ""
        length = "" if self.status == 204 else f"Content-Length: {len(self.body)}\r\n"
        connection = "" if keep_alive else "Connection: close\r\n"
        head = f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Unknown')}\r\n{kind}{length}{extra}{connection}\r\n"
        return head.encode("latin-1") + self.body


def json_response(value: object, status: int = 200) -> Response:
    """Any JSON value as an answer."""
    return Response(status, msgspec.json.encode(value))


def error_response(error: VenueError) -> Response:
    """A refusal as an answer."""
    return json_response(error.body(), error.http_status)


Answer = Callable[[Request], Response]
Reply = Callable[[Response | None], None]
# Stands between a request and its answer: may delay it, change it, send another, or (None) cut the connection.
Gate = Callable[[Request, Callable[[], Response], Reply], None]


class Upgraded(Protocol):
    """What takes a connection over after an upgrade."""

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""

    def lost(self) -> None:
        """The connection is gone."""


Upgrade = Callable[[asyncio.Transport, Request, bytes], Upgraded]


class Service(NamedTuple):
    """What a connection serves: answers, upgrades (None: refused), and the register of open connections."""

    answer: Answer
    upgrade: Upgrade | None
    connections: set[HttpConnection]
    gate: Callable[[], Gate | None]


class HttpConnection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._buffer = b""
        self._upgraded: Upgraded | None = None
        self._busy = False
        self._deadline: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._service.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.connections.discard(self)
        self._stop_deadline()
        if self._upgraded is not None:
            self._upgraded.lost()
        self.transport = None

    def data_received(self, data: bytes) -> None:
        if self._upgraded is not None:
            self._upgraded.feed(data)
            return
        self._buffer += data
        self._work()

    def _work(self) -> None:
        """Answer the complete requests of the buffer, one after the other."""
        while self.transport is not None and not self._busy and self._buffer:
            try:
                request = self._take()
            except VenueError as error:
                self._send(error_response(error), keep_alive=False)
                return
            if request is None:
                if self._deadline is None:
                    self._deadline = asyncio.get_running_loop().call_later(HEAD_SECONDS, self.cut)
                return
            self._stop_deadline()
            if "upgrade" in request.headers:
                self._hand_over(request)
                return
            self._answer(request)

    def _take(self) -> Request | None:
        """Cut one request off the buffer; None while it is incomplete."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise refusal("malformed", detail="request head is too large")
            return None
        request = parse_head(self._buffer[:end])
        if "transfer-encoding" in request.headers:
            raise refusal("malformed", detail="send Content-Length instead of Transfer-Encoding")
        declared = request.headers.get("content-length", "0")
        if not (declared.isascii() and declared.isdigit()):
            raise refusal("malformed", detail="Content-Length is not a number")
        length = int(declared)
        if length > MAX_BODY:
            raise refusal("too_large", limit=MAX_BODY)
        start = end + 4
        if len(self._buffer) < start + length:
            return None
        body = self._buffer[start : start + length]
        if "upgrade" not in request.headers:
            self._buffer = self._buffer[start + length :]
        return request._replace(body=body)

    def _hand_over(self, request: Request) -> None:
        if self._service.upgrade is None or self.transport is None:
            self._send(error_response(refusal("endpoint_not_found")), keep_alive=False)
            return
        data, self._buffer = self._buffer, b""
        self._upgraded = self._service.upgrade(self.transport, request, data)

    def _answer(self, request: Request) -> None:
        keep_alive = request.headers.get("connection", "").lower() != "close"
        gate = self._service.gate()
        if gate is None:
            self._send(self._service.answer(request), keep_alive=keep_alive)
            return
        self._busy = True

        def reply(response: Response | None) -> None:
            self._busy = False
            if response is None:
                self.cut()
                return
            self._send(response, keep_alive=keep_alive)
            self._work()

        gate(request, lambda: self._service.answer(request), reply)

    def _send(self, response: Response, *, keep_alive: bool) -> None:
        if self.transport is None:
            return
        self.transport.write(response.wire(keep_alive=keep_alive))
        if not keep_alive:
            self._buffer = b""
            self.transport.close()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def cut(self) -> None:
        """Drop the connection at once."""
        if self.transport is not None:
            self.transport.abort()


def parse_head(head: bytes) -> Request:
    """Request line and headers; VenueError 400 when they are no HTTP."""
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[1].startswith("/"):
        raise refusal("malformed", detail="malformed request line")
    path, _, query = parts[1].partition("?")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise refusal("malformed", detail="malformed header")
        headers[name.lower()] = value.strip()
    return Request(
        parts[0], unquote(path), dict(parse_qsl(query, keep_blank_values=True)) if query else {}, headers, b""
    )
