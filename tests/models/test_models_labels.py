"""Labels against known answers, an independent brute force, and hand-made paths."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.models.events import cusum_events, stride_events
from trader.models.labels import (
    BARRIER_PROFIT,
    BARRIER_STOP,
    BARRIER_VERTICAL,
    UNRESOLVED,
    barrier_volatility,
    meta_labels,
    session_last_index,
    triple_barrier,
)
from trader.models.meta_labeling import TripleBarrierLabeler
from trader.models.weights import (
    concurrency,
    draw_probabilities,
    return_attribution,
    sequential_bootstrap,
    time_decay,
    uniqueness,
)

ORACLES = Path(__file__).parent.parent / "oracles"


def oracle(name: str) -> dict:
    return json.loads((ORACLES / f"{name}.json").read_text())


def oracle_bars() -> dict[str, np.ndarray]:
    with (ORACLES / "bars.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    return {key: np.array([float(row[key]) for row in rows]) for key in ("open", "high", "low", "close")}


def brute_force(close, start, up, down, horizon, side, last):
    """One event, read bar by bar."""
    for bar in range(start + 1, len(close)):
        if bar > last:
            return UNRESOLVED, -1, np.nan
        value = side * (close[bar] / close[start] - 1.0)
        if value < -down:
            return BARRIER_STOP, bar, value
        if value > up:
            return BARRIER_PROFIT, bar, value
        if bar in (start + horizon, last):
            return BARRIER_VERTICAL, bar, value
    return UNRESOLVED, -1, np.nan


def test_cusum_known_answer():
    case = oracle("L01_cusum")
    found = cusum_events(oracle_bars()["close"], case["inputs"]["h"])
    assert found.tolist() == case["expected"]["event_index"]


def test_fixed_barriers_known_answer():
    case = oracle("L05_tb_fixed")
    given_, expected = case["inputs"], case["expected"]
    found = triple_barrier(
        oracle_bars()["close"], given_["start_index"], profit_taking=given_["profit_taking"],
        stop_loss=given_["stop_loss"], max_holding_periods=given_["max_holding_periods"],
    )
    assert found.label.tolist() == expected["labels_012"]
    assert found.touch_index.tolist() == expected["touch_index"]
    np.testing.assert_allclose(found.ret, expected["ret"], atol=1e-12)


def test_hand_checkable_cases():
    case = oracle("L10_tb_hand")
    for i, event in enumerate(case["inputs"]["cases"]):
        found = triple_barrier(
            case["inputs"]["close"], [event["start"]], profit_taking=case["inputs"]["pt"],
            stop_loss=case["inputs"]["sl"], max_holding_periods=event["H"],
        )
        # the card codes the sign of the outcome where the vertical barrier ends the label
        sign = {0: -1, 2: 1, 1: int(np.sign(found.ret[0]))}[int(found.label[0])]
        expected = case["expected"]
        assert found.touch_index[0] == expected["touch"][i]
        assert found.ret[0] == pytest.approx(expected["ret"][i], abs=1e-12)
        assert found.label[0] == 1 or sign == expected["label"][i]


def test_an_exact_touch_is_no_touch():
    found = triple_barrier([1.0, 1.5, 1.0], [0], profit_taking=0.5, stop_loss=0.5, max_holding_periods=2)
    assert (found.label[0], found.touch_index[0]) == (1, 2)


@settings(max_examples=150)
@given(
    steps=st.lists(st.integers(-30, 30), min_size=2, max_size=60),
    up=st.floats(0.001, 0.05), down=st.floats(0.001, 0.05),
    horizon=st.integers(1, 25), sessions=st.integers(1, 40), side=st.sampled_from([-1, 1]),
)
def test_equals_brute_force(steps, up, down, horizon, sessions, side):
    close = 100.0 * np.cumprod(1.0 + np.array(steps) / 1000.0)
    last = session_last_index(np.arange(len(close)) // sessions)
    starts = np.arange(len(close))
    found = triple_barrier(
        close, starts, profit_taking=up, stop_loss=down, max_holding_periods=horizon,
        side=np.full(len(close), side), last_index=last,
    )
    for i in starts:
        label, touch, value = brute_force(close, i, up, down, horizon, side, last[i])
        assert (found.label[i], found.touch_index[i]) == (label, touch)
        assert (np.isnan(found.ret[i]) and np.isnan(value)) or found.ret[i] == pytest.approx(value, abs=1e-12)


def test_within_the_bar_the_stop_comes_first_and_gaps_fill_at_the_open():
    flat = {"profit_taking": 0.02, "stop_loss": 0.01, "max_holding_periods": 3}

    def label(open_, high, low, close):
        return triple_barrier(close, [0], open=open_, high=high, low=low, **flat)

    both = label([100, 100], [100, 103], [100, 98], [100, 101])
    assert (both.label[0], both.ret[0]) == (0, pytest.approx(-0.01))
    gap_down = label([100, 95], [100, 96], [100, 94], [100, 95])
    assert (gap_down.label[0], gap_down.ret[0]) == (0, pytest.approx(-0.05))
    gap_up = label([100, 104], [100, 105], [100, 97], [100, 98])
    assert (gap_up.label[0], gap_up.ret[0]) == (2, pytest.approx(0.04))


def test_unresolved_labels_are_never_guessed():
    found = triple_barrier(np.full(10, 100.0), np.arange(10), profit_taking=0.01, stop_loss=0.01,
                           max_holding_periods=4)
    assert found.resolved.tolist() == [True] * 6 + [False] * 4
    assert np.isnan(found.ret[6:]).all()
    assert meta_labels(found)[6:].tolist() == [-1] * 4


def test_bad_bars_are_named():
    with pytest.raises(ValueError, match="bar 1"):
        triple_barrier([100.0, np.nan], [0], profit_taking=0.01, stop_loss=0.01, max_holding_periods=1)


def test_labeler_as_the_guide_uses_it():
    bars = oracle_bars()
    frame = pd.DataFrame(bars)
    labeler = TripleBarrierLabeler(profit_taking=0.006, stop_loss=0.003, max_holding_periods=20)
    labels = labeler.fit_transform(frame)
    case = oracle("L05_tb_fixed")
    assert len(labels) == len(frame)
    assert labels.iloc[case["inputs"]["start_index"]].astype(int).tolist() == case["expected"]["labels_012"]
    assert labels.isna().sum() > 0
    assert set(labels.dropna()) == {0.0, 1.0, 2.0}


def test_labeler_skips_missing_bars_as_if_they_were_not_there():
    frame = pd.DataFrame(oracle_bars())
    holes = frame.copy()
    holes.loc[[5, 6, 40], :] = np.nan
    labeler = TripleBarrierLabeler(2.0, 1.0, 10, volatility_scaled=True)
    with_holes = labeler.fit_transform(holes)
    without = labeler.fit_transform(frame.drop([5, 6, 40]))
    pd.testing.assert_series_equal(with_holes.drop([5, 6, 40]), without)


def test_session_rule_ends_labels_at_the_close():
    times = pd.date_range("2024-01-02 19:30", periods=6, freq="15min", tz="UTC").append(
        pd.date_range("2024-01-03 14:30", periods=6, freq="15min", tz="UTC")
    )
    frame = pd.DataFrame({"timestamp": times, "close": np.linspace(100, 100.1, 12)})
    labeler = TripleBarrierLabeler(close_at_session_end=True)
    labels = labeler.fit_transform(frame)
    assert labeler.outcomes_.touch_index[:6].tolist() == [5, 5, 5, 5, 5, -1]
    assert labels.isna().tolist() == [False] * 5 + [True] + [False] * 5 + [True]


def test_barrier_volatility_equals_pandas():
    close = pd.Series(oracle_bars()["close"])
    expected = close.pct_change().ewm(span=100).std().to_numpy()
    np.testing.assert_allclose(barrier_volatility(close), expected, rtol=1e-9, equal_nan=True)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 39), st.integers(0, 12)), min_size=1, max_size=30))
def test_uniqueness_equals_counting(spans):
    start = np.array([a for a, _ in spans])
    end = np.minimum(start + np.array([b for _, b in spans]), 39)
    alive = [sum(a <= t <= b for a, b in zip(start, end, strict=True)) for t in range(40)]
    assert concurrency(start, end, 40).tolist() == alive
    by_hand = [np.mean([1 / alive[t] for t in range(a, b + 1)]) for a, b in zip(start, end, strict=True)]
    np.testing.assert_allclose(uniqueness(start, end, 40), by_hand, atol=1e-12)


def test_return_attribution_shares_overlapping_returns():
    weight = return_attribution([0, 1], [1, 2], [np.nan, 0.02, 0.03])
    np.testing.assert_allclose(weight, np.array([0.01, 0.04]) * 2 / 0.05)


def test_time_decay_runs_from_oldest_to_one():
    weight = time_decay(np.ones(4), oldest=0.5)
    assert weight[-1] == 1.0
    assert np.all(np.diff(weight) > 0)
    assert time_decay(np.ones(4), oldest=-0.5)[:2].tolist() == [0.0, 0.0]


def test_stride_events():
    assert stride_events(10, 4, 1).tolist() == [1, 5, 9]


def test_sequential_bootstrap_known_answer():
    # three labels over six bars, the second drawn already: 5/14, 3/14, 6/14 (AFML 4.5.3)
    found = draw_probabilities([0, 2, 4], [2, 3, 5], 6, drawn=[1])
    np.testing.assert_allclose(found, np.array([5, 3, 6]) / 14)
    np.testing.assert_allclose(draw_probabilities([0, 2, 4], [2, 3, 5], 6, drawn=[]), np.full(3, 1 / 3))


def test_sequential_bootstrap_draws_less_overlap_than_chance():
    drawn, by_chance = [], []
    for seed in range(200):                 # the experiment of AFML 4.5.4: 0.6 by chance, 0.7 drawn in sequence
        rng = np.random.default_rng(seed)
        start = rng.integers(0, 100, 10)
        end = start + rng.integers(1, 5, 10)
        for rows, found in ((sequential_bootstrap(start, end, 105, rng), drawn), (rng.integers(0, 10, 10), by_chance)):
            found.append(uniqueness(start[rows], end[rows], 105).mean())
    assert np.median(by_chance) == pytest.approx(0.6, abs=0.04)
    assert np.median(drawn) == pytest.approx(0.7, abs=0.04)
    same = [sequential_bootstrap(start, end, 105, np.random.default_rng(1), 60).tolist() for _ in range(2)]
    assert same[0] == same[1]
