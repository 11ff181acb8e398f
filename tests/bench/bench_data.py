"""Seeded bars of 15 minutes for the benchmarks; the same numbers on every machine and in every run."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trader.core.panel import BarPanel

BARS_A_DAY = 26
BAR_NS = 900_000_000_000
# name -> (seed, symbols drawn, symbols used, sessions): s 91,728 bars, m 1.05 million, l 3.28 million
SETS = {"s": (1, 7, 7, 504), "m": (2, 50, 16, 2520), "l": (2, 50, 50, 2520)}


@lru_cache(maxsize=2)
def bars(name: str) -> BarPanel:
    """The panel of a set: regimes of a week, heavy tails, gaps over night, prices in cents."""
    seed, _, used, days = SETS[name]
    starts = _starts(days)
    n = len(starts)
    columns = [_symbol(np.random.default_rng([seed, k]), n) for k in range(used)]
    o, h, l, c, v = (np.ascontiguousarray(np.column_stack(field)) for field in zip(*columns, strict=True))
    return BarPanel(tuple(f"SYM{k:02d}" for k in range(used)), "15Min", starts, starts + BAR_NS, o, h, l, c, v)


def _starts(days: int) -> NDArray[np.int64]:
    """Starts of the bars of the last ``days`` full sessions of New York up to the end of 2024."""
    import exchange_calendars as xc
    import pandas as pd

    calendar = xc.get_calendar("XNYS", start="2010-01-04", end="2025-01-31")
    early = set(calendar.early_closes)
    full = [day for day in calendar.sessions_in_range("2010-01-04", "2024-12-31") if day not in early][-days:]
    opens = pd.DatetimeIndex([calendar.session_open(day) for day in full]).as_unit("ns").asi8
    return (opens[:, None] + np.arange(BARS_A_DAY) * BAR_NS).ravel()


def _symbol(draw: np.random.Generator, n: int) -> tuple[NDArray[np.float64], ...]:
    volatility = draw.uniform(0.0020, 0.0045)
    drift = np.repeat(draw.normal(0, volatility * 0.06, n // 130 + 1), 130)[:n]
    moves = drift + volatility * draw.standard_t(5, n) * np.sqrt(3 / 5)
    first = np.arange(n) % BARS_A_DAY == 0
    moves[first] += draw.normal(0, volatility * 3, int(first.sum()))
    path = np.empty(n)
    level = 0.0
    for i, move in enumerate(moves.tolist()):           # a pull towards the start keeps prices sane for ten years
        level = level * 0.99995 + move
        path[i] = level
    start = draw.uniform(40, 400)
    close = start * np.exp(path)
    opened = np.concatenate([[start], close[:-1]]) * np.exp(draw.normal(0, volatility * 0.15, n))
    opened[first] = close[first] * np.exp(-volatility * draw.normal(0, 1, int(first.sum())))
    high = np.maximum(opened, close) * np.exp(np.abs(draw.normal(0, volatility * 0.5, n)))
    low = np.minimum(opened, close) * np.exp(-np.abs(draw.normal(0, volatility * 0.5, n)))
    opened, close = np.round(opened, 2), np.round(close, 2)
    high = np.maximum(np.round(high, 2), np.maximum(opened, close))
    low = np.minimum(np.round(low, 2), np.minimum(opened, close))
    return opened, high, low, close, np.floor(draw.lognormal(11, 0.6, n))
