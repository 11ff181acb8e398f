"""Downloads of many symbols: against the embedded exchange over loopback, killed, resumed, throttled, refused."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.cli.main import main
from trader.core.clock import DAY_NS, MINUTE_NS, to_ns
from trader.core.panel import FIELDS, BarPanel
from trader.core.sessions import bar_grid
from trader.data.alpaca_client import AlpacaDataClient, MarketDataError
from trader.data.download import _blocks, _uncovered, download
from trader.data.rate_limit import TokenBucket, shared_bucket
from trader.data.store import BarStore
from trader.data.timeframe import available_at, parse_timeframe
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue
from trader.utils.errors import UserError

START, END = to_ns(datetime(2023, 11, 1, tzinfo=UTC)), to_ns(datetime(2024, 2, 1, tzinfo=UTC))
NOW = to_ns(datetime(2024, 6, 1, tzinfo=UTC))
SYMBOLS = ("AAPL", "MSFT")


def market() -> BarPanel:
    """Three months of two symbols with half days and a hole."""
    ts, rng = bar_grid(START, END, 15), np.random.default_rng(5)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.003, (len(ts), 2)), axis=0)), 2)
    close[70, 1] = np.nan
    open_ = np.round(close * 0.999, 2)
    volume = np.where(np.isnan(close), np.nan, 5000.0)
    return BarPanel(SYMBOLS, "15Min", ts, available_at(ts, parse_timeframe("15m")), open_, close + 1, close - 1, close,
                    volume, vwap=close - 0.01, trade_count=np.where(np.isnan(close), np.nan, 40.0))


class Exchange:
    """The embedded exchange with all bars played, on a loop and a thread of its own."""

    def __init__(self, panel: BarPanel) -> None:
        self.panel = panel

    def __enter__(self) -> Exchange:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.call(self._start())
        self.url = f"http://127.0.0.1:{self.server.port}"
        return self

    async def _start(self) -> None:
        model = RealisticFillSimulator(slippage_model="none")
        venue = Venue(self.panel, start_index=len(self.panel), cash=Decimal(1000), fill_model=model)
        self.server = ExchangeServer(venue)
        self.asked: list[tuple[str, dict[str, str]]] = []
        answer = self.server.answer

        def noted(request):
            self.asked.append((request.path, dict(request.query)))
            return answer(request)

        self.server.answer = noted              # bound when the service is made, at start
        await self.server.start()

    def call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def bars_asked(self) -> int:
        return sum(path == "/v2/stocks/bars" for path, _ in self.asked)

    def __exit__(self, *_: object) -> None:
        self.call(self.server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture(scope="module")
def exchange():
    with Exchange(market()) as running:
        yield running


@pytest.fixture
async def client(exchange):
    made = AlpacaDataClient("key", "secret", exchange.url, requests_per_minute=1e5)
    yield made
    await made.close()


async def test_every_bar_of_the_exchange_arrives(exchange, client, home):
    seen = []
    results = await download(client, home, SYMBOLS, "15m", START, END, now_ns=NOW, on_progress=seen.append)
    panel = BarStore(home).read(SYMBOLS, "15m")
    for name in ("ts_ns", "available_ns", *FIELDS, "vwap", "trade_count"):
        np.testing.assert_array_equal(getattr(panel, name), getattr(exchange.panel, name), err_msg=name)
    assert [r.stored for r in results] == [len(exchange.panel), len(exchange.panel) - 1]
    assert [(p.done, p.total) for p in seen] == [(i + 1, len(seen)) for i in range(len(seen))]
    info = BarStore(home).info("AAPL", "15m")
    assert (info.source, info.adjustment, info.origin) == ("real", "split", "Alpaca, feed default, regular hours")


async def test_small_pages_give_the_same_bars(exchange, client, home, monkeypatch):
    from trader.exchange import data_routes

    monkeypatch.setattr(data_routes, "whole", lambda query, name, default, most: 97)
    await download(client, home, ["AAPL"], "15m", START, END, now_ns=NOW)
    np.testing.assert_array_equal(BarStore(home).bars("AAPL", "15m").close, exchange.panel.close[:, 0])


async def test_daily_bars_stand_at_their_opening(exchange, client, home):
    await download(client, home, ["AAPL"], "1d", START, END, now_ns=NOW, adjustment="raw")
    daily = BarStore(home).read(["AAPL"], "1d")
    from trader.data.resample import resample

    expected = resample(exchange.panel, "1Day")
    np.testing.assert_array_equal(daily.ts_ns, expected.ts_ns)
    np.testing.assert_array_equal(daily.available_ns, expected.available_ns)
    np.testing.assert_allclose(daily.close[:, 0], expected.close[:, 0])
    np.testing.assert_allclose(daily.volume[:, 0], expected.volume[:, 0])


def stored_days() -> BarPanel:
    """The market's days as bars of their own: half days, a hole, the clocks changed in November."""
    from trader.data.resample import resample

    days = resample(market(), "1Day")
    for values in (days.open, days.high, days.low, days.close, days.volume, days.vwap, days.trade_count):
        values[20, 1] = np.nan
    return days


