"""The embedded exchange on the wire: an order's round trip over loopback, bars to one raw client and to many.

``python -m tests.bench.bench_exchange``. Every server runs in a process of its own, the command's too, which tells
the limit of requests in every answer. The floor of the round trip is a bare asyncio server (streams) that answers
every request with as many bytes as the exchange does; a client that sleeps while it waits measures the machine's idle
cores too, one that stays awake does not. The floor of the streams is a bare asyncio transport that writes ready frames.
Rounds are interleaved; ratios are of one run.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import multiprocessing
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.bench.bench_data import bars
from tests.bench.bench_table import table
from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core.panel import BarPanel
from trader.exchange.loop import run as run_loop
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue

HEADERS = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret", "Content-Type": "application/json"}
WARM, LISTENERS, STEPS, OUTSTANDING = 50, 8, 200, 1_000
TARGET_ORDER, TARGET_BARS = 1.5, 50_000
FRAME = 1_500                       # messages in a frame of the streams' floor
DRAWN = 65_000                      # bars that there are


# --- servers, in processes of their own ---------------------------------------------------------------------------

def panel_of(symbols: int, count: int) -> BarPanel:
    """So many symbols (the drawn ones again and again) and bars."""
    if not symbols:
        return bars("s")
    drawn = bars("m").rows(0, count)
    columns = [k % len(drawn.symbols) for k in range(symbols)]
    fields = (drawn.open, drawn.high, drawn.low, drawn.close, drawn.volume)
    return BarPanel(
        tuple(f"SYM{k:02d}" for k in range(symbols)), drawn.timeframe, drawn.ts_ns, drawn.available_ns,
        *(np.ascontiguousarray(field[:, columns]) for field in fields),
    )


def _serve_exchange(pipe: Connection, symbols: int, count: int) -> None:
    async def run() -> None:
        panel = panel_of(symbols, count)
        venue = Venue(panel, start_index=26, cash=Decimal(10**9), fill_model=RealisticFillSimulator())
        server = ExchangeServer(venue)
        await server.start()
        pipe.send((server.port, server.control_port))
        await asyncio.to_thread(pipe.recv)
        await server.stop()

    run_loop(run())


def _serve_constant(pipe: Connection, size: int, _: int) -> None:
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


def _serve_frames(pipe: Connection, count: int, binary: int) -> None:
    """Frames of bar messages, ready made, to whoever sends anything."""
    message = {
        "T": "b", "S": "SYM00", "o": 123.45, "h": 123.99, "l": 122.87, "c": 123.11, "v": 123_456, "n": None,
        "vw": None, "t": msgspec.msgpack.Ext(-1, bytes(8)) if binary else "2024-01-08T14:30:00Z", "i": 12_345,
        "seq": 12_345,
    }
    payload = (msgspec.msgpack if binary else msgspec.json).encode([message] * FRAME)
    ready = bytes((0x82 if binary else 0x81, 127)) + len(payload).to_bytes(8, "big") + payload

    class Talk(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            for _ in range(max(1, count // FRAME)):
                self.transport.write(ready)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Talk, "127.0.0.1", 0)
        pipe.send((server.sockets[0].getsockname()[1], 0))
        await asyncio.to_thread(pipe.recv)
        server.close()

    asyncio.run(run())


class _Process:
    """A server in a process of its own: its ports and its CPU time."""

    def __init__(self, target: Any, *arguments: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        self._process.start()
        self.port, self.control = self._pipe.recv()

    def cpu(self) -> float:
        """Seconds of CPU that the process has used."""
        assert self._process.pid is not None
        return _cpu_of(self._process.pid)

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()


class _Command:
    """``alphatrade exchange serve`` over as many bars as the exchange beside it: its port and its CPU time."""

    def __init__(self, folder: Path) -> None:
        panel = panel_of(0, 0)
        columns = (panel.open, panel.high, panel.low, panel.close, panel.volume)
        lines = [
            f"{panel.symbols[0]},{np.datetime64(ts_ns, 'ns')}Z," + ",".join(f"{values[i, 0]:g}" for values in columns)
            for i, ts_ns in enumerate(panel.ts_ns[:100].tolist())
        ]
        bars_of = folder / "bars.csv"
        bars_of.write_text("symbol,timestamp,open,high,low,close,volume\n" + "\n".join(lines) + "\n")
        words = ["--data", str(bars_of), "--cash", str(10**9), "--speed", "lockstep"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trader.cli.main", "exchange", "serve", *words],
            stdout=subprocess.PIPE, text=True, cwd=folder,
        )
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        self.port, self.control = int(ready["url"].rpartition(":")[2]), int(ready["control_port"])

    def cpu(self) -> float:
        """Seconds of CPU that the process has used."""
        return _cpu_of(self._process.pid)

    def __enter__(self) -> _Command:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(5)


def _cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used (Linux's clock of another process)."""
    return time.clock_gettime(~pid << 3 | 2)


