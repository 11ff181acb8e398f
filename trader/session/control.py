"""The control port: how ``alphatrade status | halt | resume`` and watchers speak to a running session.

One JSON line in, one JSON line out, loopback only, with the token from the session's private file.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from trader.utils.errors import UserError

LINE_LIMIT = 64 * 1024
IDLE_SECONDS = 10.0
Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ControlServer:
    """Answers commands from a table of handlers."""

    def __init__(self, token: str, handlers: dict[str, Handler]) -> None:
        self._token = token
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self.host = "127.0.0.1"
        self.port = 0

    async def start(self) -> None:
        """Listen on a free loopback port."""
        self._server = await asyncio.start_server(self._serve, self.host, 0, limit=LINE_LIMIT)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                line = await reader.readline()
            answer = await self._answer(line)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (TimeoutError, ConnectionError, ValueError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            token, command = str(request.pop("token", "")), str(request.pop("command", ""))
        except (ValueError, AttributeError):
            return {"error": "expected one JSON object on one line"}
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return {"error": "the token is wrong"}
        handler = self._handlers.get(command)
        if handler is None:
            return {"error": f"unknown command {command!r}; known: {', '.join(sorted(self._handlers))}"}
        try:
            return {"ok": True, **await handler(request)}
        except UserError as error:
            return {"error": str(error)}
