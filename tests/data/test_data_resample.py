"""Longer bars: anchored at the opening, ended by the close, available when they are over, equal to pandas' by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from trader.core.clock import MINUTE_NS, to_ns
from trader.core.panel import FIELDS, BarPanel
from trader.core.sessions import bar_grid, session_open_close
from trader.data.bars import union_grid
from trader.data.catalog import load_panel
from trader.data.resample import resample
from trader.data.sample import daily_panel
from trader.data.timeframe import available_at, parse_timeframe

START, END = to_ns(datetime(2024, 11, 25, tzinfo=UTC)), to_ns(datetime(2024, 12, 4, tzinfo=UTC))     # one half day


def minutes(size: int = 1) -> BarPanel:
    ts, rng = bar_grid(START, END, size), np.random.default_rng(2)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.001, (len(ts), 2)), axis=0))
    volume = rng.integers(1, 99, close.shape).astype(float)
    holes = rng.random(close.shape) < 0.2
    fields = {"open": close * 0.999, "high": close * 1.002, "low": close * 0.998, "close": close, "volume": volume,
              "vwap": close * 1.0001, "trade_count": volume // 3}
    fields = {name: np.where(holes, np.nan, values) for name, values in fields.items()}
    return BarPanel(("A", "B"), f"{size}Min", ts, available_at(ts, parse_timeframe(f"{size}m")), **fields)


@pytest.mark.parametrize("size", [15, 60])
def test_equals_pandas_within_each_session(size):
    panel, out = minutes(), resample(minutes(), f"{size}m")
    opens = np.array([session_open_close(d.date())[0] for d in pd.to_datetime(panel.ts_ns, utc=True)])
    group = opens + (panel.ts_ns - opens) // (size * MINUTE_NS) * size * MINUTE_NS
    for j in range(2):
        frame = pd.DataFrame({n: getattr(panel, n)[:, j] for n in (*FIELDS, "vwap", "trade_count")})
        frame["money"] = frame["vwap"] * frame["volume"]
        grouped = frame.groupby(group)
        expected = grouped.agg({"open": "first", "high": "max", "low": "min", "close": "last"})
        np.testing.assert_array_equal(expected.index, out.ts_ns)
        for name in expected:
            np.testing.assert_array_equal(expected[name], getattr(out, name)[:, j])
        sums = grouped[["volume", "trade_count", "money"]].sum(min_count=1)
        np.testing.assert_allclose(sums["volume"], out.volume[:, j])
        np.testing.assert_allclose(sums["trade_count"], out.trade_count[:, j])
        np.testing.assert_allclose(sums["money"] / sums["volume"], out.vwap[:, j])


def test_the_last_bar_of_a_session_is_shorter_and_available_at_the_close():
    hours = resample(minutes(), "1h")
    half = session_open_close(datetime(2024, 11, 29).date())
    day = (hours.ts_ns >= half[0]) & (hours.ts_ns < half[1])
    assert day.sum() == 4                                            # 9:30, 10:30, 11:30 and the half hour from 12:30
    assert hours.available_ns[day][-1] == half[1]
    whole = session_open_close(datetime(2024, 11, 27).date())
    assert ((hours.ts_ns >= whole[0]) & (hours.ts_ns < whole[1])).sum() == 7


def test_steps_may_be_taken_one_by_one():
    direct = resample(minutes(), "1d")
    stepwise = resample(resample(resample(minutes(), "15m"), "1h"), "1d")
    for name in ("ts_ns", "available_ns", "open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(direct, name), getattr(stepwise, name))
    np.testing.assert_allclose(direct.vwap, stepwise.vwap)
    assert resample(direct, "1d") is direct


def test_a_bar_that_is_not_over_is_left_out():
    panel = minutes(15)
    assert len(resample(panel.rows(0, 6), "1h")) == 1
    assert len(resample(panel.rows(0, 8), "1h")) == 2
    assert len(resample(panel.rows(0, 25), "1d")) == 0
    assert len(resample(panel.rows(0, 26), "1d")) == 1
    assert len(resample(panel.rows(0, 0), "1d")) == 0


def test_bars_outside_of_sessions_do_not_count():
    panel = minutes(15)
    early = replace(panel.rows(0, 4), ts_ns=panel.ts_ns[:4] - 120 * MINUTE_NS)
    assert len(resample(early, "30m")) == 0


def test_synthetic_bars_give_the_real_day_back(home):
    quarters = load_panel(home, ["IBM"], "15m", "2012-06-01", "2012-06-29")
    days = resample(quarters, "1d")
    real = daily_panel(["IBM"]).between(int(days.ts_ns[0]), int(days.ts_ns[-1]) + 1)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(days, name), getattr(real, name))
    assert days.source == "synthetic-intraday"


@pytest.mark.parametrize(("timeframe", "target"), [("15m", "20m"), ("1d", "1h"), ("15m", "1m")])
def test_sizes_that_do_not_fit(timeframe, target):
    panel = replace(minutes(15), timeframe=parse_timeframe(timeframe).name)
    with pytest.raises(ValueError, match="cannot be built from"):
        resample(panel, target)


def test_union_of_starts():
    a, b = np.array([1, 3, 5, 7]), np.array([2, 3])
    grid, rows = union_grid([b, a, a.copy()])
    assert grid.tolist() == [1, 2, 3, 5, 7]
    assert [r.tolist() for r in rows] == [[1, 2], [0, 2, 3, 4], [0, 2, 3, 4]]
    grid, rows = union_grid([a, a[:2], a])
    assert grid.tolist() == a.tolist()
    assert rows[0] is None
    assert rows[1].tolist() == [0, 1]
    assert union_grid([np.empty(0, np.int64)])[0].tolist() == []
