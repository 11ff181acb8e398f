"""From streamed bars to slices: pure parts by property, the rim against the embedded exchange and a rude server."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
import websockets
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core import events as ev
from trader.core.clock import DAY_NS, MINUTE_NS, SECOND_NS, VirtualClock, iso
from trader.core.panel import BarPanel, Slice
from trader.core.sessions import bar_grid, sessions_between
from trader.data.alpaca_client import AlpacaDataClient
from trader.data.bar_assembler import BarAssembler
from trader.data.live_bars import Arrival, BarLedger, StreamBar, read_bar, read_time
from trader.data.live_feed import LiveFeed, rest_bars
from trader.data.live_halts import LiveHalts
from trader.data.slice_assembler import SliceAssembler
from trader.data.timeframe import DAILY, FIFTEEN, parse_timeframe
from trader.data.websocket_hardened import HardenedBarStream, bar_stream_url
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue

OPEN = 1_704_724_200 * SECOND_NS            # 2024-01-08 09:30 in New York
MARCH = 1_709_251_200 * SECOND_NS           # 2024-03-01, the clocks change on the 10th
HALF_DAY = 1_720_013_400 * SECOND_NS        # 2024-07-03 09:30, closes at 13:00


def minute(n: int, close: float = 10.0, symbol: str = "AAPL", volume: float = 100.0, start: int = OPEN) -> StreamBar:
    return StreamBar(symbol, start + n * MINUTE_NS, close, close + 1, close - 1, close, volume, close, 5.0)


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  callbacks without events
            await asyncio.sleep(0.005)


# --- pure ------------------------------------------------------------------------------------------------

def test_times_are_read_in_every_form() -> None:
    for value in ("2024-01-08T14:30:00Z", "2024-01-08T14:30:00.000000000Z", "2024-01-08T14:30:00+00:00"):
        assert read_time(value) == OPEN
    assert read_time("2024-01-08T14:30:00.123456789Z") == OPEN + 123456789
    with pytest.raises(ValueError, match="neither"):
        read_time(5)
    with pytest.raises(ValueError, match="'c'"):
        read_bar({"S": "A", "t": "2024-01-08T14:30:00Z", "o": 1, "h": 1, "l": 1})


def test_the_ledger_tells_repeats_corrections_and_late_bars() -> None:
    ledger = BarLedger()
    arrivals = [ledger.arrive(bar) for bar in (
        minute(0), minute(2), minute(2), minute(1), minute(1, 11.0), minute(2)._replace(vwap=math.nan),
        minute(2)._replace(vwap=math.nan))]
    assert arrivals == [Arrival.NEW, Arrival.NEW, Arrival.DUPLICATE, Arrival.LATE, Arrival.CORRECTION,
                        Arrival.CORRECTION, Arrival.DUPLICATE]


def test_minutes_make_aligned_bars() -> None:
    assembler = BarAssembler(15)
    done = [d for n in range(30) for d in assembler.offer(minute(n, 10.0 + n))]
    first, second = (d.bar for d in done)
    assert (first.ts_ns, second.ts_ns) == (OPEN, OPEN + 15 * MINUTE_NS)
    assert first[2:7] == (10.0, 25.0, 9.0, 24.0, 1500.0)
    assert first.vwap == pytest.approx(17.0)
    assert first.trade_count == 75


def test_a_bar_without_its_last_minute_waits_for_the_clock_or_for_news() -> None:
    assembler = BarAssembler(15, grace_ns=5 * SECOND_NS)
    assembler.offer(minute(3))
    end = OPEN + 15 * MINUTE_NS
    assert assembler.tick(end + 5 * SECOND_NS - 1) == []
    assert [d.bar.ts_ns for d in assembler.tick(end + 5 * SECOND_NS)] == [OPEN]
    assembler.offer(minute(16))
    assert [d.bar.ts_ns for d in assembler.offer(minute(31))] == [OPEN + 15 * MINUTE_NS]


def test_half_days_end_early_and_closed_hours_are_left_out() -> None:
    assembler = BarAssembler(60)
    done = [d.bar.ts_ns for n in range(-30, 240) for d in assembler.offer(minute(n, start=HALF_DAY))]
    assert done == [HALF_DAY + h * 60 * MINUTE_NS for h in range(4)]      # the fourth is half an hour long
    assert assembler.outside == 60


def test_corrections_rebuild_what_was_handed_out() -> None:
    assembler = BarAssembler(15)
    for n in range(15):
        assembler.offer(minute(n))
    again, = assembler.offer(minute(4, 50.0))
    assert again.corrected
    assert (again.bar.high, again.bar.close) == (51.0, 10.0)


@settings(max_examples=60)
@given(present=st.lists(st.integers(0, 389), min_size=1, max_size=80, unique=True), seed=st.integers(0, 99))
def test_any_order_within_a_bar_gives_the_same_bars(present: list[int], seed: int) -> None:
    bars = [minute(n, 10.0 + n % 7, volume=1.0 + n) for n in sorted(present)]
    chance = random.Random(seed)
    shuffled = sorted(bars, key=lambda b: ((b.ts_ns - OPEN) // (15 * MINUTE_NS), chance.random()))

    def assembled(arriving: list[StreamBar]) -> dict[int, StreamBar]:
        assembler, latest = BarAssembler(15), {}
        for bar in arriving:
            latest.update((done.bar.ts_ns, done.bar) for done in assembler.offer(bar))
        latest.update((done.bar.ts_ns, done.bar) for done in assembler.tick(OPEN + 86_400 * SECOND_NS))
        return latest

    assert assembled(shuffled) == assembled(bars)
    assert math.fsum(bar.volume for bar in assembled(bars).values()) == math.fsum(bar.volume for bar in bars)


def quarter(n: int, symbol: str) -> StreamBar:
    return minute(15 * n, 10.0 + n, symbol)


def test_slices_come_when_complete_or_when_the_grace_is_over() -> None:
    slices = SliceAssembler(("A", "B"), FIFTEEN, grace_ns=100)
    assert slices.offer(quarter(0, "A"), 0) == []
    full, = slices.offer(quarter(0, "B"), 50)
    assert (full.index, full.ts_ns, full.available_ns) == (0, OPEN, OPEN + 15 * MINUTE_NS)
    assert full.close.tolist() == [10.0, 10.0]
    slices.offer(quarter(1, "B"), 1000)
    assert slices.tick(1099) == []
    partial, = slices.tick(1100)
    assert np.isnan(partial.close[0])
    assert partial.close[1] == 11.0
    assert slices.offer(quarter(1, "A"), 1200) == []
    assert [bar.symbol for bar in slices.take_late()] == ["A"]
    assert slices.take_late() == []


def test_a_complete_slice_pushes_older_ones_out_in_order() -> None:
    slices = SliceAssembler(("A", "B"), FIFTEEN, next_index=7)
    slices.offer(quarter(0, "A"), 0)
    slices.offer(quarter(1, "A"), 0)
    out = slices.offer(quarter(1, "B"), 0)
    assert [(s.index, s.ts_ns) for s in out] == [(7, OPEN), (8, OPEN + 15 * MINUTE_NS)]
    assert slices.offer(quarter(2, "UNASKED"), 0) == []
    assert np.isnan(slices.empty(OPEN + 30 * MINUTE_NS).close).all()


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from("ABC"), st.integers(0, 200)), max_size=40))
def test_slices_never_go_back_and_no_bar_is_lost(arrivals: list[tuple[int, str, int]]) -> None:
    slices, out, now = SliceAssembler("ABC", FIFTEEN, grace_ns=150), [], 0
    for n, symbol, pause in arrivals:
        now += pause
        out += slices.tick(now)
        out += slices.offer(quarter(n, symbol), now)
    out += slices.flush(OPEN + 10**15)
    assert [s.index for s in out] == list(range(len(out)))
    assert all(a.ts_ns < b.ts_ns for a, b in itertools.pairwise(out))
    shown = {(s.ts_ns, "ABC"[c]) for s in out for c in range(3) if s.close[c] == s.close[c]}
    late = {(bar.ts_ns, bar.symbol) for bar in slices.take_late()}
    assert shown | late == {(quarter(n, s).ts_ns, s) for n, s, _ in arrivals}


def test_stream_addresses() -> None:
    assert bar_stream_url(None, "sip") == "wss://stream.data.alpaca.markets/v2/sip"
    assert bar_stream_url("http://127.0.0.1:8/v2/") == "ws://127.0.0.1:8/v2/iex"


# --- the rim against the embedded exchange -----------------------------------------------------------------

SYMBOLS = ("AAPL", "MSFT")


def panel(count: int = 40) -> BarPanel:
    rng = np.random.default_rng(4)
    ts = bar_grid(OPEN, OPEN + 10 * 86_400 * SECOND_NS)[:count]
    close = np.round(100 + rng.normal(0, 1, (count, 2)), 2)
    close[7, 1] = np.nan                        # MSFT did not trade in this quarter
    hole = np.isnan(close)
    high, low, volume = close + 1, close - 1, np.where(hole, np.nan, 1000.0)
    return BarPanel(SYMBOLS, "15Min", ts, ts + 15 * MINUTE_NS, close.copy(), high, low, close, volume)


def days() -> BarPanel:
    """Daily bars around a change of the clocks and a holiday (Good Friday)."""
    sessions = sessions_between(MARCH, MARCH + 40 * DAY_NS)
    bars = panel(len(sessions))
    opens, closes = (np.array(moments, dtype=np.int64) for moments in list(zip(*sessions, strict=True))[1:])
    return replace(bars, timeframe="1Day", ts_ns=opens, available_ns=closes)


class Session:
    """A lock-step venue and a feed."""

    def __init__(self, bars: BarPanel) -> None:
        self.frame = parse_timeframe(bars.timeframe)
        self.server = ExchangeServer(Venue(
            bars, start_index=1, cash=Decimal(1000), fill_model=RealisticFillSimulator(slippage_model="none")))
        self.events: list[ev.Event] = []

    async def __aenter__(self) -> Session:
        await self.server.start()
        url = f"http://127.0.0.1:{self.server.port}"
        self.clock = VirtualClock(OPEN)
        self.client = AlpacaDataClient("key", "secret", url)
        self.feed = LiveFeed(
            "key", "secret", bar_stream_url(url), SYMBOLS, self.frame, clock=self.clock, on_event=self.events.append,
            stream_minutes=None, fetch=rest_bars(self.client, self.frame.name), backoff_s=(0.02, 0.05), grace_ms=1e6)
        await self.feed.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.feed.stop()
        await self.client.close()
        await self.server.stop()

    def step(self) -> tuple[int, list[str]]:
        symbols = self.server.advance()
        row = self.server.venue.index - 1
        self.clock.advance_to(int(self.server.venue.panel.available_ns[row]))
        return int(self.server.venue.panel.ts_ns[row]), symbols


@pytest.mark.parametrize("bars", [panel, days])
async def test_lock_step_slices_equal_the_venues_bars(bars: Callable[[], BarPanel]) -> None:
    async with Session(bars()) as session:
        shown = session.server.venue.panel
        for row in range(1, 20):
            ts, symbols = session.step()
            found = await asyncio.wait_for(session.feed.wait_slice(ts, symbols), 60)
            assert (found.ts_ns, found.available_ns) == (ts, shown.available_ns[row])
            assert found.index == row - 1
            np.testing.assert_array_equal(found.close, shown.close[row])
            np.testing.assert_array_equal(found.volume, shown.volume[row])
        latest = await session.feed.get_latest_bars(["AAPL"])
        assert latest["close"].tolist() == [shown.close[19, 0]]
        assert (await session.feed.health_check()).healthy
    assert [e.state for e in session.events if isinstance(e, ev.ConnectionChanged)] == ["up"]


@pytest.mark.parametrize("bars", [panel, days])
async def test_a_gap_is_filled_from_rest_before_newer_bars(bars: Callable[[], BarPanel]) -> None:
    async with Session(bars()) as session:
        session.step()
        await until(lambda: bool(session.feed.due()))
        ws = session.feed.stream._ws
        assert ws is not None
        ws.transport.abort()
        for _ in range(3):                      # nobody listens to these
            session.step()
        await until(lambda: any(isinstance(e, ev.Note) for e in session.events))
        ts, _ = session.step()
        ready: list[int] = []
        await until(lambda: bool(ready.extend(s.ts_ns for s in session.feed.due()) or ts in ready))
        assert ready == session.server.venue.panel.ts_ns[2:6].tolist()
    states = [e.state for e in session.events if isinstance(e, ev.ConnectionChanged)]
    assert states == ["up", "reconnecting", "up"]
    assert "filled the gap" in next(e.text for e in session.events if isinstance(e, ev.Note))


async def test_slices_do_not_wait_for_who_is_halted() -> None:
    """The grace of these is beyond all patience: a halt must be known, and its end too."""
    async with Session(panel()) as session:
        ready: list[Slice] = []

        async def stepped() -> Slice:
            ts, _ = session.step()
            await until(lambda: bool(ready.extend(session.feed.due()) or (ready and ready[-1].ts_ns == ts)))
            return ready[-1]

        column = SYMBOLS.index("AAPL")
        assert not np.isnan((await stepped()).close).any()
        session.server.market.take("halt", {"symbol": "AAPL"})
        for _ in range(3):
            assert np.isnan((await stepped()).close).tolist() == [i == column for i in range(len(SYMBOLS))]
        session.server.market.take("resume", {"symbol": "AAPL"})
        assert not np.isnan((await stepped()).close).any()
    assert [event for event in session.events if isinstance(event, ev.DataIssue)] == []


# --- the rim against a rude server -------------------------------------------------------------------------

class RudeServer:
    """Speaks the data stream's msgpack, and does what it is told with each connection."""

    def __init__(self, script: list[str]) -> None:
        self.script = script
        self.connections = 0
        self.wishes: list[list[str]] = []
        self.send: Callable[..., Any] | None = None

    async def __aenter__(self) -> RudeServer:
        self._server = await websockets.serve(self._talk, "127.0.0.1", 0, ping_interval=None)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close(close_connections=True)
        await self._server.wait_closed()

    async def _talk(self, ws: Any) -> None:
        manner = self.script[min(self.connections, len(self.script) - 1)]
        self.connections += 1

        async def say(*messages: dict[str, Any]) -> None:
            await ws.send(msgspec.msgpack.encode(list(messages)))

        if manner == "slam":
            return
        await say({"T": "success", "msg": "connected"})
        await ws.recv()
        if manner == "refuse":
            await say({"T": "error", "code": 402, "msg": "auth failed"})
            return
        await say({"T": "success", "msg": "authenticated"})
        wish = msgspec.msgpack.decode(await ws.recv())
        self.wishes.append(wish["bars"])
        if manner == "limit":
            await say({"T": "error", "code": 405, "msg": "symbol limit exceeded"})
        await say({"T": "subscription", "bars": wish["bars"][: 1 if manner == "limit" else None]})
        self.send = say
        await ws.wait_closed()


