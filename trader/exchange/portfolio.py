"""The account's worth over time: at every session's close as it was noted, within sessions rebuilt from its history."""

from __future__ import annotations

import re
from bisect import bisect_left
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from trader.core.clock import DAY_NS, MINUTE_NS, SECOND_NS
from trader.core.days import NEW_YORK, days_of
from trader.core.panel import FloatArray, IntArray
from trader.exchange.errors import refusal

if TYPE_CHECKING:
    from trader.exchange.venue import Venue

_PERIOD = re.compile(r"(\d{1,4})([DWMA])")
_DAYS = {"D": 1, "W": 7, "M": 30, "A": 365}
DAILY = "1D"
TIMEFRAMES = {"1Min": 1, "5Min": 5, "15Min": 15, "1H": 60, DAILY: 0}
_FINE_DAYS, MEDIUM_DAYS = 7, 30
_BEFORE_OPEN_NS = 330 * MINUTE_NS           # the day begins at four in the morning


def period_ns(period: str) -> int:
    """How long ``1D``, ``2W``, ``3M`` or ``1A`` is, in calendar days; VenueError 422 otherwise."""
    match = _PERIOD.fullmatch(period)
    if match is None or not int(match[1]):
        raise refusal("invalid", detail=f"period {period!r} must be a number and one of D, W, M, A, like 1M")
    return int(match[1]) * _DAYS[match[2]] * DAY_NS


def default_timeframe(length_ns: int) -> str:
    """Alpaca's choice: minutes below a week, quarters of an hour below a month, days beyond."""
    if length_ns < _FINE_DAYS * DAY_NS:
        return "1Min"
    return "15Min" if length_ns < MEDIUM_DAYS * DAY_NS else DAILY


def session_start(venue: Venue, moment_ns: int, *, extended: bool) -> int:
    """Where a window within days begins that is asked for from a moment on: with the first session not over then."""
    hours = venue.hours
    session = bisect_left(hours.ends_ns if extended else hours.closes_ns, moment_ns)
    if session == hours.sessions:
        return moment_ns
    return hours.opens_ns[session] - (_BEFORE_OPEN_NS if extended else 0)


def daily_points(venue: Venue) -> tuple[IntArray, FloatArray]:
    """Moments and equity at every session's close, and now."""
    moments = [point.ts_ns for point in venue.equity_history]
    worth = [float(point.equity) for point in venue.equity_history]
    if not moments or moments[-1] // SECOND_NS != venue.now_ns // SECOND_NS:
        moments.append(venue.now_ns)
        worth.append(float(venue.account().equity))
    return np.array(moments, dtype=np.int64), np.array(worth)


