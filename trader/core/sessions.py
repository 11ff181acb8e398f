"""Sessions of the New York Stock Exchange: half days, holidays, daylight saving and ad-hoc closures.

The calendar is exchange_calendars' ``XNYS``, imported at the first question and kept as plain integers and
arrays, so that an answer costs about a microsecond and importing this module costs nothing.
All moments are nanoseconds since the epoch, UTC. A session is open at its opening and closed at its close.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trader.core.clock import DAY_NS, MINUTE_NS, from_ns

IntArray = NDArray[np.int64]

FIRST_DAY = date(1962, 1, 2)
LAST_DAY = date(2045, 12, 29)
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class SessionTable:
    """Every session between `FIRST_DAY` and `LAST_DAY`, in order.

    The arrays have shape ``(n_sessions,)``: the date as days since the epoch, opening and close in ns UTC.
    """

    days: IntArray
    opens: IntArray
    closes: IntArray
    open_list: list[int]        # the same numbers as Python ints: bisect on a list is ten times
    close_list: list[int]       # faster for one question than searchsorted
    row_of_day: dict[int, int]


@lru_cache(maxsize=1)
def session_table() -> SessionTable:
    """The calendar as arrays; built at the first call (about 0.4 s with its imports), then free."""
    import exchange_calendars

    with warnings.catch_warnings():
        # it reads Series.values of zoned times, which pandas 3.1 says will change; only their nanoseconds are used
        warnings.filterwarnings("ignore", message="Series.values", category=DeprecationWarning)
        calendar = exchange_calendars.get_calendar("XNYS", start=FIRST_DAY.isoformat(), end=LAST_DAY.isoformat())
    days = calendar.sessions_nanos // DAY_NS
    opens, closes = calendar.opens_nanos.copy(), calendar.closes_nanos.copy()
    for array in (days, opens, closes):
        array.setflags(write=False)
    rows = {int(day): row for row, day in enumerate(days)}
    return SessionTable(days, opens, closes, opens.tolist(), closes.tolist(), rows)


def session_date(row: int) -> date:
    """The date of a row of `session_table` (what `session_index` returns)."""
    return _EPOCH + timedelta(days=int(session_table().days[row]))


def session_open_close(day: date) -> tuple[int, int] | None:
    """Opening and close of a day's regular session; None when the exchange is shut that day."""
    _require_known(day)
    table = session_table()
    row = table.row_of_day.get((day - _EPOCH).days)
    return None if row is None else (table.open_list[row], table.close_list[row])


def is_open(ns: int) -> bool:
    """Whether the regular session runs at ``ns`` (``open <= ns < close``)."""
    return _row_at(ns) >= 0


def next_open(ns: int) -> int:
    """The first opening after ``ns``; at the very opening that is the next session's."""
    table = session_table()
    return _entry(table.open_list, bisect_right(table.open_list, ns), ns)


def next_close(ns: int) -> int:
    """The first close after ``ns``."""
    table = session_table()
    return _entry(table.close_list, bisect_right(table.close_list, ns), ns)


def session_of(ns: int) -> date | None:
    """The date of the session that runs at ``ns``; None between sessions."""
    row = _row_at(ns)
    return None if row < 0 else session_date(row)


def session_index(ts_ns: IntArray) -> IntArray:
    """The row of `session_table` for every moment; -1 where no session runs.

    Parameters
    ----------
    ts_ns : IntArray
        Moments, ns UTC, any shape and order.

    Returns
    -------
    IntArray
        Same shape. Rows of neighbouring sessions differ by one, so differences count sessions.
    """
    table = session_table()
    moments = np.asarray(ts_ns, dtype=np.int64)
    rows = np.searchsorted(table.opens, moments, side="right") - 1
    inside = (rows >= 0) & (moments < table.closes[np.maximum(rows, 0)])
    return np.where(inside, rows, -1).astype(np.int64)


def session_rows(start_ns: int | None, end_ns: int | None) -> range:
    """The rows of the sessions that overlap ``[start_ns, end_ns)``; None leaves that side open."""
    table = session_table()
    first = 0 if start_ns is None else bisect_right(table.close_list, start_ns)
    stop = len(table.open_list) if end_ns is None else bisect_left(table.open_list, end_ns)
    return range(first, max(first, stop))


def sessions_between(start_ns: int, end_ns: int) -> list[tuple[date, int, int]]:
    """``(date, open_ns, close_ns)`` of every session that overlaps ``[start_ns, end_ns)``."""
    table = session_table()
    return [
        (session_date(row), table.open_list[row], table.close_list[row]) for row in session_rows(start_ns, end_ns)
    ]


def bars_per_session(day: date, minutes: int = 15) -> int:
    """How many bars of ``minutes`` a day's session holds (26 of 15, 14 on a half day, 0 when shut)."""
    hours = session_open_close(day)
    return 0 if hours is None else -((hours[0] - hours[1]) // (minutes * MINUTE_NS))


def bar_grid(start_ns: int, end_ns: int, minutes: int = 15) -> IntArray:
    """Starts of all regular-hours bars with ``start_ns <= start < end_ns``, ns UTC, increasing.

    The last bar of a session is shorter when its length is no multiple of ``minutes``.
    """
    table = session_table()
    rows = session_rows(start_ns, end_ns)
    opens, closes = table.opens[rows.start : rows.stop], table.closes[rows.start : rows.stop]
    step = minutes * MINUTE_NS
    counts = -((opens - closes) // step)
    first_of_session = np.repeat(np.cumsum(counts) - counts, counts)
    grid: IntArray = np.repeat(opens, counts) + (np.arange(counts.sum()) - first_of_session) * step
    return grid[(grid >= start_ns) & (grid < end_ns)]


def _row_at(ns: int) -> int:
    table = session_table()
    row = bisect_right(table.open_list, ns) - 1
    return row if row >= 0 and ns < table.close_list[row] else -1


def _entry(moments: list[int], position: int, ns: int) -> int:
    if position >= len(moments):
        raise ValueError(f"the exchange calendar ends on {LAST_DAY}; {from_ns(ns).date()} has no later session in it")
    return moments[position]


def _require_known(day: date) -> None:
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"{day} lies outside the exchange calendar ({FIRST_DAY} to {LAST_DAY})")
