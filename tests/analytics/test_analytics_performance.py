"""The report of a run: daily ratios, trades, and nothing that JSON cannot carry."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from trader.analytics.performance import daily_equity, performance_report
from trader.utils import metrics

KEYS = {"sharpe_ratio", "sortino_ratio", "max_drawdown", "win_rate", "profit_factor", "calmar_ratio", "total_return",
        "cagr", "volatility", "total_trades"}


def trades(*profits: float) -> list[SimpleNamespace]:
    return [SimpleNamespace(pnl=p, fees=1.0, entry_ts=0, exit_ts=7_200 * 10**9) for p in profits]


def run(n_days=60, per_day=4, seed=0):
    rng = np.random.default_rng(seed)
    equity = 100_000 * np.exp(np.cumsum(rng.normal(2e-4, 2e-3, n_days * per_day)))
    days = np.repeat(np.arange(20240101, 20240101 + n_days), per_day)
    return np.arange(len(equity)) * 10**12, equity, days


def test_ratios_come_from_the_last_equity_of_each_day():
    ts, equity, days = run()
    report = performance_report(ts, equity, trades(10, -5, 0, 20), 100_000, days)
    daily = np.concatenate(([100_000], equity[3::4]))
    returns = np.diff(daily) / daily[:-1]
    assert daily_equity(equity, days) == pytest.approx(equity[3::4])
    assert report["sharpe_ratio"] == pytest.approx(metrics.sharpe_ratio(returns))
    assert report["sortino_ratio"] == pytest.approx(metrics.sortino_ratio(returns))
    assert report["total_return"] == pytest.approx(equity[-1] / 100_000 - 1)
    full = np.concatenate(([100_000], equity))
    assert report["max_drawdown"] == pytest.approx((1 - full / np.maximum.accumulate(full)).max())
    assert report["calmar_ratio"] == pytest.approx(report["cagr"] / report["max_drawdown"])
    assert (report["total_trades"], report["win_rate"], report["profit_factor"]) == (4, 0.5, 6.0)
    assert report["sharpe_ci_low"] < report["sharpe_ratio"] < report["sharpe_ci_high"]
    assert report["average_holding_hours"] == 2.0
    assert set(report) >= KEYS


@pytest.mark.parametrize(("n", "profits"), [(0, ()), (1, ()), (3, (5.0,)), (30, (5.0, 7.0))])
def test_what_has_no_value_is_null_with_a_note(n, profits):
    ts, equity, days = np.arange(n), np.full(n, 100_000.0), np.arange(n)
    report = performance_report(ts, equity, trades(*profits), 100_000, days)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["profit_factor"] is None
    assert report["sharpe_ratio"] is None
    assert report["max_drawdown"] == 0.0
    assert report["notes"]
    if profits:
        assert "profit_factor: no losing trade" in report["notes"]


def test_lengths_and_capital_are_checked():
    with pytest.raises(ValueError, match="differ in length"):
        performance_report([1], [1.0, 2.0], [], 100.0, [1, 2])
    with pytest.raises(ValueError, match="initial_capital"):
        performance_report([1], [1.0], [], 0.0, [1])
