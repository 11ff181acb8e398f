"""New York's clock for bar starts: which day and which minute, without pandas."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from trader.core.panel import IntArray

HOUR_NS = 3_600_000_000_000
MINUTE_NS = 60_000_000_000
OPENING_MINUTE = 570            # 09:30
SESSION_MINUTES = 390
_NEW_YORK = ZoneInfo("America/New_York")


@lru_cache(maxsize=65_536)
def _offset_ns(utc_hour: int) -> int:
    """New York's offset from UTC in an hour of UTC; daylight saving only changes on the full hour."""
    moment = datetime.fromtimestamp(utc_hour * 3600, UTC).astimezone(_NEW_YORK)
    offset = moment.utcoffset()
    assert offset is not None
    return int(offset.total_seconds()) * 1_000_000_000


def new_york_clock(ts_ns: IntArray) -> tuple[IntArray, IntArray]:
    """Day number (days since 1970-01-01) and minute of the day, both by New York's clock.

    Parameters
    ----------
    ts_ns : (n,) int64
        Bar starts, nanoseconds UTC.

    Returns
    -------
    day, minute : (n,) int64
        The day serves as session id: bars of one New York day belong to one session.
    """
    ts_ns = np.asarray(ts_ns, dtype=np.int64)
    hours = ts_ns // HOUR_NS
    unique, position = np.unique(hours, return_inverse=True)
    offsets = np.fromiter((_offset_ns(int(hour)) for hour in unique), dtype=np.int64, count=len(unique))
    minutes = (ts_ns + offsets[position]) // MINUTE_NS
    return minutes // 1440, minutes % 1440
