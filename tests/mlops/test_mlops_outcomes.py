"""The outcome log against counting anew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.mlops.levels import StalenessLevel, judge_age
from trader.mlops.outcomes import OutcomeLog


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.floats(0, 1)), max_size=60))
def test_windows_and_calibration_error_equal_counting(outcomes):
    log = OutcomeLog(windows=(5, 12, 30))
    assert log.calibration_error() is None
    for predicted, actual, probability in outcomes:
        assert log.add(predicted, actual, probability) == (predicted == actual)
    hits = [predicted == actual for predicted, actual, _ in outcomes]
    for window in log.accuracy_windows():
        size = int(window.window_name.removeprefix("last_"))
        assert window.accuracy == pytest.approx(np.mean(hits[-size:]))
        assert window.n == min(size, len(hits))
    kept = outcomes[-30:]
    if kept:
        p, right = np.array([o[2] for o in kept]), np.array(hits[-30:], dtype=float)
        bins = np.clip(np.ceil(p * 10) - 1, 0, 9)
        error = sum(abs((right - p)[bins == b].sum()) for b in range(10)) / len(kept)
        assert log.calibration_error() == pytest.approx(error, abs=1e-9)


def test_age_counts_from_the_last_bar_of_the_training_and_says_so():
    reason, = judge_age(14.0, 10.0)
    assert reason.level is StalenessLevel.STALE
    assert reason.reason == "the last bar it learned from is 14.0 days old; the limit is 10"
    assert judge_age(7.9, 10.0) == []
