"""Which bars make a session, which of them are regular hours, and when the auctions' windows are shut."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from trader.core.clock import MINUTE_NS, SECOND_NS
from trader.core.days import NEW_YORK, days_of
from trader.core.panel import BarPanel, IntArray

DAILY = "1Day"
_NEXT_DAY = 19 * 60                 # minutes of New York's day; from then on auction orders are for the next day
_BEFORE_OPEN, _BEFORE_CLOSE = 2 * MINUTE_NS, 10 * MINUTE_NS


class Hours:
    """The sessions of a panel, as lists with one entry a bar (and one more, for the time after the last bar).

    Attributes
    ----------
    session : list of int
        Running number of the bar's session (New York's day; every daily bar is a session of its own).
    regular : list of bool
        Whether it is a bar of regular hours, which end early on half days, by the exchange's calendar; a day without
        a regular bar counts as regular.
    opens, closes, ends : list of bool
        Whether it is its session's first regular, last regular, last bar.
    next_session : list of int
        The session of the first regular bar from here on.
    opens_ns, closes_ns, ends_ns : list of int
        By session: when its first regular bar begins, when its last regular bar and its last bar of all end.
    inside, open_at : list of bool
        Whether the moment before the bar lies between two bars of one session; and is in regular hours.
    """

    def __init__(self, panel: BarPanel) -> None:
        count = len(panel)
        numbers = session_numbers(panel)
        regular = _regular(panel, numbers)
        self.numbers = numbers
        self.session: list[int] = numbers.tolist()
        self.regular: list[bool] = regular.tolist()
        self.extended = not bool(regular.all())
        rows = np.flatnonzero(regular)
        of_row = numbers[rows]
        first, last = rows[np.diff(of_row, prepend=-1) != 0], rows[np.diff(of_row, append=-1) != 0]
        self.opens = _flags(first, count)
        self.closes = _flags(last, count)
        self.ends = _flags(np.flatnonzero(np.diff(numbers, append=-1) != 0), count)
        self.opens_ns: list[int] = panel.ts_ns[first].tolist()
        self.closes_ns: list[int] = panel.available_ns[last].tolist()
        self.ends_ns: list[int] = panel.available_ns[np.array(self.ends, dtype=np.bool_)].tolist()
        self.sessions = len(first)
        position = np.searchsorted(rows, np.arange(count + 1))
        self.next_session: list[int] = np.append(of_row, self.sessions)[position].tolist()
        inside = np.diff(numbers, prepend=-1, append=-1) == 0
        self.inside: list[bool] = inside.tolist()
        self.open_at: list[bool] = (inside & np.append(regular, False)).tolist()

    def inside_day(self, index: int) -> bool:
        """Whether the moment before bar ``index`` lies between two bars of one session."""
        return self.inside[index]

    def open_now(self, index: int) -> bool:
        """Whether that moment is in regular hours."""
        return self.open_at[index]

    def next_open_close(self, index: int, now_ns: int) -> tuple[int, int]:
        """The next opening and the next close after now: the panel's own, then those of the exchange's calendar."""
        closing = self.next_session[index]
        opening = closing + self.open_now(index)
        if opening < self.sessions:
            return self.opens_ns[opening], self.closes_ns[closing]
        from trader.core.sessions import next_close, next_open

        return next_open(now_ns), self.closes_ns[closing] if closing < self.sessions else next_close(now_ns)

    def phase_end(self, index: int) -> int | None:
        """The bar at whose end the run of bars of one kind (regular or not) ends; None between two days."""
        if not self.inside_day(index):
            return None
        while self.inside[index + 1] and self.regular[index + 1] == self.regular[index]:
            index += 1
        return index

    def shut(self, time_in_force: str, index: int, now_ns: int) -> bool:
        """Whether the window for an auction's orders is shut: opg from 2 minutes before the open to 19:00, cls
        from 10 minutes before the close to 19:00.

        Between two days the venue's clock stands still for the whole night; both windows are open then.
        """
        if not self.inside_day(index) or minute_of_day(now_ns) >= _NEXT_DAY:
            return False
        session = self.session[index]
        if time_in_force == "opg":
            return now_ns >= self.opens_ns[session] - _BEFORE_OPEN
        return now_ns >= self.closes_ns[session] - _BEFORE_CLOSE


def session_numbers(panel: BarPanel) -> IntArray:
    """The running number of each bar's session: New York's day; every daily bar is a session of its own."""
    if panel.timeframe == DAILY:
        return np.arange(len(panel), dtype=np.int64)
    days = days_of(panel.available_ns)
    return np.cumsum(np.diff(days, prepend=days[:1]) != 0).astype(np.int64)


def minute_of_day(ns: int) -> int:
    """Minutes since New York's midnight."""
    local = datetime.fromtimestamp(ns // SECOND_NS, NEW_YORK)
    return local.hour * 60 + local.minute


def _regular(panel: BarPanel, numbers: IntArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    everything = np.ones(len(panel), dtype=np.bool_)
    if panel.timeframe == DAILY or not len(panel):
        return everything
    from trader.core.sessions import session_index

    regular = session_index(panel.ts_ns) >= 0
    days_with = np.zeros(int(numbers[-1]) + 1, dtype=np.bool_)
    days_with[numbers[regular]] = True
    return regular | ~days_with[numbers]


def _flags(rows: IntArray, count: int) -> list[bool]:
    flags = np.zeros(count, dtype=np.bool_)
    flags[rows] = True
    return flags.tolist()
