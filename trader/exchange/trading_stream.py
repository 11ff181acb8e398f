"""The `/stream` WebSocket: authorization, listening, and every trade update to whoever listens; JSON or msgpack."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from trader.exchange.types import VenueEvent
from trader.exchange.websocket import WebSocket, frame
from trader.exchange.wire import trade_update_json

TRADE_UPDATES = "trade_updates"
AUTH_SECONDS = 10.0                 # whoever has not shown keys by then is shown out
Authorize = Callable[[str, str], bool]
Update = dict[str, Any]
# What bytes that are no message make a decoder raise.
UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)
_to_json = msgspec.json.Encoder().encode
_to_msgpack = msgspec.msgpack.Encoder().encode


class TradingStream:
    """All conversations on `/stream`; frames are binary, as Alpaca sends them.

    Attributes
    ----------
    tamper
        When set, it gets every batch of trade updates before they are durable, in place of `send` afterwards.
    """

    def __init__(self, authorize: Authorize) -> None:
        self._authorize = authorize
        self._authorized: set[WebSocket] = set()
        self._timers: dict[WebSocket, asyncio.TimerHandle] = {}
        self._packed: set[WebSocket] = set()                # those that talk msgpack
        self.listeners: set[WebSocket] = set()
        self.tamper: Callable[[list[Update]], None] | None = None
        self._actions: dict[str, Callable[[WebSocket, dict[str, Any]], None]] = {
            "authenticate": self._authenticate, "auth": self._authenticate, "listen": self._listen,
        }

    @property
    def sockets(self) -> tuple[WebSocket, ...]:
        """The open connections."""
        return tuple(self._timers)

    def talk(self, *, packed: bool) -> TradingTalk:
        """The conversation of one connection; ``packed`` means msgpack both ways."""
        return TradingTalk(self, packed=packed)

    def opened(self, socket: WebSocket, *, packed: bool) -> None:
        """Nothing is said before the client speaks, which it must within `AUTH_SECONDS`."""
        if packed:
            self._packed.add(socket)
        self._timers[socket] = asyncio.get_running_loop().call_later(AUTH_SECONDS, self._expire, socket)

    def received(self, socket: WebSocket, message: bytes) -> None:
        """One message of a client."""
        try:
            body = (msgspec.msgpack if socket in self._packed else msgspec.json).decode(message)
        except UNREADABLE:
            body = None
        action = self._actions.get(str(body.get("action"))) if isinstance(body, dict) else None
        if action is None or not isinstance(body, dict):
            self._say(socket, "error", {"error": "invalid message: authenticate or listen is expected"})
            return
        action(socket, body)

    def slow(self, socket: WebSocket) -> bytes:
        """What a socket that does not read is told before it is closed."""
        self.listeners.discard(socket)
        return self._frame(socket, "error", {"error": "slow client"})

    def closed(self, socket: WebSocket) -> None:
        """Forget the socket."""
        self.listeners.discard(socket)
        self._authorized.discard(socket)
        self._packed.discard(socket)
        timer = self._timers.pop(socket, None)
        if timer is not None:
            timer.cancel()

    @property
    def heard(self) -> bool:
        """Whether anybody wants to know."""
        return bool(self.listeners) or self.tamper is not None

    def publish(self, events: Iterable[VenueEvent]) -> None:
        """Send trade updates to all listeners."""
        self.send(map(trade_update_json, events))

    def send(self, updates: Iterable[Update]) -> None:
        """Send ready updates to all listeners; all of one moment leave together."""
        updates = list(updates)
        for packed, encode in ((False, _to_json), (True, _to_msgpack)):
            sockets = [socket for socket in self.listeners if (socket in self._packed) is packed]
            if sockets and updates:
                ready = b"".join(frame(encode(update), binary=True) for update in updates)
                for socket in sockets:
                    socket.send(ready)

    def _expire(self, socket: WebSocket) -> None:
        if socket not in self._authorized:
            self._say(socket, "error", {"error": "auth timeout"})
            socket.close()

    def _authenticate(self, socket: WebSocket, body: dict[str, Any]) -> None:
        data = body.get("data")
        keys = data if isinstance(data, dict) else {"key_id": body.get("key"), "secret_key": body.get("secret")}
        accepted = self._authorize(str(keys.get("key_id") or ""), str(keys.get("secret_key") or ""))
        if accepted:
            self._authorized.add(socket)
        status = "authorized" if accepted else "unauthorized"
        self._say(socket, "authorization", {"status": status, "action": "authenticate"})

    def _listen(self, socket: WebSocket, body: dict[str, Any]) -> None:
        if socket not in self._authorized:
            self._say(socket, "authorization", {"status": "unauthorized", "action": "listen"})
            return
        data = body.get("data")
        wanted = data.get("streams") if isinstance(data, dict) else None
        listening = isinstance(wanted, list) and TRADE_UPDATES in wanted
        (self.listeners.add if listening else self.listeners.discard)(socket)
        self._say(socket, "listening", {"streams": [TRADE_UPDATES] if listening else []})

    def _say(self, socket: WebSocket, stream: str, data: dict[str, Any]) -> None:
        socket.send(self._frame(socket, stream, data))

    def _frame(self, socket: WebSocket, stream: str, data: dict[str, Any]) -> bytes:
        encode = _to_msgpack if socket in self._packed else _to_json
        return frame(encode({"stream": stream, "data": data}), binary=True)


class TradingTalk:
    """One connection's conversation; the stream keeps its state."""

    def __init__(self, stream: TradingStream, *, packed: bool) -> None:
        self._stream = stream
        self._packed = packed
        self.received = stream.received
        self.slow = stream.slow
        self.closed = stream.closed

    def opened(self, socket: WebSocket) -> None:
        self._stream.opened(socket, packed=self._packed)
