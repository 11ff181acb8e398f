"""HTTP/1.1 as values: requests cut off a stream of bytes, answers turned into bytes. No sockets, no orders, no markets.

Only what API clients send: a head, then a body of known length or in chunks.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec

from trader.exchange.errors import VenueError, refusal

MAX_HEAD = 32_768
MAX_BODY = 1_048_576
MAX_CHUNK_LINE = 256
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

REASONS = {
    200: "OK", 204: "No Content", 207: "Multi-Status", 400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict",
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

    @property
    def websocket(self) -> bool:
        """Whether the client asks for a WebSocket; other upgrades are not ours and are ignored, as HTTP allows."""
        return "upgrade" in self.headers and self.headers["upgrade"].lower() == "websocket"


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


class RequestReader:
    """Cuts requests off the bytes of one connection; holds at most a head and a body.

    `feed` takes bytes, `next` gives a request when one is complete and raises VenueError for what is none.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._looked = 0                            # no end of the head before this offset
        self._request: Request | None = None        # its head is read, its body is not complete
        self._length = 0
        self._chunks: bytearray | None = None
        self._head = b""
        self._asks = False                          # for leave to send the body

    @property
    def started(self) -> bool:
        """Whether a part of a request has arrived."""
        return self._request is not None or bool(self._buffer)

    @property
    def buffered(self) -> int:
        """Bytes that wait to be cut."""
        return len(self._buffer)

    def take_leave(self) -> bool:
        """Whether the client waits for leave to send its body; True once for each request."""
        asked, self._asks = self._asks and not self._buffer, False
        return asked

    def feed(self, data: bytes) -> None:
        """More bytes of the client."""
        self._buffer += data

    def next(self) -> Request | None:
        """The next complete request; None while there is none."""
        if self._request is None and not self._take_head():
            return None
        assert self._request is not None
        request = self._request
        if request.websocket:
            body = b""
        elif self._chunks is not None:
            if not self._take_chunks(self._chunks):
                return None
            body = bytes(self._chunks)
        else:
            if len(self._buffer) < self._length:
                return None
            body = bytes(self._buffer[: self._length])
            del self._buffer[: self._length]
        self._request, self._chunks = None, None
        if not body:
            return request
        return Request(request.method, request.path, request.query, request.headers, body)

    def take_rest(self) -> bytes:
        """The head of the last request as it came and all that followed it: what an upgrade goes on with."""
        rest = self._head + bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _take_head(self) -> bool:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", self._looked)
        if end < 0:
            if len(buffer) > MAX_HEAD:
                raise refusal("malformed", detail="request head is too large")
            self._looked = max(0, len(buffer) - 3)
            return False
        if end > MAX_HEAD:
            raise refusal("malformed", detail="request head is too large")
        head = bytes(buffer[:end])
        request = parse_head(head)
        self._length = 0
        self._chunks = None
        coding = request.headers.get("transfer-encoding")
        declared = request.headers.get("content-length")
        if coding is not None:
            if coding.lower() != "chunked" or declared is not None:
                raise refusal("malformed", detail="Transfer-Encoding must be chunked, without Content-Length")
            self._chunks = bytearray()
        elif declared is not None:
            if not (declared.isascii() and declared.isdigit()):
                raise refusal("malformed", detail="Content-Length is not a number")
            self._length = int(declared[:20])
            if self._length > MAX_BODY:
                raise refusal("too_large", limit=MAX_BODY)
        del buffer[: end + 4]
        self._head = head + b"\r\n\r\n" if request.websocket else b""
        self._looked = 0
        self._request = request
        self._asks = "expect" in request.headers and "100-continue" in request.headers["expect"].lower()
        return True

    def _take_chunks(self, body: bytearray) -> bool:
        """Move complete chunks from the buffer to the body; True after the last one and its trailers."""
        buffer = self._buffer
        while True:
            line_end = buffer.find(b"\r\n")
            if line_end < 0:
                if len(buffer) > MAX_CHUNK_LINE:
                    raise refusal("malformed", detail="malformed chunk")
                return False
            digits = bytes(buffer[:line_end]).partition(b";")[0].strip()
            if not 0 < len(digits) <= 8 or digits.strip(b"0123456789abcdefABCDEF"):
                raise refusal("malformed", detail="malformed chunk")
            size, start = int(digits, 16), line_end + 2
            if len(body) + size > MAX_BODY:
                raise refusal("too_large", limit=MAX_BODY)
            if not size:
                return self._take_trailers(start)
            if len(buffer) < start + size + 2:
                return False
            if buffer[start + size : start + size + 2] != b"\r\n":
                raise refusal("malformed", detail="malformed chunk")
            body += buffer[start : start + size]
            del buffer[: start + size + 2]

    def _take_trailers(self, start: int) -> bool:
        """Drop what may follow the last chunk, which begins at ``start - 2`` with the end of its line."""
        end = self._buffer.find(b"\r\n\r\n", start - 2)
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise refusal("malformed", detail="trailers are too large")
            return False
        del self._buffer[: end + 4]
        return True


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
        name, value = name.lower(), value.strip()
        if not colon or not name or name.strip() != name:
            raise refusal("malformed", detail="malformed header")
        if name == "content-length" and headers.get(name, value) != value:
            raise refusal("malformed", detail="two different Content-Lengths")
        headers[name] = value
    return Request(
        parts[0], unquote(path), dict(parse_qsl(query, keep_blank_values=True)) if query else {}, headers, b""
    )