def wire(bar: StreamBar, kind: str = "b") -> dict[str, Any]:
    return {"T": kind, "S": bar.symbol, "t": iso(bar.ts_ns), "o": bar.open, "h": bar.high, "l": bar.low, "c": bar.close,
            "v": bar.volume, "vw": bar.vwap, "n": 5}


async def test_refusals_and_slammed_doors_are_survived_and_told() -> None:
    events: list[ev.Event] = []
    async with RudeServer(["slam", "refuse", "limit"]) as server:
        feed = LiveFeed("k", "s", server.url, ("A", "B"), FIFTEEN, clock=VirtualClock(OPEN), on_event=events.append,
                        backoff_s=(0.01, 0.02))
        await feed.start()
        await feed.stop()
    assert server.wishes == [["A", "B"]]
    details = [e.detail for e in events if isinstance(e, ev.ConnectionChanged)]
    notes = [e.text for e in events if isinstance(e, ev.Note)]
    assert details[-1] == ""
    assert any("405" in text for text in notes)
    assert any("did not subscribe B" in text for text in notes)


async def test_minutes_corrections_repeats_and_garbage_become_quarters() -> None:
    events: list[ev.Event] = []
    async with RudeServer(["talk"]) as server:
        feed = LiveFeed("k", "s", server.url, ("A", "B"), FIFTEEN, clock=VirtualClock(OPEN), on_event=events.append)
        await feed.start()
        await until(lambda: server.send is not None)
        assert server.send is not None
        for n in range(15):
            await server.send(*(wire(minute(n, 10.0 + n, s)) for s in "AB" for _ in range(2)))
            if n == 3:
                await server.send(wire(minute(1, 99.0, "A"), "u"), {"T": "b", "S": "A", "t": "nonsense", "o": 1})
        await until(lambda: bool(feed._ready))
        quarter_, = feed.due()
        assert quarter_.high.tolist() == [100.0, 25.0]
        assert quarter_.volume.tolist() == [1500.0, 1500.0]
        await server.send(wire(minute(14, 5.0, "B"), "u"))
        await until(lambda: any(isinstance(e, ev.DataIssue) for e in events))
        await feed.stop()
    assert [(e.symbol, e.kind) for e in events if isinstance(e, ev.DataIssue)] == [("B", "corrected")]
    assert len([e for e in events if isinstance(e, ev.Note) and "bar without" in e.text]) == 1


