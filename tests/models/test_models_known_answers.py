"""The conventions of labels, validation and calibration against independent plain versions, without known-answer files.

Every plain version is written from the definition, one element after the other.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from trader.models.calibration import ProbabilityCalibrationManager
from trader.models.calibrators import IsotonicCalibrator
from trader.models.labels import barrier_volatility, meta_labels, triple_barrier
from trader.models.validation import CombinatorialPurgedCV, PurgedKFold, WalkForward
from trader.models.venn_abers import VennAbersCalibrator
from trader.models.weights import draw_probabilities, return_attribution, uniqueness

ORACLES = Path(__file__).parent.parent / "oracles"


def close_of_bars() -> np.ndarray:
    return pd.read_csv(ORACLES / "bars.csv")["close"].to_numpy()


def probabilities() -> tuple[np.ndarray, np.ndarray]:
    table = np.loadtxt(ORACLES / "probs.csv", delimiter=",", skiprows=1)
    return table[:, 0], table[:, 1].astype(int)


# -- touches (3.2–3.4 of López de Prado, 2018) -------------------------------------------------------------------

def touch(close, start, profit, stop, horizon, side):
    """Barrier, bar and return of the first touch, in the words of the definition."""
    for t in range(start + 1, start + horizon + 1):
        if t >= len(close):
            return -1, -1, None
        ret = side * (close[t] / close[start] - 1.0)
        if stop is not None and ret < -stop:
            return 0, t, ret
        if profit is not None and ret > profit:
            return 2, t, ret
    return 1, start + horizon, ret


@pytest.mark.parametrize("sides", ["long", "both"])
@pytest.mark.parametrize(("profit", "stop"), [(1.0, 1.0), (2.0, None), (None, 1.5), (2.0, 1.0), (None, None)])
def test_touches_of_scaled_barriers_on_the_reference_bars(profit, stop, sides):
    close = close_of_bars()
    sigma = pd.Series(close).pct_change().ewm(span=100).std().to_numpy()
    np.testing.assert_allclose(barrier_volatility(close), sigma, rtol=1e-9)
    start = np.arange(2, len(close), 3)
    side = np.ones(len(start)) if sides == "long" else np.where(np.arange(len(start)) % 2, 1.0, -1.0)
    found = triple_barrier(
        close, start, profit_taking=None if profit is None else profit * sigma[start],
        stop_loss=None if stop is None else stop * sigma[start], max_holding_periods=12, side=side)
    for i, first in enumerate(start):
        expected = touch(close, first, profit and profit * sigma[first], stop and stop * sigma[first], 12, side[i])
        assert (found.barrier[i], found.touch_index[i]) == expected[:2]
        assert expected[2] is None or found.ret[i] == pytest.approx(expected[2], abs=1e-12)


@settings(max_examples=150)
@given(
    steps=st.lists(st.integers(-30, 30), min_size=2, max_size=50), profit=st.none() | st.floats(0.001, 0.06),
    stop=st.none() | st.floats(0.001, 0.06), horizons=st.lists(st.integers(1, 15), min_size=50, max_size=50),
    sides=st.lists(st.sampled_from([-1, 1]), min_size=50, max_size=50),
)
def test_touches_on_random_paths(steps, profit, stop, horizons, sides):
    close = 100.0 * np.cumprod(1.0 + np.array(steps) / 1000.0)
    n = len(close)
    found = triple_barrier(
        close, np.arange(n), profit_taking=profit, stop_loss=stop, max_holding_periods=horizons[:n], side=sides[:n])
    for i in range(n):
        assert (found.barrier[i], found.touch_index[i]) == touch(close, i, profit, stop, horizons[i], sides[i])[:2]


@settings(max_examples=60)
@given(
    steps=st.lists(st.integers(-30, 30), min_size=3, max_size=30), side=st.sampled_from([-1, 1]),
    far=st.floats(0.002, 0.04),
)
def test_a_meta_label_is_one_exactly_where_the_side_taken_meets_its_profit_first(steps, side, far):
    close = 100.0 * np.cumprod(1.0 + np.array(steps) / 1000.0)
    n = len(close)
    labels = triple_barrier(
        close, np.arange(n), profit_taking=far, stop_loss=far, max_holding_periods=5, side=np.full(n, side))
    for i, found in enumerate(meta_labels(labels)):
        barrier = touch(close, i, far, far, 5, side)[0]
        assert found == {-1: -1, 0: 0, 1: 0, 2: 1}[barrier]


# -- weights (4.4–4.6) -----------------------------------------------------------------------------------------

@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 9)), min_size=1, max_size=20), st.integers(0, 99))
def test_return_attribution_is_the_return_over_concurrency_summed(spans, seed):
    start = np.array([a for a, _ in spans])
    end = np.minimum(start + np.array([b for _, b in spans]), 29)
    returns = np.random.default_rng(seed).normal(0, 0.01, 30)
    pairs = list(zip(start, end, strict=True))
    alive = [sum(a <= t <= b for a, b in pairs) for t in range(30)]
    weight = np.array([abs(sum(returns[t] / alive[t] for t in range(a, b + 1))) for a, b in pairs])
    np.testing.assert_allclose(
        return_attribution(start, end, returns), weight * len(weight) / weight.sum(), atol=1e-9, rtol=1e-9)


def exact_draw(spans, drawn):
    """Chances of the next draw as fractions: mean of 1 / (labels drawn that are alive + 1) over each life."""
    unique = []
    for a, b in spans:
        alive = [sum(spans[k][0] <= t <= spans[k][1] for k in drawn) for t in range(a, b + 1)]
        unique.append(sum(Fraction(1, c + 1) for c in alive) / (b - a + 1))
    return [u / sum(unique) for u in unique]


def test_the_worked_table_of_the_sequential_bootstrap():
    spans = [(0, 2), (2, 3), (4, 5)]
    assert exact_draw(spans, []) == [Fraction(1, 3)] * 3
    assert exact_draw(spans, [1]) == [Fraction(5, 14), Fraction(3, 14), Fraction(6, 14)]
    start, end = np.array(spans).T
    for drawn in ([], [1], [1, 2], [1, 1], [0, 1, 2, 2]):
        np.testing.assert_allclose(
            draw_probabilities(start, end, 6, drawn), [float(c) for c in exact_draw(spans, drawn)], atol=1e-12)
    assert uniqueness(start, end, 6) == pytest.approx([(1 + 1 + 0.5) / 3, (0.5 + 1) / 2, 1.0])


# -- splits (7.4, 12.4) ----------------------------------------------------------------------------------------

def overlaps(a, b, c, d):
    """Whether half-open spans meet; a label without length sits at its point."""
    return a < max(d, c + 1) and c < max(b, a + 1)


def blocks_of(t0, n_blocks):
    return np.array_split(np.unique(t0), n_blocks)


def plain_training(t0, t1, tested, embargo):
    """Rows outside the tested blocks of time that meet no label of theirs and start after no block's embargo."""
    kept = []
    for i in range(len(t0)):
        free = True
        for block in tested:
            inside = np.flatnonzero(np.isin(t0, block))
            reach, last = t1[inside].max(), t0[inside].max()
            low = t0[inside].min()
            if low <= t0[i] <= last or (t0[i] < low < t1[i]) or last < t0[i] < max(reach, last + 1 + embargo):
                free = False
        if free:
            kept.append(i)
    return np.array(kept, dtype=int)


