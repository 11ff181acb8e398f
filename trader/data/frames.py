"""DataFrames of a user's as a panel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from trader.core.clock import MINUTE_NS
from trader.core.panel import FIELDS, REAL, BarPanel
from trader.data.bars import SymbolBars, assemble
from trader.data.timeframe import DAILY, Timeframe, intraday
from trader.utils.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def panel_from(data: pd.DataFrame | Mapping[str, pd.DataFrame], source: str = REAL) -> BarPanel:
    """Frames of bars as a panel.

    Parameters
    ----------
    data
        One frame (with a ``symbol`` column where it holds several), or frames by symbol. Columns ``open, high, low,
        close, volume`` and ``timestamp``, or an index of times; times without a zone are UTC.

    Raises
    ------
    UserError
        A column is missing, or the times do not tell the bar size.
    """
    if isinstance(data, Mapping):
        frames = {str(symbol): frame for symbol, frame in data.items()}
    elif "symbol" in data.columns:
        frames = {str(symbol): frame for symbol, frame in data.groupby("symbol", sort=True)}
    else:
        frames = {str(data.attrs.get("symbol", "DATA")): data}
    bars = {symbol: _columns(symbol, frame) for symbol, frame in frames.items()}
    if not bars:
        raise UserError("the data hold no bars; expected at least one symbol")
    return assemble(bars, _timeframe(bars), source)


def _columns(symbol: str, frame: pd.DataFrame) -> SymbolBars:
    import pandas as pd

    missing = [name for name in FIELDS if name not in frame.columns]
    if missing:
        raise UserError(f"the bars of {symbol} lack {', '.join(missing)}; expected {', '.join(FIELDS)}")
    times = frame["timestamp"] if "timestamp" in frame.columns else frame.index.to_series()
    try:
        stamps = pd.DatetimeIndex(pd.to_datetime(times, utc=True)).as_unit("ns").asi8
    except (ValueError, TypeError) as error:
        raise UserError(f"the bars of {symbol} have no readable times: {error}") from None
    order = np.argsort(stamps, kind="stable")
    ordered = stamps[order]
    if (np.diff(ordered) == 0).any():
        raise UserError(f"{symbol} has two bars at the same time; remove the duplicates first")
    values = {name: frame[name].to_numpy(dtype=np.float64)[order] for name in FIELDS}
    return SymbolBars(ordered, **values)


def _timeframe(bars: Mapping[str, SymbolBars]) -> Timeframe:
    """The most frequent distance between bars; a day or more means daily bars."""
    gaps = np.concatenate([np.diff(b.ts_ns) for b in bars.values()])
    if not len(gaps):
        raise UserError("one bar a symbol does not tell the bar size; give more bars")
    sizes, counts = np.unique(gaps, return_counts=True)
    minutes = int(sizes[counts.argmax()] // MINUTE_NS)
    return DAILY if minutes > 390 else intraday(max(minutes, 1))
