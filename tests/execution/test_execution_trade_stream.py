"""The trade stream's link: refused keys, dead sockets, a taker that fails; each is told, none is final."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import websockets
from fault_broker import until

from trader.execution.trade_stream import SOCKET, TradeUpdateStream, stream_url
from trader.utils.tasks import end


class Account:
    """Speaks `/stream`; refuses the first ``refusals`` connections, and sends what it is given."""

    def __init__(self, refusals: int = 0, mute: bool = False) -> None:
        self.refusals = refusals
        self.mute = mute
        self.connections = 0
        self.peer: Any = None

    async def __aenter__(self) -> Account:
        self._server = await websockets.serve(self._talk, "127.0.0.1", 0, ping_interval=None, close_timeout=0.1)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close(close_connections=True)
        await self._server.wait_closed()

    async def _talk(self, ws: Any) -> None:
        self.connections += 1
        await ws.recv()
        good = self.connections > self.refusals
        status = "authorized" if good else "unauthorized"
        await ws.send(json.dumps({"stream": "authorization", "data": {"status": status}}).encode())
        if not good:
            return
        await ws.recv()
        await ws.send(json.dumps({"stream": "listening", "data": {"streams": ["trade_updates"]}}).encode())
        self.peer = ws
        if self.mute and self.connections == 1:
            ws.transport.pause_reading()                        # half open: pings go unanswered
        await ws.wait_closed()

    async def say(self, number: int) -> None:
        await self.peer.send(json.dumps({"stream": "trade_updates", "data": {"n": number}}))


async def run(account: Account, updates: list[int], states: list[tuple[str, str]], fail_on: int = -1) -> Any:
    def take(raw: dict[str, Any]) -> None:
        if raw["data"]["n"] == fail_on:
            raise RuntimeError("the taker failed")
        updates.append(raw["data"]["n"])

    stream = TradeUpdateStream("k", "s", stream_url(account.url), take, lambda *state: states.append(state),
                               backoff_s=(0.01, 0.05))
    task = asyncio.create_task(stream.run())
    return stream, task


async def test_refused_keys_are_told_and_tried_again() -> None:
    states: list[tuple[str, str]] = []
    updates: list[int] = []
    async with Account(refusals=2) as account:
        stream, task = await run(account, updates, states)
        await until(lambda: stream.state == "up")
        await account.say(1)
        await asyncio.wait_for(stream.wait_processed(1), 60)
        await end(task)
    assert updates == [1]
    assert account.connections == 3
    assert states == [("up", ""), ("down", "stopped")]


async def test_a_taker_that_fails_makes_the_link_start_anew() -> None:
    states: list[tuple[str, str]] = []
    updates: list[int] = []
    async with Account() as account:
        stream, task = await run(account, updates, states, fail_on=2)
        await until(lambda: stream.state == "up")
        for number in (1, 2):
            await account.say(number)
        await until(lambda: account.connections == 2 and stream.state == "up")
        await account.say(3)
        await asyncio.wait_for(stream.wait_processed(3), 60)
        await end(task)
    assert updates == [1, 3]
    assert [state for state, _ in states] == ["up", "reconnecting", "up", "down"]
    assert "the taker failed" in states[1][1]


async def test_a_half_open_socket_is_found_by_its_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOCKET, "ping_interval", 0.1)
    monkeypatch.setitem(SOCKET, "ping_timeout", 0.1)
    monkeypatch.setitem(SOCKET, "close_timeout", 0.1)
    states: list[tuple[str, str]] = []
    async with Account(mute=True) as account:
        stream, task = await run(account, [], states)
        await until(lambda: account.connections >= 2 and stream.state == "up")      # a busy machine loses sound ones
        await end(task)
    assert [state for state, _ in states][:3] == ["up", "reconnecting", "up"]


def test_addresses() -> None:
    assert stream_url("https://paper-api.alpaca.markets/v2") == "wss://paper-api.alpaca.markets/stream"
    assert stream_url("http://127.0.0.1:5") == "ws://127.0.0.1:5/stream"
