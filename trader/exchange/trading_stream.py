"""The `/stream` WebSocket: authorization, listening, and every trade update to whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from trader.exchange.types import VenueEvent
from trader.exchange.websocket import WebSocket, frame
from trader.exchange.wire import trade_update_json

TRADE_UPDATES = "trade_updates"
Authorize = Callable[[str, str], bool]


class TradingStream:
    """All conversations on `/stream`; frames are binary JSON, as Alpaca sends them."""

    def __init__(self, authorize: Authorize) -> None:
        self._authorize = authorize
        self._authorized: set[WebSocket] = set()
        self.listeners: set[WebSocket] = set()
        self._actions: dict[str, Callable[[WebSocket, dict[str, Any]], None]] = {
            "authenticate": self._authenticate, "auth": self._authenticate, "listen": self._listen,
        }

    def opened(self, socket: WebSocket) -> None:
        """Nothing is said before the client speaks."""

    def received(self, socket: WebSocket, message: bytes) -> None:
        """One message of a client."""
        try:
            body = msgspec.json.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            body = None
        action = self._actions.get(str(body.get("action"))) if isinstance(body, dict) else None
        if action is None or not isinstance(body, dict):
            self._say(socket, "error", {"error": "invalid message: authenticate or listen is expected"})
            return
        action(socket, body)

    def slow(self, socket: WebSocket) -> None:
        """Told before a socket that does not read is closed."""
        self.listeners.discard(socket)

    def closed(self, socket: WebSocket) -> None:
        """Forget the socket."""
        self.listeners.discard(socket)
        self._authorized.discard(socket)

    def publish(self, events: Iterable[VenueEvent]) -> None:
        """Send trade updates to all listeners."""
        if not self.listeners:
            return
        for event in events:
            ready = frame(msgspec.json.encode(trade_update_json(event)), binary=True)
            for socket in tuple(self.listeners):
                socket.send(ready)

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
            self._say(socket, "listening", {"error": "not authorized", "streams": []})
            return
        data = body.get("data")
        wanted = data.get("streams") if isinstance(data, dict) else None
        listening = isinstance(wanted, list) and TRADE_UPDATES in wanted
        (self.listeners.add if listening else self.listeners.discard)(socket)
        self._say(socket, "listening", {"streams": [TRADE_UPDATES] if listening else []})

    def _say(self, socket: WebSocket, stream: str, data: dict[str, Any]) -> None:
        socket.send(frame(msgspec.json.encode({"stream": stream, "data": data}), binary=True))
