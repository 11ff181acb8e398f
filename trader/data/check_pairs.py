"""What one dataset says about another: daily bars beside intraday bars of the same symbol."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trader.core.panel import BarPanel, FloatArray, IntArray
from trader.core.sessions import session_date, session_index
from trader.data.bars import SymbolBars, assemble
from trader.data.check_rules import EXAMPLES, Finding
from trader.data.resample import resample
from trader.data.timeframe import DAILY, Timeframe

AUCTION_SHARE = 0.5         # regular-hours bars hold 70 to 82 per cent of the official volume: the rest is auctions
MORE_THAN_ALL = 1.05
CLOSE_APART = 0.02          # the last bar's close and the closing auction's price


def compare(daily: SymbolBars, intraday: SymbolBars, frame: Timeframe) -> list[Finding]:
    """Findings about the sessions that both datasets have; none where they agree as far as such data do.

    Prices that differ by a constant factor mean that one of the two is adjusted for splits, or in another way.
    Volumes of the regular hours are smaller than official ones, by the auctions: that is no fault.
    """
    built = resample(assemble({"X": intraday}, frame), DAILY.name)
    days, theirs, ours = np.intersect1d(daily.ts_ns, built.ts_ns, return_indices=True)
    return [*_prices(days, daily.close[theirs], built, ours), *_volumes(days, daily.volume[theirs], built, ours)]


def _prices(days: IntArray, close: FloatArray, built: BarPanel, rows: IntArray) -> Iterator[Finding]:
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.abs(np.log(built.close[rows, 0] / close)) > CLOSE_APART
    if apart.any():
        yield _finding(
            "close_unlike_daily", "warning", days, apart,
            [f"{b:g} beside {d:g}" for b, d in zip(built.close[rows, 0][apart], close[apart], strict=True)],
            "one of the two is adjusted differently, or has bad prints: compare with another source",
        )


def _volumes(days: IntArray, volume: FloatArray, built: BarPanel, rows: IntArray) -> Iterator[Finding]:
    known = (volume > 0) & np.isfinite(built.volume[rows, 0])
    share = np.divide(built.volume[rows, 0], volume, out=np.full(len(volume), np.nan), where=known)
    with np.errstate(invalid="ignore"):
        kinds = (
            ("volume_above_daily", "warning", share > MORE_THAN_ALL,
             "more was traded in the bars than in the whole day: another adjustment, or bars counted twice"),
            ("volume_below_daily", "warning", share < AUCTION_SHARE,
             "under half of the day's official volume: bars of one venue only, or missing bars"),
            ("auctions_not_in_bars", "info", (share >= AUCTION_SHARE) & (share < 0.95),
             "the closing auction prints after 16:00: regular hours hold 70 to 82 per cent of a day as a rule"),
        )
    for check, severity, wrong, advice in kinds:
        if wrong.any():
            yield _finding(check, severity, days, wrong, [f"{s:.0%} of it" for s in share[wrong]], advice)


def _finding(
    check: str, severity: str, days: IntArray, wrong: FloatArray, said: list[str], advice: str
) -> Finding:
    rows = session_index(days[wrong])
    examples = [f"{session_date(int(row))} {text}" for row, text in zip(rows, said, strict=True)][:EXAMPLES]
    return Finding(check, severity, len(rows), round(len(rows) / len(days), 6), examples, advice)
