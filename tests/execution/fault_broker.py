"""A loopback broker for faults: real sockets, enough of Alpaca's REST, and a queue of ways to misbehave."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

STAMP = "2026-01-05T15:00:00.{:06d}Z"
OPEN = ("new", "accepted", "held", "partially_filled")
HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait for what no event announces."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@dataclass
class FaultBroker:
    """Answers on ``http://127.0.0.1:port``.

    ``faults`` maps ``"METHOD /path"`` to the faults of the next requests to it: ``hang`` (until ``let_go`` is set),
    ``drip``, ``reset``, ``html502``, ``garbage``, ``429``, ``503`` answer without acting; with ``:after`` behind
    them (``504:after``) they act first. An empty fault is none.
    """

    faults: dict[str, deque[str]] = field(default_factory=dict)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)      # by broker id
    positions: dict[str, dict[str, Any]] = field(default_factory=dict)
    fills: list[dict[str, Any]] = field(default_factory=list)
    cash: str = "100000"
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    refuse_orders: tuple[int, int, str] | None = None
    key: str = "key"
    page: int = 500
    port: int = 0

    async def __aenter__(self) -> FaultBroker:
        self._tasks: set[asyncio.Task[None]] = set()
        self.let_go = asyncio.Event()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fault(self, route: str, *kinds: str) -> None:
        self.faults.setdefault(route, deque()).extend(kinds)

    def count(self, method: str, path: str) -> int:
        return sum(1 for m, p, _ in self.requests if m == method and p == path)

    def by_client_id(self, client_order_id: str) -> list[dict[str, Any]]:
        return [order for order in self.orders.values() if order["client_order_id"] == client_order_id]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode().split("\r\n")
                method, target, _ = lines[0].split(" ")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
                length = int(headers.get("content-length", 0))
                body = json.loads(await reader.readexactly(length)) if length else None
                if not await self._answer(writer, method, target, headers, body):
                    break
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(
        self, writer: asyncio.StreamWriter, method: str, target: str, headers: dict[str, str], body: Any
    ) -> bool:
        parts = urlsplit(target)
        path = parts.path.removeprefix("/v2")
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        self.requests.append((method, path, body if body is not None else query))
        queue = self.faults.get(f"{method} {path}")
        fault, _, when = (queue.popleft() if queue else "").partition(":")
        if headers.get("apca-api-key-id") != self.key:
            status, answer = 401, {"code": 40110000, "message": "request is not authorized"}
        elif not fault or when == "after":
            status, answer = self._act(method, path, query, body)
        if not fault:
            await _write(writer, status, "" if answer is None else json.dumps(answer))
            return True
        if fault == "hang":
            await self.let_go.wait()
            writer.transport.abort()
            return False
        if fault == "drip":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        if fault == "reset":
            writer.transport.abort()
            return False
        if fault == "garbage":
            await _write(writer, 200, "{not json")
        elif fault == "html502":
            await _write(writer, 502, HTML)
        elif fault == "429":
            text = json.dumps({"code": 42910000, "message": "rate limit exceeded"})
            await _write(writer, 429, text, "Retry-After: 0\r\n")
        elif fault == "404":
            await _write(writer, 404, json.dumps({"code": 40410000, "message": "order not found"}))
        else:
            await _write(writer, int(fault), json.dumps({"message": "fault"}))
        return True

    def _act(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if (method, path) == ("POST", "/orders"):
            return self._post(body)
        if (method, path) == ("GET", "/account"):
            return 200, {"id": "a", "account_number": "1", "status": "ACTIVE", "cash": self.cash, "equity": self.cash,
                         "buying_power": self.cash}
        if (method, path) == ("GET", "/positions"):
            return 200, list(self.positions.values())
        if (method, path) == ("GET", "/account/activities/FILL"):
            start = next((i + 1 for i, f in enumerate(self.fills) if f["id"] == query.get("page_token")), 0)
            return 200, self.fills[start : start + int(query.get("page_size", 100))]
        if (method, path) == ("GET", "/orders"):
            wanted = query.get("status", "open")
            rows = [o for o in self.orders.values() if wanted == "all" or (o["status"] in OPEN) == (wanted == "open")]
            after = query.get("after", "").replace("+00:00", "").rstrip("Z")
            rows = [o for o in rows if o["submitted_at"].rstrip("Z") > after]
            return 200, rows[: min(self.page, int(query.get("limit", 50)))]
        if (method, path) == ("GET", "/orders:by_client_order_id"):
            found = self.by_client_id(query["client_order_id"])
            return (200, found[0]) if found else (404, {"code": 40410000, "message": "order not found"})
        if (method, path) == ("DELETE", "/orders"):
            live = [o for o in self.orders.values() if o["status"] == "new"]
            for order in live:
                order["status"] = "canceled"
            return 207, [{"id": o["id"], "status": 200} for o in live]
        if path.startswith("/orders/"):
            order = self.orders.get(path.rpartition("/")[2])
            if order is None:
                return 404, {"code": 40410000, "message": "order not found"}
            if method == "DELETE":
                if order["status"] != "new":
                    return 422, {"code": 42210000, "message": f"order is already {order['status']}"}
                order["status"] = "canceled"
                return 204, None
            return 200, order
        if path.startswith("/positions/") and method == "DELETE":
            symbol = path.rpartition("/")[2]
            held = self.positions.pop(symbol, None)
            if held is None:
                return 404, {"code": 40410000, "message": f"position not found: {symbol}"}
            side = "sell" if held["side"] == "long" else "buy"
            return self._post({"symbol": symbol, "qty": held["qty"], "side": side, "type": "market",
                               "client_order_id": str(uuid.uuid4()), "time_in_force": "day"})
        return 404, {"code": 40410000, "message": "endpoint not found"}

    def _post(self, body: dict[str, Any]) -> tuple[int, Any]:
        if self.by_client_id(body["client_order_id"]):
            return 422, {"code": 40010001, "message": "client_order_id must be unique"}
        if self.refuse_orders is not None:
            status, code, message = self.refuse_orders
            return status, {"code": code, "message": message}
        order = self.add(**body)
        return 200, order

    def add(self, **fields: Any) -> dict[str, Any]:
        """Put an order into the broker's book; ``fields`` override the wire's fields."""
        n = len(self.orders) + 1
        exits = {"take_profit": ("limit", "limit_price"), "stop_loss": ("stop", "stop_price")}
        prices = {name: fields.pop(name) for name in exits if name in fields}
        order = {
            "id": str(uuid.uuid4()), "client_order_id": str(uuid.uuid4()), "symbol": "AAPL", "side": "buy", "qty": "1",
            "status": "new", "type": "market", "order_class": "", "time_in_force": "day", "filled_qty": "0",
            "filled_avg_price": None, "limit_price": None, "stop_price": None, "submitted_at": STAMP.format(n),
            "legs": None,
        } | {k: str(v) if k in ("qty", "limit_price", "stop_price") and v is not None else v for k, v in fields.items()}
        order["legs"] = [
            {**order, "id": str(uuid.uuid4()), "client_order_id": str(uuid.uuid4()), "legs": None, "status": "held",
             "side": "sell" if order["side"] == "buy" else "buy", "type": kind, field_: str(prices[name][field_])}
            for name, (kind, field_) in exits.items() if name in prices
        ] or None
        self.orders[order["id"]] = order
        return order


async def _write(writer: asyncio.StreamWriter, status: int, text: str, extra: str = "") -> None:
    body = text.encode()
    length = "" if status == 204 else f"Content-Length: {len(body)}\r\n"
    writer.write(f"HTTP/1.1 {status} X\r\n{extra}{length}\r\n".encode() + body)
    await writer.drain()
