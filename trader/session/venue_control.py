"""Speaking to an embedded exchange's control port: step, speed, pause, state; one kept-alive connection."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from trader.utils.errors import UserError


class VenueControl:
    """A tiny HTTP client for loopback; answers are JSON objects."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._lock = asyncio.Lock()

    @classmethod
    def at(cls, address: str) -> VenueControl:
        """``127.0.0.1:8091`` or ``http://127.0.0.1:8091``."""
        host, _, port = address.removeprefix("http://").rstrip("/").rpartition(":")
        if not host or not port.isdigit():
            raise UserError(f"venue control address {address!r} is not HOST:PORT, such as 127.0.0.1:8091")
        return cls(host, int(port))

    async def step(self) -> dict[str, Any]:
        """Play one bar; ``done``, ``index``, ``bar_ts_ns``, ``now_ns`` and the message counters."""
        return await self._call("POST", "/v1/step", {})

    async def state(self) -> dict[str, Any]:
        """Where the venue stands."""
        return await self._call("GET", "/v1/state")

    async def set_speed(self, speed: float) -> dict[str, Any]:
        """Simulated seconds per second."""
        return await self._call("POST", "/v1/speed", {"speed": speed})

    async def pause(self) -> dict[str, Any]:
        """Stop the venue's clock."""
        return await self._call("POST", "/v1/pause", {})

    async def resume(self) -> dict[str, Any]:
        """Let it go on."""
        return await self._call("POST", "/v1/resume", {})

    async def close(self) -> None:
        """Drop the connection."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        async with self._lock:
            if self._writer is None or self._writer.is_closing():
                self._reader, self._writer = await asyncio.open_connection(self.host, self.port)
            assert self._reader is not None
            content = b"" if body is None else json.dumps(body).encode()
            self._writer.write((
                f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(content)}\r\n\r\n").encode() + content)
            await self._writer.drain()
            return await self._answer(path)

    async def _answer(self, path: str) -> dict[str, Any]:
        assert self._reader is not None
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(head.split(" ", 2)[1])
        length = 0
        for line in head.split("\r\n")[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        answer = json.loads(await self._reader.readexactly(length) or b"{}")
        if status >= 400:
            raise ConnectionError(f"the venue's control port answered {path} with {status}: {answer}")
        return dict(answer)
