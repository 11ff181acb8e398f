"""The venue on the network: one port for REST and streams, one for control, one asyncio loop, no threads.

Order of things within a request: the venue changes, the change is durable (with a store), the answer is written,
then the trade updates leave.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Mapping

from trader.exchange.control import LOCKSTEP, answer_control
from trader.exchange.data_routes import DATA_ROUTES
from trader.exchange.data_stream import DataStream
from trader.exchange.errors import VenueError, refusal
from trader.exchange.http import (
    Gate,
    HttpConnection,
    Request,
    Response,
    Service,
    Upgraded,
    error_response,
)
from trader.exchange.persist import VenueStore
from trader.exchange.routes import TRADING_ROUTES, find_route
from trader.exchange.trading_stream import TradingStream
from trader.exchange.venue import Venue
from trader.exchange.websocket import Talk, WebSocket
from trader.utils.errors import UserError

LOOPBACK = "127.0.0.1"
ROUTES = {**TRADING_ROUTES, **DATA_ROUTES}
DATA_PATHS = frozenset({"/v2/iex", "/v2/sip"})
Speed = float | str

log = logging.getLogger("alphatrade.exchange")


class ExchangeServer:
    """Serves a venue to Alpaca's clients.

    Parameters
    ----------
    venue : Venue
        Fresh; with a store that holds a state it is set back into that at `start`.
    host, port, control_port
        Port 0 takes a free one, read `port` and `control_port` after `start`. Control is always on loopback.
    speed : float or 'lockstep'
        Real time × so many (a 15-minute bar takes 15 min / speed; closed hours take none), or no time of its
        own: the venue moves only through the control API.
    persist : VenueStore, optional
        Where every change is made durable before it is told.
    api_keys : mapping, optional
        Key id to secret; without it any pair that is not empty is accepted.

    Attributes
    ----------
    gate
        When set, stands between each request and its answer (see `trader.exchange.http.Gate`).
    finished : asyncio.Event
        Set when the last bar has been played.
    """

    def __init__(
        self,
        venue: Venue,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        control_port: int = 0,
        speed: Speed = LOCKSTEP,
        persist: VenueStore | None = None,
        api_keys: Mapping[str, str] | None = None,
    ) -> None:
        self.venue = venue
        self.host = host
        self.port = port
        self.control_port = control_port
        self.speed: Speed = checked_speed(speed)
        self.paused = False
        self.gate: Gate | None = None
        self.finished = asyncio.Event()
        self.trading_stream = TradingStream(self._authorized)
        self.data_stream = DataStream(self._authorized)
        self._store = persist
        self._keys = dict(api_keys) if api_keys is not None else None
        self._connections: set[HttpConnection] = set()
        self._servers: list[asyncio.Server] = []
        self._changed = asyncio.Event()
        self._pacer: asyncio.Task[None] | None = None
        self._flush_due = False

    # --- life -----------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether the venue moves by itself."""
        return self.speed != LOCKSTEP and not self.paused and not self.venue.done

    async def start(self) -> None:
        """Restore, listen, and let time run; UserError when a port is taken or the stored state does not fit."""
        if self._store is not None and not self._store.load(self.venue):
            self._store.save(self.venue)
        main = Service(self.answer, self._upgrade, self._connections, lambda: self.gate)
        control = Service(
            lambda request: answer_control(self, request), None, self._connections, lambda: None
        )
        try:
            self.port = await self._listen(main, self.host, self.port)
            self.control_port = await self._listen(control, LOOPBACK, self.control_port)
        except BaseException:
            await self.stop()
            raise
        if self.venue.done:
            self.finished.set()
        self._pacer = asyncio.create_task(self._pace(), name="venue pacer")

    async def _listen(self, service: Service, host: str, port: int) -> int:
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(lambda: HttpConnection(service), host, port, backlog=256)
        except OSError as error:
            raise UserError(
                f"cannot listen on {host}:{port}: {error.strerror or error}; choose another port, 0 takes a free one"
            ) from error
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close every connection and both ports; the store stays open with its owner."""
        if self._pacer is not None:
            self._pacer.cancel()
            await asyncio.gather(self._pacer, return_exceptions=True)
            self._pacer = None
        for server in self._servers:
            server.close()
        for connection in tuple(self._connections):
            connection.cut()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    # --- time -----------------------------------------------------------------------------------------------

    def advance(self) -> list[str]:
        """Play one bar: fills become durable and are told, then the bar itself; the symbols that had a bar."""
        self._flush()
        i = self.venue.index
        self.venue.step()
        self._flush()
        symbols = self.data_stream.publish_bars(self.venue.panel, i)
        if self.venue.done:
            self.finished.set()
        return symbols

    def set_speed(self, speed: Speed) -> None:
        """Change the pace; VenueError 400 for what is no speed."""
        try:
            self.speed = checked_speed(speed)
        except ValueError as error:
            raise refusal("malformed", detail=str(error)) from None
        self._changed.set()

    def set_paused(self, paused: bool) -> None:
        """Stop or go on."""
        self.paused = paused
        self._changed.set()

    async def _pace(self) -> None:
        """Play bars at the set speed; a change of pace takes effect at once."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self.venue.done:
            self._changed.clear()
            if not self.running:
                await self._changed.wait()
                due = loop.time()
                continue
            venue, i = self.venue, self.venue.index
            span = (int(venue.panel.available_ns[i]) - int(venue.panel.ts_ns[i])) / 1e9
            due = max(due, loop.time() - 1.0) + span / float(self.speed)
            try:
                async with asyncio.timeout_at(due):
                    await self._changed.wait()
            except TimeoutError:
                self.advance()
            else:
                due = loop.time()

    # --- requests -------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Response:
        """Answer one REST request: authorize, find, run, make durable; trade updates leave right after."""
        try:
            headers = request.headers
            if not self._authorized(
                headers.get("apca-api-key-id", ""), headers.get("apca-api-secret-key", "")
            ):
                raise refusal("unauthorized")
            handler, argument = find_route(ROUTES, request.method, request.path)
            response = handler(self.venue, request, argument)
        except VenueError as error:
            response = error_response(error)
        except Exception:
            log.exception("the venue failed on %s %s", request.method, request.path)
            response = error_response(refusal("internal"))
        if self.venue.desk.dirty:
            if self._store is not None:
                self._store.save(self.venue)
            else:
                self.venue.desk.dirty.clear()
            if not self._flush_due:
                self._flush_due = True
                asyncio.get_running_loop().call_soon(self._flush)
        return response

    def _flush(self) -> None:
        """Make what is new durable and tell it."""
        self._flush_due = False
        venue = self.venue
        if self._store is not None and (venue.desk.dirty or self._store.index != venue.index):
            self._store.save(venue)
        venue.desk.dirty.clear()
        events = venue.drain()
        if events:
            self.trading_stream.publish(events)

    def _authorized(self, key: str, secret: str) -> bool:
        if not key or not secret:
            return False
        if self._keys is None:
            return True
        expected = self._keys.get(key)
        return expected is not None and hmac.compare_digest(expected.encode(), secret.encode())

    def _upgrade(self, transport: asyncio.Transport, request: Request, data: bytes) -> Upgraded:
        talk: Talk | None = None
        if request.path == "/stream":
            talk = self.trading_stream
        elif request.path in DATA_PATHS:
            msgpack = "msgpack" in request.headers.get("content-type", "")
            talk = self.data_stream.talk(binary=msgpack)
        return WebSocket(transport, talk, data)


def checked_speed(speed: Speed) -> Speed:
    """A positive number or ``lockstep``; ValueError otherwise."""
    if speed == LOCKSTEP:
        return LOCKSTEP
    try:
        value = float(speed)
    except (TypeError, ValueError):
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise ValueError(f"speed is {speed!r}; expected a positive number (times real time) or {LOCKSTEP!r}")
    return value
