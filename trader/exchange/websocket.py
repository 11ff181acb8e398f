"""One WebSocket connection: the sans-I/O protocol of `websockets` on an asyncio transport."""

from __future__ import annotations

import asyncio
import struct
from typing import Protocol

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import State
from websockets.server import ServerProtocol

MAX_MESSAGE = 1_048_576
MAX_BACKLOG = 16 * 1_048_576        # bytes that a slow reader may leave unread
CLOSE_SECONDS = 10.0                # after which a client that does not answer a close is cut off


class Talk(Protocol):
    """A conversation over a socket."""

    def opened(self, socket: WebSocket) -> None:
        """The handshake is done."""

    def received(self, socket: WebSocket, message: bytes) -> None:
        """A complete message, text or binary, fragments joined."""

    def slow(self, socket: WebSocket) -> bytes:
        """The client does not read; the frame to send as the last before the socket closes."""

    def closed(self, socket: WebSocket) -> None:
        """The socket is gone."""


def frame(payload: bytes, *, binary: bool) -> bytes:
    """A whole message as one unmasked frame; made once, sent to many."""
    first = 0x82 if binary else 0x81
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65_536:
        return struct.pack(">BBH", first, 126, size) + payload
    return struct.pack(">BBQ", first, 127, size) + payload


class WebSocket:
    """A server's end. ``talk`` is told what arrives; `send` takes ready frames.

    Attributes
    ----------
    mute
        Nothing that the talk says is sent; pings are answered all the same.
    frozen
        Neither heard nor answered, and still open: what a vanished peer behind a silent network looks like.
    """

    def __init__(self, transport: asyncio.Transport, talk: Talk | None, data: bytes) -> None:
        self._transport = transport
        self._protocol = ServerProtocol(max_size=MAX_MESSAGE)
        self._talk = talk
        self._parts = bytearray()                   # of a message that is not complete
        self._text = False                          # which it is, by its first frame
        self._open = False
        self._cutter: asyncio.TimerHandle | None = None
        self.mute = False
        self.frozen = False
        end = data.find(b"\r\n\r\n") + 4
        self.feed(data[:end])                       # the handshake is answered before frames that came with it
        if data[end:]:
            self.feed(data[end:])

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        if self.frozen:
            return
        protocol = self._protocol
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Handshake):
                self._shake_hands(event)
            elif isinstance(event, Frame):
                self._take(event)
        self._flush()

    def _shake_hands(self, request: Handshake) -> None:
        protocol = self._protocol
        if self._talk is None:
            protocol.send_response(protocol.reject(404, "no such stream\n"))
            return
        response = protocol.accept(request)
        protocol.send_response(response)
        if response.status_code == 101:
            self._flush()
            self._open = True
            self._talk.opened(self)

    def _take(self, event: Frame) -> None:
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if event.opcode is not Opcode.CONT:
                self._text = event.opcode is Opcode.TEXT
            self._parts += event.data
            if event.fin:
                message = bytes(self._parts)
                self._parts.clear()
                if self._text and not _is_text(message):
                    self.close(CloseCode.INVALID_DATA, "a text message must be UTF-8")
                elif self._talk is not None and self._open:
                    self._talk.received(self, message)

    @property
    def unread(self) -> int:
        """Bytes that the client has left to us so far."""
        return self._transport.get_write_buffer_size() if self._open else 0

    def send(self, ready: bytes) -> None:
        """Write one frame or several; a reader with too much unread is told so and dropped."""
        if not self._open or self.mute or self.frozen:
            return
        self._transport.write(ready)
        if self._transport.get_write_buffer_size() > MAX_BACKLOG and self._talk is not None:
            self._transport.write(self._talk.slow(self))
            self.close(CloseCode.POLICY_VIOLATION, "slow client")

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Start the closing handshake."""
        if self._open:
            self._open = False
            if self._protocol.state is State.OPEN:      # else its own close came in the same packet
                self._protocol.send_close(code, reason)
            self._flush()
            self._give_time()

    def cut(self) -> None:
        """Drop the connection at once, without a closing handshake."""
        self._open = False
        self._transport.abort()

    def lost(self) -> None:
        """The connection is gone."""
        self._open = False
        if self._cutter is not None:
            self._cutter.cancel()
        if self._talk is not None:
            self._talk.closed(self)

    def _give_time(self) -> None:
        """Cut the connection when its client does not end it in time."""
        if self._cutter is None:
            self._cutter = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def _flush(self) -> None:
        protocol = self._protocol
        ended = False
        for data in protocol.data_to_send():
            if data:
                self._transport.write(data)
            else:                                   # the protocol's sign for end of file
                ended = True
        if not (ended or protocol.close_expected()):
            return
        self._open = False
        if protocol.close_rcvd is not None:
            self._transport.close()
        elif ended:                                 # the client may finish sending, unheard, so that it can read why
            self._transport.write_eof()
            self._give_time()


def _is_text(message: bytes) -> bool:
    """Whether a message is UTF-8."""
    try:
        message.decode()
    except UnicodeDecodeError:
        return False
    return True
