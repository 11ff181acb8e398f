"""One client's HTTP connection on asyncio: answers in order, keep-alive, back-pressure, time-outs, WebSockets.

Whoever does not read its answers is not read from; whoever does not finish a request is told 408 and shown out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol

from trader.exchange.errors import VenueError
from trader.exchange.http import CONTINUE, MAX_BODY, Request, RequestReader, Response, error_response

REQUEST_SECONDS = 30.0          # a request must be complete within
IDLE_SECONDS = 300.0            # a connection without a request stays open so long
LINGER_SECONDS = 2.0            # after a refusal the client may finish sending, unheard, so that it can read the answer
MAX_CONNECTIONS = 2_000
TIMED_OUT = VenueError(408, 40810000, "the request did not arrive in time")
FULL = VenueError(503, 50310000, "too many connections")

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
        self._reader = RequestReader()
        self._upgraded: Upgraded | None = None
        self._busy = False              # a gate holds the answer
        self._choked = False            # the client does not read
        self._deaf = False              # refused: whatever still comes is not looked at
        self._late: asyncio.TimerHandle | None = None
        self._late_for_request = False
        self.transport: asyncio.Transport | None = None

    # --- called by the transport ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._service.connections.add(self)
        if len(self._service.connections) > MAX_CONNECTIONS:
            self._refuse(FULL)
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.connections.discard(self)
        self._stop_watch()
        if self._upgraded is not None:
            self._upgraded.lost()
        self.transport = None

    def data_received(self, data: bytes) -> None:
        if self._upgraded is not None:
            self._upgraded.feed(data)
            return
        if self._deaf:
            return
        self._reader.feed(data)
        if self._busy and self._reader.buffered > MAX_BODY and self.transport is not None:
            self.transport.pause_reading()          # the rest waits in the client's socket, not here
        self._work()

    def pause_writing(self) -> None:
        self._choked = True
        if self.transport is not None:
            self.transport.pause_reading()
        if self._upgraded is None:
            self._stop_watch()
            self._late = asyncio.get_running_loop().call_later(REQUEST_SECONDS, self.cut)

    def resume_writing(self) -> None:
        self._choked = False
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.resume_reading()
        if self._upgraded is None and not self._deaf:
            self._stop_watch()
            self._work()

    # --- work -----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Answer the complete requests, one after the other."""
        while self.transport is not None and not self._waits():
            try:
                request = self._reader.next()
            except VenueError as error:
                self._refuse(error)
                return
            if request is None:
                if self._reader.take_leave():
                    self.transport.write(CONTINUE)
                self._watch()
                return
            self._stop_watch()
            if request.websocket:
                self._hand_over(request)
                return
            self._answer(request)

    def _waits(self) -> bool:
        """Whether the next request must stay unanswered for now, or for ever."""
        return (
            self._busy or self._choked or self._deaf or self.transport is None or self.transport.is_closing()
        )

    def _hand_over(self, request: Request) -> None:
        assert self.transport is not None
        if self._service.upgrade is None:
            self._refuse(VenueError(404, 40410000, "no streams here"))
            return
        self._upgraded = self._service.upgrade(self.transport, request, self._reader.take_rest())

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
            elif self.transport is not None:
                self._send(response, keep_alive=keep_alive)
                if not (self._choked or self.transport.is_closing()):
                    self.transport.resume_reading()
                self._work()

        gate(request, lambda: self._service.answer(request), reply)

    def _send(self, response: Response, *, keep_alive: bool) -> None:
        if self.transport is None:
            return
        self.transport.write(response.wire(keep_alive=keep_alive))
        if not keep_alive:
            self.transport.close()

    def _refuse(self, error: VenueError) -> None:
        self._stop_watch()
        if self.transport is None or self.transport.is_closing():
            return
        self._deaf = True
        self.transport.write(error_response(error).wire(keep_alive=False))
        self.transport.write_eof()
        self._late = asyncio.get_running_loop().call_later(LINGER_SECONDS, self.cut)

    # --- time-outs ------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Give the client its time: for the rest of a request, or to begin one."""
        started = self._reader.started
        if self._late is not None:
            if started == self._late_for_request:
                return                              # the clock of this request runs already
            self._late.cancel()
        self._late_for_request = started
        seconds = REQUEST_SECONDS if started else IDLE_SECONDS
        self._late = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._late = None
        if self._late_for_request:
            self._refuse(TIMED_OUT)
        elif self.transport is not None:
            self.transport.close()

    def _stop_watch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def cut(self) -> None:
        """Drop the connection at once."""
        if self.transport is not None:
            self.transport.abort()
