"""Learners: class order, missing classes, NaN, names, determinism, files, degrading ensembles."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trader.models.base import FeatureMismatch
from trader.models.ensemble import EnsembleModel
from trader.models.ml_model import LEARNERS, CatBoostModel, make_learner

KINDS = sorted(LEARNERS)
SMALL = {"iterations": 12, "learning_rate": 0.2, "depth": 3}


def planted(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    y = np.digitize(X[:, 1] + 0.3 * rng.normal(size=n), [-0.5, 0.5])
    X[rng.random(X.shape) < 0.05] = np.nan
    return X, y


@pytest.mark.parametrize("kind", KINDS)
def test_finds_a_planted_signal_and_keeps_the_class_order(kind):
    X, y = planted()
    model = make_learner(kind, **SMALL).fit(X[:300], y[:300])
    probability = model.predict_proba(X[300:])
    assert probability.shape == (100, 3)
    np.testing.assert_allclose(probability.sum(axis=1), 1.0, atol=1e-6)
    assert (model.predict(X[300:]) == y[300:]).mean() > 0.6
    assert next(iter(model.feature_importance())) == "f1"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("absent", [0, 1, 2])
def test_a_missing_class_gets_probability_zero(kind, absent):
    X, y = planted()
    keep = y != absent
    probability = make_learner(kind, **SMALL).fit(X[keep], y[keep]).predict_proba(X)
    assert np.all(probability[:, absent] == 0.0)
    np.testing.assert_allclose(probability.sum(axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_training_twice_gives_the_same_model_and_files_reload_bit_identical(kind, tmp_path):
    X, y = planted()
    weight = np.linspace(0.5, 1.5, len(y))
    first = make_learner(kind, **SMALL).fit(X, y, sample_weight=weight)
    second = make_learner(kind, **SMALL).fit(X, y, sample_weight=weight)
    expected = first.predict_proba(X)
    assert np.array_equal(expected, second.predict_proba(X))
    first.save(tmp_path)
    second.save(tmp_path / "again")
    for path in tmp_path.glob("*.*"):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    assert np.array_equal(LEARNERS[kind].load(tmp_path).predict_proba(X), expected)
    assert not list(tmp_path.glob("**/*.pkl"))


@pytest.mark.parametrize("kind", KINDS)
def test_early_stopping_keeps_the_best_trees_through_a_reload(kind, tmp_path):
    X, y = planted()
    noise = np.random.default_rng(1).integers(0, 3, 100)
    model = make_learner(kind, iterations=200, learning_rate=0.3, depth=3)
    model.fit(X[:300], y[:300], validation_data=(X[300:], noise), early_stopping_rounds=5)
    assert model.best_iteration_ < 50
    model.save(tmp_path)
    assert np.array_equal(LEARNERS[kind].load(tmp_path).predict_proba(X), model.predict_proba(X))


def test_feature_names_are_checked():
    X, y = planted()
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = CatBoostModel(**SMALL).fit(frame, y)
    with pytest.raises(FeatureMismatch, match=r"another order.*'b', not 'a'"):
        model.predict_proba(frame[list("bacd")])
    with pytest.raises(FeatureMismatch, match="missing \\['d'\\]; unknown \\['e'\\]"):
        model.predict_proba(frame.rename(columns={"d": "e"}))
    with pytest.raises(FeatureMismatch, match="4 features; got 3"):
        model.predict_proba(X[:, :3])


def test_unresolved_labels_are_left_out_and_bad_ones_refused():
    X, y = planted()
    holes = y.astype(float)
    holes[::7] = np.nan
    keep = np.isfinite(holes)
    a = CatBoostModel(**SMALL).fit(X, holes).predict_proba(X)
    b = CatBoostModel(**SMALL).fit(X[keep], y[keep]).predict_proba(X)
    assert np.array_equal(a, b)
    with pytest.raises(ValueError, match="among \\[0, 1, 2\\]"):
        CatBoostModel(**SMALL).fit(X, y - 1)
    with pytest.raises(ValueError, match="two classes"):
        CatBoostModel(**SMALL).fit(X, np.ones(len(y)))


def test_soft_vote_is_the_weighted_mean_and_hard_vote_the_share_of_votes():
    X, y = planted()
    soft = EnsembleModel(["catboost", "xgboost", "lightgbm"], weights=[2, 1, 1], **SMALL).fit(X, y)
    parts = [m.predict_proba(X) for m in soft.members.values()]
    np.testing.assert_allclose(soft.predict_proba(X), (2 * parts[0] + parts[1] + parts[2]) / 4)
    hard = EnsembleModel(list(soft.members.values()), voting="hard")
    hard.n_features_in_ = 4
    votes = np.mean([np.eye(3)[p.argmax(axis=1)] for p in parts], axis=0)
    np.testing.assert_allclose(hard.predict_proba(X), votes)


def test_a_failing_member_is_left_out_and_named(monkeypatch):
    X, y = planted()
    model = EnsembleModel(["catboost", "lightgbm"], **SMALL).fit(X, y)
    expected = model.members["lightgbm"].predict_proba(X)

    def broken(_):
        raise OSError("library gone")

    monkeypatch.setattr(model.members["catboost"], "predict_proba", broken)
    assert np.array_equal(model.predict_proba(X), expected)
    assert model.degraded
    assert model.failures == {"catboost": "OSError: library gone"}
    monkeypatch.setattr(model.members["lightgbm"], "predict_proba", broken)
    with pytest.raises(RuntimeError, match="no member"):
        model.predict_proba(X)
    monkeypatch.undo()
    model.predict_proba(X)
    assert not model.degraded


def test_ensemble_reloads_bit_identical(tmp_path):
    X, y = planted()
    model = EnsembleModel(["catboost", "xgboost"], **SMALL).fit(pd.DataFrame(X, columns=list("abcd")), y)
    model.save(tmp_path)
    again = EnsembleModel.load(tmp_path)
    assert again.feature_names_in_ == tuple("abcd")
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))


def test_wrong_names_are_refused():
    with pytest.raises(ValueError, match="catboost, xgboost, lightgbm"):
        make_learner("forest")
    with pytest.raises(ValueError, match="voting"):
        EnsembleModel(voting="loud")
    with pytest.raises(ValueError, match="classification"):
        CatBoostModel(task="regression")
