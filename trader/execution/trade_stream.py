"""The account's trade updates: alpaca-py's stream with link states, quick detection of dead sockets, and a queue.

Policy of the queue: a trade update is never dropped. When the consumer falls behind, the queue fills, the socket
is no longer read, the keep-alive fails, and the stream reconnects and says so; the session reconciles after every
``up``, because Alpaca does not replay what happened in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import websockets
from alpaca.trading.stream import TradingStream

from trader.utils.tasks import end

_log = logging.getLogger("alphatrade.execution")

UP, DOWN, RECONNECTING = "up", "down", "reconnecting"

# Dead sockets are found after about six seconds (alpaca-py's own settings: three minutes).
SOCKET = {"ping_interval": 2, "ping_timeout": 2, "close_timeout": 1, "max_queue": 1024, "open_timeout": 5}


class LinkFailed(websockets.WebSocketException):
    """Connecting or authenticating failed; alpaca-py waits and tries again after exceptions of this family."""


class TradeUpdateStream(TradingStream):
    """Trade updates as raw messages, in order, on the loop that runs `run`.

    Parameters
    ----------
    url : str
        The stream's address; see `stream_url`.
    on_update : Callable[[dict[str, Any]], None]
        Called with every raw message (envelope and all).
    on_state : Callable[[str, str], None]
        Called with ``up``, ``down`` or ``reconnecting`` and a detail, when the state changes.
    backoff_s : tuple[float, float]
        First and longest wait between attempts; jittered by ``seed``.
    """

    def __init__(
        self,
        api_key: str,
        secret_key: str,
        url: str,
        on_update: Callable[[dict[str, Any]], None],
        on_state: Callable[[str, str], None],
        *,
        backoff_s: tuple[float, float] = (0.5, 30.0),
        queue_size: int = 4096,
        seed: int = 0,
    ) -> None:
        super().__init__(api_key, secret_key, raw_data=True, url_override=url, websocket_params=dict(SOCKET))
        self._on_update = on_update
        self._on_state = on_state
        self._state = DOWN
        self._backoff_s = backoff_s
        self._random = random.Random(seed)
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(queue_size)
        self._advanced = asyncio.Condition()
        self.processed = 0
        self.subscribe_trade_updates(self._queue.put)

    @property
    def state(self) -> str:
        """``up`` | ``down`` | ``reconnecting``."""
        return self._state

    async def run(self) -> None:  # type: ignore[override]
        """Stay connected and deliver until cancelled."""
        pump = asyncio.create_task(self._pump(), name="trade-updates")
        try:
            await self._run_forever()  # type: ignore[no-untyped-call]
        finally:
            await end(pump)
            with contextlib.suppress(asyncio.CancelledError, Exception):
                async with asyncio.timeout(1.5):
                    await super().close()
            self._tell(DOWN, "stopped")

    async def wait_processed(self, count: int) -> None:
        """Return once ``count`` updates since the start have been through ``on_update`` (lock-step sessions)."""
        async with self._advanced:
            await self._advanced.wait_for(lambda: self.processed >= count)

    async def _pump(self) -> None:
        while True:
            message = await self._queue.get()
            try:
                self._on_update(message)
            except Exception as error:
                # The update is lost to its taker; a new connection makes the session reconcile.
                _log.exception("a trade update could not be taken")
                self._tell(RECONNECTING, f"an update could not be taken: {type(error).__name__}: {error}")
                if self._ws is not None:
                    await self._ws.close()
            async with self._advanced:
                self.processed += 1
                self._advanced.notify_all()

    # --- alpaca-py's hooks -------------------------------------------------------------------------------

    async def _start_ws(self) -> None:
        try:
            await super()._start_ws()  # type: ignore[no-untyped-call]
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._tell(DOWN, failure_text(error, self._endpoint))
            raise LinkFailed(failure_text(error, self._endpoint)) from None

    async def _dispatch(self, msg: dict[str, Any]) -> None:
        if msg.get("stream") == "listening":
            self._tell(UP, "")
        await super()._dispatch(msg)

    async def close(self) -> None:
        if self._state == UP:
            self._tell(RECONNECTING, "the connection was lost")
        await super().close()

    def _reconnect_delay(self, retries: int) -> float:
        return jittered(retries, self._backoff_s, self._random)

    def _tell(self, state: str, detail: str) -> None:
        if state != self._state:
            self._state = state
            self._on_state(state, detail)


def stream_url(base_url: str) -> str:
    """The trade stream's address that belongs to a trading address (``https://…`` → ``wss://…/stream``)."""
    parts = urlsplit(base_url.rstrip("/").removesuffix("/v2"))
    return urlunsplit(("wss" if parts.scheme == "https" else "ws", parts.netloc, parts.path + "/stream", "", ""))


def jittered(attempt: int, bounds: tuple[float, float], source: random.Random) -> float:
    """Seconds before attempt number ``attempt`` (from 1): doubled each time up to the bound, times 0.5 … 1."""
    first, longest = bounds
    return min(longest, first * 2.0 ** min(attempt - 1, 30)) * (0.5 + 0.5 * source.random())


def failure_text(error: Exception, endpoint: str) -> str:
    """One line about why a stream's connection failed."""
    return f"{endpoint}: {type(error).__name__}: {error}".rstrip(": ")
