"""The pre-trade cost model against the guide's example and Almgren and Chriss's own."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader.execution.impact_model import AlmgrenChrissModel, optimal_trajectory, trading_rate

GUIDE = {"quantity": 1000, "price": 175.50, "adv": 5_000_000, "volatility": 0.02}
PAPER = {"volatility": 0.95, "eta": 2.5e-6, "gamma": 2.5e-7, "risk_aversion": 1e-6}


def test_the_guides_example():
    model = AlmgrenChrissModel(permanent_impact_coef=0.1, temporary_impact_coef=0.2)
    estimate = model.estimate_impact(**GUIDE, spread_bps=3.0)
    assert estimate.permanent_bps == pytest.approx(0.2828, abs=1e-4)
    assert estimate.temporary_bps == pytest.approx(0.5657, abs=1e-4)
    assert estimate.total_bps == pytest.approx(2.349, abs=5e-4)
    assert estimate.total_cost == pytest.approx(41.22, abs=0.005)
    assert estimate.recommended_strategy == "IMMEDIATE"
    assert 1 <= estimate.optimal_horizon_minutes <= 390


def test_the_guides_decision():
    model = AlmgrenChrissModel()
    decision = model.should_execute(**GUIDE, expected_alpha_bps=15.0, max_impact_to_alpha_ratio=0.5)
    assert decision.should_execute
    assert decision.expected_net_alpha == pytest.approx(15 - 0.8485, abs=1e-3)
    poor = model.should_execute(**GUIDE, expected_alpha_bps=1.0)
    assert not poor.should_execute
    assert "limit 50%" in poor.reason
    assert not model.should_execute(**GUIDE, expected_alpha_bps=-1.0).should_execute


def test_the_papers_trajectory():
    path = optimal_trajectory(1_000_000, 5.0, 5, **PAPER)
    assert [round(x) for x in path] == [1_000_000, 541_956, 289_854, 147_897, 62_142, 0]
    assert trading_rate(1.0, **PAPER) == pytest.approx(0.607, abs=5e-4)


def test_without_risk_aversion_the_schedule_is_even():
    path = optimal_trajectory(100.0, 4.0, 4, volatility=0.95, eta=2.5e-6, gamma=2.5e-7, risk_aversion=1e-30)
    assert path == pytest.approx([100, 75, 50, 25, 0])
    with pytest.raises(ValueError, match="too long"):
        optimal_trajectory(100.0, 100.0, 2, **PAPER)


@pytest.mark.parametrize(("share", "word"), [
    (1e-4, "IMMEDIATE"), (5e-3, "TWAP"), (0.04, "VWAP"), (0.2, "SPREAD_OVER_DAYS"),
])
def test_larger_orders_are_worked_longer(share, word):
    model = AlmgrenChrissModel()
    assert model.estimate_impact(share * 1e6, 50.0, 1e6, 0.02).recommended_strategy == word


@given(st.floats(1, 1e7), st.floats(1e3, 1e9), st.floats(1e-4, 0.5), st.floats(0, 50), st.floats(0.1, 500))
def test_the_quantity_within_a_limit_costs_just_the_limit(quantity, adv, volatility, spread, limit):
    model = AlmgrenChrissModel()
    fits = model.quantity_within(limit, adv, volatility, spread)
    if fits > 0:
        assert model.total_bps(fits, adv, volatility, spread) == pytest.approx(limit, rel=1e-6)
    else:
        assert limit <= spread / 2
    assert model.total_bps(quantity, adv, volatility, spread) == pytest.approx(
        model.estimate_impact(quantity, 10.0, adv, volatility, spread).total_bps)


@pytest.mark.parametrize("change", [{"adv": 0}, {"price": -1}, {"volatility": math.nan}, {"adv": math.nan}])
def test_bad_numbers_are_named(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        AlmgrenChrissModel().estimate_impact(**(GUIDE | change))
