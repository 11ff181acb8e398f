"""VaR, expected shortfall and their coverage tests against outside numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

from trader.risk import var
from trader.risk.coverage import christoffersen_test, kupiec_test

ORACLES = Path(__file__).parent.parent / "oracles"
R01 = json.loads((ORACLES / "R01_kupiec.json").read_text())["expected"]
R03 = json.loads((ORACLES / "R03_var_cvar.json").read_text())


def daily_returns() -> np.ndarray:
    return np.loadtxt(ORACLES / "daily_returns.csv", delimiter=",", skiprows=1, usecols=-1)


@pytest.mark.parametrize("level", ["0.95", "0.99"])
def test_var_and_es_agree_with_the_reference_libraries(level):
    returns, want, c = daily_returns(), R03["expected"][level], float(level)
    assert var.historical_var(returns, c) == pytest.approx(want["historical"], abs=1e-12)
    assert var.historical_es(returns, c) == pytest.approx(want["historical_es"], abs=1e-12)
    assert var.parametric_var(returns, c) == pytest.approx(want["gaussian"], abs=1e-8)
    assert var.parametric_es(returns, c) == pytest.approx(want["gaussian_es"], abs=1e-8)
    assert var.cornish_fisher_var(returns, c) == pytest.approx(want["cornish_fisher"], abs=1e-8)
    assert var.ewma_var(returns, c) == pytest.approx(want["ewma_next_day"], abs=1e-8)


def test_historical_var_is_numpys_linear_quantile():
    rng = np.random.default_rng(3)
    for n in (1, 2, 7, 100, 251):
        returns = rng.normal(size=n)
        assert var.historical_var(returns, 0.95) == pytest.approx(-np.quantile(returns, 0.05), abs=1e-12)


def test_kupiec_numbers_and_acceptance_regions():
    for case in R01["cases"]:
        result = kupiec_test(case["x"], case["n"], case["p"])
        assert result.likelihood_ratio == pytest.approx(case["LR"], abs=1e-9)
        assert result.p_value == pytest.approx(case["pvalue"], abs=1e-9)
    for region in R01["acceptance_regions_5pct"]:
        accepted = [x for x in range(region["T"] // 4) if not kupiec_test(x, region["T"], region["p"]).rejected()]
        assert (accepted[0], accepted[-1]) == (region["accept_min"], region["accept_max"])


def test_christoffersen_rejects_clusters_that_kupiec_accepts():
    spread = [i % 20 == 0 for i in range(500)]
    clustered = [i < 25 for i in range(500)]
    assert not kupiec_test(sum(clustered), 500, 0.05).rejected()
    assert christoffersen_test(clustered, 0.05).rejected(0.001)
    assert not christoffersen_test(spread, 0.05).rejected()
    with pytest.raises(ValueError, match="at least 2"):
        christoffersen_test([True], 0.05)
    with pytest.raises(ValueError, match="observations"):
        kupiec_test(3, 2, 0.05)
