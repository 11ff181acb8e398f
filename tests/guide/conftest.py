"""Fixtures of the guide's snippets."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from decimal import Decimal

import pytest
from guide_world import Exchange, dated, free_port, to_ns_of

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core.panel import BarPanel
from trader.data.catalog import load_panel
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue

KEYS = ("key", "secret")


@pytest.fixture(scope="session")
def guide_panel(tmp_path_factory: pytest.TempPathFactory) -> BarPanel:
    """Fifteen-minute bars of AAPL and MSFT from the bundled sample, moved to 2023-01-03 … 2024-12-02."""
    home = tmp_path_factory.mktemp("bars")
    panel = load_panel(home, ["AAPL", "MSFT"], "15Min", "2010-11-01", "2012-12-14")
    return dated(panel, "2023-01-03", "2024-12-02")


@pytest.fixture(scope="session")
def recent(guide_panel: BarPanel) -> BarPanel:
    """The last 900 bars: enough for features, small enough for models."""
    return guide_panel.rows(len(guide_panel) - 900, len(guide_panel))


@pytest.fixture
def exchange(guide_panel: BarPanel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    """An exchange on its own port with ALPACA_* pointing to it; the market has just opened on 2024-12-02."""
    opening = int(guide_panel.ts_ns.searchsorted(to_ns_of("2024-12-02T14:30:00+00:00"))) + 2
    venue = Venue(guide_panel, start_index=opening, cash=Decimal(100_000), fill_model=RealisticFillSimulator())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = ExchangeServer(venue)
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(60)
        running = Exchange(server, loop)
        monkeypatch.setenv("ALPACA_API_KEY", KEYS[0])
        monkeypatch.setenv("ALPACA_SECRET_KEY", KEYS[1])
        monkeypatch.setenv("ALPACA_BASE_URL", running.url)
        yield running
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


@pytest.fixture(params=["redis", "fallback"])
def redis_or_not(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """REDIS_HOST and REDIS_PORT of a real server, and of nobody."""
    port = free_port()
    monkeypatch.setenv("REDIS_HOST", "127.0.0.1")
    monkeypatch.setenv("REDIS_PORT", str(port))
    if request.param == "fallback":
        yield "fallback"
        return
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    process = subprocess.Popen(
        [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL)
    try:
        for _ in range(1_200):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.05)
        yield "redis"
    finally:
        process.kill()
        process.wait()
