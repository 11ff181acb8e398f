"""The market data WebSocket (`/v2/iex`, `/v2/sip`): JSON or msgpack, subscriptions, and bars as they complete.

A bar message has Alpaca's fields and two more: ``i``, the number of its slice, and ``seq``, which counts the bar
messages of the server's life from 1, whether somebody subscribed to them or not.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import msgspec

from trader.core.clock import SECOND_NS
from trader.core.panel import BarPanel
from trader.exchange.data_routes import number_json
from trader.exchange.trading_stream import Authorize
from trader.exchange.websocket import WebSocket, frame
from trader.exchange.wire import rfc3339

CHANNELS = (
    "trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections", "cancelErrors",
)
AUTH_SECONDS = 10.0
ERRORS = {
    400: "invalid syntax", 401: "not authenticated", 402: "auth failed", 403: "already authenticated",
    404: "auth timeout", 407: "slow client", 410: "invalid subscribe action for this feed",
}
_TIMESTAMP = -1                     # msgpack's own extension type for moments
Message = dict[str, Any]


def timestamp_ext(ns: int) -> msgspec.msgpack.Ext:
    """A moment as msgpack's timestamp extension, 64 bits: 30 of nanoseconds, 34 of seconds."""
    seconds, rest = divmod(ns, SECOND_NS)
    return msgspec.msgpack.Ext(_TIMESTAMP, (rest << 34 | seconds).to_bytes(8, "big"))


class Subscriber:
    """What one connection has shown and asked for."""

    def __init__(self, *, binary: bool, timer: asyncio.TimerHandle) -> None:
        self.binary = binary
        self.timer = timer
        self.authenticated = False
        self.channels: dict[str, set[str]] = {channel: set() for channel in CHANNELS}

    def wants(self, channel: str, symbol: str) -> bool:
        """Whether a message of this channel and symbol goes there."""
        wanted = self.channels[channel]
        return symbol in wanted or "*" in wanted


