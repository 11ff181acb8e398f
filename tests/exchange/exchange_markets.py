"""Small markets made by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core.clock import MINUTE_NS, to_ns
from trader.core.panel import BarPanel
from trader.core.sessions import sessions_between

QUARTER = 15 * MINUTE_NS
MONDAY_OPEN = 1_704_724_200_000_000_000        # 2024-01-08 14:30 UTC, 09:30 in New York
FREE = RealisticFillSimulator(slippage_model="none", commission_per_share=0.0, max_participation=1.0)


def panel_of(bars: dict[str, list[tuple[float, ...]]], per_day: int = 26) -> BarPanel:
    """Symbol → bars (open, high, low, close[, volume]) at 15 minutes from a Monday's opening on."""
    count = len(next(iter(bars.values())))
    day, slot = np.divmod(np.arange(count), per_day)
    ts = MONDAY_OPEN + day * 86_400 * 10**9 + slot * QUARTER
    table = np.array([[(*bar, 1e6)[:5] for bar in rows] for rows in bars.values()], dtype=np.float64)
    fields = [np.ascontiguousarray(table[:, :, k].T) for k in range(5)]
    return BarPanel(tuple(bars), "15Min", ts.astype(np.int64), (ts + QUARTER).astype(np.int64), *fields)


def extended_panel(bars: list[tuple[float, ...]]) -> BarPanel:
    """AAPL on days from Monday 8 January 2024 on, four bars each: 08:00 to 09:30, 12:45, 16:00 and 18:00 New York."""
    starts, ends = [], []
    for n in range(len(bars) // 4):
        for begin, length in ((-90, 90), (0, 195), (195, 195), (390, 120)):
            starts.append(MONDAY_OPEN + n * 86_400 * 10**9 + begin * MINUTE_NS)
            ends.append(starts[-1] + length * MINUTE_NS)
    columns = [np.array([[bar[k]] for bar in bars], dtype=np.float64) for k in range(4)]
    volume = np.full((len(bars), 1), 1e6)
    return BarPanel(("AAPL",), "195Min", np.array(starts), np.array(ends), *columns, volume)


def daily_panel(symbols: tuple[str, ...], first: str, last: str, seed: int = 7) -> BarPanel:
    """A random walk of daily bars from one day to another, half days and clock changes included."""
    sessions = sessions_between(*(to_ns(datetime.fromisoformat(day).replace(tzinfo=UTC)) for day in (first, last)))
    opens, closes = (np.array(moments, dtype=np.int64) for moments in list(zip(*sessions, strict=True))[1:])
    return replace(walk_panel(symbols, len(opens), seed), timeframe="1Day", ts_ns=opens, available_ns=closes)


def walk_panel(symbols: tuple[str, ...], count: int, seed: int = 7, volume: float = 1e5) -> BarPanel:
    """A random walk with valid bars on the cent."""
    rng = np.random.default_rng(seed)
    bars: dict[str, list[tuple[float, ...]]] = {}
    for symbol in symbols:
        close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.004, count))), 2)
        open_ = np.round(np.append(100.0, close[:-1]) * np.exp(rng.normal(0, 0.001, count)), 2)
        reach = np.round(np.abs(rng.normal(0, 0.3, (2, count))), 2)
        high = np.round(np.maximum(open_, close) + reach[0], 2)
        low = np.round(np.minimum(open_, close) - reach[1], 2)
        size = np.round(volume * rng.uniform(0.1, 2, count))
        bars[symbol] = list(zip(open_, high, low, close, size, strict=True))
    return panel_of(bars)
