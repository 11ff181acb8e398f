"""Estimators against plain loops, textbook values and other libraries."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trader.features import rolling
from trader.features.calendar_time import RelativeVolume
from trader.features.columns import Columns, symbol_columns
from trader.features.cross_section import rank_shares
from trader.features.entropy import SignEntropy
from trader.features.microstructure import amihud, hasbrouck_lambda, tick_signs
from trader.features.sessions import new_york_clock
from trader.features.spreads import abdi_ranaldo, corwin_schultz, roll_spread
from trader.features.technical import ichimoku
from trader.features.volatility import ewm_volatility, garman_klass, parkinson, rogers_satchell, yang_zhang
from trader.features.vpin import VPIN, buy_volume, vpin_at_bars, vpin_buckets


@pytest.fixture(scope="module")
def columns(probe) -> Columns:
    return symbol_columns(probe)[0][1]


@settings(max_examples=60)
@given(
    x=arrays(np.float64, st.integers(0, 80), elements=st.floats(-1e6, 1e6) | st.just(float("nan"))),
    window=st.integers(1, 30),
)
def test_rolling_functions_equal_pandas_and_forget_nan(x, window):
    series = pd.Series(x).rolling(window)
    for own, other in ((rolling.rolling_max, series.max()), (rolling.rolling_min, series.min())):
        np.testing.assert_array_equal(own(x, window), other.to_numpy())
    expected = [x[i - window + 1 : i + 1].sum() if i >= window - 1 else np.nan for i in range(len(x))]
    np.testing.assert_allclose(rolling.rolling_sum(x, window), expected, rtol=1e-12, atol=1e-7)


def test_rolling_sum_does_not_remember_a_huge_value_that_left():
    x = np.ones(100)
    x[10] = 1e20
    np.testing.assert_array_equal(rolling.rolling_sum(x, 7)[20:], 7.0)


def test_regression_without_information_is_zero():
    flat = np.ones(60)
    slope, t_stat = rolling.rolling_ols(np.random.default_rng(0).normal(size=60), flat, 20)
    assert np.all(slope[19:] == 0.0)
    assert np.all(t_stat[19:] == 0.0)


def test_new_york_clock_over_daylight_saving_and_evening():
    times = pd.to_datetime([
        "2024-03-08T14:30Z", "2024-03-11T13:30Z", "2024-11-01T13:30Z", "2024-11-04T14:30Z", "2024-07-02T00:15Z",
    ])
    day, minute = new_york_clock(times.as_unit("ns").asi8)
    assert minute.tolist() == [570, 570, 570, 570, 20 * 60 + 15]
    local = times.tz_convert("America/New_York").tz_localize(None).normalize()
    assert day.tolist() == local.as_unit("ns").asi8.__floordiv__(86_400_000_000_000).tolist()


def test_range_estimators_equal_loops(columns):
    o, h, l, c = (getattr(columns, name)[:200] for name in ("open", "high", "low", "close"))
    w, i = 26, 150
    window = slice(i - w + 1, i + 1)
    hl, co = np.log(h / l)[window], np.log(c / o)[window]
    assert parkinson(h, l, w)[i] == pytest.approx(np.sqrt((hl ** 2).mean() / (4 * np.log(2))), rel=1e-12)
    gk = (0.5 * hl ** 2 - (2 * np.log(2) - 1) * co ** 2).mean()
    assert garman_klass(o, h, l, c, w)[i] == pytest.approx(np.sqrt(gk), rel=1e-12)
    rs = (np.log(h / c) * np.log(h / o) + np.log(l / c) * np.log(l / o))[window].mean()
    assert rogers_satchell(o, h, l, c, w)[i] == pytest.approx(np.sqrt(rs), rel=1e-12)
    jump = np.log(o[1:] / c[:-1])[i - w : i]
    k = 0.34 / (1.34 + (w + 1) / (w - 1))
    yz = jump.var(ddof=1) + k * co.var(ddof=1) + (1 - k) * rs
    assert yang_zhang(o, h, l, c, w)[i] == pytest.approx(np.sqrt(yz), rel=1e-10)
    assert np.isnan(yang_zhang(o, h, l, c, w)[: w]).all()


def test_estimators_agree_on_a_driftless_walk():
    random = np.random.default_rng(3)
    path = np.exp(np.cumsum(random.normal(0, 0.001, (4000, 100)), axis=1))
    path = np.concatenate([np.ones((4000, 1)), path], axis=1)
    o, h, l, c = path[:, 0], path.max(axis=1), path.min(axis=1), path[:, -1]
    for estimate in (parkinson(h, l, 4000), garman_klass(o, h, l, c, 4000), rogers_satchell(o, h, l, c, 4000)):
        assert estimate[-1] == pytest.approx(0.01, rel=0.12)        # 100 steps find less than the true range


def test_ewm_volatility_equals_pandas(columns):
    step = columns.step[:500]
    expected = np.sqrt((pd.Series(step) ** 2).ewm(span=50, adjust=True).mean()).to_numpy()
    np.testing.assert_allclose(ewm_volatility(step, 50)[1:], expected[1:], rtol=1e-10)


def test_spreads_find_a_planted_bounce():
    random = np.random.default_rng(5)
    bars, ticks, spread = 3000, 60, 0.004
    mid = np.exp(np.cumsum(random.normal(0, 0.0004, bars * ticks)))
    trade = mid * (1 + spread / 2 * random.choice([-1, 1], bars * ticks))
    table = trade.reshape(bars, ticks)
    h, l, c = table.max(axis=1), table.min(axis=1), table[:, -1]
    no_breaks = np.zeros(bars, dtype=bool)
    step = np.diff(np.log(c), prepend=np.nan)
    assert roll_spread(step, bars - 10, no_breaks)[-1] == pytest.approx(spread, rel=0.2)
    assert np.nanmean(corwin_schultz(h, l, no_breaks)) == pytest.approx(spread, rel=0.2)
    assert abdi_ranaldo(h, l, c, bars - 10, no_breaks)[-1] == pytest.approx(spread, rel=0.2)


def test_corwin_schultz_leaves_nights_out(columns):
    pairs = corwin_schultz(columns.high, columns.low, columns.breaks)
    assert np.isnan(pairs[columns.breaks]).all()
    assert np.isfinite(pairs[1:][~columns.breaks[1:]]).all()


def test_tick_signs_carry_over_unchanged_prices_up_to_the_limit():
    change = np.array([np.nan, 0.0, 1.0, 0.0, 0.0, -2.0, 0.0])
    assert tick_signs(change).tolist() == [0, 0, 1, 1, 1, -1, -1]
    assert tick_signs(change, 1).tolist() == [0, 0, 1, 1, 0, -1, -1]


def test_amihud_leaves_bars_without_volume_out():
    step = np.array([np.nan, 0.01, -0.02, 0.03])
    close, volume = np.full(4, 10.0), np.array([5.0, 100.0, 0.0, 200.0])
    assert amihud(step, close, volume, 3)[-1] == pytest.approx((0.01 / 1000 + 0.03 / 2000) / 2)


def test_hasbrouck_recovers_a_planted_slope():
    random = np.random.default_rng(2)
    sign, volume = random.choice([-1.0, 1.0], 400), random.uniform(100, 900, 400)
    close = np.full(400, 50.0)
    step = 3e-5 * sign * np.sqrt(close * volume) + random.normal(0, 1e-5, 400)
    slope, t_stat = hasbrouck_lambda(step, sign, close, volume, 200)
    assert slope[-1] == pytest.approx(3e-5, rel=0.01)
    assert t_stat[-1] > 50


def loop_vpin(volume, buys, bucket, buckets):
    """The bookkeeping of the paper: fill buckets bar by bar, splitting bars over the edges."""
    imbalance, room, bought = [], bucket, 0.0
    for v, b in zip(volume, buys, strict=True):
        left, share = v, b / v if v else 0.0
        while left >= room:
            bought += share * room
            imbalance.append(abs(2 * bought - bucket))
            left, room, bought = left - room, bucket, 0.0
        bought += share * left
        room -= left
    return np.array([sum(imbalance[i - buckets : i]) for i in range(buckets, len(imbalance) + 1)]) / (buckets * bucket)


def test_vpin_equals_the_bookkeeping_loop(columns):
    volume = columns.volume[1:900]
    sigma = np.full(899, 0.004)
    buys = buy_volume(columns.step[1:900], volume, sigma)
    expected = loop_vpin(volume, buys, 1e5, 50)
    assert len(expected) > 300
    np.testing.assert_allclose(vpin_buckets(volume, buys, 1e5, 50), expected, rtol=1e-9)


def test_vpin_at_bars_equals_the_loop_run_backwards(columns):
    volume = columns.volume[1:900]
    buys = buy_volume(columns.step[1:900], volume, np.full(899, 0.004))
    at_bars = vpin_at_bars(volume, buys, np.full(899, 1e5), 50, 300)
    for t in (400, 650, 898):
        expected = loop_vpin(volume[t::-1], buys[t::-1], 1e5, 50)[0]
        assert at_bars[t] == pytest.approx(expected, rel=1e-9)


def test_vpin_feature_lies_between_none_and_all(columns):
    values = VPIN().compute(columns)
    values = values[np.isfinite(values)]
    assert len(values) > 1000
    assert values.min() >= 0.0
    assert values.max() <= 1.0


def test_buy_volume_is_half_when_nothing_moves():
    assert buy_volume(np.array([0.0, 0.0]), np.array([10.0, 20.0]), np.array([0.0, 1.0])).tolist() == [5.0, 10.0]


def test_sign_entropy_of_order_and_of_chance():
    def bars(steps):
        n = len(steps)
        close = 100 * np.exp(np.cumsum(steps))
        whole = np.arange(n, dtype=np.int64)
        return Columns(close, close, close, close, np.ones(n), whole, whole, whole, intraday=False)

    regular = SignEntropy().compute(bars(np.tile([0.01, -0.01], 150)))
    chance = SignEntropy().compute(bars(np.random.default_rng(0).normal(size=300) * 0.01))
    assert regular[-1] == pytest.approx(1 / 3)          # two of eight words, equally often
    assert chance[-1] > 0.9


def test_relative_volume_equals_a_loop(columns):
    values = RelativeVolume(window=286, at_least=3).compute(columns)
    for t in (400, 777, 1500):
        before = [i for i in range(t - 286, t) if columns.minute[i] == columns.minute[t]]
        expected = np.log(columns.volume[t] / np.mean(columns.volume[before]))
        if np.isfinite(expected):
            assert values[t] == pytest.approx(expected, rel=1e-10)


def test_ichimoku_cloud_is_the_one_drawn_26_bars_ago(columns):
    h, l = columns.high, columns.low
    tenkan, kijun, a, b = ichimoku(h, l)
    t = 300
    assert tenkan[t] == (h[t - 8 : t + 1].max() + l[t - 8 : t + 1].min()) / 2
    assert kijun[t] == (h[t - 25 : t + 1].max() + l[t - 25 : t + 1].min()) / 2
    assert a[t] == (tenkan[t - 26] + kijun[t - 26]) / 2
    assert b[t] == (h[t - 77 : t - 25].max() + l[t - 77 : t - 25].min()) / 2


def test_rank_shares():
    values = np.array([[3.0, 1.0, 2.0, np.nan], [5.0, 5.0, 1.0, 0.0], [np.nan, 7.0, np.nan, np.nan]])
    expected = [[1.0, 0.0, 0.5, np.nan], [2.5 / 3, 2.5 / 3, 1 / 3, 0.0], [np.nan, 0.5, np.nan, np.nan]]
    np.testing.assert_allclose(rank_shares(values), expected)
