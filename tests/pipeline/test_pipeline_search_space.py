"""Every searched setting reaches all three libraries, and the sampler may say anything of its space."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from test_pipeline_train import SMALL, PlainFeatures, panel

from trader.models.ml_model import LEARNERS, make_learner
from trader.pipeline.search import MEMBERS, SPACE, judge_settings, search_settings
from trader.pipeline.training_folds import nothing_kept
from trader.pipeline.training_samples import build_samples
from trader.pipeline.training_settings import ModelSettings, ValidationSettings

QUICK = msgspec.structs.replace(
    SMALL, model=ModelSettings(members=("lightgbm",), iterations=8, learning_rate=0.15, depth=3),
    validation=ValidationSettings(n_splits=2, embargo_bars=10))
OTHER = {"learning_rate": 0.02, "depth": 2, "feature_share": 0.5, "row_share": 0.5, "l2": 50.0, "min_rows": 120}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(4)
    X = rng.normal(size=(600, 6))
    return X, np.digitize(X[:, 0] + 0.5 * X[:, 1] + rng.normal(size=600), [-0.6, 0.6])


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize("name", SPACE)
def test_each_setting_changes_each_model(table, tmp_path, kind, name):
    X, y = table
    plain = make_learner(kind, iterations=15, depth=4, random_state=1).fit(X, y)
    changed = make_learner(kind, iterations=15, random_state=1, **{"depth": 4, name: OTHER[name]}).fit(X, y)
    assert not np.allclose(plain.predict_proba(X), changed.predict_proba(X))
    again = make_learner(kind, iterations=15, random_state=1, **{"depth": 4, name: OTHER[name]}).fit(X, y)
    assert np.array_equal(again.predict_proba(X), changed.predict_proba(X))
    changed.save(tmp_path)
    loaded = type(changed).load(tmp_path)
    assert getattr(loaded, name) == OTHER[name]
    assert np.array_equal(loaded.predict_proba(X), changed.predict_proba(X))
    assert getattr(changed.untrained(7), name) == OTHER[name]


@pytest.mark.parametrize("kind", LEARNERS)
def test_restraint_makes_models_tamer(table, kind):
    """A strong penalty and large leaves draw probabilities towards the class shares."""
    X, y = table
    def spread(**more: float) -> float:
        return float(make_learner(kind, iterations=15, depth=4, **more).fit(X, y).predict_proba(X).std(axis=0).mean())

    assert spread(l2=500.0) < 0.7 * spread(l2=0.1)
    assert spread(min_rows=250) < spread(min_rows=2)


@pytest.mark.parametrize(("name", "value"), [
    ("row_share", 0.0), ("row_share", 1.5), ("feature_share", -1), ("l2", -0.1), ("l2", float("inf")), ("min_rows", 0)])
def test_a_bound_that_is_none_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        make_learner("lightgbm", **{name: value})


@pytest.mark.parametrize("model", [
    ModelSettings(members=("lightgbm", "catboost"), iterations=6, depth=9, learning_rate=0.5),
    ModelSettings(members=("xgboost",), iterations=6, l2=0.0, min_rows=1, row_share=0.2),
])
def test_settings_outside_the_space_come_first_to_the_letter(model, recwarn):
    bars = panel(n_bars=500)
    samples = build_samples(bars, PlainFeatures().transform(bars), QUICK, 10)
    settings = msgspec.structs.replace(QUICK, model=model)
    found = search_settings(samples, bars, settings, 3, 3)
    assert found.tried[0].model == model
    assert not [w for w in recwarn if "optuna" in str(w.filename)]
    for trial in found.tried[1:]:
        for name, where in SPACE.items():
            assert where.low <= getattr(trial.model, name) <= where.high
        assert "+".join(trial.model.members) in MEMBERS
        assert trial.model.iterations == model.iterations       # left to early stopping
        assert {*SPACE, "members"} < trial.facts().keys()


def test_an_interrupted_search_goes_on_and_ends_the_same():
    bars = panel(n_bars=600, signal=0.6)
    samples = build_samples(bars, PlainFeatures().transform(bars), QUICK, 10)
    whole = judge_settings(samples, bars, QUICK, 3, 6, kept=nothing_kept)
    stored, made = {}, []

    class Killed(Exception):
        pass

    def kept(name, part):
        if part is None:
            return stored.get(name)
        made.append(name)
        if len(made) in (4, 9):
            raise Killed                # before it is stored
        stored[name] = part
        return part

    for _ in range(2):
        with pytest.raises(Killed):
            judge_settings(samples, bars, QUICK, 3, 6, kept=kept)
    found = judge_settings(samples, bars, QUICK, 3, 6, kept=kept)
    assert [trial.facts() for trial in found.tried] == [trial.facts() for trial in whole.tried]
    assert found.settings == whole.settings
    assert np.array_equal(found.folds.probability, whole.folds.probability)
    assert len(made) == len(set(made)) + 2                      # what was stored was not made again