# --- an order's round trip ----------------------------------------------------------------------------------------

def _orders(name: str) -> Iterator[bytes]:
    """Bodies of small limit orders far from the market."""
    for number in range(10**6):
        yield json.dumps({
            "symbol": "SYM00", "qty": "1", "side": "buy", "type": "limit", "limit_price": "1.00",
            "time_in_force": "gtc", "client_order_id": f"{name}-{number}",
        }).encode()


class RawClient:
    """One keep-alive connection and nothing in between."""

    def __init__(self, port: int, name: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._bodies = _orders(name)
        lines = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        self._head = f"POST /v2/orders HTTP/1.1\r\nHost: bench\r\nConnection: keep-alive\r\n{lines}".encode()
        self._rest = b""

    def _request(self) -> bytes:
        body = next(self._bodies)
        return self._head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def _answer(self) -> bytes:
        data = self._rest
        while b"\r\n\r\n" not in data:
            data += self._heard()
        head, _, rest = data.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(rest) < length:
            rest += self._heard()
        assert head.startswith(b"HTTP/1.1 200"), head + rest
        self._rest = rest[length:]
        return rest[:length]

    def _heard(self) -> bytes:
        return self._socket.recv(262_144)

    def order(self) -> bytes:
        """Submit one; the answer's body."""
        self._socket.sendall(self._request())
        return self._answer()

    def in_flight(self, count: int) -> None:
        """Submit many without waiting for the answers, then hear them all."""
        data = b"".join(self._request() for _ in range(count))
        sender = threading.Thread(target=self._socket.sendall, args=(data,))
        sender.start()
        for _ in range(count):
            self._answer()
        sender.join()


class AwakeClient(RawClient):
    """One that does not sleep while it waits: what the machine needs to wake a halted core does not count."""

    def _heard(self) -> bytes:
        while True:
            try:
                return self._socket.recv(262_144, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue


class LibraryClient:
    """http.client on one connection."""

    def __init__(self, port: int, name: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._bodies = _orders(name)

    def order(self) -> bytes:
        """Submit one; the answer's body."""
        self._connection.request("POST", "/v2/orders", next(self._bodies), HEADERS)
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return body


CLIENTS: dict[str, Callable[[int, str], RawClient | LibraryClient]] = {
    "raw, awake": AwakeClient, "raw": RawClient, "http.client": LibraryClient,
}


def round_trips(calls: int = 2_000, rounds: int = 20) -> tuple[list[tuple[Any, ...]], int]:
    """Rows of wall microseconds and of the server's CPU, interleaved by round; and the orders sent to the exchange.

    The second half of the rows is measured with `OUTSTANDING` open orders in the book.
    """
    rows: list[tuple[Any, ...]] = []
    with (
        tempfile.TemporaryDirectory() as folder, _Process(_serve_exchange, 0, 0) as exchange,
        _Command(Path(folder)) as command,
    ):
        exchanges = {"exchange": exchange, "exchange serve": command}
        size = len(RawClient(exchange.port, "size").order())
        sent = 1
        with _Process(_serve_constant, size, 0) as bare:
            servers: dict[str, _Process | _Command] = {"bare asyncio server": bare, **exchanges}
            for outstanding in (0, OUTSTANDING):
                for server in exchanges.values():
                    if outstanding:
                        RawClient(server.port, "fill").in_flight(outstanding)
                    else:
                        _cancel_all(server.port)
                sent += outstanding
                clients = {
                    (kind, name): make(server.port, f"{kind}-{outstanding}")
                    for kind, make in CLIENTS.items() for name, server in servers.items()
                }
                waits: dict[tuple[str, str], list[float]] = {key: [] for key in clients}
                cpu = dict.fromkeys(clients, 0.0)
                for client in clients.values():
                    for _ in range(WARM):
                        client.order()
                for _ in range(rounds):
                    for key, client in clients.items():
                        before = servers[key[1]].cpu()
                        for _ in range(calls // rounds):
                            start = time.perf_counter()
                            client.order()
                            waits[key].append((time.perf_counter() - start) * 1e6)
                        cpu[key] += servers[key[1]].cpu() - before
                        if key[1] in exchanges and not outstanding:
                            _cancel_all(servers[key[1]].port)
                sent += (WARM + calls // rounds * rounds) * len(CLIENTS)
                rows += _rows(waits, cpu, outstanding)
            rows += _in_flight(servers, rounds)
            sent += OUTSTANDING * rounds
            assert [taken(server.control) for server in exchanges.values()] == [sent, sent - 1]
    return rows, sent


def _rows(waits: dict[tuple[str, str], list[float]], cpu: dict[tuple[str, str], float], open_: int) -> list[Any]:
    rows = []
    for (kind, name), times in waits.items():
        floor = statistics.median(waits[kind, "bare asyncio server"])
        ordered = sorted(times)
        rows.append((
            kind, open_, name, statistics.median(ordered), ordered[int(len(ordered) * 0.99)],
            statistics.median(ordered) / floor, cpu[kind, name] / len(ordered) * 1e6,
        ))
    return rows


def _in_flight(servers: dict[str, _Process | _Command], rounds: int) -> list[Any]:
    """A thousand orders sent at once on one connection: microseconds for each of them."""
    clients = {name: RawClient(server.port, "flight") for name, server in servers.items()}
    times: dict[str, list[float]] = {name: [] for name in servers}
    cpu = dict.fromkeys(servers, 0.0)
    for _ in range(rounds):
        for name, client in clients.items():
            before, start = servers[name].cpu(), time.perf_counter()
            client.in_flight(OUTSTANDING)
            times[name].append((time.perf_counter() - start) * 1e6 / OUTSTANDING)
            cpu[name] += servers[name].cpu() - before
    floor = statistics.median(times["bare asyncio server"])
    return [
        (f"raw, {OUTSTANDING:,} in flight", "", name, statistics.median(values), max(values),
         statistics.median(values) / floor, cpu[name] / rounds / OUTSTANDING * 1e6)
        for name, values in times.items()
    ]


def _cancel_all(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("DELETE", "/v2/orders", headers=HEADERS)
    connection.getresponse().read()
    connection.close()


def taken(port: int) -> int:
    """How many orders the exchange knows."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/v1/state")
    return int(json.loads(connection.getresponse().read())["orders"]["all"])


# --- bars to one raw client ---------------------------------------------------------------------------------------

class RawStream:
    """A WebSocket by hand: frames are cut off the bytes of a socket and decoded whole by msgspec."""

    def __init__(self, port: int, *, binary: bool, subscribe: bool = True) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._module = msgspec.msgpack if binary else msgspec.json
        self._data = bytearray()
        if subscribe:
            kind = "Content-Type: application/msgpack\r\n" if binary else ""
            self._socket.sendall((
                "GET /v2/iex HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{kind}\r\n"
            ).encode())
            while b"\r\n\r\n" not in self._data:
                self._data += self._socket.recv(65_536)
            del self._data[: self._data.index(b"\r\n\r\n") + 4]
            self.messages()
            for said in ({"action": "auth", "key": "key", "secret": "secret"}, {"action": "subscribe", "bars": ["*"]}):
                payload = self._module.encode(said)
                self._socket.sendall(bytes((0x82 if binary else 0x81, 0x80 | len(payload), 0, 0, 0, 0)) + payload)
                self.messages()

    def ask(self) -> None:
        """Say something, so that a floor begins."""
        self._socket.sendall(b"?")

    def messages(self) -> list[dict[str, Any]]:
        """The messages of the next frame."""
        while (frame := self._cut()) is None:
            self._data += self._socket.recv(1_048_576)
        found: list[dict[str, Any]] = self._module.decode(frame)
        return found

    def _cut(self) -> bytes | None:
        data = self._data
        if len(data) < 10:
            return None
        size, start = data[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        if len(data) < start + size:
            return None
        payload = bytes(data[start : start + size])
        del data[: start + size]
        return payload

    def bars(self, count: int) -> int:
        """Hear so many bars; the ``seq`` of the last."""
        seen, last = 0, 0
        while seen < count:
            told = [message for message in self.messages() if message["T"] == "b"]
            seen += len(told)
            last = told[-1]["seq"]
        return last

    def close(self) -> None:
        """Go away."""
        self._socket.close()


def stream_rates(messages: int = 60_000, rounds: int = 3) -> list[tuple[Any, ...]]:
    """Rows of bar messages a second to one raw client, by symbols, format and drive; medians of interleaved rounds."""
    rows: list[tuple[Any, ...]] = []
    for binary in (False, True):
        for symbols in (1, 7, 30):
            part = min(messages // symbols, DRAWN // 3) // rounds       # bars for each round of each drive
            free = part * rounds                                        # a free run has no rounds
            with (
                _Process(_serve_exchange, symbols, 26 + (part + part // 10) * rounds + free) as exchange,
                _Process(_serve_frames, part * symbols, int(binary)) as bare,
            ):
                rates, cpu = _stream_rounds(exchange, bare, symbols, part, rounds, free, binary=binary)
            floor = statistics.median(rates["floor"])
            for name, values in rates.items():
                rate = statistics.median(values)
                rows.append((
                    "msgpack" if binary else "json", symbols, name, rate, rate / TARGET_BARS, floor / rate, cpu[name],
                ))
    return rows


def _stream_rounds(
    exchange: _Process, bare: _Process, symbols: int, part: int, rounds: int, free: int, *, binary: bool
) -> tuple[dict[str, list[float]], dict[str, float]]:
    rates: dict[str, list[float]] = {"floor": [], "one step": [], "lock-step": [], "free run": []}
    cpu = dict.fromkeys(rates, 0.0)
    control = http.client.HTTPConnection("127.0.0.1", exchange.control, timeout=60)

    def post(name: str, body: dict[str, Any]) -> None:
        control.request("POST", f"/v1/{name}", json.dumps(body), {"Content-Type": "application/json"})
        assert control.getresponse().read()

    def lock_step(count: int) -> None:
        for _ in range(count):
            post("step", {})

    def timed(name: str, count: int, begin: Callable[[], None], listener: RawStream, server: _Process) -> None:
        before, start = server.cpu(), time.perf_counter()
        driver = threading.Thread(target=begin)
        driver.start()
        listener.bars(count)
        rates[name].append(count / (time.perf_counter() - start))
        cpu[name] += (server.cpu() - before) / count * 1e6 / (1 if name == "free run" else rounds)
        driver.join()

    floor, listener = RawStream(bare.port, binary=binary, subscribe=False), RawStream(exchange.port, binary=binary)
    for _ in range(rounds):
        timed("floor", max(1, part * symbols // FRAME) * FRAME, floor.ask, floor, bare)
        timed("one step", part * symbols, lambda: post("step", {"count": part}), listener, exchange)
        timed("lock-step", part // 10 * symbols, lambda: lock_step(part // 10), listener, exchange)
    timed("free run", free * symbols, lambda: post("speed", {"speed": 1e12}), listener, exchange)
    floor.close()
    listener.close()
    return rates, cpu


# --- bars to many listeners ---------------------------------------------------------------------------------------

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
    with _Process(_serve_exchange, 0, 0) as server:
        return asyncio.run(_fan_out(server.port, server.control))


# --- the whole ----------------------------------------------------------------------------------------------------

def measure(calls: int = 2_000, rounds: int = 20, messages: int = 60_000) -> tuple[str, dict[str, Any]]:
    """The tables, and what was counted."""
    orders, sent = round_trips(calls, rounds)
    text = table(
        f"order round trip over loopback, {calls:,} calls in {rounds} rounds; µs; aim {TARGET_ORDER} × floor",
        ("client", "open orders", "server", "p50", "p99", "× floor", "server CPU"), orders,
    )
    streams = stream_rates(messages)
    text += table(
        "bar messages to one raw client that decodes every frame with msgspec; wall; "
        f"aim {TARGET_BARS:,} a second; CPU of the server in µs a message",
        ("format", "symbols", "drive", "messages/s", "× aim", "floor ×", "server CPU"), streams,
    )
    speed = fan_out()
    text += table(f"bars to {LISTENERS} listeners, {STEPS} steps; the listeners decode in this process",
                  ("task", "bars/s"), [("step, encode, send, receive, decode", speed)])
    return text, {"sent": sent, "streams": streams, "speed": speed}


@pytest.mark.bench
def test_the_exchange_takes_every_order_and_tells_every_bar() -> None:
    text, results = measure(calls=200, rounds=2, messages=6_000)
    print(text)
    assert results["sent"] == 1 + OUTSTANDING + 2 * 2 * (WARM + 200) + 2 * OUTSTANDING
    assert {row[2] for row in results["streams"]} == {"floor", "one step", "lock-step", "free run"}
    assert results["speed"] > 0


if __name__ == "__main__":
    print(measure()[0])
