"""Limit up, limit down: price bands around what was paid of late, as the plan has them for tier 1 stocks.

The reference price is the mean of the last five minutes' trades: on bars the closes of the bars that ended in them,
or the last close where none did. From the opening to 09:45 and in the last 25 minutes the bands are twice as wide.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import numpy as np

from trader.core.clock import MINUTE_NS, SECOND_NS
from trader.core.days import NEW_YORK
from trader.core.panel import BarPanel

WINDOW_NS = 5 * MINUTE_NS
PAUSE_NS = 5 * MINUTE_NS
_FIRST_NS, _LAST_NS = 15 * MINUTE_NS, 25 * MINUTE_NS
_DOLLARS, _CENTS = 3.0, 0.75        # where the tiers' widths change
_TICK = 0.0001


class Pause(NamedTuple):
    """The beginning of a volatility pause, with the bands that were left; its end has none."""

    symbol: str
    ts_ns: int
    band: tuple[float, float] | None = None


def luld_band(reference: float, *, wide: bool = False) -> tuple[float, float]:
    """Limit down and limit up: 5 % around more than $3; 20 % from $0.75; below that 75 % or $0.15, if less.

    ``wide`` doubles it, for the opening and the close.
    """
    if reference > _DOLLARS:
        width = 0.05 * reference
    elif reference >= _CENTS:
        width = 0.20 * reference
    else:
        width = min(0.15, 0.75 * reference)
    width *= 1 + wide
    return max(_TICK, round(reference - width, 4)), round(reference + width, 4)


def reference_price(panel: BarPanel, column: int, played: int, at_ns: int) -> float:
    """What a symbol cost in the five minutes before ``at_ns``, from its ``played`` bars; NaN before its first."""
    first = int(np.searchsorted(panel.available_ns[:played], at_ns - WINDOW_NS, side="right"))
    recent = panel.close[first:played, column]
    recent = recent[~np.isnan(recent)]
    if recent.size:
        return float(recent.mean())
    known = np.flatnonzero(~np.isnan(panel.close[:first, column]))
    return float(panel.close[known[-1], column]) if known.size else float("nan")


def is_wide(at_ns: int) -> bool:
    """Whether the bands are twice as wide at a moment, by the exchange's calendar."""
    from trader.core.sessions import session_open_close

    session = session_open_close(datetime.fromtimestamp(at_ns // SECOND_NS, NEW_YORK).date())
    if session is None:
        return False
    opens, closes = session
    return opens <= at_ns < opens + _FIRST_NS or closes - _LAST_NS <= at_ns <= closes


def outside_bands(panel: BarPanel, i: int) -> list[tuple[int, tuple[float, float]]]:
    """The columns of which bar ``i`` opens beyond the bands of the moment, and those bands."""
    start, opens = int(panel.ts_ns[i]), panel.open[i].tolist()
    wide = is_wide(start)
    found = []
    for column, price in enumerate(opens):
        if price == price:
            band = luld_band(reference_price(panel, column, i, start), wide=wide)
            if price < band[0] or price > band[1]:
                found.append((column, band))
    return found
