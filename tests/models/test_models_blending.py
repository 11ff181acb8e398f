"""Pools of several models: what they learn, what they do when a member is missing, meta-labels."""

from __future__ import annotations

import numpy as np
import pytest
from planted_samples import SMALL, planted
from scipy.special import softmax
from scipy.stats import norm

from trader.core.bets import bet_size
from trader.models.blending import LinearPool, LogPool
from trader.models.calibration_metrics import evaluate
from trader.models.ensemble import EnsembleModel
from trader.models.labels import PROFIT, meta_labels, triple_barrier
from trader.models.meta_model import META_CLASSES, MetaLabeler
from trader.models.ml_model import XGBoostModel
from trader.models.oof import out_of_fold
from trader.models.validation import WalkForward


def opinions(n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A member that knows the truth and one that guesses, shape ``(2, n, 3)``, and what happened."""
    rng = np.random.default_rng(seed)
    true, guess = softmax(rng.normal(size=(2, n, 3)), axis=2)
    y = (rng.random(n)[:, None] > true.cumsum(axis=1)).sum(axis=1)
    return np.stack([true, guess]), y


def test_pools_learn_whom_to_trust():
    stack, y = opinions()
    linear, log = LinearPool().fit(stack, y, np.ones(len(y))), LogPool().fit(stack, y, np.ones(len(y)))
    assert linear.weights[0] > 0.93
    assert linear.weights.sum() == pytest.approx(1.0)
    assert log.weights == pytest.approx([1.0, 0.0], abs=0.06)
    assert np.abs(log.bias).max() < 0.1


def test_the_linear_pool_has_the_best_weights_there_are():
    rng = np.random.default_rng(3)
    stack, y = opinions(1500, seed=1)
    weight = rng.random(len(y))
    said = stack[:, np.arange(len(y)), y]

    def likelihood(w: float) -> float:
        return float(weight @ np.log(w * said[0] + (1 - w) * said[1]))

    best = LinearPool().fit(stack, y, weight).weights[0]
    assert likelihood(best) >= max(likelihood(w) for w in np.linspace(0, 1, 101)) - 1e-4


@pytest.mark.parametrize("pool", [LinearPool, LogPool])
def test_a_pool_without_a_member_is_still_a_distribution(pool):
    stack, y = opinions(500)
    fitted = pool().fit(stack, y, np.ones(len(y)))
    whole = pool.from_dict(fitted.to_dict())
    assert np.array_equal(whole.apply(stack, [0, 1]), fitted.apply(stack, [0, 1]))
    for present in ([0], [1]):
        found = fitted.apply(stack[present], present)
        np.testing.assert_allclose(found.sum(axis=1), 1.0)
        assert np.all(found >= 0)


@pytest.mark.parametrize("voting", ["weighted", "stacking"])
def test_learnt_votes_reload_and_degrade(voting, tmp_path, monkeypatch):
    X, y = planted()
    t0 = np.arange(700)
    model = EnsembleModel(["catboost", "xgboost"], voting, **SMALL).fit(X[:700], y[:700], spans=(t0, t0 + 5))
    expected = model.predict_proba(X[700:])
    assert (expected.argmax(axis=1) == y[700:]).mean() > 0.6
    model.save(tmp_path)
    assert np.array_equal(EnsembleModel.load(tmp_path).predict_proba(X[700:]), expected)

    def broken(values):
        raise OSError("library gone")

    monkeypatch.setattr(model.members["catboost"], "predict_proba", broken)
    left = model.predict_proba(X[700:])
    assert model.failures == {"catboost": "OSError: library gone"}
    np.testing.assert_allclose(left.sum(axis=1), 1.0)
    assert (left.argmax(axis=1) == y[700:]).mean() > 0.6


def test_learnt_votes_need_label_ends_and_take_no_weights():
    X, y = planted(200)
    with pytest.raises(ValueError, match="spans="):
        EnsembleModel(["xgboost"], "stacking", **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="learns its weights"):
        EnsembleModel(["xgboost"], "weighted", weights=[1.0], **SMALL)


def test_what_a_stack_learns_comes_from_the_past_alone(monkeypatch):
    X, y = planted(600)
    t0, seen = np.arange(600), []

    def spy(make, values, labels, splitter, weight):
        assert isinstance(splitter, WalkForward)
        for train, test in splitter.split():
            seen.append((t0[train].max() + 7, t0[test].min()))
        return out_of_fold(make, values, labels, splitter, weight)

    monkeypatch.setattr("trader.models.ensemble.out_of_fold", spy)
    EnsembleModel(["xgboost"], "stacking", **SMALL).fit(X, y, spans=(t0, t0 + 7))
    assert seen
    assert all(end <= begins for end, begins in seen)


def test_bets_grow_with_the_probability():
    assert bet_size(0.2) == bet_size(0.5) == bet_size(0.0) == 0.0
    p = 0.7
    assert bet_size(p) == pytest.approx(2 * norm.cdf((p - 0.5) / np.sqrt(p * (1 - p))) - 1)
    assert np.all(np.diff([bet_size(x) for x in np.linspace(0.5, 1.0, 20)[:-1]]) > 0)
    assert bet_size(1.0) == pytest.approx(1.0)


@pytest.mark.parametrize(("path", "side", "paid"), [
    ([100, 103], 1, 1), ([100, 97], 1, 0), ([100, 97], -1, 1), ([100, 103], -1, 0), ([100, 100, 100], 1, 0),
    ([100, 101, 101], 1, 0),                   # a gain at the vertical barrier is no profit touched
])
def test_meta_label_truth_table(path, side, paid):
    found = triple_barrier(
        path, [0], profit_taking=0.02, stop_loss=0.02, max_holding_periods=len(path) - 1, side=[side])
    assert meta_labels(found).tolist() == [paid]


def test_the_secondary_learns_where_the_primary_can_be_trusted():
    rng = np.random.default_rng(0)
    n = 2400
    direction, trust = rng.normal(size=n), rng.random(n) < 0.5
    right = rng.random(n) < np.where(trust, 0.9, 0.5)
    y = np.where((direction > 0) == right, PROFIT, 0)
    X, t0 = np.column_stack((direction, trust)), np.arange(n)
    model = MetaLabeler(
        lambda: XGBoostModel(**SMALL), lambda: XGBoostModel(classes=META_CLASSES, **SMALL), n_splits=4, embargo=5)
    bet = model.fit(X[:2000], y[:2000], t0[:2000], t0[:2000] + 3).predict(X[2000:])
    late = slice(2000, None)
    assert ((bet.side > 0) == (direction[late] > 0))[trust[late]].mean() > 0.95
    assert bet.probability[trust[late]].mean() == pytest.approx(0.9, abs=0.05)
    assert bet.probability[~trust[late]].mean() == pytest.approx(0.5, abs=0.06)
    assert bet.size[trust[late]].mean() > 5 * bet.size[~trust[late]].mean()
    paid = np.where(bet.side > 0, y[late] == PROFIT, y[late] == 0).astype(int)
    assert evaluate(bet.probability, paid).expected_calibration_error < 0.08
    # with barriers of its own for each side, what paid is asked, not read off the classes of the long side
    asked = MetaLabeler(
        lambda: XGBoostModel(**SMALL), lambda: XGBoostModel(classes=META_CLASSES, **SMALL), n_splits=4
    ).fit(X, y, t0, t0 + 3, paid=lambda sides: sides > 0)
    assert np.array_equal(asked.labels_, (asked.sides_ > 0).astype(int))
