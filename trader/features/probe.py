"""Made-up bars with the awkward shapes of real ones, to try features on."""

from __future__ import annotations

import numpy as np

from trader.core.panel import SYNTHETIC_INTRADAY, BarPanel, FloatArray
from trader.features.sessions import MINUTE_NS

_DAY_MINUTES = 1440
_FIRST_DAY = 19_905                 # 2024-07-01, a Monday; New York at UTC-4 for the span that is probed
_OPEN_UTC_MINUTE = 810


def probe_panel(bars: int = 900, seed: int = 11) -> BarPanel:
    """About ``bars`` bars of 15 minutes of two symbols.

    With half days, overnight gaps, missing bars, bars without volume, bars that stand still, and one crash.
    """
    random = np.random.default_rng(seed)
    minutes: list[int] = []
    day = 0
    while len(minutes) < bars:
        if day % 7 < 5:
            length = 14 if day % 23 == 2 else 26
            start = (_FIRST_DAY + day) * _DAY_MINUTES + _OPEN_UTC_MINUTE
            minutes += range(start, start + 15 * length, 15)
        day += 1
    n = len(minutes)
    ts = np.array(minutes, dtype=np.int64) * MINUTE_NS
    opens = np.flatnonzero(np.diff(ts, prepend=0) > 15 * MINUTE_NS)
    volatility = 0.002 * np.exp(0.5 * np.cumsum(random.normal(0.0, 0.08, (n, 2)), axis=0).clip(-2, 2))
    inside = random.normal(size=(n, 2)) * volatility
    before = np.zeros((n, 2))
    before[opens] = random.normal(0.0, 0.008, (len(opens), 2))
    inside[n // 2] -= 0.2
    still = random.random((n, 2)) < 0.02
    inside[still] = 0.0
    close = 100.0 * np.exp(np.cumsum(before + inside, axis=0))
    open = close / np.exp(inside)
    spread = np.where(still, 0.0, np.abs(random.normal(size=(n, 2))) * volatility)
    high, low = np.maximum(open, close) * (1.0 + spread), np.minimum(open, close) * (1.0 - spread)
    volume = np.round(np.exp(random.normal(11.0, 0.7, (n, 2)))).astype(np.float64)
    volume[still] = 0.0
    missing = random.random((n, 2)) < 0.01
    missing[opens[2:5], 1] = True
    for values in (open, high, low, close, volume):
        values[missing] = np.nan
    return BarPanel(
        ("PROBE1", "PROBE2"), "15Min", ts, ts + 15 * MINUTE_NS, open, high, low, close, volume, SYNTHETIC_INTRADAY,
    )


def probe_values(rows: int = 240, symbols: int = 5, seed: int = 11) -> FloatArray:
    """A column of ``symbols`` symbols, ``(rows, symbols)``, with ties, holes and rows where one or none is there."""
    random = np.random.default_rng(seed)
    values = np.round(random.normal(size=(rows, symbols)), 1)
    values[random.random((rows, symbols)) < 0.05] = np.nan
    values[::40, 1:] = np.nan
    values[20::40] = np.nan
    return values
