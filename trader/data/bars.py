"""One symbol's bars as columns, and many of them aligned into a panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trader.core.panel import FIELDS, REAL, BarPanel, FloatArray, IntArray
from trader.data.timeframe import Timeframe, available_at

EXTRA_FIELDS = ("vwap", "trade_count")


@dataclass(frozen=True, slots=True)
class SymbolBars:
    """Bars of one symbol: starts in ns UTC, strictly increasing, and float64 columns of the same length."""

    ts_ns: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    vwap: FloatArray | None = None
    trade_count: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.ts_ns)

    def take(self, keep: Any) -> SymbolBars:
        """The rows that a mask, slice or index array names."""
        columns = {name: getattr(self, name) for name in ("ts_ns", *FIELDS, *EXTRA_FIELDS)}
        return SymbolBars(**{name: values[keep] for name, values in columns.items() if values is not None})

    def between(self, start_ns: int | None, end_ns: int | None) -> SymbolBars:
        """The bars with ``start_ns <= ts_ns < end_ns``."""
        low = 0 if start_ns is None else int(np.searchsorted(self.ts_ns, start_ns))
        high = len(self) if end_ns is None else int(np.searchsorted(self.ts_ns, end_ns))
        return self.take(slice(low, high))


def assemble(bars: Mapping[str, SymbolBars], timeframe: Timeframe, source: str = REAL) -> BarPanel:
    """Align symbols on the union of their bar starts; a symbol without a bar there gets NaN in every field.

    Parameters
    ----------
    bars : Mapping[str, SymbolBars]
        Symbol → bars; the panel keeps this order of symbols.

    Returns
    -------
    BarPanel
        ``vwap`` and ``trade_count`` are present when at least one symbol has them.
    """
    symbols = tuple(bars)
    grid, rows = union_grid([b.ts_ns for b in bars.values()])

    def aligned(name: str) -> FloatArray:
        out = np.full((len(grid), len(symbols)), np.nan)
        for column, (b, at) in enumerate(zip(bars.values(), rows, strict=True)):
            values = getattr(b, name)
            if values is not None:
                out[slice(None) if at is None else at, column] = values
        return out

    extras = {
        name: aligned(name) if any(getattr(b, name) is not None for b in bars.values()) else None
        for name in EXTRA_FIELDS
    }
    return BarPanel(
        symbols, timeframe.name, grid, available_at(grid, timeframe),
        **{name: aligned(name) for name in FIELDS}, source=source,
        vwap=extras["vwap"], trade_count=extras["trade_count"],
    )


def union_grid(starts: Sequence[IntArray]) -> tuple[IntArray, list[IntArray | None]]:
    """The union of increasing bar starts, and where each series stands in it: rows, or None for every row.

    Series mostly share their starts, so the longest is taken and the strangers to it are added: no sort of them all.
    """
    if not starts:
        return np.empty(0, np.int64), []
    grid = max(starts, key=len)
    strangers = [own[~_within(own, grid)] for own in starts if own is not grid]
    if any(len(some) for some in strangers):
        grid = np.unique(np.concatenate([grid, *strangers]))
    return grid, [None if len(own) == len(grid) else np.searchsorted(grid, own) for own in starts]


def _within(own: IntArray, grid: IntArray) -> NDArray[np.bool_]:
    if len(own) == len(grid) and np.array_equal(own, grid):
        return np.ones(len(own), dtype=bool)
    if not len(grid):
        return np.zeros(len(own), dtype=bool)
    at = np.minimum(np.searchsorted(grid, own), len(grid) - 1)
    return np.asarray(grid[at] == own)


def split_panel(panel: BarPanel) -> dict[str, SymbolBars]:
    """The symbols of a panel apart again, bars without a close left out."""
    out = {}
    for column, symbol in enumerate(panel.symbols):
        there = np.isfinite(panel.close[:, column])
        columns: dict[str, FloatArray] = {name: getattr(panel, name)[there, column] for name in FIELDS}
        for name in EXTRA_FIELDS:
            values = getattr(panel, name)
            if values is not None and np.isfinite(values[there, column]).any():
                columns[name] = values[there, column]
        out[symbol] = SymbolBars(panel.ts_ns[there], **columns)
    return out
