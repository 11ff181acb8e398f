"""Importance: what a model loses when a feature, or a family of correlated ones, is shuffled."""

from __future__ import annotations

import numpy as np
import pytest
from planted_samples import SMALL, planted
from scipy.stats import spearmanr
from scipy.stats import t as student

from trader.models.calibration_metrics import log_losses
from trader.models.importance import (
    Importance,
    correlated_families,
    lucky,
    mean_decrease_accuracy,
    permutation_importance,
    shuffled_rises,
)
from trader.models.ml_model import XGBoostModel
from trader.models.validation import PurgedKFold


def test_importance_finds_what_the_labels_hang_on():
    X, y = planted()
    names = ["copy", "cause", "noise", "more"]
    model = XGBoostModel(**SMALL).fit(X[:600], y[:600])
    shuffled = permutation_importance(model, X[600:], y[600:], names, np.random.default_rng(0))
    t0 = np.arange(len(y))
    decrease = mean_decrease_accuracy(
        lambda: XGBoostModel(**SMALL), X, y, PurgedKFold(t0, t0 + 5, 4, 5), names, np.random.default_rng(0))
    for found in (shuffled, decrease):
        assert next(iter(found)) == "cause"
        assert found["cause"].mean > 0.2 > 10 * abs(found["noise"].mean)
        assert found["cause"].beyond_noise
        assert found["cause"].mean > 5 * found["cause"].error


def test_twins_hide_each_other_until_they_are_shuffled_together():
    rng = np.random.default_rng(3)
    cause = rng.normal(size=1200)
    X = np.column_stack((cause, cause + 0.01 * rng.normal(size=1200), rng.normal(size=1200)))
    y = np.digitize(cause + 0.4 * rng.normal(size=1200), [-0.5, 0.5])
    model = XGBoostModel(**SMALL, colsample_bytree=0.4).fit(X[:800], y[:800])
    families = correlated_families(X)
    assert families == [[0, 1]]
    first, second, noise, both = shuffled_rises(
        model, X[800:], y[800:], [[0], [1], [2], *families], np.random.default_rng(0), 3)
    assert both > 2 * max(first, second) > 0.0
    assert abs(noise) < 0.05 * both


def test_rises_equal_shuffling_by_hand_and_leave_the_rows_alone():
    X, y = planted()
    model = XGBoostModel(**SMALL).fit(X[:600], y[:600])
    kept = X.copy()
    found = shuffled_rises(model, X[600:], y[600:], [[0], [0, 1]], np.random.default_rng(7))
    order = np.random.default_rng(7).permutation(300)
    for columns, rise in zip(([0], [0, 1]), found, strict=True):
        by_hand = X[600:].copy()
        for k in columns:
            by_hand[:, k] = by_hand[order, k]
        after, before = (log_losses(model.predict_proba(rows), y[600:]).mean() for rows in (by_hand, X[600:]))
        assert rise == pytest.approx(after - before, abs=1e-15)
    np.testing.assert_array_equal(X, kept)


def test_families_are_those_of_the_rank_correlation():
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 400))
    X = np.column_stack((one, np.exp(one) + 0.01 * two, two, -one, np.full(400, 3.0), rng.normal(size=400)))
    assert abs(spearmanr(X[:, 0], X[:, 3]).statistic) == pytest.approx(1.0)
    assert correlated_families(X) == [[0, 1, 3]]
    X[::7, 1] = np.nan
    assert correlated_families(X, 0.6) == [[0, 1, 3]]
    assert correlated_families(X[:, :1]) == correlated_families(X[:2]) == []


def test_noise_is_measured_in_standard_errors_between_folds():
    assert Importance(0.021, 0.01).beyond_noise
    assert not Importance(0.02, 0.01).beyond_noise
    assert not Importance(0.0, 0.0).beyond_noise
    assert not Importance(0.5, float("nan")).beyond_noise
    assert lucky(47, 3) == pytest.approx(47 * student.sf(2.0, 2))
    assert lucky(47, 1) == 0.0
