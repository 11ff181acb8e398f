"""When a file's bars start: epoch units, time zones, bars labelled by their end, bar size."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from trader.core.clock import DAY_NS, MINUTE_NS
from trader.core.panel import FloatArray, IntArray
from trader.core.sessions import session_index, session_table
from trader.data.timeframe import DAILY, Timeframe, intraday
from trader.utils.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from trader.data.tabular import Table

NEW_YORK = "America/New_York"
_EPOCH_UNITS = ((1e11, "s"), (1e14, "ms"), (1e17, "us"), (float("inf"), "ns"))
_OFFSET = re.compile(r"(?:Z|[+-]\d{2}:?\d{2})\s*$")


def bar_starts(table: Table, tz: str | None) -> tuple[IntArray, str]:
    """The rows' moments in ns UTC, and how the time zone was found (for the report).

    Numbers are epochs (unit by magnitude) or dates such as 20240131. Text with an offset is taken at its word.
    Text without one is in ``tz``, or else in UTC or New York, whichever puts more of the volume into regular
    sessions; UserError when that does not decide.
    """
    moments = _parsed(table, _joined(table))
    if moments.dt.tz is not None:
        return _ns(moments), "as the file says"
    if tz is not None:
        return _ns(_localized(table, moments, tz)), tz
    if bool((moments == moments.dt.normalize()).all()):
        return _ns(moments.dt.tz_localize("UTC")), "dates"
    weights = np.nan_to_num(table.frame["volume"].to_numpy(dtype=np.float64))
    if not weights.any():
        weights = np.ones(len(moments))
    fit = {
        zone: _share_inside(_ns(moments.dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")), weights)
        for zone in ("UTC", NEW_YORK)
    }
    best = max(fit, key=lambda zone: fit[zone])
    if fit[best] < 0.6 or fit[best] - min(fit.values()) < 0.1:
        raise UserError(
            f"{table.path}: the times carry no zone and fit neither UTC nor New York's trading hours clearly; "
            "say which with --tz, as in --tz America/New_York"
        )
    return _ns(_localized(table, moments, best)), f"{best} (guessed from the trading hours)"


def bar_size(ts_ns: IntArray, path: object) -> Timeframe:
    """The commonest distance between neighbouring bars; UserError when there are too few bars to tell."""
    gaps = np.diff(np.unique(ts_ns))
    if not len(gaps):
        raise UserError(f"{path}: one bar does not show its size; say it with --timeframe")
    values, counts = np.unique(gaps, return_counts=True)
    step = int(values[np.argmax(counts)])
    if step >= DAY_NS * 20 // 24:
        return DAILY
    minutes = step // MINUTE_NS
    if step % MINUTE_NS or not 0 < minutes <= 390:
        raise UserError(f"{path}: bars of {step / 1e9:g} seconds; whole minutes up to 390, or days, are understood")
    return intraday(int(minutes))


def labelled_by_end(ts_ns: IntArray, timeframe: Timeframe) -> bool:
    """Whether the bars carry their end: sessions have a bar at the close and none at the opening."""
    table = session_table()
    rows = np.unique(session_index(ts_ns))
    rows = rows[rows >= 0]
    if timeframe.daily or not len(rows):
        return False
    at_open = np.isin(table.opens[rows], ts_ns).mean()
    at_close = np.isin(table.closes[rows], ts_ns).mean()
    return bool(at_open < 0.1 and at_close > 0.8)


def session_opens(ts_ns: IntArray) -> IntArray:
    """The openings of the sessions that daily labels mean; -1 for a day without session.

    Labels at midnight UTC are dates; others (midnight in New York, an opening, a close) mean New York's date.
    """
    import pandas as pd

    moments = pd.DatetimeIndex(pd.to_datetime(ts_ns, utc=True))
    if (ts_ns % DAY_NS).any():
        moments = moments.tz_convert(NEW_YORK)
    days = moments.tz_localize(None).to_numpy("datetime64[D]").astype(np.int64)
    table = session_table()
    at = np.minimum(np.searchsorted(table.days, days), len(table.days) - 1)
    opens: IntArray = np.where(table.days[at] == days, table.opens[at], -1)
    return opens


@lru_cache(maxsize=64)
def session_open(label_ns: int) -> int:
    """`session_opens` of one label; many symbols bring the same one after another."""
    return int(session_opens(np.array([label_ns], dtype=np.int64))[0])


def _joined(table: Table) -> pd.Series:
    """The column of moments; a date column and a time column are put together."""
    frame = table.frame
    if "timestamp" in frame:
        return frame["timestamp"]
    if "time" in frame:
        return frame["date"].astype(str).str.strip() + " " + frame["time"].astype(str).str.strip()
    return frame["date"]


def _parsed(table: Table, values: pd.Series) -> pd.Series:
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(values):
        return values
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().all():
        largest = float(numbers.abs().max())
        if numbers.between(19_000_101, 21_001_231).all():
            return pd.to_datetime(numbers.astype("int64").astype(str), format="%Y%m%d")
        unit: Any = next(name for bound, name in _EPOCH_UNITS if largest < bound)
        if (numbers % 1 == 0).all():
            numbers = numbers.astype("int64")       # floats would cost nanoseconds their last digits
        return pd.Series(pd.to_datetime(numbers.to_numpy(), unit=unit, utc=True), index=values.index)
    text = values.astype(str).str.strip()
    offsets = text.str.contains(_OFFSET)
    has_time = text.str.contains(":")
    if (offsets & has_time).any() and not (offsets & has_time).all():
        position = int(text.index[~(offsets & has_time)][0])
        raise UserError(
            f"{table.path}, {table.where(position)}, column timestamp: {text.loc[position]!r} has no time zone "
            "though others have one; write them all alike"
        )
    aware = bool((offsets & has_time).all())
    moments = pd.to_datetime(text, errors="coerce", utc=aware, format="ISO8601")
    if moments.isna().any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")     # pandas says that it is slow when it must guess each format
            moments = pd.to_datetime(text, errors="coerce", utc=aware)      # 01/31/2024 09:30 and the like
    if moments.isna().any():
        position = int(moments.index[moments.isna()][0])
        raise UserError(
            f"{table.path}, {table.where(position)}, column timestamp: {values.loc[position]!r} is not a time; "
            "write 2024-01-31T14:30:00Z, or an epoch in s, ms, us or ns"
        )
    return moments


def _localized(table: Table, moments: pd.Series, tz: str) -> pd.Series:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError):
        raise UserError(f"time zone {tz!r} is unknown; write it as America/New_York or UTC") from None
    local: pd.Series = moments.dt.tz_localize(tz, ambiguous="NaT", nonexistent="NaT")
    if local.isna().any():
        position = int(local.index[local.isna()][0])
        raise UserError(
            f"{table.path}, {table.where(position)}, column timestamp: {moments.loc[position]} does not exist, "
            f"or exists twice, in {tz} (daylight saving); is this the right --tz?"
        )
    return local


def _share_inside(ts_ns: IntArray, weights: FloatArray) -> float:
    return float(weights[session_index(ts_ns) >= 0].sum() / weights.sum())


def _ns(moments: pd.Series) -> IntArray:
    import pandas as pd

    return pd.DatetimeIndex(moments).as_unit("ns").asi8