@pytest.mark.parametrize("embargo", [0, 3])
def test_six_blocks_two_of_them_tested_give_fifteen_splits_and_five_paths(embargo):
    rng = np.random.default_rng(0)
    t0 = np.sort(rng.integers(0, 150, 120))
    t1 = t0 + rng.integers(1, 9, 120)
    splitter = CombinatorialPurgedCV(t0, t1, 6, 2, embargo)
    found = list(splitter.split())
    assert len(found) == splitter.get_n_splits() == comb(6, 2) == 15
    assert splitter.n_paths == comb(5, 1) == 5
    blocks = blocks_of(t0, 6)
    for (train, test), chosen in zip(found, combinations(range(6), 2), strict=True):
        tested = [blocks[k] for k in chosen]
        np.testing.assert_array_equal(test, np.flatnonzero(np.isin(t0, np.concatenate(tested))))
        np.testing.assert_array_equal(train, plain_training(t0, t1, tested, embargo))
        assert not any(overlaps(t0[i], t1[i], t0[j], t1[j]) for i in train for j in test)
    times_tested = np.bincount(np.concatenate([test for _, test in found]), minlength=120)
    assert (times_tested == 5).all()
    paths = splitter.join_paths([np.full(len(test), number) for number, (_, test) in enumerate(found)])
    assert paths.shape == (5, 120)
    for block in range(6):
        rows = np.flatnonzero(np.isin(t0, blocks[block]))
        used = [set(paths[path, rows].tolist()) for path in range(5)]
        assert all(len(own) == 1 for own in used)           # one split predicts a block on a path
        assert len(set.union(*used)) == 5                   # and each of its splits serves one path


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 10)), min_size=30, max_size=60), st.integers(2, 5),
    st.integers(0, 5), st.none() | st.integers(1, 3),
)
def test_walk_forward_is_the_past_that_has_ended(labels, n_splits, embargo, rolled):
    labels = sorted(labels)
    t0 = np.array([a for a, _ in labels])
    t1 = t0 + np.array([b for _, b in labels])
    if len(np.unique(t0)) < n_splits:
        return
    blocks = blocks_of(t0, n_splits)
    found = list(WalkForward(t0, t1, n_splits, embargo, rolled).split())
    assert len(found) == n_splits - 1
    for k, (train, test) in enumerate(found, start=1):
        begins = blocks[k].min()
        oldest = blocks[0 if rolled is None else max(0, k - rolled)].min()
        np.testing.assert_array_equal(test, np.flatnonzero(np.isin(t0, blocks[k])))
        expected = [i for i in range(len(t0)) if oldest <= t0[i] < begins and t1[i] <= begins - embargo]
        assert train.tolist() == expected


