"""The rules of the data check: each takes one symbol's bars and yields what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from trader.core.clock import from_ns
from trader.core.panel import FIELDS, FloatArray, IntArray
from trader.core.sessions import bar_grid, session_date, session_index, session_table
from trader.data.bars import SymbolBars
from trader.data.timeframe import Timeframe

EXAMPLES = 5
SPLIT_RATIOS = (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50, Fraction(3, 2), Fraction(4, 3), Fraction(5, 4))
SPLIT_TOLERANCE = 0.06          # overnight moves beside the split itself, in log price
JUMP = 0.2                      # log move over one bar or night that wants an explanation
VOLUME_SPIKE = 20.0             # times the median of the same time of day over the sessions before
USUAL_SESSIONS = 20
MOVE_SIGMAS = 15.0              # robust standard deviations (MAD) of the bars' own returns
STALE_RUN = 8                   # identical bars in a row


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of thing found in one dataset."""

    check: str
    severity: str               # error: do not trade or train on it; warning: look at it; info: good to know
    count: int
    share: float                # of the bars (of the expected bars or sessions, for gaps)
    examples: list[str]
    advice: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


Rule = Callable[[SymbolBars, Timeframe], Iterator[Finding]]


def order(bars: SymbolBars, frame: Timeframe) -> Iterator[Finding]:
    """Starts that repeat or run backwards."""
    step = np.diff(bars.ts_ns, prepend=bars.ts_ns[:1] - 1)
    yield from _found("duplicate_bars", "error", bars, step == 0, "keep one bar per start; importing again does")
    yield from _found("unordered_bars", "error", bars, step < 0, "sort by time; importing again does")


def numbers(bars: SymbolBars, frame: Timeframe) -> Iterator[Finding]:
    """NaN, infinities, prices not above zero, negative volumes."""
    prices = _prices(bars)
    finite = np.isfinite(prices).all(axis=0) & np.isfinite(bars.volume)
    yield from _found("nan_or_infinite", "error", bars, ~finite, "remove these bars or fetch them again")
    with np.errstate(invalid="ignore"):
        yield from _found(
            "price_not_positive", "error", bars, (prices <= 0).any(axis=0), "remove these bars or fetch them again"
        )
        yield from _found("negative_volume", "error", bars, bars.volume < 0, "fetch these bars again")


def arithmetic(bars: SymbolBars, frame: Timeframe) -> Iterator[Finding]:
    """Low ≤ open, close ≤ high; vwap within the range."""
    wrong = (bars.high < np.maximum(bars.open, bars.close)) | (bars.low > np.minimum(bars.open, bars.close))
    yield from _found("ohlc_invalid", "error", bars, wrong, "fetch these bars again")
    if bars.vwap is not None:
        slack = 1e-6 * bars.close
        outside = (bars.vwap > bars.high + slack) | (bars.vwap < bars.low - slack)
        yield from _found(
            "vwap_outside_range", "warning", bars, outside,
            "odd lots and late prints count in vwap but not in high and low: a few per cent are usual",
        )


def grid(bars: SymbolBars, frame: Timeframe) -> Iterator[Finding]:
    """Starts that no bar of this size has."""
    rows = session_index(bars.ts_ns)
    if frame.daily:
        opens = session_table().opens[np.maximum(rows, 0)]
        yield from _found(
            "not_a_session", "error", bars, (rows < 0) | (bars.ts_ns != opens), "remove them; the exchange was shut"
        )
        return
    anchor = np.where(rows >= 0, session_table().opens[rows], 0)
    off = (bars.ts_ns - anchor) % frame.step_ns != 0
    yield from _found("off_grid", "warning", bars, off, "stray bars of a live download; importing again drops them")
    yield from _found(
        "outside_regular_hours", "info", bars, (rows < 0) & ~off, "kept by --session all"
    )