async def test_a_day_without_a_session_is_left_out_and_told_and_a_repeat_under_another_label_is_a_repeat() -> None:
    events: list[ev.Event] = []
    async with RudeServer(["talk"]) as server:
        feed = LiveFeed("k", "s", server.url, ("A",), DAILY, clock=VirtualClock(OPEN), on_event=events.append,
                        stream_minutes=None)
        await feed.start()
        await until(lambda: server.send is not None)
        assert server.send is not None
        midnight = OPEN - 570 * MINUTE_NS
        shut, day, again, following = (
            minute(0, start=start, symbol="A") for start in (midnight - DAY_NS, midnight, OPEN, midnight + DAY_NS))
        await server.send(*map(wire, (shut, day, again, following)))
        found: list[int] = []
        await until(lambda: found.extend(bar.ts_ns for bar in feed.due()) or len(found) == 2)
        await feed.stop()
    assert found == [OPEN, OPEN + DAY_NS]
    assert [e.text for e in events if isinstance(e, ev.Note)] == [
        f"a daily bar of A was left out: no session on the day of {iso(midnight - DAY_NS)}"]
    assert not any(isinstance(e, ev.DataIssue) for e in events)


async def test_a_socket_that_is_open_but_mute_is_dropped_while_the_market_is_open() -> None:
    events: list[ev.Event] = []
    async with RudeServer(["talk"]) as server:
        feed = LiveFeed("k", "s", server.url, ("A",), FIFTEEN, clock=VirtualClock(OPEN + MINUTE_NS),
                        on_event=events.append, mute_after_s=0.05, backoff_s=(0.01, 0.02))
        await feed.start()
        await until(lambda: server.connections >= 2)
        await feed.stop()
    async with RudeServer(["talk"]) as server:
        shut = LiveFeed("k", "s", server.url, ("A",), FIFTEEN, clock=VirtualClock(OPEN - 60 * MINUTE_NS),
                        on_event=events.append, mute_after_s=0.05, backoff_s=(0.01, 0.02))
        await shut.start()
        await asyncio.sleep(0.3)
        await shut.stop()
        assert server.connections == 1


