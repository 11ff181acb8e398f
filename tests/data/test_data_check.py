"""The data check on planted faults, on traps that are none, and on the sample's real splits and crash."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from trader.core.clock import to_ns
from trader.core.sessions import bar_grid, session_index, session_open_close
from trader.data.bars import SymbolBars, split_panel
from trader.data.check import check_bars, check_home
from trader.data.sample import daily_panel
from trader.data.store import BarStore
from trader.utils.errors import UserError

START, END = to_ns(datetime(2024, 11, 1, tzinfo=UTC)), to_ns(datetime(2025, 1, 1, tzinfo=UTC))    # two half days


def bars():
    """Clean 15-minute bars over two months: a quiet random walk."""
    starts, rng = bar_grid(START, END, 15), np.random.default_rng(3)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.001, len(starts))))
    open_ = np.concatenate([[100.0], close[:-1]])
    return SymbolBars(
        starts, open_, np.maximum(open_, close) * 1.0005, np.minimum(open_, close) * 0.9995, close,
        rng.integers(9_000, 11_000, len(starts)).astype(float), vwap=(open_ + close) / 2,
    )


def found(made, timeframe="15Min"):
    return {f.check: f for f in check_bars(made, timeframe)}


def changed(at, **values):
    made = bars()
    for name, value in values.items():
        getattr(made, name)[at] = value
    return made


def test_clean_bars_with_half_days_and_holidays_give_nothing():
    assert check_bars(bars(), "15Min") == []


@pytest.mark.parametrize(("check", "severity", "values"), [
    ("nan_or_infinite", "error", {"close": np.nan}),
    ("nan_or_infinite", "error", {"volume": np.inf}),
    ("price_not_positive", "error", {"low": -1.0}),
    ("negative_volume", "error", {"volume": -1.0}),
    ("ohlc_invalid", "error", {"high": 50.0}),
    ("ohlc_invalid", "error", {"low": 500.0, "high": 400.0}),
    ("vwap_outside_range", "warning", {"vwap": 120.0}),
    ("zero_volume", "warning", {"volume": 0.0}),
    ("volume_spike", "info", {"volume": 9e6}),
    ("long_wick", "warning", {"high": 120.0}),
    ("spike_reverted", "warning", {"close": 110.0, "high": 111.0, "vwap": 105.0}),
])
def test_a_planted_fault_is_found_where_it_is(check, severity, values):
    finding = found(changed(500, **values))[check]
    assert (finding.severity, finding.count) == (severity, 1)
    assert finding.examples[0] == np.datetime_as_string(bars().ts_ns[500].astype("datetime64[ns]"), unit="m") + "Z"
    assert finding.advice


def test_a_move_that_lasts_is_news():
    made = bars()
    for name in ("open", "high", "low", "close", "vwap"):
        getattr(made, name)[501:] *= 1.1
    made.high[501] = made.close[501] * 1.001
    made.open[501] /= 1.1
    made.low[501] = made.open[501] * 0.999
    checks = found(made)
    assert "spike_reverted" not in checks
    assert checks["extreme_move"].count == 1


def test_duplicates_and_order():
    made = bars()
    made.ts_ns[10] = made.ts_ns[9]
    assert found(made)["duplicate_bars"].count == 1
    made = bars()
    made.ts_ns[[10, 11]] = made.ts_ns[[11, 10]]
    assert found(made)["unordered_bars"].count == 1


def test_gaps_against_the_calendar():
    made = bars()
    day = session_open_close(date(2024, 11, 29))                 # a half day
    whole = made.take((made.ts_ns < day[0]) | (made.ts_ns >= day[1]))
    assert found(whole)["missing_sessions"].examples == ["2024-11-29"]
    assert "missing_bars" not in found(whole)
    holes = found(made.take(np.delete(np.arange(len(made)), [100, 101, 300])))
    assert holes["missing_bars"].count == 3
    assert holes["missing_bars"].share == pytest.approx(3 / len(made), abs=1e-6)


def test_stray_and_extended_bars_are_told_apart():
    made = bars()
    made.ts_ns[200] += 60 * 10**9
    early = SymbolBars(made.ts_ns[:1] - 3600 * 10**9, *(getattr(made, n)[:1] for n in ("open", "high", "low", "close")),
                       np.zeros(1))
    both = SymbolBars(*(np.concatenate([getattr(early, n), getattr(made, n)])
                        for n in ("ts_ns", "open", "high", "low", "close", "volume")))
    checks = found(both)
    assert checks["off_grid"].count == 1
    assert checks["outside_regular_hours"].count == 1
    assert "zero_volume" not in checks                           # extended hours often carry none


def test_a_feed_that_repeats_itself():
    made = bars()
    for name in ("open", "high", "low", "close", "volume", "vwap"):
        getattr(made, name)[300:320] = getattr(made, name)[300]
    assert found(made)["repeated_bars"].count == 1


def test_real_splits_and_the_real_crash_are_told_apart():
    raw = split_panel(daily_panel(adjusted=False))
    splits = found(raw["AAPL"], "1d")["split_not_adjusted"]
    assert splits.severity == "error"
    assert [e[:10] for e in splits.examples] == ["2000-06-21", "2005-02-28"]
    assert "2-for-1" in splits.examples[0]
    assert [e[:10] for e in found(raw["MSFT"], "1d")["split_not_adjusted"].examples] == ["2003-02-18"]
    assert [e[:10] for e in found(raw["AAPL"], "1d")["overnight_jump"].examples] == ["2000-09-29"]
    assert "split_not_adjusted" not in found(raw["IBM"], "1d")
    for adjusted in split_panel(daily_panel()).values():
        assert "split_not_adjusted" not in found(adjusted, "1d")


@pytest.mark.parametrize(("ratio", "words"), [(4, "4-for-1"), (1.5, "3-for-2"), (0.1, "1-for-10 (reverse)")])
def test_splits_inside_intraday_bars(ratio, words):
    made = bars()
    before = session_index(made.ts_ns) < session_index(made.ts_ns)[700]
    prices = {n: np.where(before, getattr(made, n) * ratio, getattr(made, n)) for n in ("open", "high", "low", "close")}
    made = replace(made, **prices, volume=np.where(before, made.volume / ratio, made.volume), vwap=None)
    assert words in found(made)["split_not_adjusted"].examples[0]


def test_report(home):
    BarStore(home).write("GOOD", "15m", bars(), source="real", adjustment="raw", origin="x")
    BarStore(home).write("ODD", "15m", changed(50, high=1.0), source="real", adjustment="raw", origin="x")
    report = check_home(home, now_ns=0)
    assert not report["ok"]
    assert report["summary"]["error"] == 1
    assert report["summary"]["datasets"] == 2
    assert json.loads((home / "results" / "data_quality_report.json").read_text()) == report
    assert check_home(home, ["good"], now_ns=0)["ok"]
    with pytest.raises(UserError, match=r"no  ?bars of NONE to check; there are GOOD 15Min, ODD 15Min"):
        check_home(home, ["NONE"], now_ns=0)


def test_an_empty_store_checks_the_sample(home):
    report = check_home(home, ["IBM"], "1d", now_ns=0)
    assert report["ok"]
    assert report["summary"]["bars"] == 3270
