"""The correlation circuit breaker: what it measures, when it rises, when it lets go."""

import numpy as np
import pytest

from trader.risk.correlation_breaker import BreakerState, CorrelationCircuitBreaker, measure

N = 5


def matrix(level: float) -> np.ndarray:
    return np.full((N, N), level) + (1 - level) * np.eye(N)


def returns(level: float, n: int = 400, seed: int = 0) -> np.ndarray:
    """A sample whose correlations are exactly ``level``."""
    raw = np.random.default_rng(seed).normal(size=(n, N))
    raw -= raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return white @ np.linalg.cholesky(matrix(level)).T * 0.01


def test_measures_are_those_of_the_correlation_matrix():
    reading = measure(returns(0.4), 0.32)
    assert reading.mean_correlation == pytest.approx(0.4)
    assert reading.rise == pytest.approx(0.25)
    assert reading.first_pc_share == pytest.approx((1 + 4 * 0.4) / 5)


@pytest.mark.parametrize(("level", "state", "multiplier"), [
    (0.30, "normal", 1.0), (0.36, "normal", 1.0), (0.38, "elevated", 0.5), (0.43, "crisis", 0.25),
    (0.97, "tripped", 0.0),
])
def test_states_follow_the_relative_rise(level, state, multiplier):
    breaker = CorrelationCircuitBreaker(baseline_correlation=matrix(0.30))
    triggered, alert = breaker.check(returns(level))
    assert alert.state.value == state
    assert triggered == (state != "normal")
    assert breaker.get_position_multiplier() == alert.position_multiplier == multiplier
    status = breaker.get_status()
    assert {"state", "is_triggered", "position_multiplier", "recommended_action"} <= set(status)
    assert status["state"] == state


def test_the_first_component_warns_on_its_own_but_not_where_it_is_usual():
    low = matrix(0.40)
    breaker = CorrelationCircuitBreaker(low, 5.0, 6.0, first_pc_threshold=0.55)
    assert breaker.check(returns(0.5))[1].state is BreakerState.ELEVATED
    usual = CorrelationCircuitBreaker(matrix(0.6), first_pc_threshold=0.55)
    assert usual.check(returns(0.6))[0] is False


def test_leaving_takes_more_than_dipping_below_the_threshold():
    breaker = CorrelationCircuitBreaker(matrix(0.40), first_pc_threshold=0.99)
    assert breaker.check(returns(0.51))[1].state is BreakerState.ELEVATED          # rise 27 %
    assert breaker.check(returns(0.49))[1].state is BreakerState.ELEVATED          # 22 %: above 0.8 × 25 %
    assert breaker.check(returns(0.47))[1].state is BreakerState.NORMAL            # 17 %


def test_persistence_asks_for_readings_in_a_row():
    breaker = CorrelationCircuitBreaker(matrix(0.30), persistence=2)
    assert breaker.check(returns(0.6))[0] is False
    assert breaker.check(returns(0.3))[0] is False
    assert breaker.check(returns(0.6))[0] is False
    assert breaker.check(returns(0.6))[0] is True


def test_gaps_and_dead_columns_are_left_out_and_thin_windows_say_nothing():
    sample = returns(0.9)
    sample[:, 0] = 0.0
    sample[3, 1] = np.nan
    assert measure(sample).symbols == 3
    assert measure(sample[:5]) is None
    breaker = CorrelationCircuitBreaker(matrix(0.3))
    assert breaker.check(sample[:5]) == (False, breaker.alert())
    assert breaker.get_status()["mean_correlation"] is None


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="shape"):
        CorrelationCircuitBreaker(np.ones(3))
    with pytest.raises(ValueError, match="correlations, not covariances"):
        CorrelationCircuitBreaker(np.eye(3) * 4)
    with pytest.raises(ValueError, match="crisis_threshold"):
        CorrelationCircuitBreaker(matrix(0.3), 0.5, 0.4)
