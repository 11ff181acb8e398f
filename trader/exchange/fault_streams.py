"""Faults between the venue and the streams: messages doubled, lost, late, out of order, bent; connections broken.

What becomes of a message is decided when it is made, and durable with what it tells of; it is sent, and connections
break, afterwards. What waits here for a later message or bar is lost when the process dies, as with any server.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from trader.exchange.data_messages import Outgoing
from trader.exchange.data_stream import ERRORS, DataStream
from trader.exchange.fault_fields import remove_field, set_field, shift_moments
from trader.exchange.fault_rules import (
    STEP,
    DelayUpdate,
    Duplicate,
    Fault,
    HalfOpen,
    KillStream,
    MissingInUpdate,
    Mute,
    Omit,
    Reorder,
    SkewInUpdate,
    SocketFault,
    StreamError,
    UnknownInUpdate,
    UpdateFault,
)
from trader.exchange.faults import FaultPlan, matches_update
from trader.exchange.outbox import Outbox
from trader.exchange.trading_stream import TradingStream, Update
from trader.exchange.websocket import WebSocket

TRADING, DATA = "trading", "data"
T = TypeVar("T")


class Lane(Generic[T]):
    """One stream's messages on their way out.

    ``deliver`` sends messages; ``read`` gives a message's event, symbol and fields, ``write`` a message with other
    fields.
    """

    def __init__(
        self, name: str, deliver: Callable[[list[T]], None],
        read: Callable[[T], tuple[str, str | None, dict[str, Any]]], write: Callable[[T, dict[str, Any]], T],
    ) -> None:
        self.name = name
        self.deliver = deliver
        self.read = read
        self.write = write
        self.behind: list[T] = []                   # wait for the next message
        self.late: list[tuple[int, T]] = []         # wait for a bar


class StreamFaults:
    """Every message of both streams passes here while a stream fault is armed.

    Attributes
    ----------
    needed : bool
        Whether there is anything to do at all.
    """

    def __init__(
        self, plan: FaultPlan, trading: TradingStream, data: DataStream, outbox: Outbox, bar: Callable[[], int]
    ) -> None:
        self._plan = plan
        self._outbox = outbox
        self._trading_stream = trading
        self._data_stream = data
        self._bar = bar
        self._trading: Lane[Update] = Lane(
            TRADING, lambda updates: outbox.then(partial(trading.send, updates)), _read_update, _write_update
        )
        self._data: Lane[Outgoing] = Lane(DATA, data.queue, _read_outgoing, _write_outgoing)
        self._muted: list[tuple[int, WebSocket]] = []
        self.needed = False
        self._sockets: dict[type[Fault], Callable[[Any, WebSocket], None]] = {
            KillStream: lambda fault, socket: socket.cut(), HalfOpen: _freeze, Mute: self._mute,
            StreamError: self._say_error,
        }

    def watch(self) -> None:
        """Step between the streams and their listeners when there is something to do, and out of the way when not."""
        self.needed = needed = bool(self._muted) or self._plan.watches(UpdateFault) or any((
            self._trading.behind, self._trading.late, self._data.behind, self._data.late,
        ))
        self._trading_stream.tamper = (lambda batch: self._pass(self._trading, batch)) if needed else None
        self._data_stream.tamper = (lambda batch: self._pass(self._data, batch)) if needed else None

    def after_bar(self) -> None:
        """A bar was played: what waited for it leaves, mutes end, faults of the step happen."""
        if not self.needed:
            return
        self._release(self._trading)
        self._release(self._data)
        bar = self._bar()
        for due, socket in self._muted:
            if due <= bar:
                self._outbox.then(partial(_unmute, socket))
        self._muted = [(due, socket) for due, socket in self._muted if due > bar]
        if self._plan.watches(SocketFault):
            for fault in self._plan.strike(SocketFault, lambda fault: fault.event == STEP, {"event": STEP}):
                self._outbox.then(partial(self.act, fault))
        self.watch()

    def act(self, fault: Any) -> None:
        """A fault of the connections, now."""
        for name, stream in ((TRADING, self._trading_stream), (DATA, self._data_stream)):
            if fault.stream in (name, "both"):
                for socket in stream.sockets:
                    self._sockets[type(fault)](fault, socket)

    # --- messages -------------------------------------------------------------------------------------------

    def _pass(self, lane: Lane[T], batch: list[T]) -> None:
        ready: list[T] = []
        for message in batch:
            event, symbol, fields = lane.read(message)
            matches = matches_update(lane.name, event, symbol)
            what = {"stream": lane.name, "event": event, "symbol": symbol, "seq": _number(fields)}
            faults = self._plan.strike(UpdateFault, matches, what, _covers)
            sockets = [fault for fault in faults if isinstance(fault, SocketFault)]
            if sockets:
                lane.deliver(ready)
                ready = []
                for fault in sockets:
                    self._outbox.then(partial(self.act, fault))
            behind, lane.behind = lane.behind, []
            bent = _bent(fields, faults)
            ready.extend(self._moved(lane, message if bent is fields else lane.write(message, bent), faults))
            ready.extend(behind)
        lane.deliver(ready)

    def _moved(self, lane: Lane[T], message: T, faults: list[Fault]) -> list[T]:
        """What leaves now in place of a message: it and its copies, or nothing when they wait or were lost."""
        if any(isinstance(fault, Omit) for fault in faults):
            return []
        copies = [message] * (1 + sum(fault.times for fault in faults if isinstance(fault, Duplicate)))
        for fault in faults:
            if isinstance(fault, Reorder):
                lane.behind.extend(copies)
                return []
            if isinstance(fault, DelayUpdate):
                due = self._bar() + fault.bars
                lane.late.extend((due, copy) for copy in copies)
                return []
        return copies

    def _release(self, lane: Lane[T]) -> None:
        bar = self._bar()
        due = lane.behind + [message for when, message in lane.late if when <= bar]
        lane.behind = []
        lane.late = [(when, message) for when, message in lane.late if when > bar]
        if due:
            lane.deliver(due)

    # --- connections ----------------------------------------------------------------------------------------

    def _mute(self, fault: Mute, socket: WebSocket) -> None:
        socket.mute = True
        if fault.bars:
            self._muted.append((self._bar() + fault.bars, socket))
            self.needed = True

    def _say_error(self, fault: StreamError, socket: WebSocket) -> None:
        if socket not in self._data_stream.sockets:
            return
        self._data_stream.error(socket, fault.code if fault.code in ERRORS else 500)
        if fault.close:
            socket.close()


def _covers(hit: UpdateFault, other: UpdateFault) -> bool:
    """Whether a fault that has hit a message leaves nothing to do for another: it is lost, or waits already."""
    if isinstance(hit, Omit):
        return not isinstance(other, SocketFault)
    return isinstance(hit, Reorder | DelayUpdate) and isinstance(other, Reorder | DelayUpdate)


def _bent(fields: dict[str, Any], faults: list[Fault]) -> dict[str, Any]:
    """A message's fields as the faults distort them, one after the other; the same object when none does."""
    for fault in faults:
        if isinstance(fault, UnknownInUpdate):
            fields = set_field(fields, fault.field, fault.value)
        elif isinstance(fault, MissingInUpdate):
            fields = remove_field(fields, fault.field)
        elif isinstance(fault, SkewInUpdate):
            fields = shift_moments(fields, fault.seconds)
    return fields


def _freeze(fault: HalfOpen, socket: WebSocket) -> None:
    socket.frozen = True


def _unmute(socket: WebSocket) -> None:
    socket.mute = False


def _read_update(update: Update) -> tuple[str, str | None, dict[str, Any]]:
    data = update["data"]
    return data["event"], data["order"]["symbol"], data


def _write_update(update: Update, fields: dict[str, Any]) -> Update:
    return {**update, "data": fields}


def _read_outgoing(outgoing: Outgoing) -> tuple[str, str | None, dict[str, Any]]:
    return outgoing.message.get("T", ""), outgoing.symbol, outgoing.message


def _write_outgoing(outgoing: Outgoing, fields: dict[str, Any]) -> Outgoing:
    return outgoing._replace(message=fields)


def _number(fields: dict[str, Any]) -> int | None:
    """The running number of a message, for the log."""
    return fields.get("seq", fields.get("i"))
