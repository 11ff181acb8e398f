"""How a venue moves: steps of any length, several bars in a frame, listeners that lag, a pace beyond real time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from exchange_markets import walk_panel
from exchange_raw import Raw, stream
from websockets.asyncio.client import ClientConnection

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core.clock import to_ns
from trader.exchange import pace
from trader.exchange.outbox import Outbox
from trader.exchange.pace import TURN_BARS, Readers
from trader.exchange.persist import VenueStore
from trader.exchange.server import ExchangeServer
from trader.exchange.types import OrderRequest
from trader.exchange.venue import Venue

AUTH = '{"action":"auth","key":"a","secret":"b"}'
BARS = 1_000
ORDER = {"symbol": "AAPL", "side": "buy", "qty": "1"}
Make = Callable[..., Any]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Start servers over the same market; all are stopped at the end."""
    running: list[ExchangeServer] = []

    async def start(bars: int = BARS, **arguments: Any) -> ExchangeServer:
        panel = walk_panel(("AAPL", "MSFT"), bars + 1, volume=3_000)
        venue = Venue(panel, start_index=1, cash=Decimal(10**7), fill_model=RealisticFillSimulator(), seed=3)
        server = ExchangeServer(venue, **arguments)
        await server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        await server.stop()


async def listener(server: ExchangeServer, binary: bool = False) -> ClientConnection:
    """A connection that wants all bars."""
    headers = {"Content-Type": "application/msgpack"} if binary else {}
    code = msgspec.msgpack if binary else msgspec.json
    socket = await stream(server, "/v2/iex", **headers)
    await socket.recv()
    for said in (json.loads(AUTH), {"action": "subscribe", "bars": ["*"]}):
        await socket.send(code.encode(said))
        await socket.recv()
    return socket


async def trader(server: ExchangeServer) -> ClientConnection:
    """A connection that hears trade updates."""
    socket = await stream(server, "/stream")
    for said in (AUTH, '{"action":"listen","data":{"streams":["trade_updates"]}}'):
        await socket.send(said)
        await socket.recv()
    return socket


async def heard(socket: ClientConnection, count: int) -> list[bytes | str]:
    """The frames that bring so many bars."""
    frames: list[bytes | str] = []
    seen = 0
    while seen < count:
        frames.append(await asyncio.wait_for(socket.recv(), 60))
        frame = frames[-1]
        seen += len(json.loads(frame)) if isinstance(frame, str) else len(msgspec.msgpack.decode(frame))
    return frames


def busy(server: ExchangeServer) -> None:
    """Orders that fill in the bars to come, in parts."""
    for number in range(40):
        price = Decimal(99) + Decimal(number) / 10
        server.venue.submit(OrderRequest(
            symbol=("AAPL", "MSFT")[number % 2], side="buy", qty=Decimal(900), type="limit", limit_price=price,
            time_in_force="gtc",
        ))
    server.settle()


async def under_way(server: ExchangeServer) -> None:
    """Wait until a step takes more than one turn."""
    for _ in range(10_000):
        if server.pace.walking:
            return
        await asyncio.sleep(0)
    raise AssertionError("no step is under way")


async def run(server: ExchangeServer, steps: list[int], binary: bool = False) -> tuple[list[Any], list[Any]]:
    """Frames of bars and trade updates of some steps."""
    bars, updates = await listener(server, binary), await trader(server)
    busy(server)
    control = await Raw.to(server.control_port)
    status, answer = 0, {}
    for count in steps:
        status, answer = await control.ask("POST", "/v1/step", {"count": count})
        assert status == 200
    frames = await heard(bars, sum(steps) * 2)
    told = [await asyncio.wait_for(updates.recv(), 60) for _ in range(answer["trade_updates"])]
    for socket in (bars, updates):
        await socket.close()
    control.writer.close()
    return frames, told


@pytest.mark.parametrize("binary", [False, True])
async def test_one_long_step_says_what_many_short_ones_say(make: Make, binary: bool) -> None:
    decode = msgspec.msgpack.decode if binary else msgspec.json.decode
    once = await run(await make(), [300], binary)
    again = await run(await make(), [300], binary)
    assert once == again                                        # to the byte, frames and all
    bit_by_bit = await run(await make(), [1] * 300, binary)
    assert [bar for frame in once[0] for bar in decode(frame)] == [
        bar for frame in bit_by_bit[0] for bar in decode(frame)
    ]
    assert once[1] == bit_by_bit[1]
    assert len(once[1]) > 60
    assert len(bit_by_bit[0]) == 300
    assert len(once[0]) < 100                                   # bars travel together


