"""The guide's risk, impact, execution, attribution and staleness snippets, with the numbers that they imply."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from guide_play import play, play_alone
from guide_world import Exchange

from trader.core.panel import BarPanel
from trader.execution.broker_api import AlpacaBroker
from trader.mlops.staleness import ModelStalenessDetector
from trader.risk.bayesian_kelly import TradeOutcome
from trader.risk.correlation_breaker import CorrelationCircuitBreaker


def test_bayesian_kelly() -> None:
    played = play_alone("bayesian_kelly")
    # one outcome of twenty: 5 % of 100 000 at strength 0.8 and 175.50 a share
    assert played.line("Recommended shares:") == str(int(100_000 * 0.05 * 0.8 / 175.5)) == "22"
    assert played.line("Win rate estimate:") == "66.67%"            # Beta(1, 1) and one win
    sizer, result = played["sizer"], played["kelly_result"]
    for k in range(60):
        sizer.record_outcome(TradeOutcome(symbol="AAPL", strategy="momentum", win=k % 3 > 0, profit_pct=0.02))
    shares, later = sizer.get_position_size(
        symbol="AAPL", strategy="momentum", portfolio_value=100_000, current_price=175.50, signal_strength=0.8)
    assert later.uncertainty_penalty < result.uncertainty_penalty   # the guide's key insight
    assert later.fractional_kelly <= 0.25 * later.full_kelly
    assert shares * 175.5 <= 100_000 * 0.20


def returns_of(panel: BarPanel, common: float) -> np.ndarray:
    """The sample's returns, each symbol mixed with a common part."""
    own = np.diff(np.log(panel.close), axis=0)[-130:]
    own = own / own.std(axis=0)
    shared = np.random.default_rng(1).standard_normal(len(own))
    return np.stack([(1 - common) * own[:, 0] + common * shared, (1 - common) * own[:, 1] + common * shared], axis=1)


async def reduce_nothing(position: Any, new_size: int) -> None:
    raise AssertionError("nothing should be reduced")


async def test_correlation_breaker_calm(recent: BarPanel) -> None:
    played = await play(
        "correlation_breaker", baseline_corr_matrix=np.array([[1.0, 0.9], [0.9, 1.0]]), active_positions=[],
        recent_returns=returns_of(recent, 0.0), reduce_position=reduce_nothing)
    status = played["circuit_breaker"].get_status()
    assert played.printed == ""
    assert status == {
        **status, "state": "normal", "is_triggered": False, "position_multiplier": 1.0, "recommended_action": "none"}


async def test_correlation_breaker_in_a_crisis_reduces_at_the_broker(exchange: Exchange, recent: BarPanel) -> None:
    from trader.core.commands import Submit

    broker = AlpacaBroker()
    await broker.submit(Submit(client_order_id="guide-1", symbol="AAPL", side="buy", quantity=Decimal(100)))
    exchange.step()
    positions = await broker.get_positions()
    assert [(p.symbol, p.quantity) for p in positions] == [("AAPL", 100)]

    async def reduce_position(position: Any, new_size: int) -> None:
        await broker.close_position(position.symbol, position.quantity - new_size)

    played = await play(
        "correlation_breaker", baseline_corr_matrix=np.array([[1.0, 0.3], [0.3, 1.0]]), active_positions=positions,
        recent_returns=returns_of(recent, 0.6), reduce_position=reduce_position)
    exchange.step()
    assert played.line("Circuit breaker triggered:") == "crisis"
    assert played["multiplier"] == 0.25
    assert exchange.held == {"AAPL": 25}
    await broker.close()


def test_high_correlation(recent: BarPanel) -> None:
    breaker = CorrelationCircuitBreaker(baseline_correlation=np.array([[1.0, 0.3], [0.3, 1.0]]))
    breaker.check(returns_of(recent, 0.6))
    played = play_alone("high_correlation", circuit_breaker=breaker)
    assert played.line("State:") == "crisis"
    assert played.line("Triggered:") == "True"
    assert played.line("Position Multiplier:") == "0.25"
    assert played.line("Action:") == "reduce positions to a quarter"