def status(code: str, n: int, symbol: str = "A") -> dict[str, Any]:
    return {"T": "s", "S": symbol, "sc": code, "t": iso(OPEN + n * MINUTE_NS)}


def test_statuses_of_every_tape_and_bars_say_who_stands_still() -> None:
    halts = LiveHalts()
    for code, symbol in (("H", "A"), ("P", "B"), ("2", "C"), ("Q", "D"), ("5", "A"), ("E", "B")):
        halts.status(status(code, 10, symbol))
    assert halts.symbols == ["A", "B", "C"]
    assert halts.all_of("AC")
    assert not halts.all_of("AD")
    halts.status(status("T", 12, "A"))
    halts.status(status("3", 12, "C"))
    halts.bar("B", OPEN + 9 * MINUTE_NS)            # of the minute in which the halt came
    assert halts.symbols == ["B"]
    assert halts.through(OPEN + 10 * MINUTE_NS) == {"B"}
    assert halts.through(OPEN + 9 * MINUTE_NS) == set()     # it traded in the bar that began then
    halts.bar("B", OPEN + 15 * MINUTE_NS)
    assert halts.symbols == []
    with pytest.raises(ValueError, match="status without a readable field"):
        halts.status({"T": "s", "S": "A", "sc": "H"})


async def test_a_halt_of_everything_is_no_dead_socket() -> None:
    events: list[ev.Event] = []
    async with RudeServer(["talk"]) as server:
        feed = LiveFeed("k", "s", server.url, ("A", "B"), FIFTEEN, clock=VirtualClock(OPEN + MINUTE_NS),
                        on_event=events.append, mute_after_s=None, backoff_s=(0.01, 0.02))
        await feed.start()
        await until(lambda: server.send is not None)
        assert server.send is not None
        await server.send(status("P", 1, "A"), {"T": "s", "S": "A"}, status("H", 1, "B"))
        await until(lambda: feed._halts.all_of("AB"))
        looks: list[bool] = []
        all_of = feed._halts.all_of
        feed._halts.all_of = lambda symbols: looks.append(all_of(symbols)) or looks[-1]     # type: ignore[method-assign]
        feed._mute_after_s = 0.01
        watch = asyncio.create_task(feed._watch())
        await until(lambda: len(looks) > 3)         # asked only after a silence that is too long
        assert all(looks)
        assert server.connections == 1
        assert (await feed.health_check()).detail.endswith(", A halted, B halted")
        await server.send(status("T", 6, "B"))
        await until(lambda: server.connections == 2)
        await feed.stop()
        watch.cancel()
    assert len([e for e in events if isinstance(e, ev.Note) and "status without" in e.text]) == 1


async def test_back_off_doubles_with_jitter_from_the_seed() -> None:
    async def nothing(*_: object) -> None: ...

    def delays(seed: int) -> list[float]:
        stream = HardenedBarStream("k", "s", "ws://127.0.0.1:1", ("A",), on_bar=lambda *_: None, on_state=nothing,
                                   on_status=lambda _: None, on_problem=lambda _: None, backoff_s=(1.0, 8.0), seed=seed)
        return [stream._reconnect_delay(n) for n in range(1, 8)]

    assert delays(1) == delays(1) != delays(2)
    for n, delay in enumerate(delays(1)):
        assert min(8.0, 2.0**n) / 2 <= delay <= min(8.0, 2.0**n)
