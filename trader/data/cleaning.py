"""Raw rows as bars: on the grid, in session, each start once, prices that can be; what was left out is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trader.core.clock import iso
from trader.core.panel import IntArray
from trader.core.sessions import session_index, session_table
from trader.data.bar_times import session_opens
from trader.data.bars import SymbolBars
from trader.data.timeframe import Timeframe

SESSIONS = ("rth", "all")


def clean_bars(
    starts: IntArray, columns: Mapping[str, Any], size: Timeframe, session: str = "rth"
) -> tuple[SymbolBars, dict[str, tuple[int, str]]]:
    """The rows that are bars, in order of time.

    Parameters
    ----------
    starts : IntArray
        Bar starts, ns UTC, in any order; labels of daily bars may be dates or moments (see `session_opens`).
    columns : mapping
        ``open, high, low, close, volume`` and perhaps ``vwap, trade_count``, float64 of the same length.
    session : str
        ``rth`` keeps the bars of regular sessions (half days end at 13:00); ``all`` keeps every bar.

    Returns
    -------
    bars, dropped
        ``dropped``: why → how many rows, and the start of the first of them.
    """
    keep = np.ones(len(starts), dtype=bool)
    dropped: dict[str, tuple[int, str]] = {}

    def drop(why: str, wrong: Any) -> None:
        wrong = wrong & keep
        if wrong.any():
            dropped[why] = (int(wrong.sum()), iso(int(starts[np.argmax(wrong)])))
            keep[wrong] = False

    if size.daily:
        opens = session_opens(starts)
        drop("no session that day", opens < 0)
        starts = np.where(opens < 0, starts, opens)
    else:
        inside = session_index(starts)
        if session == "rth":
            drop("outside regular hours", inside < 0)
        anchor = np.where(inside >= 0, session_table().opens[inside], 0)
        drop("off the grid", (starts - anchor) % size.step_ns != 0)
    prices = np.stack([columns[n] for n in ("open", "high", "low", "close")])
    with np.errstate(invalid="ignore"):
        drop("missing price", ~np.isfinite(prices).all(axis=0))
        drop("price not above zero", (prices <= 0).any(axis=0))
        drop("high below low, open or close", prices[1] < prices.max(axis=0))
        drop("low above open or close", prices[2] > prices.min(axis=0))
        drop("volume missing or negative", ~((columns["volume"] >= 0) & np.isfinite(columns["volume"])))
    order = np.flatnonzero(keep)[np.argsort(starts[keep], kind="stable")]
    repeated = np.append(np.diff(starts[order]) == 0, False) if len(order) else np.empty(0, bool)
    if repeated.any():
        dropped["repeated start"] = (int(repeated.sum()), iso(int(starts[order][repeated][0])))
    order = order[~repeated]
    bars = SymbolBars(starts[order], **{n: np.asarray(v[order], dtype=np.float64) for n, v in columns.items()})
    return bars, dropped
