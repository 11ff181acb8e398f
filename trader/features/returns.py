"""Returns over several horizons, and what the night did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trader.core.panel import FloatArray
from trader.features.columns import Columns
from trader.features.feature import Feature
from trader.features.rolling import rolling_sum

SESSION_LIMIT = 128     # bars after the open beyond which the open is out of reach of a finite memory


@dataclass(frozen=True)
class SessionReturns(Feature):
    """Sums of the last ``k`` bars' log returns inside sessions; overnight gaps are left out.

    On daily bars these are the plain log returns over ``k`` days.
    """

    horizons: tuple[int, ...] = (1, 2, 4, 8, 26, 130)
    inputs = ("open", "close", "session_id")

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"ret_{k}" for k in self.horizons)

    @property
    def lookback(self) -> int:  # type: ignore[override]
        return max(self.horizons)

    @property
    def warmup(self) -> int:
        return min(self.horizons)       # each longer one is NaN until it has its bars

    def compute(self, columns: Columns) -> FloatArray:
        return np.stack([rolling_sum(columns.step, k) for k in self.horizons], axis=1)


@dataclass(frozen=True)
class OvernightGap(Feature):
    """Log of the session's open over the close before it, held through the session; and the return since that open.

    On daily bars: the gap into each day, and the day's return from its open.
    """

    inputs = ("open", "close", "session_id")
    names = ("overnight_gap", "session_return")
    spans_sessions = True
    lookback = SESSION_LIMIT
    warmup = 1

    def compute(self, columns: Columns) -> FloatArray:
        n = len(columns)
        out = np.full((n, 2), np.nan)
        start = columns.session_start if columns.intraday else np.arange(n)
        index = np.flatnonzero((start >= 1) & (np.arange(n) - start < SESSION_LIMIT))
        opened = columns.log_open[start[index]]
        out[index, 0] = opened - columns.log_close[start[index] - 1]
        out[index, 1] = columns.log_close[index] - opened
        return out
