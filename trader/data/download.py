"""Histories of many symbols from Alpaca into the store, in pieces that are finished one by one.

The range is cut into calendar blocks of about a page or a few; each block of a symbol is fetched whole, cleaned and
written with one rename of the manifest, which also notes the block as covered. So a download that dies, however it
dies, goes on where it stopped and asks for nothing twice. A range ends where the bars are settled: a quarter of an
hour ago, at the last bar that was complete then.

Adjusted histories are as of the day on which they were fetched. Before a symbol with stored adjusted bars is
continued, its oldest stored session is fetched again: where the prices differ, a split or dividend has come since,
and the two histories are not joined (see `trader.data.adjust` for the rule and for raw bars).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trader.core.clock import DAY_NS, MINUTE_NS, from_ns, iso
from trader.core.panel import REAL
from trader.core.sessions import session_index, session_table
from trader.data.bars import SymbolBars
from trader.data.cleaning import SESSIONS, clean_bars
from trader.data.store import BarStore, Span, bars_from_columns
from trader.data.timeframe import Timeframe, parse_timeframe
from trader.utils.errors import UserError

SETTLED_NS = 16 * MINUTE_NS         # the free plan withholds the last quarter of an hour of the consolidated tape
ADJUSTED = {"raw": "raw", "split": "split", "dividend": "dividend", "all": "split+dividend"}
_BLOCK_MONTHS = ((2, 1), (5, 3), (390, 12))         # bars of up to so many minutes: so many months a block
_DAILY_MONTHS = 240
_SAME_PRICE = 5e-4                  # adjusted prices are rounded; splits and dividends move them by more


class BarSource(Protocol):
    """What is asked for bars: `AlpacaDataClient`, or something that answers alike."""

    async def get_historical_bars(
        self, symbol: str, timeframe: str = "15Min", start: str | None = None, end: str | None = None,
        feed: str | None = None, adjustment: str = "split",
    ) -> Any: ...


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """One block is done: of which symbol, from where to where (RFC 3339), with how many bars."""

    symbol: str
    first: str
    last: str
    bars: int
    done: int                   # blocks finished of all symbols, those of earlier runs included
    total: int


@dataclass(slots=True)
class DownloadResult:
    """What became of one symbol."""

    symbol: str
    timeframe: str
    blocks: int = 0             # fetched now
    blocks_before: int = 0      # finished by earlier runs
    fetched: int = 0            # bars that came
    new: int = 0                # bars that were not in the store
    stored: int = 0             # bars in the store now
    first: str = ""             # start of the first stored bar
    last: str = ""
    dropped: dict[str, int] = field(default_factory=dict)       # why → how many that came were no bars

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


async def download(
    client: BarSource, home: Path, symbols: Sequence[str], timeframe: str, start_ns: int, end_ns: int | None = None, *,
    now_ns: int, feed: str | None = None, adjustment: str = "split", session: str = "rth", resume: bool = True,
    on_progress: Callable[[DownloadProgress], None] = lambda progress: None,
) -> list[DownloadResult]:
    """Fetch bars into the store under ``home``; blocks that earlier runs finished are not fetched again.

    Parameters
    ----------
    timeframe : str
        ``1Day``, or minutes that divide 30: Alpaca's longer bars start on the full hour instead of the opening at
        09:30; make them with `trader.data.resample`.
    start_ns, end_ns : int
        Bars with ``start_ns <= start < end_ns``; None means up to the newest that are settled.
    resume : bool
        False forgets what is stored of these symbols in this timeframe first.

    Raises
    ------
    UserError
        The stored bars have another adjustment, feed or session; history has been adjusted since; the range is empty.
    MarketDataError
        Alpaca did not deliver, after repetitions. What was finished is stored: the same call goes on from there.
    """
    frame = _offered(timeframe)
    if session not in SESSIONS:
        raise UserError(f"session {session!r} is unknown; choose {' or '.join(SESSIONS)}")
    if adjustment not in ADJUSTED:
        raise UserError(f"adjustment {adjustment!r} is unknown; choose one of {', '.join(ADJUSTED)}")
    wanted = list(dict.fromkeys(s.strip().upper() for s in symbols if s.strip()))
    if not wanted:
        raise UserError("no symbols were given; name at least one, as in --symbols AAPL,MSFT")
    settled = _settled(frame, now_ns - SETTLED_NS)
    end = settled if end_ns is None else min(end_ns, settled)
    if start_ns >= end:
        raise UserError(
            f"there is no settled {frame.name} bar from {iso(start_ns)} to {iso(end)}; let the range start earlier")
    hours = "regular hours" if session == "rth" else "all hours"
    job = _Job(client, BarStore(home), frame, feed, adjustment, session, f"Alpaca, feed {feed or 'default'}, {hours}")
    for symbol in wanted:
        if not resume:
            job.store.remove(symbol, frame.name)
        job.refuse_another_kind(symbol)
    plan = {symbol: list(_blocks(start_ns, end, frame)) for symbol in wanted}
    total, done, results = sum(map(len, plan.values())), 0, []
    for symbol, blocks in plan.items():
        result = DownloadResult(symbol, frame.name)
        known = job.store.covered(symbol, frame.name)
        if known and adjustment != "raw" and any(_uncovered(block, known) for block in blocks):
            await job.refuse_changed_history(symbol)
        for block in blocks:
            missing = _uncovered(block, known)
            for span in missing:
                await job.fetch(symbol, span, result)
            result.blocks += bool(missing)
            result.blocks_before += not missing
            done += 1
            on_progress(DownloadProgress(symbol, iso(block[0]), iso(block[1]), result.fetched, done, total))
        info = job.store.info(symbol, frame.name)
        if info is not None:
            result.stored, result.first, result.last = info.rows, iso(info.first_ns), iso(info.last_ns)
        results.append(result)
    return results


@dataclass(frozen=True, slots=True)
class _Job:
    client: BarSource
    store: BarStore
    frame: Timeframe
    feed: str | None
    adjustment: str
    session: str
    origin: str

    async def fetch(self, symbol: str, span: Span, result: DownloadResult) -> None:
        bars, dropped = await self._bars(symbol, span)
        before = self.store.info(symbol, self.frame.name)
        after = self.store.write_span(
            symbol, self.frame.name, bars, span, source=REAL, adjustment=ADJUSTED[self.adjustment], origin=self.origin)
        result.fetched += len(bars)
        result.new += (after.rows if after else 0) - (before.rows if before else 0)
        for why, (count, _) in dropped.items():
            result.dropped[why] = result.dropped.get(why, 0) + count

    async def _bars(self, symbol: str, span: Span) -> tuple[SymbolBars, dict[str, tuple[int, str]]]:
        """The bars that start in a span."""
        # Alpaca labels daily bars with New York's midnight: hours before the opening that we store
        first = span[0] // DAY_NS * DAY_NS if self.frame.daily else span[0]
        frame = await self.client.get_historical_bars(
            symbol, self.frame.name, iso(first), iso(span[1]), self.feed, self.adjustment)
        raw = bars_from_columns(frame)
        columns = {n: getattr(raw, n) for n in ("open", "high", "low", "close", "volume", "vwap", "trade_count")}
        bars, dropped = clean_bars(raw.ts_ns, columns, self.frame, self.session)
        return bars.between(*span), dropped

    def refuse_another_kind(self, symbol: str) -> None:
        info = self.store.info(symbol, self.frame.name)
        if info is None:
            return
        kinds = (info.adjustment, info.origin), (ADJUSTED[self.adjustment], self.origin)
        if kinds[0] != kinds[1]:
            raise UserError(
                f"{symbol} {self.frame.name}: the stored bars are {' from '.join(kinds[0])}, wanted are "
                f"{' from '.join(kinds[1])}; they must not be mixed: --no-resume fetches anew, or use another --home"
            )

    async def refuse_changed_history(self, symbol: str) -> None:
        """Whether the oldest stored session still has the prices that Alpaca tells today."""
        info = self.store.info(symbol, self.frame.name)
        if info is None:
            return
        row = session_index(np.array([info.first_ns]))[0]
        until = int(session_table().closes[row]) if row >= 0 else info.first_ns + DAY_NS // 4
        told, _ = await self._bars(symbol, (info.first_ns, until))
        stored = self.store.bars(symbol, self.frame.name, info.first_ns, until)
        same, ours, theirs = np.intersect1d(stored.ts_ns, told.ts_ns, return_indices=True)
        off = np.abs(np.log(told.close[theirs] / stored.close[ours])) > _SAME_PRICE
        if off.any():
            at = int(np.argmax(off))
            raise UserError(
                f"{symbol} {self.frame.name}: a split or dividend has changed the adjusted history: the close of "
                f"{iso(int(same[at]))} is {stored.close[ours][at]:g} in the store and {told.close[theirs][at]:g} at "
                "Alpaca now; fetch this symbol anew with --no-resume"
            )


def _offered(timeframe: str) -> Timeframe:
    frame = parse_timeframe(timeframe)
    if not frame.daily and 30 % frame.minutes:
        raise UserError(
            f"timeframe {frame.name}: Alpaca's bars of this size do not start at the opening (09:30); download 30Min "
            f"or 15Min and build them with `alphatrade data resample --to {frame.name}`"
        )
    return frame


def _settled(frame: Timeframe, limit_ns: int) -> int:
    """The end of the last bar that was complete at a moment."""
    if not frame.daily:
        return limit_ns // frame.step_ns * frame.step_ns
    closes = session_table().closes
    return int(closes[max(int(np.searchsorted(closes, limit_ns, side="right")) - 1, 0)])


def _blocks(start_ns: int, end_ns: int, frame: Timeframe) -> Iterator[Span]:
    """Calendar blocks that hold the range, clipped to it; the same cuts whatever the range."""
    months = _DAILY_MONTHS if frame.daily else next(m for limit, m in _BLOCK_MONTHS if frame.minutes <= limit)
    first = from_ns(start_ns)
    block = (first.year * 12 + first.month - 1) // months
    while _month_start(block * months) < end_ns:
        yield max(_month_start(block * months), start_ns), min(_month_start((block + 1) * months), end_ns)
        block += 1


def _month_start(months: int) -> int:
    """Midnight UTC of the first day of a month counted from year 0."""
    return (date(months // 12, months % 12 + 1, 1) - date(1970, 1, 1)).days * DAY_NS


def _uncovered(block: Span, known: Sequence[Span]) -> list[Span]:
    """What of a block no known span covers; the spans come in order and apart."""
    out, at = [], block[0]
    for start, end in known:
        if end <= at or start >= block[1]:
            continue
        if start > at:
            out.append((at, start))
        at = end
    if at < block[1]:
        out.append((at, block[1]))
    return out
