"""Where in the day and the week a bar stands, and whether its volume is usual for that time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trader.core.panel import FloatArray
from trader.core.sessions import session_index, session_table
from trader.features.columns import Columns
from trader.features.feature import Feature
from trader.features.sessions import OPENING_MINUTE, SESSION_MINUTES


@dataclass(frozen=True)
class TimeOfDay(Feature):
    """Share of the regular session that had passed when the bar began (0 on daily bars), and the day of the week.

    Sessions are the exchange's own: at 11:15 of a half day, half of it has passed. Bars outside of sessions count from
    an opening at 09:30 and by a whole day's length, so that they lie below 0 or at 1 and above.
    """

    inputs = ("ts_ns",)
    names = ("time_of_day", "day_of_week")
    lookback = 0

    def compute(self, columns: Columns) -> FloatArray:
        if columns.intraday:
            rows, table = session_index(columns.ts_ns), session_table()
            opens, closes = table.opens[rows], table.closes[rows]       # row -1 reads some session; masked below
            share = np.where(rows >= 0, (columns.ts_ns - opens) / (closes - opens),
                             (columns.minute - OPENING_MINUTE) / SESSION_MINUTES)
        else:
            share = np.zeros(len(columns))
        return np.stack([share, ((columns.day + 3) % 7).astype(np.float64)], axis=1)


@dataclass(frozen=True)
class RelativeVolume(Feature):
    """Log of a bar's volume over the mean volume of earlier bars at the same time of day.

    Looks at the ``window`` bars before; NaN with fewer than ``at_least`` bars of that time among them, or no volume.
    On daily bars all bars stand at the same time, and it is the log of volume over the mean of the window.
    """

    window: int = 286
    at_least: int = 3
    inputs = ("volume", "ts_ns")
    names = ("relative_volume",)

    @property
    def lookback(self) -> int:  # type: ignore[override]
        return self.window

    def compute(self, columns: Columns) -> FloatArray:
        n = len(columns)
        slot = columns.minute if columns.intraday else np.zeros(n, dtype=np.int64)
        order = np.argsort(slot, kind="stable")
        key = slot[order] * np.int64(n + 1) + order
        first = np.searchsorted(key, slot[order] * np.int64(n + 1) + np.maximum(order - self.window, 0))
        sorted_volume = columns.volume[order]
        count = np.arange(n) - first
        # one addition a bar looked at, not a running sum: that would carry the rounding of later bars at earlier times
        total = np.zeros(n)
        for back in range(1, int(count.max(initial=0)) + 1):
            total[back:] += np.where(count[back:] >= back, sorted_volume[:-back], 0.0)
        out = np.full(n, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.log(sorted_volume * count / total)
        out[order] = np.where((count >= self.at_least) & np.isfinite(ratio), ratio, np.nan)
        return out
