"""HTTP/1.1 as values: requests cut off a stream of bytes, answers turned into bytes. No sockets, no orders, no markets.

Only what API clients send: a head, then a body of known length or in chunks. A client that keeps its connection says
the same head again and again: what was read from it once is kept by its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec

from trader.exchange.errors import VenueError, refusal

MAX_HEAD = 32_768
MAX_BODY = 1_048_576
MAX_CHUNK_LINE = 256
KNOWN_HEADS = 512                   # heads that are kept as read
KNOWN_BYTES = 2_048                 # longer ones are read anew each time
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON = "application/json; charset=UTF-8"
# What is read otherwise by whoever stands before us would let one request hide in another (RFC 9112, 11.2).
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(
    rf"({_TOKEN}) (?:https?://[^/?\x00-\x20\x7f]+(?=[/? ])|(?=/))([^\x00-\x20\x7f]*) HTTP/1\.([0-9])"
)
_HEADER = re.compile(rf"({_TOKEN}):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")

REASONS = {
    200: "OK", 204: "No Content", 207: "Multi-Status", 400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict",
    411: "Length Required", 413: "Content Too Large", 422: "Unprocessable Entity",
    429: "Too Many Requests", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request. Header names are lower case; of repeated ones the last counts.

    ``websocket`` says that the client asks for a WebSocket; other upgrades are not ours and are ignored, as HTTP
    allows. Query and headers may be shared with other requests.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    keep_alive: bool = True
    websocket: bool = False


class Response(msgspec.Struct, frozen=True, gc=False):
    """One answer; ``body`` is JSON unless ``content_type`` says otherwise."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()

    def wire(self, *, keep_alive: bool, extra: bytes = b"") -> bytes:
        """The bytes of head and body; ``extra`` is one more line of the head, or several, with their ends."""
        status, body = self.status, self.body
        if self.headers:
            extra += _lines(self.headers)
        return b"".join((_opening(status, self.content_type, keep_alive, len(body)), extra, b"\r\n", body))


@lru_cache(maxsize=4_096)
def _opening(status: int, content_type: str, keep_alive: bool, length: int) -> bytes:
    """The lines of an answer's head that are the same for many."""
    kind = f"Content-Type: {content_type}\r\n" if length else ""
    connection = "" if keep_alive else "Connection: close\r\n"
    size = "" if status == 204 else f"Content-Length: {length}\r\n"
    return f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}\r\n{kind}{connection}{size}".encode("latin-1")


@lru_cache(maxsize=1_024)
def _lines(headers: tuple[tuple[str, str], ...]) -> bytes:
    """Headers as lines."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")


_to_json = msgspec.json.Encoder().encode


def json_response(value: object, status: int = 200) -> Response:
    """Any JSON value as an answer."""
    return Response(status, _to_json(value))


def error_response(error: VenueError) -> Response:
    """A refusal as an answer."""
    return json_response(error.body(), error.http_status)


class Head(NamedTuple):
    """What a request's head says: the request without its body, and how the body comes."""

    request: Request
    length: int
    chunked: bool
    asks: bool                      # for leave to send the body


class Heads(dict[bytes, Head]):
    """Heads by their bytes (to the end of the empty line), as read; the oldest of a bounded number of short ones goes.

    A head alone decides what is read from it, so that nothing kept here can grow old. Only heads whose body has a
    known length are kept.
    """

    def read(self, data: bytes) -> Head:
        """A head, known or not; VenueError when it is none."""
        head = self.get(data)
        if head is None:
            head = read_head(data[:-4])
            if len(data) <= KNOWN_BYTES and not (head.chunked or head.asks or head.request.websocket):
                if len(self) >= KNOWN_HEADS:
                    del self[next(iter(self))]
                self[data] = head
        return head


