"""A few fixed paths over HTTP/1.1 on asyncio: enough for probes, scrapes and one guarded command."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from trader.utils.errors import UserError

log = logging.getLogger("alphatrade.core.http")

HEAD_LIMIT = 16 * 1024
BODY_LIMIT = 64 * 1024
IDLE_S = 10.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer."""

    status: int
    body: bytes
    content_type: str = "application/json"


Handler = Callable[[Request], Awaitable[Response]]


class HttpEndpoint:
    """Serves a table of ``(method, path)``; every answer closes its connection.

    Parameters
    ----------
    routes : mapping
        ``("GET", "/health")`` to an async handler; GET handlers answer HEAD as well.
    usual_port : int
        The port to take when ``port`` is None; if that is busy, any free one, with a warning.
    port : int, optional
        A port that somebody chose: busy is an error. 0 takes any free one.
    """

    def __init__(self, name: str, routes: Mapping[tuple[str, str], Handler], host: str, port: int | None,
                 usual_port: int) -> None:
        self.name = name
        self.host = host
        self.port = 0
        self.warning = ""
        self._routes = dict(routes)
        self._chosen = port
        self._usual = usual_port
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        UserError
            If a port that was chosen is busy, or the host is none of this machine.
        """
        try:
            self._server = await self._listen(self._usual if self._chosen is None else self._chosen)
        except OSError as error:
            if self._chosen is not None or error.errno != errno.EADDRINUSE:
                raise UserError(
                    f"{self.name} cannot listen on {self.host}:{self._chosen or self._usual}: "
                    f"{error.strerror or error}; free it or set another port under health: in settings.yaml") from None
            self._server = await self._listen(0)
            self.warning = f"port {self._usual} is busy: {self.name} is on {self.host}:{self._bound()}"
            log.warning(self.warning)
        self.port = self._bound()

    async def stop(self) -> None:
        """Stop listening; safe to call twice."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _listen(self, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._serve, self.host, port, limit=HEAD_LIMIT)

    def _bound(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(IDLE_S):
                request = await _read(reader)
            response = request if isinstance(request, Response) else await self._answer(request)
            head_only = isinstance(request, Request) and request.method == "HEAD"
            writer.write(_head(response) + (b"" if head_only else response.body))
            async with asyncio.timeout(IDLE_S):
                await writer.drain()
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        handler = self._routes.get((method, request.path))
        if handler is None:
            allowed = [m for m, path in self._routes if path == request.path]
            paths = ", ".join(f"{m} {path}" for m, path in self._routes)
            return text(405 if allowed else 404, f"there is {paths}")
        try:
            return await handler(request)
        except Exception:
            log.exception("%s failed on %s %s", self.name, request.method, request.path)
            return text(500, "see the log")


def text(status: int, message: str) -> Response:
    """A plain answer."""
    return Response(status, message.encode() + b"\n", "text/plain; charset=utf-8")


def _head(response: Response) -> bytes:
    return (
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\nContent-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n").encode()


async def _read(reader: asyncio.StreamReader) -> Request | Response:
    """The request, or what to say to something that is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return text(431, "the head is too long")
    except asyncio.IncompleteReadError:
        return text(400, "this is no HTTP request")
    first, *rest = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return text(400, "this is no HTTP/1.1 request")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > BODY_LIMIT:
        return text(413, f"the body must say its length, up to {BODY_LIMIT} bytes")
    try:
        body = await reader.readexactly(int(length))
    except asyncio.IncompleteReadError:
        return text(400, "the body ends early")
    return Request(parts[0].upper(), parts[1].partition("?")[0], headers, body)
