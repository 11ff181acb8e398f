"""Bars that have been played, in their own size or built up to longer ones, never beyond the venue's clock.

Bars of minutes and hours are labelled by their start. Days, weeks and months are labelled, as at Alpaca, by New York's
midnight of their first calendar day, whether the panel's own bars are that long or shorter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from trader.core.clock import MINUTE_NS, to_ns
from trader.core.days import NEW_YORK, day_of, days_of
from trader.core.panel import BarPanel, FloatArray, IntArray
from trader.exchange.errors import refusal
from trader.exchange.types import Split

_TIMEFRAME = re.compile(r"([0-9]{1,3})(Min|T|Hour|H|Day|D|Week|W|Month|M)")
# Alpaca's sizes: less than an hour of minutes, less than a day of hours, one day or week, a part of a year.
_AMOUNTS = {"Min": range(1, 60), "Hour": range(1, 24), "Day": (1,), "Week": (1,), "Month": (1, 2, 3, 4, 6, 12)}
_SHORT = {"T": "Min", "H": "Hour", "D": "Day", "W": "Week", "M": "Month"}
_MINUTES = {"Min": 1, "Hour": 60}
_DAY = "1Day"


class BarColumns(NamedTuple):
    """One symbol's bars as columns of equal length; ``vwap`` and ``trades`` are NaN where unknown."""

    ts_ns: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    vwap: FloatArray
    trades: FloatArray


def played_bars(
    panel: BarPanel, column: int, played: int, timeframe: str, splits: Iterable[Split] = (),
) -> BarColumns:
    """A symbol's bars among the first ``played`` of the panel, in the wanted size; VenueError 400 otherwise.

    Bars from before each of the ``splits`` are put into the shares of after it.
    """
    base = _base_bars(panel, column, played)
    for split in splits:
        before = int(panel.ts_ns[split.index]) if split.index < len(panel) else int(panel.available_ns[-1])
        base = _adjusted(base, before, float(split.ratio))
    return _in_size(panel, base, timeframe)


def day_so_far(panel: BarPanel, column: int, first: int, played: int) -> BarColumns:
    """A symbol's day as one bar, of the bars from ``first`` on among the first ``played``: as `played_bars` builds it.

    The symbol has a bar among them.
    """
    return _in_size(panel, _base_bars(panel.rows(first, played), column, played - first), _DAY)


def bar_label(panel: BarPanel, i: int) -> int:
    """The moment, in ns UTC, that stands on bar ``i`` of the panel wherever it is told."""
    start, size = panel.ts_ns.item(i), _size(panel.timeframe)
    if size is None or size[1] in _MINUTES:
        return start
    return _midnight(day_of(start + 1), size[1], size[0])


def _adjusted(base: BarColumns, before_ns: int, ratio: float) -> BarColumns:
    factor = np.where(base.ts_ns < before_ns, ratio, 1.0)
    return base._replace(
        open=base.open / factor, high=base.high / factor, low=base.low / factor, close=base.close / factor,
        vwap=base.vwap / factor, volume=np.where(factor == 1.0, base.volume, np.round(base.volume * factor)),
    )


def _base_bars(panel: BarPanel, column: int, played: int) -> BarColumns:
    rows = np.flatnonzero(~np.isnan(panel.close[:played, column]))
    unknown = np.full(len(rows), np.nan)
    return BarColumns(
        panel.ts_ns[rows], panel.open[rows, column], panel.high[rows, column], panel.low[rows, column],
        panel.close[rows, column], panel.volume[rows, column],
        unknown if panel.vwap is None else panel.vwap[rows, column],
        unknown if panel.trade_count is None else panel.trade_count[rows, column],
    )


def _in_size(panel: BarPanel, base: BarColumns, timeframe: str) -> BarColumns:
    """Bars of the panel put together to the wanted size, under that size's labels."""
    size, own = _size(timeframe), _size(panel.timeframe)
    if timeframe != panel.timeframe and (size is None or size[0] not in _AMOUNTS[size[1]]):
        raise refusal("malformed", detail=f"invalid timeframe: {timeframe}")
    if size is None:
        return base
    amount, unit = size
    if unit not in _MINUTES:
        starts = _calendar_starts(base.ts_ns, unit, amount)
        return base._replace(ts_ns=starts) if size == own else _grouped(base, starts)
    if size == own:
        return base
    minutes = amount * _MINUTES[unit]
    base_minutes = own[0] * _MINUTES.get(own[1], 0) if own else 0
    if not base_minutes or minutes % base_minutes:
        raise refusal("malformed", detail=f"this venue holds {panel.timeframe} bars and multiples of them")
    step = minutes * MINUTE_NS
    return _grouped(base, base.ts_ns // step * step)


@lru_cache(maxsize=256)
def _size(timeframe: str) -> tuple[int, str] | None:
    """How many of which unit; None for what is no size of bars."""
    match = _TIMEFRAME.fullmatch(timeframe)
    return None if match is None else (int(match[1]), _SHORT.get(match[2], match[2]))


def _calendar_starts(ts_ns: IntArray, unit: str, amount: int) -> IntArray:
    days = days_of(ts_ns + 1)               # the day of the moment just after a bar's start
    unique, inverse = np.unique(days, return_inverse=True)
    starts = np.fromiter((_midnight(int(day), unit, amount) for day in unique), np.int64, len(unique))
    return starts[inverse]


@lru_cache(maxsize=32_768)
def _midnight(day: int, unit: str, months: int) -> int:
    """New York's midnight of a yyyymmdd day, of its week's Monday, or of the first of its ``months`` of the year."""
    when = datetime(day // 10_000, day // 100 % 100, day % 100, tzinfo=NEW_YORK)
    if unit == "Week":
        when = datetime.fromordinal(when.toordinal() - when.weekday()).replace(tzinfo=NEW_YORK)
    elif unit == "Month":
        when = when.replace(day=1, month=(when.month - 1) // months * months + 1)
    return to_ns(when)


def _grouped(base: BarColumns, starts: IntArray) -> BarColumns:
    """Bars of one start joined: first open, extremes, last close, sums, volume-weighted price.

    A bar in which nothing was traded needs no such price of its own.
    """
    if not len(starts):
        return base
    first = np.flatnonzero(np.diff(starts, prepend=starts[0] - 1))
    last = np.append(first[1:], len(starts)) - 1
    volume = np.add.reduceat(base.volume, first)
    with np.errstate(invalid="ignore", divide="ignore"):
        vwap = np.add.reduceat(np.where(base.volume > 0, base.vwap * base.volume, 0.0), first) / volume
    return BarColumns(
        starts[first], base.open[first], np.maximum.reduceat(base.high, first),
        np.minimum.reduceat(base.low, first), base.close[last], volume, vwap,
        np.add.reduceat(base.trades, first),
    )
