"""Raw clients of the exchange: HTTP to the byte, WebSockets by hand."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from trader.exchange.server import ExchangeServer

KEYS = "APCA-API-KEY-ID: key\r\nAPCA-API-SECRET-KEY: secret\r\n"


class Raw:
    """An HTTP client that says exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, port: int) -> Raw:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def say(self, method: str, path: str, body: object = None, keys: str = KEYS) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{keys}Content-Length: {len(data)}\r\n\r\n".encode() + data)

    async def hear(self) -> tuple[int, Any]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 60)).decode()
        status = int(head.split(" ")[1])
        length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("Content-Length")), 0)
        data = await self.reader.readexactly(length)
        return status, json.loads(data) if data else None

    async def ask(self, method: str, path: str, body: object = None, keys: str = KEYS) -> tuple[int, Any]:
        self.say(method, path, body, keys)
        return await self.hear()


def stream(server: ExchangeServer, path: str, **headers: str) -> connect:
    return connect(f"ws://127.0.0.1:{server.port}{path}", additional_headers=headers, proxy=None, compression=None)


async def json_of(socket: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), 60))
