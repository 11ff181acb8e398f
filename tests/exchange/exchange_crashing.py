"""An exchange of which it is known at every instant what would survive its death: all of its code but the sockets.

Clients talk to its connections without a network between, so that every byte that the exchange says passes `Line`, and
is said at a known point of its work. What a kill at such a point leaves is what was committed last, and the log of the
faults as far as it was written; `Exchange.deaths` has a copy of every such state.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from exchange_markets import walk_panel

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.exchange.fault_script import FaultScript
from trader.exchange.http_connection import HttpConnection, Service
from trader.exchange.persist import VenueStore
from trader.exchange.server import ExchangeServer
from trader.exchange.snapshot import take_state
from trader.exchange.venue import Venue

KEYS = "APCA-API-KEY-ID: key\r\nAPCA-API-SECRET-KEY: secret\r\n"
UPGRADE = (
    "Host: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n"
)
SPINS = 40                      # turns of the loop after which a request without an answer has none
EVERYTHING = ("trades", "quotes", "bars", "dailyBars", "statuses", "lulds", "imbalances")
Deed = tuple[str, str, Any]     # method, path, body


class Line:
    """A client's end of a connection; as a transport it notes what is said, after a ``look`` at that instant."""

    def __init__(self, service: Service, look: Callable[[], None]) -> None:
        self.said: list[bytes] = []
        self.over = False
        self._look = look
        self._connection = HttpConnection(service)
        self._connection.connection_made(self)          # type: ignore[arg-type]

    def ask(self, method: str, path: str, body: object = None, extra: str = "") -> None:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\n{KEYS}{extra}Content-Length: {len(data)}\r\n\r\n"
        self._connection.data_received(head.encode() + data)

    def say(self, **message: object) -> None:
        """A text message to a stream, masked with zeros."""
        data = json.dumps(message).encode()
        size = bytes((0x80 | len(data),)) if len(data) < 126 else bytes((0x80 | 126, *len(data).to_bytes(2, "big")))
        self._connection.data_received(b"\x81" + size + bytes(4) + data)

    def write(self, data: bytes) -> None:
        self._look()
        self.said.append(bytes(data))

    def abort(self) -> None:
        if not self.over:
            self._look()
            self.over = True
            asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)

    close = write_eof = abort

    def is_closing(self) -> bool:
        return self.over

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def messages(frames: bytes) -> list[str]:
    """What a listener's frames say, message by message."""
    found: list[str] = []
    while frames:
        size, start = frames[1], 2
        if size > 125:
            start += 2 if size == 126 else 8
            size = int.from_bytes(frames[2:start])
        said = json.loads(frames[start : start + size]) if frames[0] in (0x81, 0x82) else "closed"
        found += map(json.dumps, said if isinstance(said, list) else [said])
        frames = frames[start + size :]
    return found


def canonical(body: bytes) -> str:
    """A stored state as a text that is the same for equal states."""
    state = msgspec.msgpack.decode(body)
    around = state["surroundings"] = msgspec.msgpack.decode(state["surroundings"])
    for owner, name in (
        (state, "halted"), (state, "hard_to_borrow"), (around, "passed"), (around["rules"], "hard_to_borrow"),
    ):
        owner[name] = sorted(owner[name])
    return json.dumps(state, sort_keys=True, default=repr)


class WatchedStore(VenueStore):
    """Tells when something new was committed."""

    def __init__(self, path: Path, committed: Callable[[], None]) -> None:
        super().__init__(path)
        self._db.execute("PRAGMA synchronous = OFF")        # nobody pulls the plug
        self._committed = committed

    def save(self, venue: Venue) -> None:
        super().save(venue)
        self._committed()

    @property
    def small(self) -> bytes:
        """The stored state without its rows."""
        row = self._db.execute("SELECT body FROM state").fetchone()
        return row[0] if row else b""

    @property
    def rows(self) -> list[Any]:
        return [self._db.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in (
            "orders", "activities", "equity",
        )]

    def copy(self, path: Path) -> None:
        self._db.execute("VACUUM INTO ?", (str(path),))


