"""Frames and files of every broken kind: a named error or a clean panel, never a wrong number in silence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.core.clock import VirtualClock
from trader.core.panel import FIELDS
from trader.data.frames import panel_from
from trader.data.importer import import_files
from trader.data.live_validator import LiveDataValidator
from trader.data.store import BarStore
from trader.utils.errors import UserError

SOME = (0.0, -1.0, np.nan, np.inf, -np.inf, 1e308, 5e-324, "x", "", None, "101.5", True)
TIMES = (None, "soon", "2024-11-29T15:00:00+01:00", "2024-11-29 09:30", 5, "99999-01-01", pd.NaT)


def good(n: int = 30) -> pd.DataFrame:
    close = 100 + np.arange(n) * 0.1
    return pd.DataFrame({
        "timestamp": pd.date_range("2024-11-25 14:30", periods=n, freq="15min", tz="UTC"),
        "open": close - 0.05, "high": close + 1, "low": close - 1, "close": close, "volume": 1000.0 + np.arange(n),
    })


@st.composite
def broken(draw: st.DrawFn) -> pd.DataFrame:
    """Good bars with up to four faults."""
    frame = good(draw(st.sampled_from([0, 1, 2, 30])))
    for fault in draw(st.lists(st.sampled_from([
        "drop column", "double column", "value", "time", "order", "repeat", "swap", "mixed zones", "naive", "index",
    ]), max_size=4)):
        n = len(frame)
        if fault == "drop column" and len(frame.columns):
            frame = frame.drop(columns=draw(st.sampled_from(list(frame.columns))))
        elif fault == "double column" and "close" in frame:
            frame = pd.concat([frame, frame[["close"]]], axis=1)
        elif fault == "value" and n:
            name, at = draw(st.sampled_from(FIELDS)), draw(st.integers(0, n - 1))
            if name in frame and list(frame.columns).count(name) == 1:
                column = frame[name].astype(object)
                column.iloc[at] = draw(st.sampled_from(SOME))
                frame[name] = column
        elif fault == "time" and n and "timestamp" in frame:
            column = frame["timestamp"].astype(object)
            column.iloc[draw(st.integers(0, n - 1))] = draw(st.sampled_from(TIMES))
            frame["timestamp"] = column
        elif fault == "order":
            frame = frame.iloc[::-1]
        elif fault == "repeat" and n:
            frame = pd.concat([frame, frame.iloc[[draw(st.integers(0, n - 1))]]])
        elif fault == "swap" and n and {"high", "low"} <= set(frame) and not frame.columns.duplicated().any():
            high, low = frame["high"].copy(), frame["low"].copy()
            frame = frame.assign(high=low, low=high)
        elif fault == "mixed zones" and n > 1 and "timestamp" in frame:
            column = frame["timestamp"].astype(object)
            column.iloc[n // 2:] = [f"{t}" for t in column.iloc[n // 2:]]
            frame["timestamp"] = column
        elif fault == "naive" and "timestamp" in frame and isinstance(frame["timestamp"].dtype, pd.DatetimeTZDtype):
            frame["timestamp"] = frame["timestamp"].dt.tz_localize(None)
        elif fault == "index" and "timestamp" in frame:
            frame = frame.set_index("timestamp")
    return frame


def answer(work):
    """What it gives, or None and what it said."""
    try:
        return work(), ""
    except UserError as error:
        return None, str(error)


def assert_sound(panel) -> None:
    assert (np.diff(panel.ts_ns) > 0).all()
    assert (panel.available_ns > panel.ts_ns).all()
    there = np.isfinite(panel.close)
    for name in FIELDS:
        assert np.isfinite(getattr(panel, name)[there]).all()
    assert (panel.low[there] > 0).all()
    assert (panel.volume[there] >= 0).all()
    assert (panel.high >= np.maximum(panel.open, panel.close))[there].all()
    assert (panel.low <= np.minimum(panel.open, panel.close))[there].all()


def original(panel, frame) -> None:
    """Every bar of the panel is a row of the frame, number for number."""
    times = frame["timestamp"] if "timestamp" in frame else frame.index.to_series()
    stamps = pd.DatetimeIndex(pd.to_datetime(times, utc=True)).as_unit("ns").asi8
    for i in np.flatnonzero(np.isfinite(panel.close[:, 0])):
        row = int(np.flatnonzero(stamps == panel.ts_ns[i])[0])
        assert [float(frame[n].iloc[row]) for n in FIELDS] == [float(getattr(panel, n)[i, 0]) for n in FIELDS]


@settings(max_examples=120)
@given(broken())
def test_panel_from(frame):
    panel, said = answer(lambda: panel_from(frame))
    if panel is None:
        assert len(said) > 20
        assert "\n" not in said
        return
    assert_sound(panel)
    if panel.timeframe != "1Day":
        original(panel, frame)


@settings(max_examples=60)
@given(broken(), st.booleans())
def test_importer(tmp_path_factory, frame, as_parquet):
    folder = tmp_path_factory.mktemp("broken")
    path = folder / ("AAPL.parquet" if as_parquet else "AAPL.csv")
    try:
        frame.to_parquet(path) if as_parquet else frame.to_csv(path, index=frame.index.name is not None)
    except (ValueError, TypeError, OSError, OverflowError):
        return                              # pandas itself cannot write such a frame
    except Exception as error:
        if type(error).__module__.startswith("pyarrow"):
            return
        raise
    results, said = answer(lambda: import_files([path], folder))
    if results is None:
        assert str(path) in said
        assert not BarStore(folder).datasets()
        return
    (result,) = results
    stored = BarStore(folder).read(["AAPL"], result.timeframe)
    assert_sound(stored)
    assert result.rows_read == len(stored) + sum(result.dropped.values())


@settings(max_examples=120)
@given(broken())
def test_live_validator(frame):
    """It judges whatever comes, without an exception, and passes no frame that is not sound."""
    validator = LiveDataValidator(max_price_change_pct=1e9, min_volume=0, max_staleness_seconds=1e12,
                                  clock=VirtualClock(1_800_000_000 * 10**9))
    result = validator.validate(frame)
    assert result.is_valid == (not any(issue.severity == "error" for issue in result.issues))
    for issue in result.issues:
        assert issue.type
        assert issue.message
    if result.is_valid:
        numbers = frame[list(FIELDS)].to_numpy(dtype=float)
        assert np.isfinite(numbers).all()
        assert (numbers[:, 1] >= numbers[:, [0, 3]].max(axis=1)).all()
        assert (numbers[:, 2] <= numbers[:, [0, 3]].min(axis=1)).all()
        assert (numbers[:, 2] > 0).all()


def test_daily_frames_stand_at_their_openings():
    frame = good(3).assign(timestamp=["2024-11-27", "2024-11-29", "2024-12-02"])
    panel = panel_from(frame)
    assert panel.timeframe == "1Day"
    assert [f"{t}" for t in pd.to_datetime(panel.available_ns, utc=True)] == [
        "2024-11-27 21:00:00+00:00", "2024-11-29 18:00:00+00:00", "2024-12-02 21:00:00+00:00",
    ]
    with pytest.raises(UserError, match="exchange was shut"):
        panel_from(good(3).assign(timestamp=["2024-11-27", "2024-11-28", "2024-11-29"]))