async def test_trade_updates_leave_before_their_bar_and_after_the_one_before(make: Make) -> None:
    server = await make()
    said: list[tuple[str, int]] = []

    class Ear:
        """A socket that notes what it is sent: bars by their slice, fills by the slice that they happened in."""

        unread = 0

        def __init__(self, binary: bool) -> None:
            self.binary = binary

        def send(self, data: bytes) -> None:
            if self.binary:
                for moment in re.findall(rb'"event":"fill".*?"timestamp":"([^"]+)"', data):
                    ns = to_ns(datetime.fromisoformat(moment.decode()))
                    said.append(("update", int(np.searchsorted(server.venue.panel.ts_ns, ns, side="right")) - 1))
            else:
                told = msgspec.json.decode(data[data.index(b"[") :])
                said.extend(("bar", message["i"]) for message in told if message["T"] == "b")

    bars, updates = Ear(binary=False), Ear(binary=True)
    talk: Any = server.data_stream.talk(binary=False)
    talk.opened(bars)
    for message in (AUTH.encode(), b'{"action":"subscribe","bars":["AAPL"]}'):
        talk.received(bars, message)
    server.trading_stream.listeners.add(updates)             # type: ignore[arg-type]
    said.clear()
    busy(server)
    server._turn(lambda: server.venue.index < 60)
    server.trading_stream.listeners.clear()
    talk.closed(bars)
    fills = [at for at, (kind, _) in enumerate(said) if kind == "update"]
    assert len(fills) > 5
    for at in fills:
        index = said[at][1]
        assert ("bar", index) in said[at:]
        assert index == 1 or ("bar", index - 1) in said[:at]


async def test_orders_wait_for_the_end_of_a_step(make: Make) -> None:
    server = await make()
    control, client = await Raw.to(server.control_port), await Raw.to(server.port)
    control.say("POST", "/v1/step", {"count": BARS - 10})
    control.say("POST", "/v1/step", {"count": 5})
    await under_way(server)
    assert 1 < server.venue.index <= 1 + TURN_BARS
    client.say("POST", "/v2/orders", ORDER)
    first, second = await control.hear(), await control.hear()
    status, order = await client.hear()
    assert (first[1]["index"], second[1]["index"], status) == (BARS - 9, BARS - 4, 200)
    assert order["created_at"] >= "2024-02-14"                   # not amid the steps
    control.writer.close()
    client.writer.close()


async def test_a_step_does_not_run_against_the_pace(make: Make) -> None:
    server = await make()
    control, other = await Raw.to(server.control_port), await Raw.to(server.control_port)
    control.say("POST", "/v1/step", {"count": 500})
    await under_way(server)
    assert (await other.ask("POST", "/v1/speed", {"speed": 1e12}))[0] == 200        # takes effect after the step
    assert (await control.hear())[1]["index"] == 501
    await asyncio.wait_for(server.finished.wait(), 60)
    assert (await other.ask("POST", "/v1/step", {}))[0] == 200                      # played out: nothing runs any more
    control.writer.close()
    other.writer.close()


async def test_a_free_run_is_heard_whole_and_in_order(make: Make) -> None:
    server = await make()
    sockets = [await listener(server), await listener(server, binary=True)]
    server.pace.set_speed(1e12)
    frames = [await heard(socket, BARS * 2) for socket in sockets]
    numbers = [[bar["seq"] for frame in frames[0] for bar in json.loads(frame)],
               [bar["seq"] for frame in frames[1] for bar in msgspec.msgpack.decode(frame)]]
    assert numbers[0] == numbers[1] == list(range(1, BARS * 2 + 1))
    assert len(frames[0]) < BARS
    for socket in sockets:
        await socket.close()


