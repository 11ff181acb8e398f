"""The feature set bar by bar: a ring of recent bars for each symbol, and states where recursion is carried."""

from __future__ import annotations

from typing import Any

import numpy as np

from trader.core.panel import BarPanel, FloatArray, Slice
from trader.features.columns import Columns, is_intraday, symbol_columns
from trader.features.feature import Feature, StatefulFeature
from trader.features.feature_set import FeatureSet, shaped
from trader.features.sessions import new_york_clock

_TAILS = (16, 80, 160, 320, 512, 1024)     # features share arrays derived from tails of equal length


class _Ring:
    """The last bars of one symbol, contiguous: twice the room, moved to the front when full."""

    def __init__(self, capacity: int, history: Columns) -> None:
        self.capacity = capacity
        self.intraday = history.intraday
        self.values = np.empty((5, 2 * capacity))
        self.times = np.empty((3, 2 * capacity), dtype=np.int64)
        kept = history.rows(max(len(history) - capacity, 0), len(history))
        self.end = self.size = len(kept)
        self.values[:, : self.end] = (kept.open, kept.high, kept.low, kept.close, kept.volume)
        self.times[:, : self.end] = (kept.ts_ns, kept.day, kept.minute)

    def append(self, fields: FloatArray, times: tuple[int, int, int]) -> None:
        if self.end == 2 * self.capacity:
            self.values[:, : self.capacity] = self.values[:, self.capacity :]
            self.times[:, : self.capacity] = self.times[:, self.capacity :]
            self.end = self.capacity
        self.values[:, self.end] = fields
        self.times[:, self.end] = times
        self.end += 1
        self.size = min(self.size + 1, self.capacity)

    def columns(self) -> Columns:
        cut = np.s_[:, self.end - self.size : self.end]
        o, h, l, c, v = self.values[cut]
        ts_ns, day, minute = self.times[cut]
        return Columns(o, h, l, c, v, ts_ns, day, minute, self.intraday)


class LiveFeatures:
    """Features of each new bar, equal to what `FeatureSet.transform` gives for the whole history.

    Equal from the first bar on where ``history`` begins with the batch's first bar; else as soon as a symbol has
    ``feature_set.lookback`` bars, to 1e-9 of a value's size.

    Parameters
    ----------
    feature_set
        Fitted or not; it is only read.
    history : BarPanel
        Bars before the first push; may be empty. It fixes the symbols, their order and the timeframe.
    """

    def __init__(self, feature_set: FeatureSet, history: BarPanel) -> None:
        self.feature_set = feature_set
        self.symbols = history.symbols
        self.intraday = is_intraday(history.timeframe)
        self.last_ts_ns = int(history.ts_ns[-1]) if len(history) else None
        per_symbol = [columns for _, columns in symbol_columns(history)]
        # resolved once: looking a frozen dataclass up hashes all its fitted values
        self._plan = [(f, _tail_for(f), f.warmup, feature_set.spans[f]) for f in feature_set.own]
        capacity = max(feature_set.lookback, 2)
        self._rings = [_Ring(capacity, columns) for columns in per_symbol]
        self._states: list[list[Any]] = [
            [f.begin(columns) if isinstance(f, StatefulFeature) else None for f in feature_set.own]
            for columns in per_symbol
        ]

    def push(self, slice: Slice) -> FloatArray:
        """Features of one more bar: ``(n_symbols, n_features)``; a symbol without a bar has NaN and keeps its state.

        ValueError for a bar that is not later than the last, and for another number of symbols.
        """
        if len(slice.close) != len(self.symbols):
            expected = f"{len(self.symbols)}: {', '.join(self.symbols)}"
            raise ValueError(f"bar of {len(slice.close)} symbols, expected {expected}")
        if self.last_ts_ns is not None and slice.ts_ns <= self.last_ts_ns:
            raise ValueError(f"bar at {slice.ts_ns} ns is not later than the last one at {self.last_ts_ns} ns")
        self.last_ts_ns = slice.ts_ns
        day, minute = new_york_clock(np.array([slice.ts_ns]))
        times = (slice.ts_ns, int(day[0]), int(minute[0]))
        bars = np.stack([slice.open, slice.high, slice.low, slice.close, slice.volume])
        present = np.isfinite(bars.sum(axis=0))
        out = np.full((1, len(self.symbols), len(self.feature_set.names)), np.nan)
        for j in np.flatnonzero(present):
            self._rings[j].append(bars[:, j], times)
            out[0, j] = self._row(int(j))
        self.feature_set.combine(out)
        row: FloatArray = out[0]
        return row

    def _row(self, j: int) -> FloatArray:
        columns, states = self._rings[j].columns(), self._states[j]
        row = np.full(len(self.feature_set.names), np.nan)
        for k, (feature, bars, warmup, span) in enumerate(self._plan):
            tail = columns.tail(bars)
            if isinstance(feature, StatefulFeature):
                states[k], row[span] = feature.advance(states[k], tail)
            elif len(columns) > warmup:
                row[span] = shaped(feature, feature.compute(tail), len(tail))[-1]
        row[~np.isfinite(row)] = np.nan
        return row


def _tail_for(feature: Feature) -> int:
    needed = (feature.step_lookback if isinstance(feature, StatefulFeature) else feature.memory) + 1
    return next((size for size in _TAILS if size >= needed), needed)
