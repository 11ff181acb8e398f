"""Calibration against known answers, identities, and behaviour out of sample."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from trader.models.calibration import ProbabilityCalibrationManager
from trader.models.calibration_metrics import brier_parts, error_by_chance, evaluate
from trader.models.calibrators import (
    CALIBRATORS,
    BetaCalibrator,
    IsotonicCalibrator,
    PlattCalibrator,
    TemperatureCalibrator,
)
from trader.models.venn_abers import VennAbersCalibrator

ORACLES = Path(__file__).parent.parent / "oracles"


def oracle(name: str) -> dict:
    return json.loads((ORACLES / f"{name}.json").read_text())


def binary() -> tuple[np.ndarray, np.ndarray]:
    table = np.loadtxt(ORACLES / "probs.csv", delimiter=",", skiprows=1)
    return table[:, 0], table[:, 1].astype(int)


def three_classes() -> tuple[np.ndarray, np.ndarray]:
    table = np.loadtxt(ORACLES / "probs3.csv", delimiter=",", skiprows=1)
    return table[:, :3], table[:, 3].astype(int)


def overconfident(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes whose true logits are half of what the model says."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 3))
    true, said = np.exp(logits), np.exp(2 * logits)
    true /= true.sum(axis=1, keepdims=True)
    y = (rng.random(n)[:, None] > true.cumsum(axis=1)).sum(axis=1)
    return said / said.sum(axis=1, keepdims=True), y


def test_scores_known_answers():
    expected = oracle("K01_ece_brier")["expected"]
    p, y = binary()
    ten, fifteen = evaluate(p, y, 10), evaluate(p, y, 15)
    assert ten.expected_calibration_error == pytest.approx(expected["ece10"], abs=1e-9)
    assert fifteen.expected_calibration_error == pytest.approx(expected["ece15"], abs=1e-9)
    assert ten.maximum_calibration_error == pytest.approx(expected["mce10"], abs=1e-9)
    assert fifteen.maximum_calibration_error == pytest.approx(expected["mce15"], abs=1e-9)
    assert ten.brier_score == pytest.approx(expected["brier"], abs=1e-9)
    assert ten.log_loss == pytest.approx(expected["log_loss"], abs=1e-9)
    np.testing.assert_allclose(np.array(ten.reliability), expected["reliability_10"], atol=1e-9)
    several = evaluate(*three_classes())
    assert several.expected_calibration_error == pytest.approx(expected["ece_top_label_10"], abs=1e-9)
    assert several.brier_score == pytest.approx(expected["brier_multiclass_sum"], abs=1e-9)


def test_platt_known_answer():
    case = oracle("K02_platt")
    found = PlattCalibrator().fit(*binary())
    assert (found.a, found.b) == pytest.approx((case["expected"]["A"], case["expected"]["B"]), abs=1e-6)
    mapped = found.apply(np.array(case["inputs"]["grid"]))
    np.testing.assert_allclose(mapped, case["expected"]["grid_smoothed"], atol=1e-6)


def test_beta_known_answer_and_identity():
    case = oracle("K05_beta")
    found = BetaCalibrator().fit(*binary())
    expected = case["expected"]
    assert (found.a, found.b, found.c) == pytest.approx((expected["a"], expected["b"], expected["c"]), abs=1e-6)
    grid = np.array(case["inputs"]["grid"])
    np.testing.assert_allclose(found.apply(grid), expected["grid"], atol=1e-6)
    np.testing.assert_allclose(BetaCalibrator(1, 1, 0).apply(grid), grid, atol=1e-12)


def test_beta_never_turns_the_ranking_round():
    rng = np.random.default_rng(0)
    p = rng.random(2000)
    found = BetaCalibrator().fit(p, (rng.random(2000) < 1 - p).astype(int))
    assert found.a >= 0
    assert found.b >= 0


def test_temperature_known_answer():
    assert TemperatureCalibrator().fit(*binary()).temperature == pytest.approx(2.3956, abs=1e-4)
    assert TemperatureCalibrator().fit(*three_classes()).temperature == pytest.approx(1.7938, abs=1e-4)


def test_temperature_minimises_the_log_loss():
    for p, y in (binary(), three_classes()):
        best = TemperatureCalibrator().fit(p, y)
        least = evaluate(best.apply(p), y).log_loss
        for factor in (0.98, 1.02):
            assert evaluate(TemperatureCalibrator(best.temperature * factor).apply(p), y).log_loss > least


def test_isotonic_equals_pooling_by_hand():
    p = np.array([0.1, 0.2, 0.2, 0.3, 0.4])
    found = IsotonicCalibrator().fit(p, np.array([0, 1, 0, 0, 1]))
    np.testing.assert_allclose(found.apply(np.array([0.1, 0.2, 0.3, 0.4])), [1e-6, 1 / 3, 1 / 3, 1 - 1e-6])
    assert np.all(np.diff(found.apply(np.linspace(0, 1, 50))) >= 0)


def test_isotonic_equals_the_reference_library():
    p, y = binary()
    grid = np.linspace(0, 1, 101)
    expected = IsotonicRegression(out_of_bounds="clip").fit(p, y).predict(grid)
    np.testing.assert_allclose(IsotonicCalibrator().fit(p, y).apply(grid), np.clip(expected, 1e-6, 1 - 1e-6), atol=1e-9)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1)), min_size=2, max_size=30), st.integers(0, 12))
def test_venn_abers_is_isotonic_regression_with_the_score_in_it(observed, asked):
    p, y = (np.array(column) for column in zip(*observed, strict=True))
    p, score = p / 12, asked / 12 + 0.01
    low, high = VennAbersCalibrator().fit(p, y).interval(np.array([score, p[0]]))
    for k, s in enumerate((score, p[0])):
        for joined, found in ((0, low[k]), (1, high[k])):
            fitted = IsotonicRegression().fit([*p, s], [*y, joined])
            assert found == pytest.approx(fitted.predict([s])[0], abs=1e-9)


def test_venn_abers_is_less_sure_where_it_saw_little():
    rng = np.random.default_rng(0)
    p = np.concatenate((rng.uniform(0.4, 0.6, 5000), rng.uniform(0.8, 0.9, 20)))
    found = VennAbersCalibrator().fit(p, (rng.random(len(p)) < p).astype(int))
    low, high = found.interval(np.array([0.5, 0.85]))
    assert high[0] - low[0] < 0.05 < high[1] - low[1]
    assert np.all((found.apply(p) >= found.interval(p)[0]) & (found.apply(p) <= found.interval(p)[1]))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=40))
def test_the_parts_of_the_brier_score_add_up(observed):
    p, y = (np.array(column) for column in zip(*observed, strict=True))
    parts = brier_parts(p, y)
    assert parts.reliability - parts.resolution + parts.uncertainty + parts.within == pytest.approx(
        np.mean((p - y) ** 2), abs=1e-12)


def test_right_probabilities_show_the_error_of_chance():
    rng = np.random.default_rng(0)
    errors, foretold = [], []
    for _ in range(60):
        p = rng.beta(2, 2, 800)
        found = evaluate(p, (rng.random(800) < p).astype(int))
        errors.append(found.expected_calibration_error)
        foretold.append(error_by_chance(found.reliability, 800))
    assert np.mean(foretold) == pytest.approx(np.mean(errors), rel=0.08)
    assert error_by_chance(found.reliability, 200) == pytest.approx(2 * foretold[-1])


def test_the_parts_of_the_brier_score_of_classes_add_up_too():
    metrics = evaluate(*three_classes())
    parts = metrics.brier_parts
    assert parts.reliability - parts.resolution + parts.uncertainty + parts.within == pytest.approx(metrics.brier_score)


def test_adaptive_bins_see_errors_that_equal_width_lets_cancel():
    p = np.repeat([0.51, 0.52, 0.53, 0.54], 500)
    y = np.tile([0, 1], 1000)
    y[p < 0.53], y[p > 0.52] = 0, 1
    table = evaluate(p, y)
    assert table.expected_calibration_error < 0.03
    assert table.adaptive_calibration_error == pytest.approx(np.mean(np.abs(y - p)))
    same = evaluate(np.full(100, 0.5), np.tile([0, 1], 50))
    assert same.adaptive_calibration_error == pytest.approx(0.0)


def test_auto_select_judges_out_of_sample():
    p, y = binary()
    manager = ProbabilityCalibrationManager(auto_select=True).fit(p, y)
    assert manager.method_ == "platt"
    expected = {"platt": 0.6209, "beta": 0.6214, "temperature": 0.6260, "isotonic": 0.678, "none": 0.709}
    assert {name: manager.scores_[name] for name in expected} == pytest.approx(expected, abs=5e-4)
    assert list(expected) == sorted(expected, key=manager.scores_.__getitem__)
    metrics = manager.get_metrics()
    assert metrics.out_of_sample
    assert metrics.expected_calibration_error < manager.get_uncalibrated_metrics().expected_calibration_error / 2
    assert metrics.brier_score < 0.24


@pytest.mark.parametrize("method", [*CALIBRATORS, "auto"])
def test_class_matrices_stay_distributions_and_survive_json(method):
    p, y = overconfident(6000)
    auto = method == "auto"
    manager = ProbabilityCalibrationManager(auto_select=auto, method="platt" if auto else method).fit(p, y)
    honest = manager.calibrate(p)
    np.testing.assert_allclose(honest.sum(axis=1), 1.0, atol=1e-9)
    again = ProbabilityCalibrationManager.from_dict(json.loads(json.dumps(manager.to_dict())))
    assert np.array_equal(again.calibrate(p), honest)
    np.testing.assert_allclose(again.calibrate(p[0]), honest[0])


def test_a_known_distortion_is_undone_out_of_sample():
    manager = ProbabilityCalibrationManager().fit(*overconfident(20_000, seed=1))
    assert manager.method_ == "temperature"
    fresh, y = overconfident(20_000, seed=2)
    assert evaluate(fresh, y).expected_calibration_error > 0.1
    assert manager.get_metrics(fresh, y).expected_calibration_error < 0.02


def test_shapes_follow_what_is_given():
    manager = ProbabilityCalibrationManager(auto_select=False, method="isotonic").fit(*binary())
    assert isinstance(manager.calibrate(0.3), float)
    assert manager.calibrate(np.array([0.3, 0.7])).shape == (2,)
    with pytest.raises(ValueError, match="1 columns; got 3"):
        manager.calibrate(np.ones((2, 3)) / 3)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="unknown calibration method 'magic'"):
        ProbabilityCalibrationManager(method="magic")
    with pytest.raises(ValueError, match="lie in"):
        ProbabilityCalibrationManager().fit([0.5, 1.5], [0, 1])
    with pytest.raises(ValueError, match="outcomes must be 0"):
        ProbabilityCalibrationManager().fit([0.5, 0.5], [0, 2])
    with pytest.raises(ValueError, match="no observations"):
        ProbabilityCalibrationManager().get_metrics()


def test_a_handful_of_observations_is_left_uncalibrated():
    manager = ProbabilityCalibrationManager().fit([0.2, 0.8, 0.6], [0, 1, 1])
    assert manager.method_ == "none"
    assert not manager.get_metrics().out_of_sample
