"""The market data WebSocket (`/v2/iex`, `/v2/sip`): JSON or msgpack, subscriptions, and the market as it happens.

A message is encoded once for each format, whoever wants it. Listeners with one format and one wish share a lane: what
they hear is put into frames once, and frames carry as many messages as came together, of several slices where the
venue moves on by several at once. A bar message has Alpaca's fields and two more: ``i``, the number of its slice, and
``seq``, which counts the bar messages of the server's life from 1, whether somebody subscribed to them or not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import msgspec

from trader.core.panel import BarPanel
from trader.exchange.data_messages import Message, Outgoing, SliceMessages, Tamper, array_of, encode
from trader.exchange.trading_stream import UNREADABLE, Authorize
from trader.exchange.websocket import WebSocket, frame

CHANNELS = (
    "trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections", "cancelErrors",
    "imbalances",
)
SILENT = "imbalances"               # the one channel that an echo leaves out where nobody asked for it
COMES_WITH_TRADES = ("corrections", "cancelErrors")
LIMITED = ("trades", "quotes")      # the channels that a plan's symbol limit counts
WITH_BARS = (*LIMITED, "dailyBars", "lulds")    # the channels of which every bar brings something
AUTH_SECONDS = 10.0
MAX_SYMBOLS = 20_000                # names that one connection may hold over all channels
FRAME_MESSAGES = 1_500              # more travel in several frames: clients read 1 MiB at most
ERRORS = {
    400: "invalid syntax", 401: "not authenticated", 402: "auth failed", 403: "already authenticated",
    404: "auth timeout", 405: "symbol limit exceeded", 406: "connection limit exceeded", 407: "slow client",
    408: "v2 not enabled", 409: "insufficient subscription", 410: "invalid subscribe action for this feed",
    411: "insufficient scope", 412: "option messages are only available in MsgPack format",
    413: "star subscription is not allowed for option quotes", 500: "internal error",
}

log = logging.getLogger("alphatrade.exchange")


class DataPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the account may have: feeds, symbols of trades and quotes, connections a feed; None is no limit."""

    feeds: tuple[str, ...] = ("iex", "sip")
    symbol_limit: int | None = None
    connection_limit: int | None = None


DATA_PLANS = {
    "unlimited": DataPlan(),
    "basic": DataPlan(feeds=("iex",), symbol_limit=30, connection_limit=1),     # Alpaca's free plan
    "plus": DataPlan(connection_limit=1),
}


Wish = tuple[bool, tuple[frozenset[str], ...]]


class Subscriber:
    """What one connection has shown and asked for."""

    def __init__(self, *, binary: bool, feed: str, timer: asyncio.TimerHandle) -> None:
        self.binary = binary
        self.feed = feed
        self.timer = timer
        self.authenticated = False
        self.channels: dict[str, set[str]] = {channel: set() for channel in CHANNELS}

    @property
    def wish(self) -> Wish:
        """What makes this subscriber's frames differ from others'."""
        return self.binary, tuple(frozenset(wanted) for wanted in self.channels.values())


class Lane:
    """The listeners of one format and one wish, and the messages that wait for them, encoded."""

    __slots__ = ("all_bars", "binary", "channels", "parts", "sockets")

    def __init__(self, wish: Wish) -> None:
        self.binary, wanted = wish
        self.channels = dict(zip(CHANNELS, wanted, strict=True))
        self.all_bars = "*" in self.channels["bars"]
        self.sockets: list[WebSocket] = []
        self.parts: list[bytes] = []

    def take(self) -> bytes:
        """What waits, in frames that clients can read, all in one piece; nothing waits then."""
        parts, binary = self.parts, self.binary
        ready = b"".join(
            frame(array_of(parts[at : at + FRAME_MESSAGES], binary=binary), binary=binary)
            for at in range(0, len(parts), FRAME_MESSAGES)
        )
        parts.clear()
        return ready