def test_splits_equal_purgedcv():
    reference = pytest.importorskip("purgedcv", reason="purgedcv is not installed: pip install purgedcv")
    rng = np.random.default_rng(1)
    t0 = np.arange(300)
    t1 = t0 + rng.integers(1, 9, 300)
    day = pd.Timestamp("2024-01-01")
    when = {"prediction_times": pd.Series(day + pd.to_timedelta(t0, "D")),
            "evaluation_times": pd.Series(day + pd.to_timedelta(t1, "D"))}
    for own, other in (
        (PurgedKFold(t0, t1, 5), reference.PurgedKFold(5, **when)),
        (CombinatorialPurgedCV(t0, t1, 6, 2), reference.CombinatorialPurgedCV(6, 2, **when)),
    ):
        for (train, test), (expected, tested) in zip(own.split(), other.split(np.zeros((300, 1))), strict=True):
            np.testing.assert_array_equal(test, tested)
            np.testing.assert_array_equal(train, expected)


# -- calibration -----------------------------------------------------------------------------------------------

def plain_isotonic(p, y):
    """The minimax formula of isotonic regression over groups of equal scores (Barlow et al., 1972)."""
    scores = np.unique(p)
    total = np.array([y[p == s].sum() for s in scores], float)
    count = np.array([(p == s).sum() for s in scores], float)
    fitted = [
        max(min(total[a:b + 1].sum() / count[a:b + 1].sum() for b in range(k, len(scores))) for a in range(k + 1))
        for k in range(len(scores))
    ]
    return scores, np.array(fitted)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 1)), min_size=2, max_size=25))
def test_isotonic_is_the_minimax_formula_interpolated_and_clipped(observed):
    p = np.array([a for a, _ in observed]) / 15
    y = np.array([b for _, b in observed])
    if len(np.unique(y)) < 2:
        return
    scores, fitted = plain_isotonic(p, y)
    grid = np.linspace(0, 1, 31)
    expected = np.clip(np.interp(grid, scores, fitted), 1e-6, 1 - 1e-6)
    np.testing.assert_allclose(IsotonicCalibrator().fit(p, y).apply(grid), expected, atol=1e-9)


def test_venn_abers_is_two_isotonic_fits_on_the_reference_probabilities():
    p, y = probabilities()
    asked = np.array([0.02, 0.2, 0.4, 0.5, 0.61, 0.8, 0.97])
    fitted = VennAbersCalibrator().fit(p, y)
    for score, found in zip(asked, fitted.apply(asked), strict=True):
        p0, p1 = (
            IsotonicRegression().fit(np.append(p, score), np.append(y, label)).predict([score])[0] for label in (0, 1))
        assert p0 <= p1
        assert found == pytest.approx(p1 / (1.0 - p0 + p1), abs=1e-9)


def test_the_selection_ranks_the_methods_forward_in_time():
    """Five blocks in time order: Platt before beta before temperature before isotonic before nothing."""
    methods = ("none", "platt", "temperature", "beta", "isotonic")
    found = ProbabilityCalibrationManager(methods=methods).fit(*probabilities())
    assert found.method_ == "platt"
    assert sorted(found.scores_, key=found.scores_.get) == ["platt", "beta", "temperature", "isotonic", "none"]
    expected = {"platt": 0.6209, "beta": 0.6214, "temperature": 0.6260, "isotonic": 0.678, "none": 0.709}
    for name, score in expected.items():
        assert found.scores_[name] == pytest.approx(score, abs=5e-4)
