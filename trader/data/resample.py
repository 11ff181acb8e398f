"""Longer bars out of shorter ones, session by session."""

from __future__ import annotations

from typing import Any

import numpy as np

from trader.core.panel import BarPanel, FloatArray, IntArray
from trader.core.sessions import session_index, session_table
from trader.data.timeframe import Timeframe, available_at, parse_timeframe


def resample(panel: BarPanel, timeframe: str) -> BarPanel:
    """Bars of a longer size built from a panel's bars.

    Bars are counted from each session's opening and never reach over its close, so the last one of a session may be
    shorter (the seventh hour of a day; the fourth of a half day) and is available at the close. Bars outside
    regular sessions are left out. Per symbol: first open, highest high, lowest low, last close of the bars that it
    has, sums of volumes and counts, vwap weighted by volume; NaN where it has none. A last bar that the panel does
    not reach the end of is left out: its close is not known yet.

    Parameters
    ----------
    timeframe : str
        ``1Day`` or a multiple of the panel's minutes.

    Raises
    ------
    ValueError
        The size is no multiple of the panel's.
    """
    source, target = parse_timeframe(panel.timeframe), parse_timeframe(timeframe)
    if source == target:
        return panel
    if source.daily or (not target.daily and target.minutes % source.minutes):
        raise ValueError(f"{target.name} bars cannot be built from {source.name} bars; give bars of a whole part of it")
    rows = session_index(panel.ts_ns)
    inside = rows >= 0
    starts = _starts(panel.ts_ns[inside], rows[inside], target)
    first = np.flatnonzero(np.diff(starts, prepend=starts[0] - 1)) if len(starts) else np.empty(0, np.intp)
    grid = starts[first]
    ends = available_at(grid, target)
    whole = ends <= panel.available_ns[-1] if len(panel) else np.empty(0, bool)
    joined = _Groups(panel, inside, first)
    values = {
        "open": joined.edge("open", last=False), "high": joined.reduce(np.fmax, "high"),
        "low": joined.reduce(np.fmin, "low"), "close": joined.edge("close", last=True),
        "volume": joined.total("volume"), "vwap": joined.weighted("vwap"), "trade_count": joined.total("trade_count"),
    }
    kept: dict[str, Any] = {name: None if v is None else v[whole] for name, v in values.items()}
    return BarPanel(panel.symbols, target.name, grid[whole], ends[whole], source=panel.source, **kept)


def _starts(ts_ns: IntArray, rows: IntArray, target: Timeframe) -> IntArray:
    """Start of the longer bar that each bar belongs to."""
    opens = session_table().opens[rows]
    if target.daily:
        return opens
    starts: IntArray = opens + (ts_ns - opens) // target.step_ns * target.step_ns
    return starts


class _Groups:
    """Fields of a panel joined over runs of rows that begin at ``first``; answers are (n_groups, n_symbols)."""

    def __init__(self, panel: BarPanel, inside: Any, first: IntArray) -> None:
        self.panel, self.inside, self.first = panel, inside, first

    def _field(self, name: str) -> FloatArray | None:
        values = getattr(self.panel, name)
        return None if values is None else values[self.inside]

    def reduce(self, ufunc: np.ufunc, name: str) -> FloatArray:
        values = self._field(name)
        assert values is not None
        if not len(self.first):
            return values[:0]
        out: FloatArray = ufunc.reduceat(values, self.first, axis=0)
        return out

    def total(self, name: str) -> FloatArray | None:
        """Sums of what is there; NaN where nothing is."""
        values = self._field(name)
        if values is None or not len(self.first):
            return None if values is None else values[:0]
        there = np.isfinite(values)
        sums = np.add.reduceat(np.where(there, values, 0.0), self.first, axis=0)
        return np.where(np.logical_or.reduceat(there, self.first, axis=0), sums, np.nan)

    def weighted(self, name: str) -> FloatArray | None:
        values, volume = self._field(name), self._field("volume")
        if values is None or volume is None or not len(self.first):
            return None if values is None else values[:0]
        there = np.isfinite(values) & (volume > 0)
        money = np.add.reduceat(np.where(there, values * volume, 0.0), self.first, axis=0)
        shares = np.add.reduceat(np.where(there, volume, 0.0), self.first, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            out: FloatArray = money / shares
        return out

    def edge(self, name: str, *, last: bool) -> FloatArray:
        """The first or last value that is there."""
        values = self._field(name)
        assert values is not None
        if not len(self.first):
            return values[:0]
        index = np.arange(len(values))[:, None]
        there = np.isfinite(values)
        if last:
            at = np.maximum.reduceat(np.where(there, index, -1), self.first, axis=0)
        else:
            at = np.minimum.reduceat(np.where(there, index, len(values)), self.first, axis=0)
        known = (at >= 0) & (at < len(values))
        picked = np.take_along_axis(values, np.where(known, at, 0), axis=0)
        return np.where(known, picked, np.nan)