async def test_stored_daily_bars_come_back_over_the_wire(home):
    with Exchange(stored_days()) as running:
        client = AlpacaDataClient("key", "secret", running.url, requests_per_minute=1e5)
        frame = await client.get_historical_bars("AAPL", "1Day", "2023-11-01", "2024-01-31")
        new_york = frame["timestamp"].dt.tz_convert("America/New_York")
        assert (new_york == new_york.dt.normalize()).all()
        middle = int(running.panel.ts_ns[30])
        await download(client, home, SYMBOLS, "1d", START, middle, now_ns=NOW)
        assert BarStore(home).info("AAPL", "1d").rows == 30             # the end is of openings, and exclusive
        await download(client, home, SYMBOLS, "1d", middle, END, now_ns=NOW)
        await client.close()
        panel = BarStore(home).read(SYMBOLS, "1d")
        for name in ("ts_ns", "available_ns", *FIELDS, "vwap", "trade_count"):
            np.testing.assert_array_equal(getattr(panel, name), getattr(running.panel, name), err_msg=name)


async def test_finished_spans_are_not_asked_for_again_and_ranges_grow(exchange, client, home):
    middle = to_ns(datetime(2023, 12, 15, 16, tzinfo=UTC))
    about = {"now_ns": NOW, "adjustment": "raw"}
    await download(client, home, SYMBOLS, "15m", middle - 10 * DAY_NS, middle, **about)
    before = exchange.bars_asked()
    again = await download(client, home, SYMBOLS, "15m", middle - 10 * DAY_NS, middle, **about)
    assert exchange.bars_asked() == before
    assert [(r.blocks, r.new) for r in again] == [(0, 0), (0, 0)]
    parts = {p: p.read_bytes() for p in BarStore(home).root.rglob("*.parquet")}
    await download(client, home, SYMBOLS, "15m", START, END, **about)
    assert all(path.read_bytes() == content for path, content in parts.items())
    np.testing.assert_array_equal(BarStore(home).read(SYMBOLS, "15m").close, exchange.panel.close)
    assert BarStore(home).covered("AAPL", "15m") == [(START, END)]


async def test_bars_that_are_not_settled_wait(exchange, client, home):
    now = int(exchange.panel.ts_ns[40]) + 20 * MINUTE_NS             # bar 39 ended 20 minutes ago
    await download(client, home, ["AAPL"], "15m", START, None, now_ns=now, adjustment="raw")
    assert BarStore(home).bars("AAPL", "15m").ts_ns.tolist() == exchange.panel.ts_ns[:40].tolist()
    await download(client, home, ["AAPL"], "15m", START, None, now_ns=now + 15 * MINUTE_NS, adjustment="raw")
    assert BarStore(home).bars("AAPL", "15m").ts_ns.tolist() == exchange.panel.ts_ns[:41].tolist()


async def test_kinds_of_bars_do_not_mix(client, home):
    await download(client, home, ["AAPL"], "15m", START, END, now_ns=NOW)
    for other in ({"adjustment": "raw"}, {"feed": "iex"}, {"session": "all"}):
        with pytest.raises(UserError, match=r"must not be mixed: --no-resume"):
            await download(client, home, ["AAPL"], "15m", START, END, now_ns=NOW, **other)
    await download(client, home, ["AAPL"], "15m", START, END, now_ns=NOW, adjustment="raw", resume=False)
    assert BarStore(home).info("AAPL", "15m").adjustment == "raw"


