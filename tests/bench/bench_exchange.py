"""The embedded exchange: its matching core, an order's round trip over loopback, bars to many listeners.

``python -m tests.bench.bench_exchange``. The server runs in a process of its own; the floor of the round trip is
a bare asyncio server there that answers every request with the same number of bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import multiprocessing
import socket
import statistics
import time
from collections.abc import Iterator
from decimal import Decimal
from multiprocessing.connection import Connection
from typing import Any

import pytest

from tests.bench.bench_data import bars
from tests.bench.bench_table import interleave, table
from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.exchange.server import ExchangeServer
from trader.exchange.types import OrderRequest
from trader.exchange.venue import Venue

HEADERS = b"APCA-API-KEY-ID: key\r\nAPCA-API-SECRET-KEY: secret\r\n"
CALLS, WARM, LISTENERS, STEPS = 400, 50, 8, 200


def matching(steps: int = 2_000, brackets: bool = True) -> int:
    """Every few bars an order in each symbol, closed again later; returns the trade updates that came of it."""
    panel = bars("s")
    venue = Venue(panel, cash=Decimal(10_000_000), fill_model=RealisticFillSimulator())
    told = 0
    for i in range(steps):
        venue.step()
        told += len(venue.drain())
        for column, symbol in enumerate(panel.symbols):
            if (i + column) % 8 == 0 and not venue.accounts_book.quantity(symbol):
                last = venue.last_price(column)
                exits: dict[str, Any] = {
                    "order_class": "bracket", "take_profit": (last * Decimal("1.01")).quantize(Decimal("0.01")),
                    "stop_loss": (last * Decimal("0.99")).quantize(Decimal("0.01")),
                } if brackets else {}
                venue.submit(OrderRequest(symbol=symbol, side="buy", qty=Decimal(100), time_in_force="gtc", **exits))
            elif not brackets and (i + column) % 8 == 4 and venue.accounts_book.quantity(symbol):
                venue.submit(OrderRequest(symbol=symbol, side="sell", qty=Decimal(100)))
    return told + len(venue.drain())


# --- servers, in a process of their own ---------------------------------------------------------------------

def _serve_exchange(pipe: Connection, _: int) -> None:
    async def run() -> None:
        venue = Venue(bars("s"), start_index=26, cash=Decimal(10**9), fill_model=RealisticFillSimulator())
        server = ExchangeServer(venue)
        await server.start()
        pipe.send((server.port, server.control_port))
        await asyncio.to_thread(pipe.recv)
        await server.stop()

    asyncio.run(run())


def _serve_constant(pipe: Connection, size: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(answer)
                await writer.drain()

    async def run() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        pipe.send((server.sockets[0].getsockname()[1], 0))
        await asyncio.to_thread(pipe.recv)
        server.close()

    asyncio.run(run())


@contextlib.contextmanager
def _process(target: Any, size: int = 0) -> Iterator[tuple[int, int]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, size), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join(5)
        if process.is_alive():
            process.terminate()


# --- clients ------------------------------------------------------------------------------------------------

class _Client:
    """One keep-alive connection and nothing in between; counts the order ids itself."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._count = 0

    def order(self) -> bytes:
        """Submit a small limit order far from the market; the answer's body."""
        self._count += 1
        body = json.dumps({
            "symbol": "SYM00", "qty": "1", "side": "buy", "type": "limit", "limit_price": "1.00",
            "time_in_force": "gtc", "client_order_id": f"bench-{self._count}",
        }).encode()
        self._socket.sendall(b"POST /v2/orders HTTP/1.1\r\nHost: bench\r\n" + HEADERS
                             + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._socket.recv(65536)
        head, _, rest = data.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(rest) < length:
            rest += self._socket.recv(65536)
        assert head.startswith(b"HTTP/1.1 200"), head + rest
        return rest


def round_trips(rounds: int = 5) -> tuple[list[tuple[Any, ...]], int]:
    """Rows of wall milliseconds, interleaved by round; and the orders that the exchange took."""
    with _process(_serve_exchange) as (port, _):
        size = len(_Client(port).order())
        with _process(_serve_constant, size) as (bare, _):
            clients = {"bare asyncio server": _Client(bare), "order at the exchange": _Client(port)}
            clients["order at the exchange"]._count = 1
            waits: dict[str, list[float]] = {name: [] for name in clients}
            for client in clients.values():
                for _ in range(WARM):
                    client.order()
            for _ in range(rounds):
                for name, client in clients.items():
                    for _ in range(CALLS // rounds):
                        start = time.perf_counter()
                        client.order()
                        waits[name].append((time.perf_counter() - start) * 1e3)
        taken = _open_orders(port)
    floor = statistics.median(waits["bare asyncio server"])
    rows = []
    for name, times in waits.items():
        times.sort()
        rows.append((name, times[len(times) // 2], times[int(len(times) * 0.99)], times[len(times) // 2] / floor))
    return rows, taken


def _open_orders(port: int) -> int:
    """How many open orders the exchange holds, up to its largest page."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    keys = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}
    connection.request("GET", "/v2/orders?status=open&limit=500", headers=keys)
    return len(json.loads(connection.getresponse().read()))


async def _listen(port: int, expected: int, ready: asyncio.Semaphore) -> None:
    from websockets.asyncio.client import connect

    async with connect(f"ws://127.0.0.1:{port}/v2/iex", compression=None) as link:
        await link.recv()
        await link.send(json.dumps({"action": "auth", "key": "key", "secret": "secret"}))
        await link.recv()
        await link.send(json.dumps({"action": "subscribe", "bars": ["*"]}))
        await link.recv()
        ready.release()
        seen = 0
        while seen < expected:
            seen += sum(1 for message in json.loads(await link.recv()) if message["T"] == "b")


async def _fan_out(port: int, control: int) -> float:
    symbols = len(bars("s").symbols)
    ready = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(_listen(port, symbols * STEPS, ready)) for _ in range(LISTENERS)]
    for _ in tasks:
        await ready.acquire()
    start = time.perf_counter()
    await asyncio.to_thread(_step, control)
    await asyncio.gather(*tasks)
    return symbols * STEPS * LISTENERS / (time.perf_counter() - start)


def _step(control: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", control, timeout=30)
    for _ in range(STEPS):
        connection.request("POST", "/v1/step", b"{}", {"Content-Type": "application/json"})
        connection.getresponse().read()


def fan_out() -> float:
    """Bars a second that reach all listeners together, wall time, stepping included."""
    with _process(_serve_exchange) as (port, control):
        return asyncio.run(_fan_out(port, control))


def measure(rounds: int = 5) -> tuple[str, dict[str, Any]]:
    """The tables, and what was counted."""
    times = interleave({"brackets": matching, "market orders": lambda: matching(brackets=False)}, rounds)
    text = table(f"matching core, 2,000 bars of 7 symbols; CPU seconds, median of {rounds}",
                 ("orders", "s", "events", "events/s"),
                 [(name, t.median, t.result, t.result / t.median) for name, t in times.items()])
    rows, taken = round_trips(rounds)
    text += table(f"order round trip over loopback, {CALLS} calls; wall ms", ("server", "p50", "p99", "× floor"), rows)
    speed = fan_out()
    text += table(f"bars to {LISTENERS} listeners, {STEPS} steps; the listeners decode in this process",
                  ("task", "bars/s"), [("step, encode, send, receive, decode", speed)])
    return text, {"taken": taken, "told": {name: t.result for name, t in times.items()}, "speed": speed}


@pytest.mark.bench
def test_the_exchange_takes_every_order() -> None:
    text, results = measure(rounds=2)
    print(text)
    assert results["taken"] == 1 + WARM + CALLS // 2 * 2
    assert min(results["told"].values()) > 1000


if __name__ == "__main__":
    print(measure()[0])