def test_impact_model() -> None:
    played = play_alone("impact_model")
    estimate, decision = played["estimate"], played["decision"]
    root = 1e4 * 0.02 * (1000 / 5_000_000) ** 0.5
    assert estimate.permanent_bps == pytest.approx(0.1 * root)
    assert estimate.temporary_bps == pytest.approx(0.2 * root)
    assert estimate.total_bps == pytest.approx(2.35, abs=0.005)     # both impacts and half of the 3 bps spread
    assert played.line("Expected Impact:") == "2.3 bps"
    assert played.line("Permanent:") == "0.3 bps"
    assert played.line("Temporary:") == "0.6 bps"
    assert played.line("Optimal Horizon:").endswith(" minutes")
    assert 1 <= estimate.optimal_horizon_minutes <= 390
    assert decision.should_execute
    assert decision.expected_net_alpha == pytest.approx(15 - 0.3 * root)
    assert played.line("Execute: Net alpha =") == "14.2 bps"


def test_execution_dashboard() -> None:
    played = play_alone("execution_dashboard")
    # filled at 175.535 on average against 175.50 and a VWAP of 175.40
    slippage = (175.535 / 175.50 - 1) * 1e4
    assert played.line("Executions:") == "1"
    for name in ("Avg", "Median", "P95"):
        assert played.line(f"{name} Slippage:") == f"{slippage:.2f} bps" == "1.99 bps"
    assert played.line("Avg Fill Rate:") == "100.0%"
    assert played.line("Beat VWAP:") == "0.0%"
    assert played.line("Total Slippage Cost:") == "$3.50"
    assert played["execution"].order_id == "ord_123"


def test_attribution() -> None:
    played = play_alone("attribution", datetime=datetime)
    for name, value in {
        "Gross P&L:": "$350.00", "Net P&L:": "$349.00", "Direction Alpha:": "$330.00", "Timing Alpha:": "$20.00",
        "Sizing Alpha:": "$0.00", "Commission:": "$1.00", "Slippage:": "$0.00", "Spread:": "$0.00",
        "Market Impact:": "$0.00", "Total Trades:": "1", "Win Rate:": "100.0%", "Profit Factor:": "inf",
    }.items():
        assert played.line(name) == value
    assert played["portfolio"].net_pnl == played["attr"].net_pnl == 349.0


def test_staleness() -> None:
    played = play_alone("staleness", datetime=datetime)
    report = played["report"]
    assert played.line("Model:") == "momentum_v1"
    assert played.line("Staleness Level:") == "CRITICAL"            # trained in October 2024, 30 days at most
    assert report.is_stale
    assert report.retrain_urgency == "critical"
    assert "days old; the limit is 30" in played.line("-")

    fresh = ModelStalenessDetector(
        model_name="momentum_v1", model_trained_date=datetime(2024, 10, 1), max_age_days=30,
        min_accuracy_threshold=0.52).check_staleness(datetime(2024, 10, 11, tzinfo=UTC))
    assert (fresh.staleness_level.value, fresh.is_stale, fresh.issues, fresh.retrain_urgency) == (
        "FRESH", False, (), "none")


def test_accuracy_degraded() -> None:
    detector = ModelStalenessDetector(model_name="m", model_trained_date=datetime.now(UTC))
    for k in range(120):
        detector.record_prediction(symbol="AAPL", prediction=2, probability=0.68, actual=2 if k % 4 == 0 else 0)
    played = play_alone("accuracy_degraded", staleness_detector=detector)
    assert played["report"].retrain_urgency in ("high", "critical")
    assert played.printed == "last_20: 25.0%\nlast_50: 24.0%\nlast_100: 25.0%\n"


def test_log_levels() -> None:
    tree = logging.getLogger("alphatrade")
    before = tree.level
    try:
        play_alone("log_levels")
        assert tree.level == logging.INFO
    finally:
        tree.setLevel(before)
