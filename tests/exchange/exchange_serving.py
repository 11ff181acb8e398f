"""A server in a thread of its own, and clients around it."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trader.exchange.loop import new_event_loop
from trader.exchange.server import ExchangeServer


class Control:
    """The control API of a running server."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/v1/"

    def get(self, name: str) -> dict[str, Any]:
        with urllib.request.urlopen(self._base + name, timeout=60) as answer:
            return json.load(answer)

    def post(self, name: str, **body: object) -> dict[str, Any]:
        request = urllib.request.Request(self._base + name, json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@contextmanager
def serving(server: ExchangeServer) -> Iterator[Control]:
    """Run a server in a thread until the block ends."""
    loop = new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(60)
        try:
            yield Control(server.control_port)
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