class RequestReader:
    """Cuts requests off the bytes of one connection; holds at most a head and a body.

    `feed` takes bytes, `next` gives a request when one is complete and raises VenueError for what is none. `whole`
    is the short way for what clients do nearly always. ``heads`` may be shared by connections.
    """

    __slots__ = ("_asks", "_buffer", "_chunks", "_head", "_heads", "_looked", "_raw", "_said", "_same")

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self._buffer = bytearray()
        self._looked = 0                            # no end of the head before this offset
        self._head: Head | None = None              # is read, its body is not complete
        self._chunks: bytearray | None = None
        self._raw = b""                             # the head of an upgrade as it came
        self._asks = False                          # for leave to send the body
        self._said = b""                            # the last known head of a whole request, and what was read from it
        self._same: Head | None = None

    @property
    def started(self) -> bool:
        """Whether a part of a request has arrived."""
        return self._head is not None or bool(self._buffer)

    @property
    def buffered(self) -> int:
        """Bytes that wait to be cut."""
        return len(self._buffer)

    def take_leave(self) -> bool:
        """Whether the client waits for leave to send its body; True once for each request."""
        asked, self._asks = self._asks and not self._buffer, False
        return asked

    def whole(self, data: bytes) -> Request | None:
        """The request that ``data`` is, no more and no less, with a head that is known; None: feed it."""
        if self._buffer or self._head is not None:
            return None
        said, head = self._said, self._same
        if head is None or not data.startswith(said):
            said = data[: data.find(b"\r\n\r\n") + 4]
            head = self._heads.get(said)
            if head is None:
                return None
            self._said, self._same = said, head
        if len(said) + head.length != len(data):
            return None
        request = head.request
        return _with_body(request, data[len(said) :]) if head.length else request

    def feed(self, data: bytes) -> None:
        """More bytes of the client."""
        self._buffer += data

    def next(self) -> Request | None:
        """The next complete request; None while there is none."""
        if self._head is None and not self._take_head():
            return None
        assert self._head is not None
        request, length, _, _ = self._head
        body = b""
        if self._chunks is not None:
            if not self._take_chunks(self._chunks):
                return None
            body = bytes(self._chunks)
        elif length and not request.websocket:
            if len(self._buffer) < length:
                return None
            body = bytes(self._buffer[:length])
            del self._buffer[:length]
        self._head, self._chunks = None, None
        return _with_body(request, body) if body else request

    def take_rest(self) -> bytes:
        """The head of the last request as it came and all that followed it: what an upgrade goes on with."""
        rest = self._raw + bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _take_head(self) -> bool:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", self._looked)
        if end > MAX_HEAD or (end < 0 and len(buffer) > MAX_HEAD):
            raise refusal("malformed", detail="request head is too large")
        if end < 0:
            self._looked = max(0, len(buffer) - 3)
            return False
        data = bytes(buffer[: end + 4])
        head = self._heads.read(data)
        del buffer[: end + 4]
        self._looked = 0
        self._raw = data if head.request.websocket else b""
        self._chunks = bytearray() if head.chunked and not head.request.websocket else None
        self._asks = head.asks
        self._head = head
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
            said = _CHUNK.fullmatch(buffer, 0, line_end)
            if said is None:
                raise refusal("malformed", detail="malformed chunk")
            size, start = int(said[1], 16), line_end + 2
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


def _with_body(request: Request, body: bytes) -> Request:
    return Request(
        request.method, request.path, request.query, request.headers, body, request.keep_alive, request.websocket
    )


def read_head(data: bytes) -> Head:
    """A head without its empty line; VenueError 400 when it is no HTTP or its body could not be found, 413."""
    request = parse_head(data)
    headers = request.headers
    coding, declared = headers.get("transfer-encoding"), headers.get("content-length")
    length = 0
    if coding is not None:
        if coding.lower() != "chunked" or declared is not None:
            raise refusal("malformed", detail="Transfer-Encoding must be chunked, without Content-Length")
    elif declared is not None:
        if not (declared.isascii() and declared.isdigit()):
            raise refusal("malformed", detail="Content-Length is not a number")
        length = int(declared.lstrip("0")[:20] or 0)
        if length > MAX_BODY:
            raise refusal("too_large", limit=MAX_BODY)
    if request.websocket and (coding is not None or length or not request.path.isascii()):
        raise refusal("malformed", detail="a WebSocket's handshake has no body and a path in ASCII")
    return Head(request, length, coding is not None, "100-continue" in headers.get("expect", "").lower())


def parse_head(head: bytes) -> Request:
    """Request line and headers; VenueError 400 when they are no HTTP."""
    lines = head.decode("latin-1").split("\r\n")
    line = _REQUEST_LINE.fullmatch(lines[0])
    if line is None:
        raise refusal("malformed", detail="malformed request line")
    method, target, version = line.groups()
    path, _, query = target.partition("?")
    headers: dict[str, str] = {}
    for field in lines[1:]:
        said = _HEADER.fullmatch(field)
        if said is None:
            raise refusal("malformed", detail="malformed header")
        name, value = said[1].lower(), said[2].rstrip(" \t")
        if name == "content-length" and headers.get(name, value) != value:
            raise refusal("malformed", detail="two different Content-Lengths")
        if name == "transfer-encoding" and name in headers:
            raise refusal("malformed", detail="two Transfer-Encodings")
        headers[name] = value
    wishes = {wish.strip() for wish in headers.get("connection", "").lower().split(",")}
    return Request(
        method, unquote(path) or "/", dict(parse_qsl(query, keep_blank_values=True)) if query else {}, headers,
        keep_alive="close" not in wishes and version != "0" and method != "HEAD",
        websocket=headers.get("upgrade", "").lower() == "websocket",
    )