async def test_a_split_since_the_last_download_is_noticed(exchange, client, home):
    await download(client, home, ["AAPL"], "15m", START, START + 20 * DAY_NS, now_ns=NOW)

    class AfterASplit:
        async def get_historical_bars(self, *arguments):
            frame = await client.get_historical_bars(*arguments)
            frame[["open", "high", "low", "close"]] /= 4
            return frame

    with pytest.raises(UserError, match=r"split or dividend has changed .* --no-resume"):
        await download(AfterASplit(), home, ["AAPL"], "15m", START, END, now_ns=NOW)
    assert BarStore(home).covered("AAPL", "15m") == [(START, START + 20 * DAY_NS)]


class Scripted:
    """Answers from the market, with a failure or a dead stop where wanted."""

    def __init__(self, panel: BarPanel, fail_at: int = -1) -> None:
        self.panel, self.fail_at, self.calls = panel, fail_at, []

    async def get_historical_bars(self, symbol, timeframe, start, end, feed, adjustment):
        self.calls.append((symbol, start, end))
        if len(self.calls) == self.fail_at:
            raise MarketDataError("no answer")
        low, high = (int(np.searchsorted(self.panel.ts_ns, pd.Timestamp(t).value)) for t in (start, end))
        part = self.panel.rows(low, high)
        frame = pd.DataFrame({n: getattr(part, n)[:, part.column(symbol)] for n in (*FIELDS, "vwap", "trade_count")})
        frame.insert(0, "timestamp", pd.to_datetime(part.ts_ns, utc=True))
        return frame.dropna(subset="close")


@settings(max_examples=15)
@given(fail_at=st.integers(1, 5))
def test_whatever_fails_the_next_run_completes_it(tmp_path_factory, fail_at):
    home = tmp_path_factory.mktemp("home")
    about = {"now_ns": NOW, "adjustment": "raw"}
    source = Scripted(market(), fail_at)
    try:
        asyncio.run(download(source, home, SYMBOLS, "15m", START, END, **about))
    except MarketDataError:
        finished = set(source.calls[:-1])
        source = Scripted(market())
        asyncio.run(download(source, home, SYMBOLS, "15m", START, END, **about))
        assert not finished & set(source.calls)
    np.testing.assert_array_equal(BarStore(home).read(SYMBOLS, "15m").close, market().close)


def test_killed_and_resumed(exchange, home):
    """Kill -9 in the midst of a command-line download; the next one asks only for what was not finished."""
    script = (
        "import sys, time\n"
        "from trader.data import store\n"
        "write = store.atomic_write_bytes\n"
        "def slow(path, content):\n"
        "    write(path, content); print(path.name, flush=True); time.sleep(0.05)\n"
        "store.atomic_write_bytes = slow\n"
        "from trader.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["data", "download", "--symbols", "AAPL,MSFT", "--start", "2023-11-01", "--end", "2024-01-31",
             "--timeframe", "15Min", "--adjustment", "raw", "--json"]
    env = {**os.environ, "ALPHATRADE_HOME": str(home), "ALPACA_API_KEY": "k", "ALPACA_SECRET_KEY": "s",
           "ALPACA_BASE_URL": exchange.url}
    process = subprocess.Popen([sys.executable, "-c", script, *words], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    written = [process.stdout.readline().strip() for _ in range(3)]     # part, manifest, part: the manifest is not out
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    process.stdout.close()
    assert written[1] == "manifest.json"
    assert written[2].startswith("part-")
    done = BarStore(home).covered("AAPL", "15m")
    assert len(done) == 1
    before = exchange.bars_asked()
    plain = "import sys\nfrom trader.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    finished = subprocess.run(
        [sys.executable, "-c", plain, *words], env=env, capture_output=True, text=True, check=True)
    results = json.loads(finished.stdout)
    assert results[0]["blocks_before"] == 1
    asked = [query["symbols"] for path, query in exchange.asked[-(exchange.bars_asked() - before):]]
    assert len(asked) == sum(r["blocks"] for r in results)
    np.testing.assert_array_equal(BarStore(home).read(SYMBOLS, "15m").close, exchange.panel.close)


