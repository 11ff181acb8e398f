"""What training must not find and what it must: noise gives chance, a known signal comes back with its own odds."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binom
from test_pipeline_train import SMALL, PlainFeatures, panel

from trader.core.panel import REAL
from trader.models.artifact import read_manifest
from trader.models.calibration_metrics import evaluate
from trader.pipeline.train import cross_validate, fit_calibrator, fit_final, train_model
from trader.pipeline.training_report import score_predictions
from trader.pipeline.training_samples import Samples, build_samples
from trader.pipeline.training_settings import (
    EventSettings,
    LabelSettings,
    ModelSettings,
    TrainingSettings,
    ValidationSettings,
)

NAMES = tuple("abcdef")
QUICK = msgspec.structs.replace(
    SMALL, model=ModelSettings(members=("catboost", "lightgbm"), iterations=25, learning_rate=0.15, depth=3))


def assert_chance(said: np.ndarray, y: np.ndarray, chance: float) -> None:
    """Hits lie within the 99.9 % binomial interval of guessing with that rate."""
    hits = int((said == y).sum())
    low, high = binom.interval(0.999, len(y), chance)
    assert low <= hits <= high


def balanced(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows with as many of each class, so that chance is exactly one in three."""
    least = np.bincount(y, minlength=3).min()
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(y == c))[:least] for c in range(3)]))


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("spoilt", ["labels", "features"])
def test_without_a_signal_purged_folds_find_chance(seed, spoilt):
    rng = np.random.default_rng(seed)
    bars = panel(n_bars=1800, seed=seed, signal=0.6)
    samples = build_samples(bars, PlainFeatures().transform(bars), QUICK, 10)
    samples = samples.rows(balanced(samples.y, rng))
    if spoilt == "labels":
        samples = replace(samples, y=rng.permutation(samples.y))
    else:
        samples = replace(samples, X=rng.normal(size=samples.X.shape))
    # every fifth sample begins after the one before has ended: only such outcomes are independent draws
    apart = np.arange(0, len(samples), 5)
    said = cross_validate(samples, QUICK, seed).probability.argmax(axis=1)
    assert_chance(said[apart], samples.y[apart], 1 / 3)


