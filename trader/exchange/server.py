"""The venue on the network: one port for REST and streams, one for control, one asyncio loop, no threads.

A deed, be it a request, an event of the market, or a turn of bars, happens wholly or not at all: the venue changes,
the faults have their say about the change and about every message that tells of it, all of that is durable in one
piece (with a store), and only then anybody hears of it. A request's answer is written before its trade updates
leave, each bar's trade updates leave before the bar.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping
from typing import IO, Any

import msgspec
import numpy as np

from trader.core.panel import BarPanel
from trader.core.sessions import session_table
from trader.exchange.control import answer_control, control_gate
from trader.exchange.data_messages import imbalance_messages
from trader.exchange.data_routes import DATA_ROUTES
from trader.exchange.data_stream import FRAME_MESSAGES, DataPlan, DataStream
from trader.exchange.desk import ACCOUNT
from trader.exchange.errors import VenueError, refusal
from trader.exchange.fault_gate import FaultGate
from trader.exchange.fault_rules import MarketFault, PassStatus, RequestFault, Restart, StepFault
from trader.exchange.fault_script import FaultScript, changes_of
from trader.exchange.fault_streams import StreamFaults
from trader.exchange.fault_venue import VenueFaults
from trader.exchange.faults import FaultPlan, always
from trader.exchange.hours import session_numbers
from trader.exchange.http import Request, Response, error_response
from trader.exchange.http_connection import Gate, HttpConnection, Service, Upgraded
from trader.exchange.market_events import Event, MarketEvents
from trader.exchange.outbox import Outbox
from trader.exchange.pace import LOCKSTEP, TURN_BARS, Pace, Speed
from trader.exchange.persist import VenueStore
from trader.exchange.rate import ALPACAS, RateLimiter, with_headers
from trader.exchange.routes import TRADING_ROUTES, find_route
from trader.exchange.surroundings import VenueSurroundings
from trader.exchange.trading_stream import TradingStream
from trader.exchange.venue import Venue
from trader.exchange.websocket import Talk, WebSocket
from trader.exchange.wire import trade_update_json
from trader.utils.errors import UserError

LOOPBACK = "127.0.0.1"
RETRY_SECONDS = 0.2             # between attempts to have the port again after a restart
ROUTES = {**TRADING_ROUTES, **DATA_ROUTES}
DATA_PATHS = frozenset({"/v2/iex", "/v2/sip"})

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
        Where every change is made durable before it is told; what the faults have drawn and the rules, too
        (`trader.exchange.surroundings`).
    api_keys : mapping, optional
        Key id to secret; without it any pair that is not empty is accepted.
    faults : FaultScript, optional
        What goes wrong; more may come through the control API.
    fault_log : text file, optional
        Receives every hit of a fault as a JSON line.
    rate_limit : int, optional
        Requests that each key may make in a minute; without it there is no limit.
    rate_told : bool
        Without a limit, whether answers carry the headers of Alpaca's all the same.
    data_plan : DataPlan, optional
        Limits of the market data stream; none by default.

    Attributes
    ----------
    gate
        When set, stands between each request and its answer (see `trader.exchange.http_connection.Gate`), before
        the faults.
    faults : FaultPlan
        The armed faults and what they hit.
    market : MarketEvents
        Halts, gaps, splits.
    pace : Pace
        Speed, pauses and steps.
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
        faults: FaultScript | None = None,
        fault_log: IO[str] | None = None,
        rate_limit: int | None = None,
        rate_told: bool = False,
        data_plan: DataPlan | None = None,
    ) -> None:
        self.venue = venue
        self.host = host
        self.port = port
        self.control_port = control_port
        self.gate: Gate | None = None
        self.finished = asyncio.Event()
        self.trading_stream = TradingStream(self._authorized)
        self.data_stream = DataStream(self._authorized, data_plan, self._flush)
        self._outbox = Outbox(self.trading_stream, self.data_stream)
        self.pace = Pace(
            venue, self._turn, lambda: (*self.trading_stream.sockets, *self.data_stream.sockets), speed,
        )
        script = faults or FaultScript()
        begun = venue.rules
        venue.set_rules(script.ruled(begun))
        self.faults = FaultPlan(
            lambda: (venue.index, venue.now_ns), script.seed, fault_log, lambda: venue.desk.dirty.add(ACCOUNT),
            lambda: changes_of(venue.rules, begun),
        )
        self.market = MarketEvents(venue, self.data_stream.publish)
        self._venue_faults = VenueFaults(self.faults, venue)
        self._stream_faults = StreamFaults(
            self.faults, self.trading_stream, self.data_stream, self._outbox, lambda: venue.index
        )
        self._fault_gate = FaultGate(self.faults, venue, self._venue_faults, self.settle)
        self.faults.add(script.faults)
        told = RateLimiter(ALPACAS, enforced=False) if rate_told else None
        self._limiter = RateLimiter(rate_limit) if rate_limit else told
        self._restarting: asyncio.Task[None] | None = None
        self._store = persist
        if persist is not None:
            persist.surroundings = VenueSurroundings(
                venue, script, self.faults, self._venue_faults, self.market, self.data_stream
            )
        self._keys = dict(api_keys) if api_keys is not None else None
        self._clients = Service(self.answer, self._upgrade, self._gate, self.settle)
        self._controllers = Service(
            lambda request: answer_control(self, request), None, lambda: control_gate(self),
        )
        self._main: asyncio.Server | None = None
        self._control: asyncio.Server | None = None
        self._session_starts = session_starts(venue.panel)
        self._pacer: asyncio.Task[None] | None = None
        self._flush_due = False

    # --- life -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Restore, listen, and let time run; UserError when a port is taken or the stored state does not fit."""
        if self._store is not None:
            known = self._store.load(self.venue)
            try:
                self.faults.keep_log()
            except ValueError as error:             # msgspec's are ValueErrors
                raise UserError(f"cannot go on with the log of the faults: {error}; name the one of this exchange, or "
                                "a new file") from error
            if not known or self.venue.desk.dirty:
                self._store.save(self.venue)
        self._stream_faults.watch()
        await asyncio.to_thread(session_table)      # near the bars' end the clock asks it; to build it takes a second
        try:
            await self._open()
            self._control, self.control_port = await self._listen(self._controllers, LOOPBACK, self.control_port)
        except BaseException:
            await self.stop()
            raise
        if self.venue.done:
            self.finished.set()
        self._pacer = asyncio.create_task(self.pace.run(), name="venue pacer")

    async def _open(self) -> None:
        """Listen for clients, anew after each absence."""
        self._clients = Service(self.answer, self._upgrade, self._gate, self.settle)
        self._main, self.port = await self._listen(self._clients, self.host, self.port)

    async def _listen(self, service: Service, host: str, port: int) -> tuple[asyncio.Server, int]:
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(lambda: HttpConnection(service), host, port, backlog=256)
        except OSError as error:
            raise UserError(
                f"cannot listen on {host}:{port}: {error.strerror or error}; choose another port, 0 takes a free one"
            ) from error
        return server, int(server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close every connection and both ports; the store stays open with its owner."""
        tasks = [task for task in (self._pacer, self._restarting) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self.pace.stop(), return_exceptions=True)
        self._pacer = self._restarting = None
        main, control, self._main, self._control = self._main, self._control, None, None
        await _shut(main, self._clients)
        await _shut(control, self._controllers)

    def restart(self, seconds: float) -> None:
        """Break every client's connection, be away for a while, and come back on the same port where the venue was.

        The control port stays; nothing happens while a restart is under way.
        """
        if self._restarting is None or self._restarting.done():
            self._restarting = asyncio.create_task(self._be_away(seconds), name="venue restart")

    async def _be_away(self, seconds: float) -> None:
        try:
            self._flush()
        except OSError as error:                    # it breaks off all the same
            log.error("%s", error)
        main, self._main = self._main, None
        await _shut(main, self._clients)
        await asyncio.sleep(seconds)
        while self._main is None:
            try:
                await self._open()
            except UserError as error:              # somebody took the port meanwhile
                log.error("the exchange waits to come back: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    # --- time -----------------------------------------------------------------------------------------------

    def advance(self) -> list[str]:
        """Play one bar: it and its fills become durable, then they are told; the symbols that had a bar."""
        bars = iter((True,))
        return self._turn(lambda: next(bars, False))

    def _turn(self, wanted: Callable[[], bool]) -> list[str]:
        """Play bars while they are wanted, as many as travel together; the symbols that the last one had."""
        stream, venue = self.data_stream, self.venue
        symbols: list[str] = []
        played, restarting = 0, self._restarting
        self._flush()
        stream.hold()
        try:
            while played < TURN_BARS and stream.held < FRAME_MESSAGES and not venue.done and wanted():
                symbols = self._play()
                played += 1
                if self._restarting is not restarting or self._stream_faults.needed:
                    break                           # connections break at this bar, not at a later one
        finally:
            stream.release()
        self._flush()
        if venue.done:
            self.finished.set()
        return symbols

    def _play(self) -> list[str]:
        """Play one bar within a turn."""
        venue = self.venue
        i = venue.index
        venue.step()
        self._decide()
        if venue.pauses:
            self.market.tell_pauses()
        opens, closes = venue.hours.opens[i], venue.hours.closes[i]
        if (opens or closes) and self.data_stream.is_wanted("imbalances"):
            self.data_stream.publish(imbalance_messages(venue.panel, i, opens=opens, closes=closes))
        symbols = self.data_stream.publish_slice(
            venue.panel, i, half_spread_bps=venue.fill_model.half_spread_bps, session_start=self._session_starts[i],
        )
        self._stream_faults.after_bar()
        self._strike_step(i)
        return symbols

    def _strike_step(self, i: int) -> None:
        """Faults that happen after a bar."""
        if not self.faults.watches(StepFault):
            return
        for fault in self.faults.strike(StepFault, always, {"step": i}):
            if isinstance(fault, Restart):
                self.restart(fault.seconds)
            elif isinstance(fault, MarketFault):
                try:
                    self.market.take(fault.event, fault.arguments)
                except VenueError as error:
                    log.error("the fault script's %s did not happen: %s", fault.event, error)
        self._decide()

    def happen(self, name: str, arguments: dict[str, Any]) -> Event:
        """Let an event of the market happen now; VenueError as `MarketEvents.take`."""
        self.data_stream.hold()
        try:
            event = self.market.take(name, arguments)
        finally:
            self.data_stream.release()
        self._flush()
        return event

    # --- requests -------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Response:
        """Answer one REST request: authorize, find, run, make durable. Whoever calls settles the rest afterwards."""
        key = request.headers.get("apca-api-key-id", "")
        headers, limited = ((), None) if self._limiter is None else self._limiter.count(key)
        try:
            if not self._authorized(key, request.headers.get("apca-api-secret-key", "")):
                raise refusal("unauthorized")
            if limited is not None:
                raise limited
            handler, argument = find_route(ROUTES, request.method, request.path)
            response = handler(self.venue, request, argument)
        except VenueError as error:
            response = error_response(error)
        except RecursionError:
            response = error_response(refusal("malformed", detail="the request is nested too deeply"))
        except Exception:
            log.exception("the venue failed on %s %s", request.method, request.path)
            response = error_response(refusal("internal"))
        if self._store is not None and not self.settle():
            response = error_response(refusal("internal"))
        return with_headers(response, headers) if headers else response

    def _gate(self) -> Gate | None:
        """What stands before the answers now: the caller's own gate, else armed faults, steps under way, or nothing."""
        gate = self.gate
        if gate is None and self.faults.watches(RequestFault, PassStatus):
            gate = self._fault_gate
        return self.pace.gate(gate) if self.pace.walking else gate

    def arm(self) -> None:
        """Take notice of faults that came or went."""
        self._stream_faults.watch()

    @property
    def stream_faults(self) -> StreamFaults:
        """Faults of the streams, for the control API."""
        return self._stream_faults

    @property
    def speed(self) -> Speed:
        """Real time × so many, or ``lockstep``."""
        return self.pace.speed

    @property
    def connections(self) -> int:
        """Clients that are connected, streams included, the control API not."""
        return len(self._clients.connections)

    def settle(self) -> bool:
        """Make what changed durable and tell it soon, after the answers that wait to be written.

        False when it cannot be made durable: then nobody may hear of it, until a later attempt succeeds.
        """
        desk = self.venue.desk
        if not (desk.dirty or desk.events):
            return True
        self._decide()
        try:
            self._save()
        except OSError as error:
            log.error("%s", error)
            return False
        if self._outbox and not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)
        return True

    def _decide(self) -> None:
        """Let the faults have their say about what has happened and about what is told of it."""
        events = self._venue_faults.drain()
        trading = self.trading_stream
        if not (events and trading.heard):
            return
        if trading.tamper is None:
            self._outbox.tell(events)
        else:
            trading.tamper([msgspec.to_builtins(trade_update_json(event)) for event in events])

    def _save(self) -> None:
        desk = self.venue.desk
        if self._store is not None and (desk.dirty or self._store.index != self.venue.index):
            self._store.save(self.venue)
        desk.dirty.clear()

    def _flush(self) -> None:
        """Make what is new durable, and tell it; OSError when it cannot be made durable, and is not told."""
        self._flush_due = False
        self._decide()
        self._save()
        self._outbox.send()

    def _authorized(self, key: str, secret: str) -> bool:
        if not key or not secret:
            return False
        if self._keys is None:
            return True
        expected = self._keys.get(key)
        return expected is not None and hmac.compare_digest(expected.encode(), secret.encode())

    def _upgrade(self, transport: asyncio.Transport, request: Request, data: bytes) -> Upgraded:
        talk: Talk | None = None
        headers = request.headers
        msgpack = "msgpack" in headers.get("content-type", "")
        if request.path == "/stream":
            talk = self.trading_stream.talk(packed=msgpack)
        elif request.path in DATA_PATHS:
            key, secret = headers.get("apca-api-key-id", ""), headers.get("apca-api-secret-key", "")
            talk = self.data_stream.talk(
                binary=msgpack, feed=request.path.rpartition("/")[2], keys=(key, secret) if key or secret else None,
            )
        return WebSocket(transport, talk, data)


async def _shut(server: asyncio.Server | None, service: Service) -> None:
    """Close a port and cut its connections."""
    if server is None:
        return
    server.close()
    for connection in tuple(service.connections):
        connection.cut()
    await asyncio.sleep(0)                          # those that were cut sign off
    await server.wait_closed()


def session_starts(panel: BarPanel) -> list[int]:
    """For every bar the first bar of its session."""
    numbers = session_numbers(panel)
    return np.searchsorted(numbers, numbers).tolist() if len(numbers) else []
