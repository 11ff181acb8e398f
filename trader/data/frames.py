"""DataFrames of a user's as a panel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from trader.core.clock import MINUTE_NS, iso
from trader.core.panel import FIELDS, REAL, BarPanel
from trader.data.bar_times import session_opens
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
        A column is missing or stands twice, the times cannot be read or do not tell the bar size, a value is no number,
        a bar cannot be (high below low, a price of 0, an infinite volume). Rows without any value are left out.
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
    size = _timeframe(bars)
    if size.daily:
        bars = {symbol: _at_openings(symbol, own) for symbol, own in bars.items()}
    return assemble(bars, size, source)


def _columns(symbol: str, frame: pd.DataFrame) -> SymbolBars:
    import pandas as pd

    missing = [name for name in FIELDS if name not in frame.columns]
    if missing:
        raise UserError(f"the bars of {symbol} lack {', '.join(missing)}; expected {', '.join(FIELDS)}")
    doubled = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]} & {*FIELDS, "timestamp"})
    if doubled:
        raise UserError(f"the bars of {symbol} have two columns {', '.join(doubled)}; give one of each")
    times = frame["timestamp"] if "timestamp" in frame.columns else frame.index.to_series()
    if pd.api.types.is_numeric_dtype(times):
        raise UserError(f"the bars of {symbol} have no times; give a column 'timestamp' or an index of times")
    try:
        moments = pd.DatetimeIndex(pd.to_datetime(times, utc=True)).as_unit("ns")
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"the bars of {symbol} have no readable times: {str(error).splitlines()[0]}") from None
    if moments.hasnans:
        raise UserError(f"row {int(np.argmax(moments.isna()))} of {symbol} has no time; drop the rows without one")
    stamps = moments.asi8
    order = np.argsort(stamps, kind="stable")
    ordered = stamps[order]
    if (np.diff(ordered) == 0).any():
        raise UserError(f"{symbol} has two bars at the same time; remove the duplicates first")
    try:
        values = {name: frame[name].to_numpy(dtype=np.float64)[order] for name in FIELDS}
    except (ValueError, TypeError) as error:
        what = str(error).splitlines()[0]
        raise UserError(f"the bars of {symbol} hold something that is not a number: {what}") from None
    return _sound(symbol, SymbolBars(ordered, **values))


def _at_openings(symbol: str, bars: SymbolBars) -> SymbolBars:
    """Daily bars labelled by dates, midnights or openings, at their sessions' openings."""
    opens = session_opens(bars.ts_ns)
    if (opens < 0).any():
        where = iso(int(bars.ts_ns[int(np.argmax(opens < 0))]))
        raise UserError(f"{symbol}: the exchange was shut on the day of the bar at {where}; drop such bars first")
    if (np.diff(opens) <= 0).any():
        raise UserError(f"{symbol} has two daily bars of one session; remove the duplicates first")
    return replace(bars, ts_ns=opens)


def _sound(symbol: str, bars: SymbolBars) -> SymbolBars:
    """The bars, those without any value left out; UserError for one that cannot be, with its time."""
    values = np.stack([getattr(bars, name) for name in FIELDS])
    blank = np.isnan(values).all(axis=0)
    with np.errstate(invalid="ignore"):
        o, h, l, c, v = values
        wrong = {
            "a value that is missing or infinite": ~np.isfinite(values).all(axis=0) & ~blank,
            "a price not above zero": (values[:4] <= 0).any(axis=0),
            "a negative volume": v < 0,
            "a high or low inside of its open and close": (h < np.maximum(o, c)) | (l > np.minimum(o, c)),
        }
    for what, rows in wrong.items():
        if rows.any():
            where = iso(int(bars.ts_ns[int(np.argmax(rows))]))
            raise UserError(f"{symbol}: {what} at {where} ({int(rows.sum())} bars); drop or mend such bars first")
    return bars.take(~blank)


def _timeframe(bars: Mapping[str, SymbolBars]) -> Timeframe:
    """The most frequent distance between bars; a day or more means daily bars."""
    gaps = np.concatenate([np.diff(b.ts_ns) for b in bars.values()])
    if not len(gaps):
        raise UserError("one bar a symbol does not tell the bar size; give more bars")
    sizes, counts = np.unique(gaps, return_counts=True)
    minutes = int(sizes[counts.argmax()] // MINUTE_NS)
    return DAILY if minutes > 390 else intraday(max(minutes, 1))
