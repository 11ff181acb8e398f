"""A session's market: bars of the past from REST, slices of the present from the stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from trader.core import events as ev
from trader.core.clock import Clock, from_ns
from trader.core.days import days_of
from trader.core.history import History
from trader.core.panel import FIELDS, BarPanel, Slice
from trader.data.alpaca_client import AlpacaDataClient, MarketDataError
from trader.data.bars import SymbolBars, assemble
from trader.data.cleaning import clean_bars
from trader.data.live_feed import MUTE_AFTER_S, LiveFeed, rest_bars
from trader.data.timeframe import available_at, parse_timeframe
from trader.data.websocket_hardened import bar_stream_url
from trader.session.plan import SIM, SessionPlan
from trader.utils.errors import UserError
from trader.wiring import bars_per_day

if TYPE_CHECKING:
    import pandas as pd

FEED = "iex"


class MarketFeed:
    """`load_history` first, then `start`; slices come from `due` and `wait_slice`."""

    def __init__(
        self, plan: SessionPlan, *, key: str, secret: str, base_url: str, data_url: str | None, clock: Clock,
        on_event: Callable[[ev.Event], None], on_wake: Callable[[], None], grace_ms: float,
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._on_event = on_event
        self._remarks: list[str] = []           # of the past, told once there is an engine to hear them
        self._frame = parse_timeframe(plan.timeframe)
        self._client = AlpacaDataClient(key, secret, base_url, data_url)
        # The embedded exchange streams bars of its own size, and is silent while it is paused or slow; Alpaca streams
        # minutes, and silence in its hours means that the socket is dead.
        minutes, mute_after_s = (None, None) if plan.mode == SIM else (1, MUTE_AFTER_S)
        self.live = LiveFeed(
            key, secret, bar_stream_url(data_url, FEED), plan.symbols, self._frame, clock=clock, on_event=on_event,
            on_ready=on_wake, stream_minutes=minutes, grace_ms=grace_ms, mute_after_s=mute_after_s,
            fetch=rest_bars(self._client, plan.timeframe if minutes is None else "1Min", FEED))
        self.due = self.live.due

    async def load_history(self, bars: int) -> History:
        """The last ``bars`` bars before now, of all symbols, as the engine's history."""
        symbols = self._plan.symbols
        history = History(symbols, bars_per_day=bars_per_day(self._plan.timeframe), keep=max(4096, 2 * bars))
        now = self._clock.now_ns()
        if bars == 0:
            return history
        start = from_ns(now) - timedelta(days=bars / bars_per_day(self._plan.timeframe) * 1.6 + 10)
        past: dict[str, SymbolBars] = {}
        try:
            for symbol in symbols:
                frame = await self._client.get_historical_bars(
                    symbol, self._plan.timeframe, start.isoformat(), from_ns(now).isoformat(), FEED)
                past[symbol] = self._cleaned(symbol, frame)
        except MarketDataError as error:
            raise UserError(f"cannot load the bars before the session's start: {error}") from error
        panel = assemble(past, self._frame, self._plan.source)
        panel = panel.rows(max(0, len(panel) - bars), len(panel))
        for i, day in enumerate(days_of(panel.available_ns).tolist()):
            if panel.available_ns[i] <= now:
                history.append(panel.slice(i), day)
        return history

    def _cleaned(self, symbol: str, frame: pd.DataFrame) -> SymbolBars:
        """A broker's rows as bars; what is none (an odd print, a bar off the grid) is left out and told."""
        starts = frame["timestamp"].dt.as_unit("ns").astype("int64").to_numpy()
        columns = {name: frame[name].to_numpy(dtype="float64") for name in FIELDS}
        bars, dropped = clean_bars(starts, columns, self._frame, "all")
        for why, (count, first) in dropped.items():
            self._remarks.append(f"{symbol}: {count} bars of the past left out ({why}), the first at {first}")
        return bars

    def seen(self, history: History) -> BarPanel:
        """All bars in the engine's history as a panel: what live features begin with."""
        n = history.n
        ts = history.ts(n).copy()
        return BarPanel(
            history.symbols, self._frame.name, ts, available_at(ts, self._frame), history.open(n).copy(),
            history.high(n).copy(), history.low(n).copy(), history.close(n).copy(), history.volume(n).copy(),
            self._plan.source)

    async def start(self, timeout_s: float) -> None:
        """Connect the stream; UserError when it does not come up."""
        for remark in self._remarks:
            self._on_event(ev.Note(ts=self._clock.now_ns(), level="warning", source="data", text=remark))
        try:
            await self.live.start(timeout_s)
        except TimeoutError:
            raise UserError(
                f"the bar stream did not come up within {timeout_s:g} s; check data address and keys") from None

    async def wait_slice(self, bar_ts: int, symbols: list[str]) -> Slice:
        """See `LiveFeed.wait_slice`."""
        return await self.live.wait_slice(bar_ts, symbols)

    async def stop(self) -> None:
        """Disconnect."""
        await asyncio.shield(self.live.stop())