def gaps(bars: SymbolBars, frame: Timeframe) -> Iterator[Finding]:
    """Sessions and bars that the calendar has (half days as they are) and the data have not."""
    if len(bars) < 2:
        return
    table = session_table()
    rows = session_index(bars.ts_ns)
    inside = rows[rows >= 0]
    if not len(inside):
        return
    expected = np.arange(inside.min(), inside.max() + 1)
    absent = np.setdiff1d(expected, inside)
    yield from _counted(
        "missing_sessions", "warning", absent, len(expected), lambda row: session_date(int(row)).isoformat(),
        "whole days are missing: download or import them, or leave these days out of training",
    )
    if frame.daily:
        return
    wanted = bar_grid(int(bars.ts_ns[rows >= 0].min()), int(table.closes[inside.max()]), frame.minutes)
    wanted = wanted[(wanted <= bars.ts_ns[rows >= 0].max()) & np.isin(session_index(wanted), inside)]
    holes = np.setdiff1d(wanted, bars.ts_ns)
    yield from _counted(
        "missing_bars", "warning", holes, len(wanted), _when,
        "no trades in a quiet share, or a hole in the download: fetch these days again",
    )


def volumes(bars: SymbolBars, frame: Timeframe) -> Iterator[Finding]:
    """Regular-hours bars without volume, and volumes far beyond the usual for the time of day."""
    rows = session_index(bars.ts_ns)
    inside = rows >= 0
    yield from _found(
        "zero_volume", "warning", bars, inside & (bars.volume == 0), "not traded, or not delivered by this feed"
    )
    usual = _usual_by_slot(bars.volume, rows, bars.ts_ns)
    with np.errstate(invalid="ignore"):
        burst = inside & (usual > 0) & (bars.volume > VOLUME_SPIKE * usual)
    yield from _found("volume_spike", "info", bars, burst, "news, index changes, expiries: look at the price")


def jumps(bars: SymbolBars, frame: Timeframe) -> Iterator[Finding]:
    """Splits that were not taken out, told apart from real crashes and leaps.

    A split multiplies the share count: the price moves overnight by a simple ratio, while turnover and the day's
    range stay usual. A crash moves by any number, with many times the usual turnover and a wide day.
    """
    rows = session_index(bars.ts_ns)
    inside = np.flatnonzero(rows >= 0)
    days, first = np.unique(rows[inside], return_index=True)
    if len(days) < 2:
        return
    first = inside[first]
    last = np.append(first[1:], inside[-1] + 1) - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        night = np.log(bars.open[first[1:]] / bars.close[last[:-1]])
        turnover = np.add.reduceat(bars.close * bars.volume, first)
        width = np.log(np.maximum.reduceat(bars.high, first) / np.minimum.reduceat(bars.low, first))
    big = np.flatnonzero(np.abs(night) > JUMP) + 1
    splits, real = [], []
    for day in big:
        before = slice(max(0, day - USUAL_SESSIONS), day)
        busy = turnover[day] / max(float(np.median(turnover[before])), 1e-300)
        wide = width[day] / max(float(np.median(width[before])), 1e-12)
        ratio = _split_ratio(float(night[day - 1]))
        said = f"{session_date(int(days[day]))} {np.expm1(night[day - 1]):+.1%} overnight"
        if ratio is not None and busy < 5 and wide < 4:
            splits.append(f"{said}, a {ratio} split by the look of it")
        else:
            real.append(f"{said}, turnover {busy:.1f} times the usual")
    yield from _said(
        "split_not_adjusted", "error", splits, len(days),
        "adjust prices and volumes before the day (or import adjusted bars): every return across it is wrong",
    )
    yield from _said(
        "overnight_jump", "warning", real, len(days), "real news by the look of its turnover: nothing to mend"
    )