async def test_a_venue_that_fails_stands_still_and_can_go_on(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:
    server = await make(50)
    control = await Raw.to(server.control_port)
    step = server.venue.step

    def failing() -> None:
        if server.venue.index == 20:
            raise OSError("the disk is full")
        step()

    monkeypatch.setattr(server.venue, "step", failing)
    assert (await control.ask("POST", "/v1/speed", {"speed": 1e9}))[0] == 200
    for _ in range(10_000):
        if server.pace.paused:
            break
        await asyncio.sleep(0.001)
    assert "the disk is full" in caplog.text
    _, state = await control.ask("GET", "/v1/state")
    assert (state["paused"], state["index"], state["done"]) == (True, 20, False)
    monkeypatch.undo()
    assert (await control.ask("POST", "/v1/resume"))[0] == 200
    await asyncio.wait_for(server.finished.wait(), 60)
    control.writer.close()


async def test_a_listener_that_does_not_read_holds_nobody_up_for_long(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "AHEAD", 1_000)
    monkeypatch.setattr(pace, "PATIENCE", 3)
    server = await make(20_000)
    deaf, good = await listener(server), await listener(server)
    deaf.transport.pause_reading()
    control = await Raw.to(server.control_port)
    control.say("POST", "/v1/step", {"count": 20_000})
    frames = await heard(good, 40_000)
    assert json.loads(frames[-1])[-1]["seq"] == 40_000
    assert (await control.hear())[1]["done"]
    deaf.transport.resume_reading()
    assert json.loads((await heard(deaf, 40_000))[-1])[-1]["seq"] == 40_000        # it is not lost
    for socket in (deaf, good):
        await socket.close()
    control.writer.close()


async def test_those_who_read_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "AHEAD", 100)
    monkeypatch.setattr(pace, "PROGRESS", 1)
    monkeypatch.setattr(pace, "LOOK_SECONDS", 0.001)

    class Reader:
        def __init__(self, unread: int, pace_: int) -> None:
            self.left, self.pace = unread, pace_

        @property
        def unread(self) -> int:
            self.left -= self.pace
            return self.left

    reading, stuck = Reader(5_000, 10), Reader(5_000, 0)
    sockets: Any = [reading]
    await asyncio.wait_for(Readers(lambda: sockets).wait(), 60)
    assert reading.left <= 100
    sockets[:] = [stuck]
    readers = Readers(lambda: sockets)
    await asyncio.wait_for(readers.wait(), 60)
    monkeypatch.setattr(pace, "PATIENCE", 10**9)
    await asyncio.wait_for(readers.wait(), 60)                    # once is enough


async def test_a_step_that_is_stopped_leaves_nothing(make: Make) -> None:
    server = await make(20_000)
    control, client = await Raw.to(server.control_port), await Raw.to(server.port)
    control.say("POST", "/v1/step", {"count": 20_000})
    await under_way(server)
    client.say("POST", "/v2/orders", ORDER)
    await asyncio.sleep(0)
    await server.stop()
    assert not server.venue.done
    assert not server.venue.desk.orders
    with contextlib.suppress(ConnectionError):
        assert await control.reader.read() == b""
    control.writer.close()
    client.writer.close()


async def test_what_a_turn_tells_was_made_durable(make: Make, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    save = VenueStore.save
    monkeypatch.setattr(VenueStore, "save", lambda self, venue: (save(self, venue), saved.append(venue.index))[0])
    with VenueStore(tmp_path / "venue.db") as store:
        server = await make(persist=store)
        socket = await listener(server)
        control = await Raw.to(server.control_port)
        socket_saw: list[int] = []
        send = Outbox.send
        monkeypatch.setattr(Outbox, "send", lambda self: (socket_saw.append(saved[-1]), send(self))[1])
        assert (await control.ask("POST", "/v1/step", {"count": 200}))[0] == 200
        assert list(dict.fromkeys(socket_saw)) == [1, 65, 129, 193, 201]
        assert len(await heard(socket, 400)) < 10
        assert (await json_of_bars(server)) == 400
        await socket.close()
        control.writer.close()
        await server.stop()


async def json_of_bars(server: ExchangeServer) -> int:
    """The number of the last bar message, by the control API."""
    control = await Raw.to(server.control_port)
    _, state = await control.ask("GET", "/v1/state")
    control.writer.close()
    return int(state["bars"])


async def test_a_pause_in_the_moment_in_which_a_bar_is_due_holds_it(make: Make) -> None:
    server = await make(50)
    server.pace.set_speed(9_000)                                  # a bar every 100 ms
    for _ in range(3):
        await asyncio.sleep(0)                                    # the pace waits for its bar
    asyncio.get_running_loop().call_later(0.101, server.pace.set_paused, True)
    time.sleep(0.15)  # noqa: ASYNC251                              both are due when the loop looks again
    before = server.venue.index
    for _ in range(10):
        await asyncio.sleep(0)
    assert server.pace.paused
    assert server.venue.index == before
