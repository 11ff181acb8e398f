"""What the guide's snippets run against: the sample's prices on other dates, an exchange in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from trader.core.clock import MINUTE_NS, to_ns
from trader.core.panel import BarPanel
from trader.core.sessions import bar_grid
from trader.data.catalog import parse_range
from trader.exchange.server import ExchangeServer


def dated(panel: BarPanel, start: str, end: str) -> BarPanel:
    """The panel's bars one after another on the regular sessions of another time; both ends at most."""
    low, high = parse_range(start, end)
    assert low is not None
    assert high is not None
    grid = bar_grid(low, high)
    count = min(len(grid), len(panel))
    rows = panel.rows(len(panel) - count, len(panel))
    return replace(rows, ts_ns=grid[:count], available_ns=grid[:count] + 15 * MINUTE_NS)


def frame_of(panel: BarPanel, symbol: str) -> Any:
    """One symbol as the frame that the data client gives."""
    import pandas as pd

    k = panel.column(symbol)
    frame = pd.DataFrame({"timestamp": pd.to_datetime(panel.ts_ns, utc=True)})
    for name in ("open", "high", "low", "close", "volume"):
        frame[name] = getattr(panel, name)[:, k]
    return frame.assign(vwap=frame[["high", "low", "close"]].mean(axis=1), trade_count=100.0)


@dataclass
class Exchange:
    """A running exchange in a thread of its own."""

    server: ExchangeServer
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def call(self, work: Callable[[], Any]) -> Any:
        """Run something in the exchange's thread."""
        async def inside() -> Any:
            return work()

        return asyncio.run_coroutine_threadsafe(inside(), self.loop).result(30)

    def step(self, count: int = 1) -> None:
        """Play bars."""
        for _ in range(count):
            self.call(self.server.advance)

    @property
    def held(self) -> dict[str, Decimal]:
        """Shares by symbol."""
        return self.call(lambda: {
            symbol: holding.qty for symbol, holding in self.server.venue.accounts_book.holdings.items()
            if holding.qty})


def to_ns_of(text: str) -> int:
    """An ISO time in nanoseconds."""
    return to_ns(datetime.fromisoformat(text))


def free_port() -> int:
    """A port that nobody listens on, below those that the system deals out to whoever asks for any."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