def outliers(bars: SymbolBars, frame: Timeframe) -> Iterator[Finding]:
    """Moves far beyond the bars' own scale: reverted by the next bar (a bad print) or not."""
    if len(bars) < 50:
        return
    same_day = np.diff(session_index(bars.ts_ns)) == 0 if not frame.daily else np.ones(len(bars) - 1, dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        moves = np.where(same_day, np.diff(np.log(bars.close)), 0.0)
        wick = np.log(bars.high / bars.low) - np.abs(np.log(bars.close / bars.open))
    scale = 1.4826 * float(np.nanmedian(np.abs(moves[moves != 0]))) if (moves != 0).any() else np.inf
    moved = np.concatenate([[0.0], moves])
    back = np.concatenate([moves, [0.0]])
    far = np.abs(moved) > MOVE_SIGMAS * scale
    reverted = far & (moved * back < 0) & (np.abs(back) > 0.8 * np.abs(moved)) & (np.abs(back) < 1.25 * np.abs(moved))
    yield from _found(
        "spike_reverted", "warning", bars, reverted, "a bad print by the look of it: compare with another source"
    )
    yield from _found("extreme_move", "info", bars, far & ~reverted, "large, and it lasted: news, not a bad print")
    yield from _found(
        "long_wick", "warning", bars, (wick > 2 * MOVE_SIGMAS * scale) & ~far,
        "the high or low stands far from open and close: compare with another source",
    )


def stale(bars: SymbolBars, frame: Timeframe) -> Iterator[Finding]:
    """The same bar again and again: a feed that repeats itself."""
    values = np.stack([getattr(bars, name) for name in FIELDS])
    same = np.concatenate([[False], (values[:, 1:] == values[:, :-1]).all(axis=0) & (bars.volume[1:] > 0)])
    length = np.arange(len(same)) - np.maximum.accumulate(np.where(same, 0, np.arange(len(same)))) + 1
    yield from _found(
        "repeated_bars", "warning", bars, length == STALE_RUN, f"{STALE_RUN} or more identical bars: fetch them again"
    )


RULES: tuple[Rule, ...] = (order, numbers, arithmetic, grid, gaps, volumes, jumps, outliers, stale)


def _split_ratio(log_move: float) -> str | None:
    for ratio in SPLIT_RATIOS:
        for forward in (True, False):
            expected = -np.log(float(ratio)) if forward else np.log(float(ratio))
            if abs(log_move - expected) < min(SPLIT_TOLERANCE, abs(expected) / 4):
                new, old = Fraction(ratio).as_integer_ratio()
                return f"{new}-for-{old}" if forward else f"{old}-for-{new} (reverse)"
    return None


def _usual_by_slot(volume: FloatArray, rows: IntArray, ts_ns: IntArray) -> FloatArray:
    """Median volume of the same time of day over the `USUAL_SESSIONS` before; NaN while there are fewer than 5."""
    table = session_table()
    slots = np.where(rows >= 0, ts_ns - table.opens[rows], -1)
    usual = np.full(len(volume), np.nan)
    for slot in np.unique(slots[rows >= 0]):
        at = np.flatnonzero(slots == slot)
        if len(at) <= 5:
            continue
        padded = np.concatenate([np.full(USUAL_SESSIONS, np.nan), volume[at]])
        windows = np.lib.stride_tricks.sliding_window_view(padded, USUAL_SESSIONS)[:-1]
        usual[at[5:]] = np.nanmedian(windows[5:], axis=1)
    return usual


def _prices(bars: SymbolBars) -> FloatArray:
    return np.stack([bars.open, bars.high, bars.low, bars.close])


def _when(ns: Any) -> str:
    return f"{from_ns(int(ns)):%Y-%m-%dT%H:%M}Z"


def _found(check: str, severity: str, bars: SymbolBars, mask: Any, advice: str) -> Iterator[Finding]:
    yield from _counted(check, severity, bars.ts_ns[mask], len(bars), _when, advice)


def _counted(
    check: str, severity: str, items: IntArray, out_of: int, shown: Callable[[Any], str], advice: str
) -> Iterator[Finding]:
    if len(items):
        examples = [shown(item) for item in items[:EXAMPLES]]
        yield Finding(check, severity, len(items), round(len(items) / out_of, 6), examples, advice)


def _said(check: str, severity: str, texts: list[str], out_of: int, advice: str) -> Iterator[Finding]:
    if texts:
        yield Finding(check, severity, len(texts), round(len(texts) / out_of, 6), texts[:EXAMPLES], advice)
