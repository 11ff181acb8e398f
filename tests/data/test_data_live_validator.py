"""The live validator: the guide's frame and the engine's slice agree, and each limit has its name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader.core.clock import SECOND_NS, VirtualClock
from trader.core.panel import Slice
from trader.data.live_validator import LiveDataValidator

NOW = 10_000 * SECOND_NS
FIELDS = ("open", "high", "low", "close", "volume")
GOOD = (100.0, 101.0, 99.0, 100.5, 5000.0)


def slice_of(*bars, age_s=5):
    columns = np.array(bars, dtype=float).T
    return Slice(0, NOW - (900 + age_s) * SECOND_NS, NOW - age_s * SECOND_NS, *columns)


def check(*bars, previous=100.0, age_s=5, **limits):
    validator = LiveDataValidator(symbols=tuple("ABCDEFG"), **limits)
    return validator.check_slice(slice_of(*bars, age_s=age_s), np.full(len(bars), previous), NOW)


def test_good_bars_and_missing_bars():
    ok, issues = check(GOOD, [np.nan] * 5, GOOD)
    assert ok.tolist() == [True, False, True]
    assert issues == []


FAULTS = [
    ("price_spike", (100.0, 120.0, 99.0, 111.0, 5000.0), 0.11, 0.10),
    ("ohlc_invalid", (100.0, 100.0, 99.0, 100.5, 5000.0), 100.0, 100.5),
    ("ohlc_invalid", (100.0, 101.0, 100.2, 100.5, 5000.0), 100.2, 100.0),
    ("not_finite", (100.0, np.inf, 99.0, 100.5, 5000.0), np.inf, np.inf),
    ("price_not_positive", (100.0, 101.0, 0.0, 100.5, 5000.0), 0.0, 0.0),
    ("negative_volume", (100.0, 101.0, 99.0, 100.5, -1.0), -1.0, 0.0),
]


@pytest.mark.parametrize(("kind", "bar", "value", "limit"), FAULTS)
def test_each_fault_by_slice_and_by_frame(kind, bar, value, limit):
    ok, issues = check(GOOD, bar)
    assert ok.tolist() == [True, False]
    (issue,) = issues
    assert (issue.type, issue.symbol) == (kind, "B")
    assert (issue.value, issue.limit) == pytest.approx((value, limit))
    assert issue.message
    frame = pd.DataFrame([GOOD, bar], columns=FIELDS).assign(symbol="B")
    frame.loc[0, "close"] = 100.0
    result = LiveDataValidator().validate(frame)
    assert not result.is_valid
    assert [i.type for i in result.issues] == [kind]


@pytest.mark.parametrize("field", range(5))
def test_one_field_missing_is_an_issue(field):
    bar = list(GOOD)
    bar[field] = np.nan
    ok, issues = check(bar)
    assert not ok[0]
    assert issues[0].type == "not_finite"
    result = LiveDataValidator().validate(pd.DataFrame([GOOD, bar], columns=FIELDS))
    assert not result.is_valid
    assert [i.type for i in result.issues] == ["not_finite"]


def test_low_volume_is_a_warning():
    ok, issues = check((*GOOD[:4], 10.0))
    assert ok[0]
    assert (issues[0].type, issues[0].severity, issues[0].value, issues[0].limit) == ("low_volume", "warning", 10, 1000)
    result = LiveDataValidator().validate(pd.DataFrame([(*GOOD[:4], 10.0)], columns=FIELDS))
    assert result.is_valid
    assert result.issues


def test_staleness():
    ok, issues = check(GOOD, [np.nan] * 5, age_s=61)
    assert not ok.any()
    assert [(i.type, i.symbol, i.value, i.limit) for i in issues] == [("stale_data", "A", 61.0, 60.0)]
    assert check(GOOD, age_s=60)[0].all()


def test_first_bar_has_no_previous_close():
    ok, issues = check(GOOD, previous=np.nan)
    assert ok.all()
    assert issues == []


def test_guide_call():
    starts = pd.to_datetime(np.array([NOW - 1800 * SECOND_NS, NOW - 900 * SECOND_NS]), utc=True)
    frame = pd.DataFrame([GOOD, GOOD], columns=FIELDS).assign(timestamp=starts)
    validator = LiveDataValidator(
        max_price_change_pct=0.10, min_volume=1000, max_staleness_seconds=60, clock=VirtualClock(NOW)
    )
    result = validator.validate(frame)
    assert result.is_valid
    assert result.issues == []
    late = validator.validate(frame, now_ns=NOW + 100 * SECOND_NS)
    assert [i.type for i in late.issues] == ["stale_data"]
    backwards = validator.validate(frame.iloc[::-1])
    assert "time_backwards" in [i.type for i in backwards.issues]
    assert validator.validate(frame.set_index("timestamp")).is_valid


def test_symbols_are_checked_by_themselves():
    frame = pd.DataFrame([GOOD, (500.0, 505.0, 499.0, 501.0, 5000.0)], columns=FIELDS).assign(symbol=["A", "B"])
    assert LiveDataValidator().validate(frame).is_valid


def test_what_is_no_frame_of_bars():
    assert LiveDataValidator().validate(pd.DataFrame({"open": [1.0]})).issues[0].type == "missing_column"
    assert LiveDataValidator().validate(pd.DataFrame(columns=FIELDS)).issues[0].type == "no_data"
    with pytest.raises(ValueError, match="must be above zero"):
        LiveDataValidator(max_price_change_pct=0)


PRICE = st.one_of(st.floats(-10, 200), st.just(np.nan), st.just(np.inf))


@given(st.tuples(PRICE, PRICE, PRICE, PRICE, PRICE), st.one_of(st.floats(1, 200), st.just(np.nan)))
def test_the_mask_and_the_words_agree(bar, previous):
    ok, issues = check(bar, previous=previous, min_volume=0)
    missing = bool(np.isnan(bar).all())
    assert bool(ok[0]) == (not issues and not missing)
