"""Purged splits and Sharpe statistics against known answers and a double loop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.models.sharpe_statistics import (
    deflated_sharpe_ratio,
    expected_max_sharpe,
    minimum_track_record,
    probabilistic_sharpe_ratio,
    sharpe_moments,
)
from trader.models.validation import CombinatorialPurgedCV, PurgedKFold, WalkForward, purged_holdout

ORACLES = Path(__file__).parent.parent / "oracles"


def oracle(name: str) -> dict:
    return json.loads((ORACLES / f"{name}.json").read_text())


def test_purged_kfold_known_answer():
    case = oracle("C01_purged_kfold")
    inputs = case["inputs"]
    folds = PurgedKFold(inputs["label_start"], inputs["label_end"], inputs["n_splits"], inputs["embargo_rows"])
    for (train, test), expected in zip(folds.split(), case["expected"]["folds"], strict=True):
        assert [test[0], test[-1]] == expected["test"]
        assert train.tolist() == expected["train"]


@settings(max_examples=80)
@given(
    labels=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 15)), min_size=12, max_size=60),
    n_splits=st.integers(2, 4), n_test=st.integers(1, 2), embargo=st.integers(0, 6),
)
def test_no_training_label_overlaps_a_test_label(labels, n_splits, n_test, embargo):
    t0 = np.array([a for a, _ in labels])
    t1 = t0 + [b for _, b in labels]
    if len(np.unique(t0)) < 4 or n_test >= n_splits:
        return
    splitters = (PurgedKFold(t0, t1, n_splits, embargo), CombinatorialPurgedCV(t0, t1, n_splits, n_test, embargo),
                 WalkForward(t0, t1, n_splits, embargo))
    for splitter in splitters:
        tested = []
        splits = list(splitter.split())
        assert len(splits) == splitter.get_n_splits()
        for train, test in splits:
            tested += test.tolist()
            for i in train:
                assert all(t1[i] <= t0[j] or t0[i] >= t1[j] for j in test)
        if isinstance(splitter, PurgedKFold):
            assert sorted(tested) == list(range(len(t0)))


def test_symbols_of_one_bar_share_a_block():
    t0 = np.repeat(np.arange(10), 3)
    for _, test in PurgedKFold(t0, t0 + 1, 4).split():
        assert np.all(np.bincount(t0[test], minlength=10)[np.unique(t0[test])] == 3)


def test_combinatorial_counts():
    t0 = np.arange(60)
    splitter = CombinatorialPurgedCV(t0, t0 + 1, 6, 2)
    assert (splitter.get_n_splits(), splitter.n_paths) == (15, 5)


def test_walk_forward_trains_on_the_past_alone():
    t0 = np.arange(100)
    t1 = t0 + 7
    for train, test in WalkForward(t0, t1, 5, embargo=3, max_train_blocks=2).split():
        assert t1[train].max() + 3 <= t0[test].min()
        assert len(train) <= 40


def test_holdout_is_purged():
    t0 = np.arange(100)
    train, test = purged_holdout(t0, t0 + 10, 0.2)
    assert (train.max(), test.min(), test.max()) == (70, 80, 99)


def test_label_ends_are_required_and_checked():
    with pytest.raises(TypeError):
        PurgedKFold(np.arange(10))
    with pytest.raises(ValueError, match="label 3 ends before"):
        PurgedKFold(np.arange(10), [1, 2, 3, 2, 5, 6, 7, 8, 9, 10])
    with pytest.raises(ValueError, match="n_splits"):
        PurgedKFold(np.zeros(10), np.ones(10), 2)


def test_deflated_sharpe_known_answers():
    case = oracle("C04_dsr")
    paper, expected = case["inputs"]["paper"], case["expected"]
    sharpe = paper["sr_annual"] / np.sqrt(paper["periods"])
    variance = paper["V_annual"] / paper["periods"]
    assert expected_max_sharpe(100, variance) == pytest.approx(expected["paper_sr0"], abs=1e-6)
    for n in paper["N"]:
        found = deflated_sharpe_ratio(sharpe, paper["T"], n, variance, paper["skew"], paper["kurt"])
        assert found == pytest.approx(expected[f"paper_dsr_N{n}"], abs=1e-6)
    for n, value in expected["expected_max_z"].items():
        assert expected_max_sharpe(int(n), 1.0) == pytest.approx(value, abs=1e-6)


def test_sharpe_statistics_of_a_series():
    case = oracle("C04_dsr")
    returns = np.loadtxt(ORACLES / "daily_returns.csv", delimiter=",", skiprows=1, usecols=1)
    sharpe, skew, kurtosis = sharpe_moments(returns)
    n, expected = len(returns), case["expected"]
    assert probabilistic_sharpe_ratio(sharpe, 0.0, n, skew, kurtosis) == pytest.approx(expected["psr_vs_0"], abs=1e-6)
    for trials, value in zip(case["inputs"]["n_trials"], expected["dsr"], strict=True):
        found = deflated_sharpe_ratio(sharpe, n, trials, case["inputs"]["var_sharpe_per_obs"], skew, kurtosis)
        assert found == pytest.approx(value, abs=1e-6)
    assert np.ceil(minimum_track_record(sharpe, 0.0, skew, kurtosis)) == pytest.approx(expected["min_trl_95"], abs=1)


def brute_clear(t0, t1, test, last, embargo):
    """Rows that may be trained on, by the definition; ``test`` blocks of row numbers with their last starts."""
    inside = np.concatenate(test)

    def clear(i, rows, end):
        apart = t1[i] <= t0[rows].min() or t0[i] >= max(t1[rows].max(), end + 1)
        return apart and not end < t0[i] <= end + embargo

    return [
        i for i in range(len(t0))
        if i not in inside and all(clear(i, rows, end) for rows, end in zip(test, last, strict=True))
    ]


@settings(max_examples=60)
@given(
    labels=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 15)), min_size=8, max_size=40),
    n_splits=st.integers(2, 4), embargo=st.integers(0, 6),
)
def test_splits_equal_their_definition_whatever_the_order_of_the_samples(labels, n_splits, embargo):
    t0 = np.array([a for a, _ in labels])
    t1 = t0 + [b for _, b in labels]
    times = np.unique(t0)
    if len(times) < n_splits + 1:
        return
    blocks = [np.flatnonzero(np.isin(t0, part)) for part in np.array_split(times, n_splits)]
    for (train, test), rows in zip(PurgedKFold(t0, t1, n_splits, embargo).split(), blocks, strict=True):
        assert test.tolist() == rows.tolist()
        assert train.tolist() == brute_clear(t0, t1, [rows], [t0[rows].max()], embargo)
    if n_splits > 2:
        train, test = next(CombinatorialPurgedCV(t0, t1, n_splits, 2, embargo).split())
        assert test.tolist() == sorted([*blocks[0], *blocks[1]])
        assert train.tolist() == brute_clear(t0, t1, blocks[:2], [t0[rows].max() for rows in blocks[:2]], embargo)


def test_combinatorial_paths_use_every_prediction_once():
    rng = np.random.default_rng(0)
    t0 = rng.permutation(np.repeat(np.arange(40), 2))
    splitter = CombinatorialPurgedCV(t0, t0 + 3, 6, 2)
    chosen = splitter.path_splits()
    assert chosen.shape == (5, 6)
    assert all(len(set(column)) == 5 for column in chosen.T.tolist())      # no split twice for one block
    assert np.bincount(chosen.ravel()).tolist() == [2] * 15                 # each split predicts two blocks
    parts = [np.full(len(test), number) for number, (_, test) in enumerate(splitter.split())]
    paths = splitter.join_paths(parts)
    assert paths.shape == (5, 80)
    tested = [set(test.tolist()) for _, test in splitter.split()]
    assert all(row in tested[number] for path in paths for row, number in enumerate(path.tolist()))
    with pytest.raises(ValueError, match="15 splits"):
        splitter.join_paths(parts[:3])
