"""`LiveFeed`: the market as it happens, from the hardened stream through the assemblers to slices."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from trader.core import events as ev
from trader.core.clock import DAY_NS, Clock, iso
from trader.core.panel import Slice
from trader.core.probe import Health
from trader.core.sessions import is_open
from trader.data.bar_assembler import BarAssembler
from trader.data.bar_times import session_open
from trader.data.live_bars import Arrival, BarLedger, StreamBar
from trader.data.live_halts import LiveHalts
from trader.data.slice_assembler import SliceAssembler
from trader.data.timeframe import Timeframe, available_at, intraday, parse_timeframe
from trader.data.websocket_hardened import UP, HardenedBarStream
from trader.utils.tasks import end

if TYPE_CHECKING:
    import pandas as pd

COMPONENT = "data_stream"
MUTE_AFTER_S = 180.0

# Symbols, first moment, last moment (ns) → bars of the stream's own size, labelled as the stream does.
FetchBars = Callable[[Sequence[str], int, int], Awaitable[Sequence[StreamBar]]]


class BarClient(Protocol):
    """What `rest_bars` needs: `AlpacaDataClient`."""

    async def get_historical_bars(
        self, symbol: str, timeframe: str = ..., start: str | None = ..., end: str | None = ..., feed: str | None = ...,
    ) -> pd.DataFrame: ...


class LiveFeed:
    """Streamed bars → slices.

    New bars are taken in order; repeats are dropped; corrected and late ones are used while their bar is open and
    reported as `DataIssue` afterwards (history that was decided on is not rewritten). After every reconnect the gap
    is fetched from REST, before any newer bar is delivered. Daily bars come under New York's midnight, as at Alpaca;
    here, and in every slice, they start at their session's opening.

    Parameters
    ----------
    symbols, timeframe
        What to decide on.
    stream_minutes : int | None
        Size of the streamed bars: 1 at Alpaca; None where the stream brings bars of ``timeframe`` already.
    clock : Clock
        The session's clock: ends of bars, stamps of events.
    on_event : Callable[[Event], None]
        Receives `ConnectionChanged`, `DataIssue` and `Note`.
    on_ready : Callable[[], None] | None
        Called when `due` has a slice to give.
    fetch : FetchBars | None
        Where gaps are filled from; see `rest_bars`.
    grace_ms : float
        How long a slice waits for its last symbols that are not halted, and a bar for its last minute.
    mute_after_s : float | None
        With the market open, no word for so long means that the socket is dead, unless all symbols are halted:
        reconnect.
    """

    def __init__(
        self, api_key: str, secret_key: str, url: str, symbols: Sequence[str], timeframe: Timeframe, *,
        clock: Clock, on_event: Callable[[ev.Event], None], on_ready: Callable[[], None] | None = None,
        stream_minutes: int | None = 1, fetch: FetchBars | None = None, grace_ms: float = 2000.0,
        mute_after_s: float | None = MUTE_AFTER_S, next_index: int = 0, seed: int = 0,
        backoff_s: tuple[float, float] = (0.5, 30.0),
    ) -> None:
        grace_ns = int(grace_ms * 1_000_000)
        self.symbols = tuple(symbols)
        self._timeframe = timeframe
        self._clock = clock
        self._on_event = on_event
        self._on_ready = on_ready or (lambda: None)
        self._fetch = fetch
        self._mute_after_s = mute_after_s
        through = stream_minutes is None or stream_minutes == timeframe.minutes
        if not through and timeframe.daily:
            raise ValueError("daily bars are not built from a stream of minutes; decide on 15Min, or stream daily bars")
        self._bars = None if through else BarAssembler(timeframe.minutes, grace_ns=grace_ns)
        self._slices = SliceAssembler(symbols, timeframe, grace_ns, next_index=next_index)
        self._arriving = timeframe if through else intraday(stream_minutes or 1)
        self._ledger = BarLedger()
        self._ready: deque[Slice] = deque()
        self._arrived = asyncio.Event()
        self._was_up = False
        self._up = asyncio.Event()
        self._halts = LiveHalts()
        self._last_bar_s = self._last_word_s = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._detail = "not started"
        self.stream = HardenedBarStream(
            api_key, secret_key, url, symbols, on_bar=self._heard, on_status=self._told,
            on_state=self._on_state, on_problem=self._problem, backoff_s=backoff_s, seed=seed,
        )

    # --- life --------------------------------------------------------------------------------------------

    async def start(self, timeout_s: float = 10.0) -> None:
        """Connect; returns when the subscription is confirmed, TimeoutError otherwise (it goes on trying)."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="live feed")
        async with asyncio.timeout(timeout_s):
            await self._up.wait()

    async def stop(self) -> None:
        """Disconnect."""
        if self._task is not None:
            await end(self._task)
            self._task = None

    async def _run(self) -> None:
        watch = asyncio.create_task(self._watch(), name="mute watch")
        try:
            while True:
                try:
                    await self.stream.stay()
                except Exception as error:          # a fault of whoever takes the bars must not end the market
                    self._problem(f"the feed starts anew after {type(error).__name__}: {error}")
                    await asyncio.sleep(1.0)
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        """Drop a socket that is open but says nothing while the market is open."""
        while self._mute_after_s is not None:
            await asyncio.sleep(min(5.0, self._mute_after_s / 2))
            silent = time.monotonic() - self._last_word_s
            if silent <= self._mute_after_s or self._halts.all_of(self.symbols):
                continue
            if self.stream.link == UP and is_open(self._clock.now_ns()):
                self._last_word_s = time.monotonic()
                self._problem(f"no bar for {silent:.0f} s with the market open: reconnecting")
                await self.stream.drop()

    # --- slices ------------------------------------------------------------------------------------------

    def due(self) -> list[Slice]:
        """The slices that are ready now, oldest first; call it regularly, it also lets time pass."""
        if self._bars is not None:
            for done in self._bars.tick(self._clock.now_ns()):
                self._into_slice(done.bar)
        self._keep(self._slices.tick(time.monotonic_ns()))
        ready = list(self._ready)
        self._ready.clear()
        return ready

    async def wait_slice(self, bar_ts: int, symbols: Sequence[str]) -> Slice:
        """The slice of ``bar_ts`` once the bars of ``symbols`` have arrived (lock-step sessions); others are NaN."""
        wanted = frozenset(symbols) & frozenset(self.symbols)
        if not wanted:
            return self._slices.empty(bar_ts)
        while not wanted <= self._slices.arrived(bar_ts):
            found = self._take_ready(bar_ts)
            if found is not None:                   # every symbol had come
                return found
            self._arrived.clear()
            await self._arrived.wait()
        self._keep(self._slices.flush(bar_ts))
        found = self._take_ready(bar_ts)
        assert found is not None
        return found

    def _take_ready(self, bar_ts: int) -> Slice | None:
        while self._ready and self._ready[0].ts_ns <= bar_ts:
            found = self._ready.popleft()
            if found.ts_ns == bar_ts:
                return found
            self._problem(f"the slice of {iso(found.ts_ns)} came up while {iso(bar_ts)} was asked for")
        return None

    # --- reading -----------------------------------------------------------------------------------------

    async def get_latest_bars(self, symbols: Sequence[str] | None = None) -> pd.DataFrame:
        """The newest streamed bar of each symbol: ``symbol, timestamp, open … volume, vwap, trade_count``."""
        import pandas as pd

        bars = [bar for symbol in symbols or self.symbols if (bar := self._ledger.newest(symbol)) is not None]
        frame = pd.DataFrame(bars, columns=list(StreamBar._fields)).rename(columns={"ts_ns": "timestamp"})
        frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True)
        return frame

    async def health_check(self) -> Health:
        """Whether the stream is up."""
        age = time.monotonic() - self._last_bar_s
        halted = "".join(f", {symbol} halted" for symbol in self._halts.symbols)
        return Health(self.stream.link == UP, f"{self.stream.link}, last bar {age:.0f} s ago{halted}" if self._was_up
                      else self._detail)

    # --- news --------------------------------------------------------------------------------------------

    def _heard(self, bar: StreamBar, updated: bool) -> None:
        self._last_bar_s = self._last_word_s = time.monotonic()
        placed = self._placed(bar)
        if placed is not None:
            self._on_bar(placed)

    def _told(self, status: dict[str, Any]) -> None:
        self._last_word_s = time.monotonic()
        self._halts.status(status)

    def _placed(self, bar: StreamBar) -> StreamBar | None:
        """A bar under its start instead of its label; None, and told, for a day without a session."""
        if not self._arriving.daily:
            return bar
        opening = session_open(bar.ts_ns)
        if opening < 0:
            self._problem(f"a daily bar of {bar.symbol} was left out: no session on the day of {iso(bar.ts_ns)}")
            return None
        return bar._replace(ts_ns=opening)

    def _on_bar(self, bar: StreamBar) -> None:
        self._halts.bar(bar.symbol, bar.ts_ns)
        arrival = self._ledger.arrive(bar)
        if arrival is Arrival.DUPLICATE:
            return
        if self._bars is None:
            if arrival is Arrival.CORRECTION:
                self._correct(bar)
            else:
                self._into_slice(bar)
        else:
            for done in self._bars.offer(bar):
                if done.corrected:
                    self._issue("corrected", done.bar, "was corrected after it was decided on")
                else:
                    self._into_slice(done.bar)
        self._arrived.set()

    def _correct(self, bar: StreamBar) -> None:
        if bar.symbol in self._slices.arrived(bar.ts_ns):
            self._into_slice(bar)
        else:
            self._issue("corrected", bar, "was corrected after it was decided on")

    def _into_slice(self, bar: StreamBar) -> None:
        self._keep(self._slices.offer(bar, time.monotonic_ns(), self._halts.through(bar.ts_ns)))
        for late in self._slices.take_late():
            self._issue("late", late, "came after its slice was closed")

    def _keep(self, slices: list[Slice]) -> None:
        if slices:
            self._ready.extend(slices)
            self._on_ready()

    async def _on_state(self, state: str, detail: str) -> None:
        self._detail = detail or state
        self._on_event(
            ev.ConnectionChanged(ts=self._clock.now_ns(), component=COMPONENT, state=state, detail=detail)
        )
        if state != UP:
            return
        if self._was_up:
            await self._fill_gap()
        self._was_up = True
        self._last_bar_s = self._last_word_s = time.monotonic()
        self._up.set()

    async def _fill_gap(self) -> None:
        """Fetch what the stream may have missed; the queue holds newer bars back meanwhile."""
        newest = [bar.ts_ns for symbol in self.symbols if (bar := self._ledger.newest(symbol)) is not None]
        if self._fetch is None or not newest:
            return
        now = self._clock.now_ns()
        try:
            fetched = await self._fetch(self.symbols, min(newest), now)
        except Exception as error:                  # the session goes on with a gap that is told
            self._problem(f"the gap since {iso(min(newest))} could not be filled: {type(error).__name__}: {error}")
            return
        bars = [placed for bar in fetched if (placed := self._placed(bar)) is not None]
        ends = available_at(np.array([bar.ts_ns for bar in bars], dtype=np.int64), self._arriving).tolist()
        finished = [bar for bar, end_ns in zip(bars, ends, strict=True) if end_ns <= now]
        for bar in sorted(finished, key=lambda bar: (bar.ts_ns, bar.symbol)):
            self._on_bar(bar)
        text = f"filled the gap since {iso(min(newest))} with {len(finished)} bars"
        self._on_event(ev.Note(ts=now, level="info", source=COMPONENT, text=text))

    def _issue(self, kind: str, bar: StreamBar, words: str) -> None:
        self._on_event(ev.DataIssue(
            ts=self._clock.now_ns(), symbol=bar.symbol, kind=kind, value=bar.close, limit=None,
            message=f"the bar of {iso(bar.ts_ns)} {words}",
        ))

    def _problem(self, text: str) -> None:
        self._on_event(ev.Note(ts=self._clock.now_ns(), level="warning", source=COMPONENT, text=text))


def rest_bars(client: BarClient, stream_timeframe: str = "1Min", feed: str | None = None) -> FetchBars:
    """A `FetchBars` that reads from an `AlpacaDataClient`."""
    daily = parse_timeframe(stream_timeframe).daily

    async def fetch(symbols: Sequence[str], start_ns: int, end_ns: int) -> list[StreamBar]:
        bars: list[StreamBar] = []
        first = iso(start_ns // DAY_NS * DAY_NS if daily else start_ns)     # a day is labelled hours before it opens
        for symbol in symbols:
            frame = await client.get_historical_bars(symbol, stream_timeframe, first, iso(end_ns), feed)
            starts = frame["timestamp"].astype("int64").tolist()
            columns = (frame[name].tolist() for name in StreamBar._fields[2:])
            bars += [StreamBar(symbol, *row) for row in zip(starts, *columns, strict=True)]
        return bars

    return fetch
