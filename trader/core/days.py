"""Sessions by New York's calendar day, as yyyymmdd integers; cheap, without a market calendar."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from trader.core.clock import SECOND_NS

NEW_YORK = ZoneInfo("America/New_York")
HOUR_NS = 3600 * SECOND_NS
_cache: dict[int, int] = {}


def day_of(available_ns: int) -> int:
    """The New York date (yyyymmdd) of the session in which a bar that became available then was made."""
    hour = (available_ns - 1) // HOUR_NS
    day = _cache.get(hour)
    if day is None:
        local = datetime.fromtimestamp(hour * 3600, UTC).astimezone(NEW_YORK)
        day = _cache[hour] = local.year * 10_000 + local.month * 100 + local.day
    return day


def days_of(available_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """``day_of`` for an array, shape kept."""
    hours, inverse = np.unique((available_ns - 1) // HOUR_NS, return_inverse=True)
    days = np.fromiter((day_of(int(hour) * HOUR_NS + 1) for hour in hours), np.int64, len(hours))
    return days[inverse]
