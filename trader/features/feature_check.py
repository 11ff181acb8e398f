"""Verification of features over bars of symbols, and of cross-sections over feature values."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from trader.core.panel import BarPanel, FloatArray, IntArray
from trader.features.columns import ARRAYS, Columns, symbol_columns
from trader.features.feature import CrossSectionalFeature, Feature
from trader.features.verification import Finding, verify


class ColumnsTable:
    """The bars of one symbol as a `Table`."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns)

    def rows(self, start: int, stop: int) -> ColumnsTable:
        return ColumnsTable(self.columns.copy(start, stop))

    def altered(self, start: int, factors: FloatArray) -> ColumnsTable:
        out = self.rows(0, len(self))
        for name in ("open", "high", "low", "close"):
            getattr(out.columns, name)[start:] *= factors
        out.columns.volume[start:] /= factors * factors
        return out

    def same_as(self, other: ColumnsTable) -> bool:
        return all(np.array_equal(getattr(self.columns, f), getattr(other.columns, f)) for f in ARRAYS)

    def sessions(self) -> IntArray:
        return self.columns.day

    def label(self, row: int) -> str:
        moment = datetime.fromtimestamp(int(self.columns.ts_ns[row]) / 1e9, UTC)
        return moment.strftime("%Y-%m-%d %H:%M UTC")


class ArrayTable:
    """Values of all symbols, ``(n_bars, n_symbols)``, as a `Table`."""

    def __init__(self, values: FloatArray) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, start: int, stop: int) -> ArrayTable:
        return ArrayTable(self.values[start:stop].copy())

    def altered(self, start: int, factors: FloatArray) -> ArrayTable:
        out = self.values.copy()
        out[start:] = out[start:, ::-1] * factors[:, None]      # other values in another order
        return ArrayTable(out)

    def same_as(self, other: ArrayTable) -> bool:
        return np.array_equal(self.values, other.values, equal_nan=True)

    def sessions(self) -> IntArray | None:
        return None

    def label(self, row: int) -> str:
        return ""


def verify_feature(feature: Feature, panel: BarPanel) -> list[Finding]:
    """Findings about one per-symbol feature on every symbol's bars; the first symbol with any decides."""
    def run(table: ColumnsTable) -> FloatArray:
        values = np.array(feature.compute(table.columns), dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        values[: feature.warmup] = np.nan
        return values

    for _, columns in symbol_columns(panel):
        if len(columns) > 1:
            found = verify(run, ColumnsTable(columns), feature.names, feature.memory)
            if found:
                return found
    return []


def verify_cross_section(feature: CrossSectionalFeature, of: FloatArray) -> list[Finding]:
    """Findings about a cross-sectional feature; symbols are reported as columns of its name."""
    names = [f"{feature.names[0]}[{j}]" for j in range(of.shape[1])]

    def run(table: ArrayTable) -> FloatArray:
        values = np.asarray(feature.combine(table.values), dtype=np.float64)
        if values.shape[1:] != table.values.shape[1:]:
            raise ValueError(f"returned shape {values.shape} for {table.values.shape}; give a value for each symbol")
        return values

    return verify(run, ArrayTable(of), names, 0)
