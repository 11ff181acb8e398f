"""Kelly stakes against outside numbers, and what the sizer makes of a signal."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from risk_world import BARS, World

from trader.core.book import ClosedTrade
from trader.core.signals import Signal
from trader.risk.bayesian_kelly import BayesianKellySizer, TradeOutcome
from trader.risk.params import RiskParams
from trader.risk.position_sizer import PositionSizer, outcome_of

ORACLE = Path(__file__).parent.parent / "oracles" / "R05_bayesian_kelly.json"
R05 = json.loads(ORACLE.read_text())["expected"]["cases"]


def fed(wins: int, losses: int, win: float = 0.02, loss: float = 0.01, **settings_) -> BayesianKellySizer:
    sizer = BayesianKellySizer(**settings_)
    for _i in range(wins):
        sizer.record_outcome(TradeOutcome("AAPL", "momentum", True, win))
    for _i in range(losses):
        sizer.record_outcome(TradeOutcome("AAPL", "momentum", False, -loss))
    return sizer


@pytest.mark.parametrize("case", [c for c in R05 if c["wins"]])
def test_the_posterior_and_its_stakes(case):
    sizer = fed(case["wins"], case["losses"], case["avg_win"], case["avg_loss"], prior=tuple(case["prior"]))
    result = sizer.estimate("AAPL", "momentum")
    assert result.win_rate_estimate.mean == pytest.approx(case["post_mean"], abs=1e-9)
    assert result.win_rate_estimate.std == pytest.approx(case["post_sd"], abs=1e-9)
    assert result.win_rate_estimate.lower == pytest.approx(case["q25"], abs=1e-9)
    assert result.full_kelly == pytest.approx(case["kelly_at_mean"], abs=1e-9)
    assert result.conservative_kelly == pytest.approx(case["kelly_at_q25"], abs=1e-9)
    assert result.probability_of_edge == pytest.approx(case["p_edge_positive"], abs=1e-9)
    assert result.uncertainty_penalty == pytest.approx(case["kelly_at_mean"] - case["kelly_at_q25"], abs=1e-9)


def test_more_trades_at_the_same_rate_mean_a_smaller_penalty_and_a_larger_stake():
    results = [fed(6 * k, 4 * k).estimate("AAPL", "momentum") for k in (2, 5, 20, 100)]
    penalties = [r.uncertainty_penalty for r in results]
    assert penalties == sorted(penalties, reverse=True)
    stakes = [r.fractional_kelly for r in results]
    assert stakes == sorted(stakes)


def test_sizes_before_with_and_without_an_edge():
    young = fed(3, 1, initial_position_pct=0.05)
    assert young.get_position_size("AAPL", "momentum", 100_000, 50.0)[0] == 100
    good = fed(60, 40)
    shares, result = good.get_position_size("AAPL", "momentum", 100_000, 175.50, 0.8)
    assert result.position_pct == 0.20
    assert shares == int(100_000 * 0.20 * 0.8 / 175.50)
    assert fed(10, 40).get_position_size("AAPL", "momentum", 100_000, 50.0)[0] == 0
    assert fed(10, 40, probe_position_pct=0.01).get_position_size("AAPL", "momentum", 100_000, 50.0)[0] == 20


def test_a_symbol_leans_on_its_strategy_but_not_on_another():
    sizer = fed(60, 40)
    assert sizer.estimate("MSFT", "momentum").win_rate_estimate.mean > 0.5
    assert sizer.estimate("MSFT", "other").win_rate_estimate.mean == 0.5
    with pytest.raises(ValueError, match="profit_pct"):
        sizer.record_outcome(TradeOutcome("AAPL", "momentum", True, float("nan")))


@settings(max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 0.5)), max_size=60), st.floats(0, 1e7), st.floats(0.01, 1e4),
       st.floats(-1, 2), st.floats(0.9, 1.0))
def test_a_position_never_exceeds_its_cap(trades, value, price, strength, forgetting):
    sizer = BayesianKellySizer(forgetting=forgetting)
    for win, size in trades:
        sizer.record_outcome(TradeOutcome("A", "s", win, size))
    shares, result = sizer.get_position_size("A", "s", value, price, strength)
    assert 0 <= shares * price <= 0.20 * value + 1e-6
    assert 0 <= result.position_pct <= 0.20
    assert result.uncertainty_penalty >= 0


def test_the_sizer_takes_the_least_of_kelly_volatility_and_cap():
    w = World(days=20)
    w.play(15 * BARS)
    params = RiskParams(initial_position_pct=0.05)
    sizer = PositionSizer(params, facts=w.risk.facts)
    price = w.price("XYZ")
    assert sizer.shares(Signal("XYZ", 1, 1.0, price), w.book, w.history) == int(5_000 / price)
    assert sizer.shares(Signal("XYZ", 1, 0.5, price), w.book, w.history) == int(2_500 / price)
    assert sizer.shares(Signal("XYZ", 1, 1.0, price), w.book, w.history, 0.5) == int(2_500 / price)
    assert sizer.shares(Signal("XYZ", 0, 1.0, price), w.book, w.history) == 0
    assert sizer.shares(Signal("XYZ", 1, 1.0, price, shares=100), w.book, w.history) == 100
    careful = PositionSizer(RiskParams(target_volatility=0.001), facts=w.risk.facts)
    daily = w.risk.facts.volatility("XYZ", w.history)
    want = 0.001 / 252**0.5 / daily / 5**0.5 * 100_000 / price
    assert careful.shares(Signal("XYZ", 1, 1.0, price), w.book, w.history) == int(want)


def test_closed_trades_teach_the_sizer():
    trade = ClosedTrade("AAPL", "long", 10.0, 100.0, 102.0, 0, 1, 19.0, 1.0, "trend", "take_profit", 3, 100.0)
    outcome = outcome_of(trade)
    assert (outcome.win, outcome.profit_pct) == (True, pytest.approx(0.019))
    sizer = PositionSizer(RiskParams(), strategy="trend")
    for _ in range(40):
        sizer.on_trade(trade)
    assert sizer.kelly.observations("AAPL", "trend") > 20
    assert sizer.kelly.estimate("AAPL", "trend").position_pct == 0.20
