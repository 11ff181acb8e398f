"""One client's HTTP connection on asyncio: answers in order, keep-alive, back-pressure, time-outs, WebSockets.

Whoever does not read its answers is not read from; whoever does not finish a request is told 408 and shown out. A
request that came in one piece is answered in one go; no timer is made or stopped for it: one clock looks through all
connections now and then and shows out those whose time is over.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from itertools import count
from math import inf
from time import monotonic
from typing import Protocol, cast

from trader.exchange.errors import VenueError
from trader.exchange.http import CONTINUE, MAX_BODY, Heads, Request, RequestReader, Response, error_response

REQUEST_SECONDS = 30.0          # a request must be complete within, and an answer taken
IDLE_SECONDS = 300.0            # a connection without a request stays open so long
LINGER_SECONDS = 2.0            # after a refusal the client may finish sending, unheard, so that it can read the answer
LOOKS = 4                       # how often the clock looks within the shortest of these
MAX_CONNECTIONS = 2_000
MAX_UNSENT = 65_536             # bytes of answers that are written together
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


class Service:
    """What connections serve: answers, upgrades (None: refused), and the register of those that are open.

    ``settle`` is called after each answer, before the next request: what nobody waits for has its time there, the
    answer is on its way by then if it can be.
    """

    def __init__(
        self, answer: Answer, upgrade: Upgrade | None, gate: Callable[[], Gate | None],
        settle: Callable[[], object] = lambda: None,
    ) -> None:
        self.answer = answer
        self.upgrade = upgrade
        self.gate = gate
        self.settle = settle
        self.heads = Heads()
        self.connections: set[HttpConnection] = set()
        self._clock: asyncio.TimerHandle | None = None
        # The line of an answer's head that names it, as Alpaca's have one; never the same twice.
        self.names = map((b"X-Request-ID: %b%%016x\r\n" % os.urandom(8).hex().encode()).__mod__, count(1))

    def enter(self, connection: HttpConnection) -> bool:
        """A connection is open; whether there is room for it."""
        self.connections.add(connection)
        if self._clock is None:
            self._wind()
        return len(self.connections) <= MAX_CONNECTIONS

    def leave(self, connection: HttpConnection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if not self.connections and self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _wind(self) -> None:
        seconds = min(REQUEST_SECONDS, IDLE_SECONDS, LINGER_SECONDS) / LOOKS
        self._clock = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        now = monotonic()
        for connection in [connection for connection in self.connections if connection.due <= now]:
            connection.expire()
        self._wind()


class HttpConnection(asyncio.Protocol):
    """One client's connection.

    Attributes
    ----------
    due : float
        When it has had its time, by `time.monotonic`; infinite while the venue has the word.
    """

    __slots__ = (
        "_busy", "_choked", "_deaf", "_reader", "_service", "_started", "_unsent", "_upgraded", "due", "transport",
    )

    def __init__(self, service: Service) -> None:
        self._service = service
        self._reader = RequestReader(service.heads)
        self._unsent: list[bytes] = []  # answers that wait for their fellows of the same moment
        self._upgraded: Upgraded | None = None
        self._busy = False              # a gate holds the answer
        self._choked = False            # the client does not read
        self._deaf = False              # refused: whatever still comes is not looked at
        self._started = False           # a part of a request has come, and its time runs
        self.due = inf
        self.transport: asyncio.Transport | None = None

    # --- called by the transport ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)     # uvloop's are none of asyncio's family
        self.transport.set_write_buffer_limits(high=0)          # an answer leaves at once, not at the turn's end
        self.due = monotonic() + IDLE_SECONDS
        if not self._service.enter(self):
            self._refuse(FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.leave(self)
        if self._upgraded is not None:
            self._upgraded.lost()
        self.transport = None

    def data_received(self, data: bytes) -> None:
        if self._upgraded is not None:
            self._upgraded.feed(data)
            return
        if self._deaf:
            return
        reader, service, transport = self._reader, self._service, self.transport
        request = None if self._busy or self._choked or transport is None else reader.whole(data)
        if request is None or transport is None:
            reader.feed(data)
            if self._busy and reader.buffered > MAX_BODY and transport is not None:
                transport.pause_reading()           # the rest waits in the client's socket, not here
            self._work()
            return
        self.due = monotonic() + IDLE_SECONDS
        if request.keep_alive and service.gate() is None:
            transport.write(service.answer(request).wire(keep_alive=True, extra=next(service.names)))
        else:
            self._serve(request)
            self._flush()
        service.settle()

    def pause_writing(self) -> None:
        self._choked = True
        if self.transport is not None:
            self.transport.pause_reading()
        if self._upgraded is None:
            self.due = monotonic() + REQUEST_SECONDS

    def resume_writing(self) -> None:
        self._choked = False
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.resume_reading()
        if self._upgraded is None and not self._deaf:
            self._work()

    # --- work -----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Answer the complete requests, one after the other; answers leave together while they are small."""
        size = 0
        while not self._waits():
            try:
                request = self._reader.next()
            except VenueError as error:
                self._refuse(error)
                return
            if request is None:
                break
            self._started = False
            if request.websocket:
                self._hand_over(request)
                return
            self._serve(request)
            self._service.settle()
            if self._unsent:
                size += len(self._unsent[-1])
                if size > MAX_UNSENT:
                    size = 0
                    self._flush()
        self._flush()
        if not self._waits():
            self._wait_for_more()

    def _waits(self) -> bool:
        """Whether the next request must stay unanswered for now, or for ever."""
        return (
            self._busy or self._choked or self._deaf or self.transport is None or self.transport.is_closing()
        )

    def _wait_for_more(self) -> None:
        """Give the client its time: for the rest of a request, or to begin one."""
        assert self.transport is not None
        if not self._reader.started:
            self.due = monotonic() + IDLE_SECONDS
        elif not self._started:
            self._started = True
            self.due = monotonic() + REQUEST_SECONDS
        if self._reader.take_leave():
            self.transport.write(CONTINUE)

    def _hand_over(self, request: Request) -> None:
        assert self.transport is not None
        if self._service.upgrade is None:
            self._refuse(VenueError(404, 40410000, "no streams here"))
            return
        self._flush()
        self.due = inf
        self.transport.set_write_buffer_limits()    # a stream may run ahead of who hears it
        self._upgraded = self._service.upgrade(self.transport, request, self._reader.take_rest())

    def _serve(self, request: Request) -> None:
        """Answer a request, or let the gate do it."""
        gate = self._service.gate()
        if gate is None:
            self._send(self._service.answer(request), keep_alive=request.keep_alive)
            return
        self._flush()
        self._busy = True
        self.due = inf
        at_once = True

        def reply(response: Response | None) -> None:
            self._busy = False
            if response is None:
                self.cut()
            elif self.transport is not None:
                self.due = monotonic() + IDLE_SECONDS
                self._send(response, keep_alive=request.keep_alive)
                if not at_once:                     # else whoever called goes on
                    self._flush()
                    if not (self._choked or self.transport.is_closing()):
                        self.transport.resume_reading()
                    self._work()

        def answer() -> Response:
            response = self._service.answer(request)
            self._service.settle()
            return response

        gate(request, answer, reply)
        at_once = False

    def _send(self, response: Response, *, keep_alive: bool) -> None:
        self._unsent.append(response.wire(keep_alive=keep_alive, extra=next(self._service.names)))
        if not keep_alive:
            self._flush()
            self._close()

    def _flush(self) -> None:
        """Write the answers that wait."""
        unsent = self._unsent
        if unsent and self.transport is not None:
            data = unsent[0] if len(unsent) == 1 else b"".join(unsent)
            unsent.clear()
            self.transport.write(data)

    def _refuse(self, error: VenueError) -> None:
        self._flush()
        if self.transport is None or self.transport.is_closing():
            return
        self._deaf = True
        self.due = monotonic() + LINGER_SECONDS
        self.transport.write(error_response(error).wire(keep_alive=False, extra=next(self._service.names)))
        self.transport.write_eof()

    # --- the end --------------------------------------------------------------------------------------------

    def expire(self) -> None:
        """The time is over."""
        if self.transport is None:
            return
        if self._deaf or self._choked or self.transport.is_closing():
            self.cut()
        elif self._started:
            self._refuse(TIMED_OUT)
        else:
            self._close()

    def _close(self) -> None:
        """Close once everything is sent; who does not take it in time is cut off."""
        if self.transport is not None:
            self.due = monotonic() + REQUEST_SECONDS
            self.transport.close()

    def cut(self) -> None:
        """Drop the connection at once."""
        if self.transport is not None:
            self.transport.abort()
