"""Known answers for fractional differencing, the order search, Kyle's lambda and the forward filter."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from trader.features.fracdiff import ffd, ffd_weights, minimum_d
from trader.features.microstructure import kyle_lambda
from trader.features.regime import emission_likelihoods, forward_filter

ORACLES = Path(__file__).parents[1] / "oracles"


def oracle(name: str) -> dict:
    return json.loads((ORACLES / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def bars() -> dict[str, np.ndarray]:
    with (ORACLES / "bars.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in ("open", "high", "low", "close", "volume")}


def test_ffd_weights_have_the_known_widths_and_values():
    for key, expected in oracle("F01_ffd_weights")["expected"].items():
        d, threshold = (float(part.split("=")[-1]) for part in key.replace("|", ",").split(",")[:2])
        weights = ffd_weights(d, threshold)
        assert len(weights) == expected["width"], key
        np.testing.assert_allclose(weights[:5], expected["first5"], rtol=0, atol=1e-12)
        assert weights[-1] == pytest.approx(expected["last"], abs=1e-12)
        assert weights.sum() == pytest.approx(expected["sum"], abs=1e-12)


@pytest.mark.filterwarnings("ignore::FutureWarning")      # statsmodels announces another shape of its answer
def test_order_search_reproduces_the_adf_table(bars):
    from statsmodels.tsa.stattools import adfuller

    case = oracle("F03_adf_min_d")
    log_price = np.log(bars["close"])
    for row in case["expected"]["table"]:
        values = ffd(log_price, row["d"], 1e-3)
        values = values[np.isfinite(values)]
        assert len(values) == row["nobs"]
        statistic, p = adfuller(values, maxlag=1, regression="c", autolag=None)[:2]
        assert statistic == pytest.approx(row["adf_maxlag1"], abs=1e-6)
        assert p == pytest.approx(row["p_maxlag1"], abs=1e-6)
    assert minimum_d(log_price, 1e-3) == case["expected"]["min_d_p05_maxlag1"]


def test_ffd_paths_agree_short_direct_and_transformed():
    log_price = np.log(100.0) + np.cumsum(np.random.default_rng(1).normal(0, 0.01, 4000))
    weights = ffd_weights(0.4, 1e-5)
    direct = np.convolve(log_price, weights, mode="valid")
    by_transform = ffd(log_price, 0.4, 1e-5)[len(weights) - 1 :]
    assert len(log_price) * len(weights) > 2_000_000
    np.testing.assert_allclose(by_transform, direct, rtol=1e-11)
    short = ffd(log_price[-len(weights) - 10 :], 0.4, 1e-5)
    np.testing.assert_allclose(short[-11:], direct[-11:], rtol=1e-12)


def test_kyle_lambda_equals_the_regressions(bars):
    case = oracle("F06_kyle_lambda")
    slope, t_stat = kyle_lambda(bars["close"], bars["volume"], case["inputs"]["window"])
    at = case["expected"]["at_index"]
    np.testing.assert_allclose(slope[at], case["expected"]["lambda_with_const"], rtol=1e-8)
    np.testing.assert_allclose(t_stat[at], case["expected"]["tstat"], rtol=1e-8)
    np.testing.assert_allclose(slope[50:], case["expected"]["full_series_with_const"], rtol=1e-8)
    assert np.all(np.isnan(slope[:50]))


def test_forward_filter_equals_last_posteriors_of_prefixes(bars):
    case = oracle("F08_hmm_filtered")
    r = 100.0 * np.diff(np.log(bars["close"]))[:400]
    given = case["inputs"]
    likelihoods = emission_likelihoods(
        np.stack([r, np.abs(r)], axis=1), np.array(given["means"]), np.array(given["diag_covars"]),
    )
    filtered = forward_filter(likelihoods, given["startprob"], np.array(given["transmat"]))
    expected = np.array(case["expected"]["filtered"])
    np.testing.assert_allclose(filtered, expected, atol=1e-8)
    assert filtered.argmax(axis=1).tolist() == case["expected"]["state_filtered_argmax"]
