"""Alpaca's bar stream, hardened: link states, fast detection of dead and mute sockets, seeded back-off, no lost frames.

Policy of the queue: bars are never dropped. The queue is bounded; when its consumer falls behind, the socket is no
longer read, the server or the keep-alive ends the connection, and the gap is filled from REST after the reconnect.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import websockets
from alpaca.data.live.stock import StockDataStream

from trader.data.live_bars import StreamBar, read_bar
from trader.utils.tasks import end

UP, DOWN, RECONNECTING = "up", "down", "reconnecting"
SOCKET = {"ping_interval": 2, "ping_timeout": 2, "close_timeout": 1, "max_queue": 1024, "open_timeout": 5}


class LinkFailed(websockets.WebSocketException):
    """Connecting or authenticating failed; alpaca-py waits and tries again after exceptions of this family."""


class HardenedBarStream(StockDataStream):
    """Bars, their corrections and trading statuses, in order, through one bounded queue; the link's changes, too.

    Parameters
    ----------
    url : str
        The stream's address; see `bar_stream_url`.
    on_bar : Callable[[StreamBar, bool], None]
        A bar and whether it came as a correction (``updatedBars``).
    on_status : Callable[[dict], None]
        A trading status as it came: a symbol is halted or trades again.
    on_state : Callable[[str, str], Awaitable[None]] in effect
        Awaited in the queue's order: what it does (filling the gap) is done before the next bar is delivered.
    on_problem : Callable[[str], None]
        Errors that the server reports and bars that cannot be read.
    mute_after_s : float | None
        Reconnect when a live socket brings no bar for so long; for feeds that never pause.
    """

    def __init__(
        self, api_key: str, secret_key: str, url: str, symbols: Sequence[str], *,
        on_bar: Callable[[StreamBar, bool], None], on_status: Callable[[dict[str, Any]], None],
        on_state: Callable[[str, str], Any], on_problem: Callable[[str], None], mute_after_s: float | None = None,
        backoff_s: tuple[float, float] = (0.5, 30.0), queue_size: int = 8192, seed: int = 0,
    ) -> None:
        super().__init__(
            api_key, secret_key, raw_data=True, url_override=url, websocket_params=dict(SOCKET),
            data_timeout=mute_after_s,
        )
        self._on_bar, self._on_status, self._on_state, self._on_problem = on_bar, on_status, on_state, on_problem
        self._backoff_s = backoff_s
        self._random = random.Random(seed)
        self._link = DOWN
        self._queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(queue_size)
        self._symbols = tuple(symbols)
        self.subscribe_bars(self._take, *symbols)
        self.subscribe_updated_bars(self._take, *symbols)
        self.subscribe_trading_statuses(self._take, *symbols)

    @property
    def link(self) -> str:
        """``up`` | ``down`` | ``reconnecting``."""
        return self._link

    async def stay(self) -> None:
        """Stay connected and deliver until cancelled."""
        pump = asyncio.create_task(self._pump(), name="bars")
        reader = asyncio.create_task(self._run_forever(), name="bar socket")
        try:
            await asyncio.wait({pump, reader}, return_when=asyncio.FIRST_COMPLETED)
            for task in (pump, reader):
                if task.done():
                    task.result()                   # neither ends by itself but by a fault
        finally:
            await end(pump, reader, again_s=0.2)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1.5):
                    await super().close()
            self._link = DOWN

    async def drop(self) -> None:
        """End the present connection; the next one follows by itself."""
        if self._ws is not None:
            await self._ws.close()

    async def _pump(self) -> None:
        while True:
            kind, item = await self._queue.get()
            if kind != "market":
                await self._on_state(kind, item)
                continue
            try:
                if item.get("T") == "s":
                    self._on_status(item)
                    continue
                bar = read_bar(item)
            except ValueError as error:
                self._on_problem(str(error))
                continue
            self._on_bar(bar, item.get("T") == "u")

    async def _take(self, raw: Any) -> None:
        await self._queue.put(("market", raw))

    # --- alpaca-py's hooks -------------------------------------------------------------------------------

    async def _start_ws(self) -> None:
        try:
            await super()._start_ws()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            text = f"{self._endpoint}: {type(error).__name__}: {error}".rstrip(": ")
            await self._tell(DOWN, text)
            raise LinkFailed(text) from None

    async def _dispatch(self, msg: dict[str, Any]) -> None:
        kind = msg.get("T")
        if kind == "subscription":
            missing = sorted(set(self._symbols) - set(msg.get("bars") or ()))
            if missing and "*" not in (msg.get("bars") or ()):
                self._on_problem(f"the feed did not subscribe {', '.join(missing)}")
            await self._tell(UP, "")
        elif kind == "error" and msg.get("code") != 403:        # 403: already authenticated
            self._on_problem(f"data stream error {msg.get('code')}: {msg.get('msg')}")
        await super()._dispatch(msg)

    async def close(self) -> None:
        if self._link == UP:
            await self._tell(RECONNECTING, "the connection was lost")
        await super().close()

    def _reconnect_delay(self, retries: int) -> float:
        first, longest = self._backoff_s
        return min(longest, first * 2.0 ** min(retries - 1, 30)) * (0.5 + 0.5 * self._random.random())

    async def _tell(self, state: str, detail: str) -> None:
        if state != self._link:
            self._link = state
            await self._queue.put((state, detail))


def bar_stream_url(data_url: str | None, feed: str = "iex") -> str:
    """The bar stream's address: Alpaca's own for None, else that of a server which has all on one port."""
    if data_url is None or "alpaca.markets" in data_url:
        return f"wss://stream.data.alpaca.markets/v2/{feed}"
    parts = urlsplit(data_url.rstrip("/"))
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, parts.path.removesuffix("/v2") + f"/v2/{feed}", "", ""))