class DataStream:
    """All conversations on the market data streams of one server."""

    def __init__(self, authorize: Authorize) -> None:
        self._authorize = authorize
        self._subscribers: dict[WebSocket, Subscriber] = {}
        self.bars_sent = 0
        self._actions: dict[str, Callable[[WebSocket, Subscriber, Message], None]] = {
            "auth": self._auth, "subscribe": self._subscribe, "unsubscribe": self._unsubscribe,
        }

    @property
    def subscribed(self) -> int:
        """How many connections receive bars."""
        return sum(bool(subscriber.channels["bars"]) for subscriber in self._subscribers.values())

    def talk(self, *, binary: bool) -> DataTalk:
        """The conversation of one connection; ``binary`` means msgpack both ways."""
        return DataTalk(self, binary=binary)

    def opened(self, socket: WebSocket, *, binary: bool) -> None:
        """Greet, and give the client some seconds to authenticate."""
        timer = asyncio.get_running_loop().call_later(AUTH_SECONDS, self._expire, socket)
        self._subscribers[socket] = Subscriber(binary=binary, timer=timer)
        self._say(socket, {"T": "success", "msg": "connected"})

    def received(self, socket: WebSocket, message: bytes) -> None:
        """One message of a client."""
        subscriber = self._subscribers[socket]
        decode = msgspec.msgpack.decode if subscriber.binary else msgspec.json.decode
        try:
            body = decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            body = None
        action = self._actions.get(str(body.get("action"))) if isinstance(body, dict) else None
        if action is None or not isinstance(body, dict):
            self._error(socket, 400)
        elif not subscriber.authenticated and action != self._auth:
            self._error(socket, 401)
        else:
            action(socket, subscriber, body)

    def slow(self, socket: WebSocket) -> None:
        """The error that precedes the end of a connection that does not read."""
        self._subscribers[socket].channels["bars"] = set()

    def closed(self, socket: WebSocket) -> None:
        """Forget the socket."""
        subscriber = self._subscribers.pop(socket, None)
        if subscriber is not None:
            subscriber.timer.cancel()

    def publish_bars(self, panel: BarPanel, i: int) -> list[str]:
        """Send the bars of slice ``i``, one frame for every distinct wish; the symbols that had a bar."""
        columns = [column for column, close in enumerate(panel.close[i].tolist()) if close == close]
        first = self.bars_sent + 1
        self.bars_sent += len(columns)
        frames: dict[tuple[bool, frozenset[str]], bytes] = {}
        for socket, subscriber in tuple(self._subscribers.items()):
            wanted = subscriber.channels["bars"]
            if not wanted:
                continue
            wish = (subscriber.binary, frozenset(wanted))
            if wish not in frames:
                messages = [
                    bar_message(panel, i, column, first + n, binary=subscriber.binary)
                    for n, column in enumerate(columns) if subscriber.wants("bars", panel.symbols[column])
                ]
                frames[wish] = _frame(messages, binary=subscriber.binary) if messages else b""
            if frames[wish]:
                socket.send(frames[wish])
        return [panel.symbols[column] for column in columns]

    def _expire(self, socket: WebSocket) -> None:
        subscriber = self._subscribers.get(socket)
        if subscriber is not None and not subscriber.authenticated:
            self._error(socket, 404)
            socket.close()

    def _auth(self, socket: WebSocket, subscriber: Subscriber, body: Message) -> None:
        if subscriber.authenticated:
            self._error(socket, 403)
        elif self._authorize(str(body.get("key") or ""), str(body.get("secret") or "")):
            subscriber.authenticated = True
            subscriber.timer.cancel()
            self._say(socket, {"T": "success", "msg": "authenticated"})
        else:
            self._error(socket, 402)

    def _subscribe(self, socket: WebSocket, subscriber: Subscriber, body: Message) -> None:
        self._change(socket, subscriber, body, set.update)

    def _unsubscribe(self, socket: WebSocket, subscriber: Subscriber, body: Message) -> None:
        self._change(socket, subscriber, body, set.difference_update)

    def _change(
        self, socket: WebSocket, subscriber: Subscriber, body: Message,
        change: Callable[[set[str], list[str]], None],
    ) -> None:
        wishes = {channel: body[channel] for channel in CHANNELS if channel in body}
        for symbols in wishes.values():
            if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
                self._error(socket, 400)
                return
        for channel, symbols in wishes.items():
            change(subscriber.channels[channel], symbols)
        self._say(socket, {
            "T": "subscription", **{name: sorted(symbols) for name, symbols in subscriber.channels.items()},
        })

    def _error(self, socket: WebSocket, code: int) -> None:
        self._say(socket, {"T": "error", "code": code, "msg": ERRORS[code]})

    def _say(self, socket: WebSocket, message: Message) -> None:
        socket.send(_frame([message], binary=self._subscribers[socket].binary))


class DataTalk:
    """One connection's conversation; the stream keeps its state."""

    def __init__(self, stream: DataStream, *, binary: bool) -> None:
        self._stream = stream
        self._binary = binary

    def opened(self, socket: WebSocket) -> None:
        self._stream.opened(socket, binary=self._binary)

    def received(self, socket: WebSocket, message: bytes) -> None:
        self._stream.received(socket, message)

    def slow(self, socket: WebSocket) -> None:
        self._stream.slow(socket)

    def closed(self, socket: WebSocket) -> None:
        self._stream.closed(socket)


def bar_message(panel: BarPanel, i: int, column: int, seq: int, *, binary: bool) -> Message:
    """A completed bar as the stream gives it; ``t`` is its start."""
    ts_ns = int(panel.ts_ns[i])
    vwap = math.nan if panel.vwap is None else float(panel.vwap[i, column])
    count = math.nan if panel.trade_count is None else float(panel.trade_count[i, column])
    return {
        "T": "b", "S": panel.symbols[column], "o": float(panel.open[i, column]),
        "h": float(panel.high[i, column]), "l": float(panel.low[i, column]),
        "c": float(panel.close[i, column]), "v": number_json(float(panel.volume[i, column])),
        "n": None if math.isnan(count) else int(count), "vw": None if math.isnan(vwap) else vwap,
        "t": timestamp_ext(ts_ns) if binary else rfc3339(ts_ns), "i": i, "seq": seq,
    }


def _frame(messages: list[Message], *, binary: bool) -> bytes:
    encode = msgspec.msgpack.encode if binary else msgspec.json.encode
    return frame(encode(messages), binary=binary)
