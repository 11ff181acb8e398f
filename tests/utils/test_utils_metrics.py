"""Metrics against the reference libraries' numbers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from trader.utils import metrics

ORACLES = Path(__file__).parent.parent / "oracles"


def load(name: str) -> dict:
    return json.loads((ORACLES / f"{name}.json").read_text())


def daily_returns() -> np.ndarray:
    return np.loadtxt(ORACLES / "daily_returns.csv", delimiter=",", skiprows=1, usecols=-1)


def test_return_metrics():
    want, returns = load("M01_return_metrics")["expected"], daily_returns()
    equity = np.concatenate(([1.0], np.cumprod(1 + returns)))
    got = {
        "total_return": metrics.total_return(returns), "cagr": metrics.cagr(returns),
        "ann_vol": metrics.annual_volatility(returns), "sharpe": metrics.sharpe_ratio(returns),
        "sortino": metrics.sortino_ratio(returns), "max_drawdown": metrics.max_drawdown(equity),
        "calmar": metrics.calmar_ratio(returns), "sharpe_if_15min": metrics.sharpe_ratio(returns, 252 * 26),
    }
    assert got == pytest.approx(want, abs=1e-10)


def test_sortinos_worked_example():
    case = load("M02_sortino_redrock")
    returns = case["inputs"]["annual_returns"]
    assert metrics.downside_deviation(returns) == pytest.approx(case["expected"]["tdd"], abs=1e-12)
    assert metrics.sortino_ratio(returns, 1) == pytest.approx(case["expected"]["sortino"], abs=1e-12)


def test_probabilistic_sharpe():
    want = load("C04_dsr")["expected"]
    assert metrics.probabilistic_sharpe_ratio(daily_returns()) == pytest.approx(want["psr_vs_0"], abs=1e-6)
    deflated = metrics.sharpe_probability(2.5 / math.sqrt(250), 1250, -3, 10, want["paper_sr0"])
    assert deflated == pytest.approx(want["paper_dsr_N100"], abs=1e-6)


def test_the_interval_is_seeded_covers_and_narrows():
    rng = np.random.default_rng(0)
    returns = rng.normal(5e-4, 0.01, 1000)
    low, high = metrics.sharpe_interval(returns)
    assert (low, high) == metrics.sharpe_interval(returns)
    assert low < metrics.sharpe_ratio(returns) < high
    wide = metrics.sharpe_interval(returns[:250])
    assert wide[1] - wide[0] > high - low


def test_trades():
    assert metrics.win_rate([1, -1, 0, 2]) == 0.5
    assert metrics.profit_factor([1, -1, 0, 2]) == 3.0
    assert metrics.profit_factor([1]) == math.inf
    assert math.isnan(metrics.profit_factor([]))


@pytest.mark.parametrize("returns", [[], [0.01], [0.0, 0.0, 0.0]])
def test_too_little_to_say(returns):
    assert math.isnan(metrics.sharpe_ratio(returns))
    assert math.isnan(metrics.probabilistic_sharpe_ratio(returns))
    assert math.isnan(metrics.sharpe_interval(returns)[0])
    assert metrics.max_drawdown(np.cumprod(1 + np.array([1.0, *returns]))) == 0.0


def test_ruin_and_shape():
    assert metrics.cagr([0.1, -1.0]) == -1.0
    assert metrics.sortino_ratio([0.1, 0.2]) == math.inf
    with pytest.raises(ValueError, match="one dimension"):
        metrics.sharpe_ratio(np.ones((2, 2)))