def intraday_points(venue: Venue, minutes: int, *, extended: bool) -> tuple[IntArray, FloatArray]:
    """Moments and equity, every ``minutes`` or every bar, whichever is longer.

    As Alpaca does it, a moment is the beginning of its window and the equity that of the window's end; a session has
    one point more, of its close. Cash and positions of each bar follow from the executions and movements up to it,
    prices from the bars.
    """
    panel, first, stop = venue.panel, venue.start_index, venue.index
    count = stop - first
    if not count:
        return np.array([venue.now_ns], dtype=np.int64), np.array([float(venue.account().equity)])
    starts = panel.ts_ns[first:stop]
    cash = np.zeros(count)
    shares: dict[str, FloatArray] = {}
    for fill in venue.activities:
        row = max(fill.index - first, 0)
        signed = float(fill.qty) if fill.side == "buy" else -float(fill.qty)
        cash[row] -= signed * float(fill.price) + float(fill.commission)
        shares.setdefault(fill.symbol, np.zeros(count))[row] += signed
    for entry in venue.entries:
        row = min(max(entry.index - first, 0), count - 1)
        cash[row] += float(entry.net_amount)
        if entry.symbol is not None:
            shares.setdefault(entry.symbol, np.zeros(count))[row] += float(entry.qty)
    worth = np.cumsum(cash)
    for symbol, changes in shares.items():
        shares_for_one = np.ones(count)             # of the beginning, by bar
        for split in venue.splits:
            if split.symbol == symbol:
                shares_for_one[max(split.index - first, 0) :] *= float(split.ratio)
        worth += np.cumsum(changes) * _carried(panel.close[first:stop, panel.column(symbol)], shares_for_one)
    step = minutes * MINUTE_NS
    rows = np.arange(count) if extended else np.flatnonzero(venue.hours.regular[first:stop])
    starts, ends, session = starts[rows], panel.available_ns[first:stop][rows], venue.hours.numbers[first:stop][rows]
    opens = np.diff(session, prepend=-1) != 0
    window = np.maximum(starts // step * step, starts[opens][np.cumsum(opens) - 1])
    last = np.append(np.diff(window) != 0, True)
    closing = np.append(np.diff(session) != 0, True) & (ends % step == 0)
    moments, of_row = np.append(window[last], ends[closing]), np.append(rows[last], rows[closing])
    order = np.argsort(moments, kind="stable")
    return moments[order], worth[of_row[order]]


def _carried(prices: FloatArray, shares_for_one: FloatArray) -> FloatArray:
    """Each price, or the last one known in the shares of the moment; 0 before the first."""
    known = np.maximum.accumulate(np.where(np.isnan(prices), -1, np.arange(len(prices))))
    last = np.maximum(known, 0)
    return np.where(known >= 0, prices[last] * (shares_for_one[last] / shares_for_one), 0.0)


def cashflows(venue: Venue, start_ns: int, moments: IntArray, kinds: list[str]) -> dict[str, list[float]]:
    """Dollars that came or went by movements of some kinds (``ALL``: every kind that did), up to each moment."""
    found: dict[str, list[float]] = {kind: [0.0] * len(moments) for kind in kinds if kind not in ("ALL", "NONE")}
    for entry in venue.entries:
        row = int(np.searchsorted(moments, entry.ts_ns))
        wanted = "ALL" in kinds or entry.type in found
        if wanted and entry.net_amount and start_ns < entry.ts_ns and row < len(moments):
            found.setdefault(entry.type, [0.0] * len(moments))[row] += float(entry.net_amount)
    return found


def history_json(
    venue: Venue, start_ns: int, end_ns: int, timeframe: str, *, extended: bool, reset_daily: bool, kinds: list[str]
) -> dict[str, Any]:
    """The answer from ``start_ns`` to ``end_ns``, with the cashflows of some ``kinds``.

    Profit counts from the worth at the window's beginning, or within days, with ``reset_daily``, from the previous
    day's close, after the day's own close too. The day of that close is told where there was one.
    """
    deposited = float(venue.accounts_book.deposited)
    days, closes = daily_points(venue)
    if timeframe == DAILY:
        moments, worth = days, closes
    else:
        moments, worth = intraday_points(venue, TIMEFRAMES[timeframe], extended=extended)
    inside = (moments > start_ns if timeframe == DAILY else moments >= start_ns) & (moments <= end_ns)
    before = closes[days <= start_ns]
    base = float(before[-1]) if len(before) else deposited
    noted = np.array([point.ts_ns for point in venue.equity_history], dtype=np.int64)
    moments, worth = moments[inside], worth[inside]
    bases = np.full(len(worth), base)
    if timeframe != DAILY and reset_daily:
        values = np.array([deposited, *(float(point.equity) for point in venue.equity_history)])
        bases = values[np.searchsorted(days_of(noted), days_of(moments), side="left")]
    profit = worth - bases
    history = {
        "timestamp": (moments // SECOND_NS).tolist(), "equity": worth.round(6).tolist(),
        "profit_loss": profit.round(6).tolist(), "profit_loss_pct": (profit / bases).round(10).tolist(),
        "base_value": base, "timeframe": timeframe, "cashflow": cashflows(venue, start_ns, moments, kinds),
    }
    closed = noted[noted <= start_ns]
    if len(closed):
        day = datetime.fromtimestamp(int(closed[-1]) // SECOND_NS, NEW_YORK).date()
        history["base_value_asof"] = day.isoformat()
    return history