def test_blocks_cover_a_range_once():
    for timeframe in ("1m", "15m", "1d"):
        blocks = list(_blocks(START + 7, END + 11, parse_timeframe(timeframe)))
        assert (blocks[0][0], blocks[-1][1]) == (START + 7, END + 11)
        assert all(a[1] == b[0] for a, b in itertools.pairwise(blocks))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)), max_size=6))
def test_what_is_not_covered(spans):
    known, at = [], 0
    for gap, length in spans:
        known.append((at + gap + 1, at + gap + 1 + length))
        at = known[-1][1]
    block = (20, 60)
    missing = _uncovered(block, known)
    inside = {x for a, b in missing for x in range(a, b)}
    assert inside == set(range(*block)) - {x for a, b in known for x in range(a, b)}


@pytest.mark.parametrize(("words", "said"), [
    (["--symbols", ","], "no symbols were given"),
    (["--timeframe", "1h"], "do not start at the opening"),
    (["--adjustment", "none"], "adjustment 'none' is unknown"),
    (["--feed", "nyse"], "feed 'nyse' is unknown"),
    (["--start", "soon"], "start 'soon' is not a date"),
    (["--start", "2999-01-01"], "no settled 15Min bar"),
    (["--requests-per-minute", "0"], "expected a number above zero"),
])
def test_mistakes_are_one_line(capsys, monkeypatch, exchange, words, said):
    for name, value in (("ALPACA_API_KEY", "k"), ("ALPACA_SECRET_KEY", "s"), ("ALPACA_BASE_URL", exchange.url)):
        monkeypatch.setenv(name, value)
    given_words = {"--symbols": "AAPL", "--start": "2023-11-01"} | dict(zip(words[::2], words[1::2], strict=True))
    assert main(["data", "download", *(w for pair in given_words.items() for w in pair)]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1


def test_without_keys_and_without_a_server(capsys, monkeypatch):
    words = ["data", "download", "--symbols", "AAPL", "--start", "2023-11-01", "--end", "2023-11-02"]
    assert main(words) == 2
    assert "no Alpaca keys" in capsys.readouterr().err
    for name, value in (("ALPACA_API_KEY", "k"), ("ALPACA_SECRET_KEY", "s"), ("ALPACA_BASE_URL", "http://127.0.0.1:9")):
        monkeypatch.setenv(name, value)
    # without the transport that repeats for a minute
    monkeypatch.setattr("trader.data.alpaca_client.AlpacaDataClient._hardened", lambda self, client, bucket: client)
    assert main(words) == 1
    assert "the same command goes on from there" in capsys.readouterr().err


class TestTokenBucket:
    def test_no_minute_holds_more_than_the_limit(self):
        now = [0.0]
        bucket = TokenBucket(200, now=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s))
        taken = []
        for _ in range(900):
            bucket.take()
            taken.append(now[0])
        times = np.array(taken)
        assert max(np.searchsorted(times, t + 60, side="left") - i for i, t in enumerate(times)) <= 200
        assert times[-1] < 900 / 200 * 60 * 1.15         # and the allowance is used

    def test_clients_share_one(self):
        assert shared_bucket("a", "k") is shared_bucket("a", "k")
        assert shared_bucket("a", "k") is not shared_bucket("a", "other")
        with pytest.raises(ValueError, match="above zero"):
            TokenBucket(0)


PAPER_KEYS = {name: os.environ.get(name) for name in ("ALPACA_API_KEY", "ALPACA_SECRET_KEY")}


@pytest.mark.skipif(not all(PAPER_KEYS.values()), reason="needs the keys of a paper account in ALPACA_API_KEY, …")
async def test_against_alpaca(home):
    client = AlpacaDataClient(PAPER_KEYS["ALPACA_API_KEY"], PAPER_KEYS["ALPACA_SECRET_KEY"])
    start, end = to_ns(datetime(2024, 7, 2, tzinfo=UTC)), to_ns(datetime(2024, 7, 9, tzinfo=UTC))
    try:
        for timeframe, bars in (("15m", 26 + 14 + 26 + 26), ("1d", 4)):
            results = await download(client, home, ["AAPL", "MSFT"], timeframe, start, end, now_ns=NOW * 2, feed="iex")
            assert [r.stored for r in results] == [bars, bars]
        assert (await client.get_account()).status.value == "ACTIVE"
    finally:
        await client.close()