class DataStream:
    """All conversations on the market data streams of one server.

    Attributes
    ----------
    tamper
        When set, it gets every batch of messages in place of `queue`.
    bars_sent : int
        The ``seq`` of the last bar message.
    held : int
        How many bar messages wait since `hold`, whether somebody wants them or not.
    """

    def __init__(
        self, authorize: Authorize, plan: DataPlan | None = None, before_telling: Callable[[], None] = lambda: None,
    ) -> None:
        self._authorize = authorize
        self._before_telling = before_telling       # makes durable what is told next, and tells what comes first
        self.plan = plan or DataPlan()
        self._subscribers: dict[WebSocket, Subscriber] = {}
        self._lanes: list[Lane] | None = None               # while nobody changes what is subscribed to
        self._wanted: dict[str, frozenset[str]] = {}        # all that is subscribed to, by channel
        self._more = False                                  # whether some of it is told with bars, besides them
        self._holding = False
        self.held = 0
        self.bars_sent = 0
        self.tamper: Tamper | None = None
        self._actions: dict[str, Callable[[WebSocket, Subscriber, Message], None]] = {
            "auth": self._auth, "subscribe": self._subscribe, "unsubscribe": self._unsubscribe,
        }

    @property
    def subscribed(self) -> int:
        """How many connections receive bars."""
        return sum(bool(subscriber.channels["bars"]) for subscriber in self._subscribers.values())

    @property
    def sockets(self) -> tuple[WebSocket, ...]:
        """The open connections."""
        return tuple(self._subscribers)

    def talk(self, *, binary: bool, feed: str = "iex", keys: tuple[str, str] | None = None) -> DataTalk:
        """The conversation of one connection: ``binary`` means msgpack both ways, ``keys`` came with the handshake."""
        return DataTalk(self, binary=binary, feed=feed, keys=keys)

    # --- conversation ---------------------------------------------------------------------------------------

    def opened(self, socket: WebSocket, *, binary: bool, feed: str, keys: tuple[str, str] | None) -> None:
        """Greet, and give the client some seconds to authenticate unless its handshake did."""
        timer = asyncio.get_running_loop().call_later(AUTH_SECONDS, self._expire, socket)
        self._subscribers[socket] = Subscriber(binary=binary, feed=feed, timer=timer)
        self._say(socket, {"T": "success", "msg": "connected"})
        if keys is not None:
            self._sign_in(socket, self._subscribers[socket], *keys)

    def received(self, socket: WebSocket, message: bytes) -> None:
        """One message of a client."""
        subscriber = self._subscribers[socket]
        decode = msgspec.msgpack.decode if subscriber.binary else msgspec.json.decode
        try:
            body = decode(message)
        except UNREADABLE:
            body = None
        action = self._actions.get(str(body.get("action"))) if isinstance(body, dict) else None
        if action is None or not isinstance(body, dict):
            self.error(socket, 400)
        elif not subscriber.authenticated and action != self._auth:
            self.error(socket, 401)
        else:
            try:
                action(socket, subscriber, body)
            except Exception:
                log.exception("the data stream failed on %r", body.get("action"))
                self.error(socket, 500)

    def slow(self, socket: WebSocket) -> bytes:
        """The error that precedes the end of a connection that does not read."""
        subscriber = self._subscribers[socket]
        subscriber.channels = {channel: set() for channel in CHANNELS}
        self._lanes = None
        return self._frame({"T": "error", "code": 407, "msg": ERRORS[407]}, binary=subscriber.binary)

    def closed(self, socket: WebSocket) -> None:
        """Forget the socket."""
        self._lanes = None
        subscriber = self._subscribers.pop(socket, None)
        if subscriber is not None:
            subscriber.timer.cancel()

    def error(self, socket: WebSocket, code: int) -> None:
        """Send an error of the table."""
        self._say(socket, {"T": "error", "code": code, "msg": ERRORS[code]})

    def _expire(self, socket: WebSocket) -> None:
        subscriber = self._subscribers.get(socket)
        if subscriber is not None and not subscriber.authenticated:
            self.error(socket, 404)
            socket.close()

    def _auth(self, socket: WebSocket, subscriber: Subscriber, body: Message) -> None:
        if subscriber.authenticated:
            self.error(socket, 403)
        else:
            self._sign_in(socket, subscriber, str(body.get("key") or ""), str(body.get("secret") or ""))

    def _sign_in(self, socket: WebSocket, subscriber: Subscriber, key: str, secret: str) -> None:
        if not self._authorize(key, secret):
            self.error(socket, 402)
            return
        code = self._refusal(subscriber)
        if code is not None:
            self.error(socket, code)
            socket.close()
            return
        subscriber.authenticated = True
        subscriber.timer.cancel()
        self._say(socket, {"T": "success", "msg": "authenticated"})

    def _refusal(self, subscriber: Subscriber) -> int | None:
        """Why the plan does not let this connection in; None when it does."""
        if subscriber.feed not in self.plan.feeds:
            return 409
        others = sum(
            other.authenticated and other.feed == subscriber.feed for other in self._subscribers.values()
        )
        limit = self.plan.connection_limit
        return 406 if limit is not None and others >= limit else None

    def _subscribe(self, socket: WebSocket, subscriber: Subscriber, body: Message) -> None:
        self._change(socket, subscriber, body, set.union)

    def _unsubscribe(self, socket: WebSocket, subscriber: Subscriber, body: Message) -> None:
        self._change(socket, subscriber, body, set.difference)

    def _change(
        self, socket: WebSocket, subscriber: Subscriber, body: Message,
        change: Callable[[set[str], Iterable[str]], set[str]],
    ) -> None:
        wishes = {channel: wish for channel, wish in body.items() if channel != "action"}
        for symbols in wishes.values():
            if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
                self.error(socket, 400)
                return
        if any(wish for channel, wish in wishes.items() if channel not in CHANNELS):
            self.error(socket, 410)
            return
        if "trades" in wishes:
            wishes = {**dict.fromkeys(COMES_WITH_TRADES, wishes["trades"]), **wishes}
        after = {
            channel: change(held, wishes[channel]) if channel in wishes else held
            for channel, held in subscriber.channels.items()
        }
        if self._too_many(after):
            self.error(socket, 405)                 # the set stays as it was
            return
        self.flush()                                # what was said before the change goes by the old wish
        subscriber.channels = after
        self._lanes = None
        self._say(socket, {"T": "subscription", **{
            name: sorted(symbols) for name, symbols in after.items() if symbols or name != SILENT
        }})

    def _too_many(self, channels: dict[str, set[str]]) -> bool:
        """Whether a set of wishes is beyond the plan, to which a star is more than any number."""
        limit = self.plan.symbol_limit
        if sum(map(len, channels.values())) > MAX_SYMBOLS:
            return True
        counted = [channels[channel] for channel in LIMITED]
        return limit is not None and any(len(wanted) > limit or "*" in wanted for wanted in counted)

    def _say(self, socket: WebSocket, message: Message) -> None:
        subscriber = self._subscribers.get(socket)
        if subscriber is not None:
            self.flush()
            socket.send(self._frame(message, binary=subscriber.binary))

    @staticmethod
    def _frame(message: Message, *, binary: bool) -> bytes:
        return frame(array_of([encode(message, binary=binary)], binary=binary), binary=binary)

    # --- the market -----------------------------------------------------------------------------------------

    def publish_slice(self, panel: BarPanel, i: int, *, half_spread_bps: float, session_start: int) -> list[str]:
        """Tell slice ``i``: its trades and quotes in the order of time, its bars, the day so far, the price bands.

        Returns the symbols that had a bar.
        """
        made = SliceMessages(panel, i, half_spread_bps)
        names, columns, first = panel.symbols, made.columns, self.bars_sent + 1
        self.bars_sent += len(columns)
        self.held += len(columns)
        lanes = self._lanes
        if lanes is None:
            lanes = self._gather()
        if lanes:
            wanted = self._wanted["bars"]
            bars = list(zip(columns, range(first, first + len(columns)), strict=True)) if wanted else []
            if "*" not in wanted:
                bars = [(column, seq) for column, seq in bars if names[column] in wanted]
            ticks: list[Outgoing] = []
            rest: list[Outgoing] = []
            if self._more:
                ticks = self._ticks(made, names)
                rest = self._days_and_bands(made, names, session_start)
            if self.tamper is not None:
                told = [Outgoing("bars", names[column], made.bar(column, seq)) for column, seq in bars]
                self.tamper([*ticks, *told, *rest])
            else:
                if ticks:
                    self.queue(ticks)
                if bars:
                    self._queue_bars(made, names, bars)
                if rest:
                    self.queue(rest)
            if not self._holding:
                self.flush()
        return [names[column] for column in columns]

    def _ticks(self, made: SliceMessages, names: tuple[str, ...]) -> list[Outgoing]:
        """Trades and quotes of a slice, as far as somebody wants them, in the order of time."""
        trades_wanted, quotes_wanted = (self._wanted[channel] for channel in LIMITED)
        batch: list[Outgoing] = []
        if trades_wanted or quotes_wanted:
            for column in made.columns:
                trades, quotes = asked(trades_wanted, names[column]), asked(quotes_wanted, names[column])
                if trades or quotes:
                    batch.extend(made.ticks(column, trades=trades, quotes=quotes))
            batch.sort(key=lambda outgoing: outgoing.message["t"])
        return batch

    def _days_and_bands(self, made: SliceMessages, names: tuple[str, ...], session_start: int) -> list[Outgoing]:
        """The day so far and the price bands after a slice, as far as somebody wants them."""
        batch: list[Outgoing] = []
        for channel, make in (
            ("dailyBars", lambda column: made.daily_bar(column, session_start)), ("lulds", made.luld),
        ):
            if self._wanted[channel]:
                batch.extend(
                    Outgoing(channel, names[column], make(column))
                    for column in made.columns if asked(self._wanted[channel], names[column])
                )
        return batch

    def is_wanted(self, channel: str) -> bool:
        """Whether anybody subscribes to a channel."""
        if self._lanes is None:
            self._gather()
        return bool(self._wanted[channel])

    def publish(self, batch: list[Outgoing]) -> None:
        """Send messages to whoever wants them, through whoever tampers with them."""
        (self.tamper or self.queue)(batch)
        if not self._holding:
            self.flush()

    def hold(self) -> None:
        """Let the messages that come wait for each other, until `release` and `flush`."""
        self._holding = True
        self.held = 0

    def release(self) -> None:
        """Let the messages that come leave at once again."""
        self._holding = False

    def flush(self) -> None:
        """Send what waits now."""
        self._before_telling()
        ready = self.seal()
        if ready is not None:
            ready()

    def seal(self) -> Callable[[], None] | None:
        """What waits, as something that sends it whatever comes after; None when nothing waits."""
        ready = [(lane.sockets, lane.take()) for lane in self._lanes or () if lane.parts]

        def send() -> None:
            for sockets, frames in ready:
                for socket in sockets:
                    socket.send(frames)

        return send if ready else None

    def queue(self, batch: list[Outgoing]) -> None:
        """Put messages into the lanes that want them, as they are."""
        encoded: dict[bool, list[bytes]] = {}
        for lane in self._gather() if self._lanes is None else self._lanes:
            binary = lane.binary
            if binary not in encoded:
                encoded[binary] = [encode(outgoing.message, binary=binary) for outgoing in batch]
            lane.parts.extend(
                part for part, (channel, symbol, _) in zip(encoded[binary], batch, strict=True)
                if asked(lane.channels[channel], symbol)
            )

    def _queue_bars(self, made: SliceMessages, names: tuple[str, ...], bars: list[tuple[int, int]]) -> None:
        """Put the bars of a slice, by column and ``seq``, into the lanes that want them."""
        encoded: dict[bool, list[bytes]] = {}
        for lane in self._lanes or ():
            binary = lane.binary
            if binary not in encoded:
                encoded[binary] = made.encoded_bars(bars, binary=binary)
            if lane.all_bars:
                lane.parts += encoded[binary]
            elif lane.channels["bars"]:
                wanted = lane.channels["bars"]
                lane.parts.extend(
                    part for part, (column, _) in zip(encoded[binary], bars, strict=True) if names[column] in wanted
                )

    def _gather(self) -> list[Lane]:
        """Sort the connections that want anything into lanes."""
        lanes: dict[Wish, Lane] = {}
        for socket, subscriber in self._subscribers.items():
            if any(subscriber.channels.values()):
                wish = subscriber.wish
                lane = lanes.get(wish)
                if lane is None:
                    lane = lanes[wish] = Lane(wish)
                lane.sockets.append(socket)
        self._lanes = found = list(lanes.values())
        self._wanted = {
            channel: frozenset().union(*(lane.channels[channel] for lane in found)) for channel in CHANNELS
        }
        self._more = any(self._wanted[channel] for channel in WITH_BARS)
        return found


def asked(wanted: frozenset[str], symbol: str) -> bool:
    """Whether a set of wishes covers a symbol."""
    return symbol in wanted or "*" in wanted


class DataTalk:
    """One connection's conversation; the stream keeps its state."""

    def __init__(self, stream: DataStream, *, binary: bool, feed: str, keys: tuple[str, str] | None) -> None:
        self._stream = stream
        self._binary = binary
        self._feed = feed
        self._keys = keys

    def opened(self, socket: WebSocket) -> None:
        self._stream.opened(socket, binary=self._binary, feed=self._feed, keys=self._keys)

    def received(self, socket: WebSocket, message: bytes) -> None:
        self._stream.received(socket, message)

    def slow(self, socket: WebSocket) -> bytes:
        return self._stream.slow(socket)

    def closed(self, socket: WebSocket) -> None:
        self._stream.closed(socket)