class Death:
    """What a kill leaves: the exchange's file, what it says, its log and the bar."""

    def __init__(self, path: Path, kept: str, log: str, index: int) -> None:
        self.path, self.kept, self.log, self.index = path, kept, log, index


class Exchange:
    """One life, with listeners on both streams.

    Attributes
    ----------
    deaths : list of Death
        Every state that a kill could have left so far, in order.
    heard : list of str
        What the listeners heard in the last deed.
    """

    def __init__(self, folder: Path, script: FaultScript, after: Death | None = None, log: str = "") -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._log_path = folder / "hits.jsonl"
        self._log_path.write_text(log)
        path = folder / "venue.db"
        if after is not None:
            path.write_bytes(after.path.read_bytes())
        panel = walk_panel(("AAPL", "MSFT"), 400, volume=3_000)
        self.venue = Venue(panel, start_index=1, fill_model=RealisticFillSimulator(), seed=5)
        self._file = self._log_path.open("a+")
        self.deaths: list[Death] = []
        self.heard: list[str] = []
        self.store = WatchedStore(path, self._committed)
        self.server = ExchangeServer(self.venue, persist=self.store, faults=script, fault_log=self._file)
        self._looked = b""
        self._listeners: dict[str, Line] = {}

    async def start(self) -> None:
        await self.server.start()
        if not self.deaths:
            self._committed()

    async def stop(self) -> None:
        await self.server.stop()
        self.store.close()
        self._file.close()

    @property
    def log(self) -> str:
        return self._log_path.read_text()

    def _committed(self) -> None:
        kept = canonical(self.store.small) + repr(self.store.rows)
        if not self.deaths or self.deaths[-1].kept != kept:
            path = self._folder / f"death{len(self.deaths)}.db"
            self.store.copy(path)
            self.deaths.append(Death(path, kept, self.log, self.venue.index))

    def look(self) -> None:
        """Somebody hears something: all that has happened so far must be durable."""
        desk, around = self.venue.desk, self.store.surroundings
        assert around is not None
        assert not desk.dirty
        assert not desk.events
        now = msgspec.msgpack.encode(take_state(self.venue, around.value()))
        if now != self._looked:
            assert canonical(now) == canonical(self.store.small)
            self._looked = now

    async def do(self, deed: Deed) -> bytes:
        """Do a deed to its end; what its client was told."""
        server = self.server
        self._listen()
        before = {path: len(line.said) for path, line in self._listeners.items()}
        line = Line(server._controllers if deed[1].startswith("/v1") else server._clients, self.look)
        line.ask(*deed)
        for _ in range(SPINS):
            await asyncio.sleep(0)
            if (line.said or line.over) and not (server._flush_due or server.pace.walking):
                break
        if server._restarting is not None:
            await server._restarting
        self.heard = [
            message for path, ear in self._listeners.items() for message in messages(b"".join(ear.said[before[path] :]))
        ]
        line.abort()
        await asyncio.sleep(0)
        return b"".join(line.said)

    def _listen(self) -> None:
        """Have listeners that hear; those that broke, were muted or froze are done with."""
        for path in ("/stream", "/v2/iex"):
            known = self._listeners.get(path)
            if known is not None and not known.over:
                socket: Any = known._connection._upgraded
                if not (socket.mute or socket.frozen or not socket._open):
                    continue
                known.abort()
            line = self._listeners[path] = Line(self.server._clients, self.look)
            line.ask("GET", path, extra=UPGRADE)
            if path == "/stream":
                line.say(action="authenticate", data={"key_id": "key", "secret_key": "secret"})
                line.say(action="listen", data={"streams": ["trade_updates"]})
            else:
                line.say(action="subscribe", **{channel: ["*"] for channel in EVERYTHING})