def persistent(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Noise that forgets so slowly (0.995 a bar) that it names the stretch of time it belongs to."""
    out, shocks = np.zeros(shape), rng.normal(size=shape)
    for t in range(1, shape[0]):
        out[t] = 0.995 * out[t - 1] + 0.1 * shocks[t]
    return out


def one_after_the_other(samples: Samples) -> np.ndarray:
    """Rows of each symbol that begin when the one before has ended: independent outcomes."""
    rows, ended = [], dict.fromkeys(range(3), -1)
    for i, (t0, t1, j) in enumerate(zip(samples.t0, samples.t1, samples.symbol, strict=True)):
        if t0 >= ended[j]:
            rows.append(i)
            ended[j] = t1
    return np.array(rows)


LONG = {"max_holding_periods": 20, "profit_taking": 3.0, "stop_loss": 3.0}
HARDER = {
    "labels of twenty bars at every bar": (1, LONG, 3, 26),
    "five folds without embargo": (1, LONG, 5, 0),
    "one class in ten": (2, {"max_holding_periods": 6, "profit_taking": 6.0, "stop_loss": 1.0}, 3, 10),
}


@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("case", HARDER)
@pytest.mark.parametrize("spoilt", ["labels", "features"])
def test_neither_overlap_nor_persistence_nor_rare_classes_lend_skill(case, spoilt, seed):
    """No better than naming the largest class, which a model may always do; worse is no leak."""
    stride, labels, n_splits, embargo = HARDER[case]
    chosen = msgspec.structs.replace(
        QUICK, events=EventSettings(stride=stride), labels=LabelSettings(**labels),
        validation=ValidationSettings(n_splits=n_splits, embargo_bars=embargo))
    rng = np.random.default_rng(seed)
    bars = panel(n_bars=1000, seed=seed, signal=0.6 if spoilt == "labels" else 0.0)
    X = PlainFeatures().transform(bars) if spoilt == "labels" else persistent((*bars.close.shape, 6), rng)
    samples = build_samples(bars, X, chosen, 10)
    if spoilt == "labels":
        samples = replace(samples, y=rng.permutation(samples.y))
    folds, apart = cross_validate(samples, chosen, seed), one_after_the_other(samples)
    y = samples.y[apart]
    largest = np.bincount(y).max() / len(y)
    assert (folds.probability[apart].argmax(axis=1) == y).sum() <= binom.ppf(0.9995, len(y), largest)
    scores = score_predictions(folds.probability, folds.prior, samples.y, samples.t0, samples.unique, REAL)
    assert scores["direction"]["t"] < 3.4


class Noise(PlainFeatures):
    """Features that were drawn, not computed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def transform(self, panel):
        return persistent((*panel.close.shape, 4), np.random.default_rng(self.seed))


@pytest.mark.parametrize("seed", [21, 22, 23])
def test_a_whole_training_on_noise_claims_nothing(tmp_path, seed):
    bars = panel(n_bars=1500, seed=seed)
    scores = read_manifest(train_model(bars, QUICK, tmp_path, seed=seed, features=Noise(seed)))["scores"]
    assert not scores["edge"]
    assert scores["verdict"].startswith("no edge beyond chance")
    assert scores["direction"]["accuracy_low"] < max(0.5, scores["direction"]["base_rate"])
    assert scores["importance"]["beyond_noise"] <= 2
    assert scores["returns"]["sharpe_low"] < 0.0


def test_the_same_samples_unspoilt_are_far_from_chance():
    bars = panel(n_bars=1800, seed=1, signal=0.6)
    samples = build_samples(bars, PlainFeatures().transform(bars), QUICK, 10)
    samples = samples.rows(balanced(samples.y, np.random.default_rng(1)))
    apart = np.arange(0, len(samples), 5)
    said = cross_validate(samples, QUICK, 1).probability.argmax(axis=1)
    with pytest.raises(AssertionError):
        assert_chance(said[apart], samples.y[apart], 1 / 3)


def known_signal(n: int, seed: int, neutral: float = 0.2) -> tuple[Samples, np.ndarray]:
    """Samples whose class probabilities are a known function of two of six features, and those probabilities."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, len(NAMES)))
    lean = 0.8 * X[:, 0] - 0.5 * X[:, 1]
    true = softmax(np.column_stack((-lean, np.full(n, neutral), lean)), axis=1)
    y = (rng.random(n)[:, None] > true.cumsum(axis=1)).sum(axis=1)
    t0, one = np.arange(n), np.ones(n)
    ret, symbol = np.where(y == 2, 0.01, -0.01), np.zeros(n, dtype=np.int64)
    return Samples(X, y, t0, t0 + 1, ret, symbol, one, one, np.zeros(n)), true


@pytest.mark.parametrize(("seed", "neutral"), [(0, 0.2), (5, 0.2), (3, 1.8)])
def test_a_known_signal_comes_back_with_its_own_odds(seed, neutral):
    settings = TrainingSettings(
        model=ModelSettings(iterations=120, learning_rate=0.1, depth=3), validation=ValidationSettings(embargo_bars=2))
    samples, _ = known_signal(8_000, seed, neutral)
    folds = cross_validate(samples, settings, 7)
    calibrator = fit_calibrator(folds, settings)
    final = fit_final(samples, settings, 7, folds.iterations, NAMES)
    fresh, true = known_signal(20_000, seed + 1, neutral)
    honest = calibrator.calibrate(final.predict_proba(fresh.X))
    metrics = evaluate(honest, fresh.y)
    assert metrics.n == 20_000
    assert metrics.expected_calibration_error <= 0.02
    for c in range(3):
        assert evaluate(honest[:, c], fresh.y == c).expected_calibration_error <= 0.02
    assert np.abs(honest - true).mean() < 0.03
    assert metrics.log_loss < evaluate(true, fresh.y).log_loss + 0.01
