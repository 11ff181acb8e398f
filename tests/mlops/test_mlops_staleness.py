"""The staleness detector and the monitor: levels, reasons, and outcomes equal to the batch labels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.core.clock import DAY_NS, MINUTE_NS, VirtualClock, to_ns
from trader.core.panel import Slice
from trader.mlops.barrier_tracker import BarrierTracker
from trader.mlops.drift import DriftReference
from trader.mlops.levels import LevelHysteresis, StalenessLevel
from trader.mlops.monitoring import ModelMonitor
from trader.mlops.outcomes import OutcomeLog, wilson_interval
from trader.mlops.staleness import ModelStalenessDetector
from trader.models.labels import barrier_volatility, session_last_index, triple_barrier

TRAINED = datetime(2024, 10, 1)


def detector(**changes) -> ModelStalenessDetector:
    arguments = {"model_name": "momentum_v1", "model_trained_date": TRAINED, "max_age_days": 30,
                 "min_accuracy_threshold": 0.52}
    return ModelStalenessDetector(**arguments | changes)


@pytest.mark.parametrize(("days", "level", "urgency", "stale"), [
    (1, "FRESH", "none", False), (25, "AGING", "low", False), (31, "STALE", "high", True),
    (91, "CRITICAL", "critical", True),
])
def test_age(days, level, urgency, stale):
    report = detector().check_staleness(TRAINED + timedelta(days=days))
    assert (report.staleness_level.value, report.retrain_urgency, report.is_stale) == (level, urgency, stale)
    assert report.model_name == "momentum_v1"
    assert bool(report.issues) == (level != "FRESH")
    assert report.position_multiplier == {"FRESH": 1.0, "AGING": 0.75, "STALE": 0.5, "CRITICAL": 0.0}[level]


def test_the_clock_is_asked_when_no_time_is_given():
    clock = VirtualClock(to_ns(TRAINED.replace(tzinfo=UTC)) + 40 * DAY_NS)
    assert detector(clock=clock).check_staleness().staleness_level is StalenessLevel.STALE


@pytest.mark.parametrize(("hit_rate", "level"), [(0.6, "FRESH"), (0.42, "AGING"), (0.37, "STALE"), (0.2, "CRITICAL")])
def test_accuracy_counts_when_chance_does_not_explain_it(hit_rate, level):
    watched = detector()
    for i in range(200):
        actual = 2 if (i * 37) % 200 < hit_rate * 200 else 0
        watched.record_prediction("AAPL", prediction=2, probability=hit_rate, actual=actual)
        watched.record_prediction("AAPL", prediction=1, probability=0.5, actual=0)      # takes no position
    report = watched.check_staleness(TRAINED + timedelta(days=1))
    assert report.staleness_level.value == level
    windows = {w.window_name: w for w in watched.get_accuracy_windows()}
    assert list(windows) == ["last_20", "last_50", "last_100"]
    assert windows["last_100"].n == 100
    assert windows["last_100"].low < windows["last_100"].accuracy < windows["last_100"].high


def test_a_few_bad_outcomes_prove_nothing():
    watched = detector()
    for _ in range(10):
        watched.record_prediction("AAPL", 2, 0.6, 0)
    assert watched.check_staleness(TRAINED).staleness_level is StalenessLevel.FRESH
    assert watched.get_accuracy_windows()[0].n == 10


def test_overconfidence_is_an_issue_of_its_own():
    watched = detector(min_accuracy_threshold=0.4)
    for i in range(200):
        watched.record_prediction("AAPL", 2, 0.95, 2 if i % 5 < 3 else 0)
    report = watched.check_staleness(TRAINED)
    assert report.staleness_level is StalenessLevel.STALE
    assert report.calibration_error == pytest.approx(0.35)
    assert "calibration error" in report.issues[0]


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="max_age_days"):
        detector(max_age_days=0)
    with pytest.raises(ValueError, match="probability of AAPL"):
        detector().record_prediction("AAPL", 2, 1.2, 2)


def test_wilson_interval_textbook_value():
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_level_rises_at_once_and_falls_slowly():
    held = LevelHysteresis(hold=3)
    assert held.update(StalenessLevel.CRITICAL) is StalenessLevel.CRITICAL
    assert held.update(StalenessLevel.FRESH) is StalenessLevel.CRITICAL
    assert held.update(StalenessLevel.AGING) is StalenessLevel.CRITICAL
    assert held.update(StalenessLevel.FRESH) is StalenessLevel.AGING


def bars(close: np.ndarray, sessions: int, spread: float = 0.0) -> list[Slice]:
    """One symbol; ``sessions`` bars a day."""
    day0 = to_ns(datetime(2024, 3, 4, 15, tzinfo=UTC))
    out, previous = [], close[0]
    for i, price in enumerate(close):
        ts = day0 + (i // sessions) * DAY_NS + (i % sessions) * MINUTE_NS
        top, bottom = max(price, previous) * (1 + spread), min(price, previous) * (1 - spread)
        one = [np.array([v]) for v in (previous, top, bottom, price, 1.0)]
        out.append(Slice(i, ts, ts + MINUTE_NS, *one))
        previous = price
    return out


@settings(max_examples=120)
@given(
    steps=st.lists(st.integers(-30, 30), min_size=8, max_size=60), horizon=st.integers(1, 12),
    sessions=st.integers(2, 20), scaled=st.booleans(), within=st.booleans(), by_session=st.booleans(),
    start=st.integers(0, 7), sides=st.lists(st.sampled_from([-1.0, 1.0]), min_size=60, max_size=60),
)
def test_bar_by_bar_equals_the_batch_labels(steps, horizon, sessions, scaled, within, by_session, start, sides):
    close = 100.0 * np.cumprod(1.0 + np.array(steps) / 1000.0)
    slices = bars(close, sessions, 0.004)
    unit = barrier_volatility(close, 10) if scaled else np.ones(len(close))
    take, stop = (1.5, 1.0) if scaled else (0.02, 0.015)
    series = {n: np.array([getattr(s, n)[0] for s in slices]) for n in ("open", "high", "low")} if within else {}
    last = session_last_index(np.arange(len(close)) // sessions) if by_session else None
    expected = triple_barrier(
        close, np.arange(len(close)), profit_taking=take * unit, stop_loss=stop * unit, max_holding_periods=horizon,
        last_index=last, side=sides[:len(close)], **series,
    )
    tracker = BarrierTracker(1, {
        "profit_taking": take, "stop_loss": stop, "max_holding_periods": horizon, "volatility_scaled": scaled,
        "volatility_span": 10, "use_high_low": within, "close_at_session_end": by_session,
    })
    entered, entries, found = -1, [], {}
    for i, bar in enumerate(slices):
        decided = tracker.push(bar)[0]
        if decided >= 0:
            found[entered] = decided
        if i >= start and tracker.enter(np.array([True]), np.array([0.4 * sides[i]]))[0]:
            entered = i
            entries.append(i)
    for i, label in found.items():
        assert label == expected.label[i]
    if not by_session:      # where the last session ends is known only when the next one begins
        assert sorted(found) == [i for i in entries if expected.resolved[i]]


def test_a_short_bet_is_resolved_on_its_own_side():
    said = np.array([[0.1, 0.1, 0.8]])
    falling = 100.0 * np.cumprod(np.full(60, 0.98))
    for side, right in ((np.array([-0.7]), 1.0), (np.array([0.7]), 0.0), (None, 0.0)):
        monitor = ModelMonitor(manifest(), ("AAA",))
        for bar in bars(falling, 100):
            monitor.on_slice(bar, said, side=side)
        windows = monitor.status(bar.available_ns).windows
        assert windows
        assert all(accuracy == right for _, accuracy, _ in windows)


def manifest(**monitoring) -> dict:
    rng = np.random.default_rng(0)
    reference = DriftReference.fit(("a", "b"), rng.normal(size=(2000, 2)), window=200)
    return {
        "name": "m", "version": "1", "trained_through_ns": to_ns(datetime(2024, 3, 1, tzinfo=UTC)),
        "labels": {"profit_taking": 0.01, "stop_loss": 0.01, "max_holding_periods": 1},
        "monitoring": {
            "expected_accuracy": 0.5, "expected_calibration_error": 0.02, "max_age_days": 1000,
            "drift": reference.to_dict(), **monitoring,
        },
    }


def run(monitor: ModelMonitor, close: np.ndarray, said: np.ndarray, features=None, sessions: int = 100):
    return [
        monitor.on_slice(bar, said[i][None, :], None if features is None else features[i][None, :])
        for i, bar in enumerate(bars(close, sessions))
    ]


def test_monitor_stays_fresh_while_predictions_come_true():
    moves = np.random.default_rng(1).choice([-0.02, 0.02], 400)
    said = np.where(np.append(moves[1:], 0.02)[:, None] > 0, [[0.1, 0.1, 0.8]], [[0.8, 0.1, 0.1]])
    monitor = ModelMonitor(manifest(expected_calibration_error=0.2), ("AAPL",))
    reports = run(monitor, 100 * np.cumprod(1 + moves), said)
    status = monitor.status(to_ns(datetime(2024, 3, 5, tzinfo=UTC)))
    assert status.level == "FRESH"
    assert status.windows[-1] == ("last_250", 1.0, 250)
    assert status.estimated_accuracy == pytest.approx(0.8)
    assert status.multiplier == 1.0
    assert reports[0].level == "FRESH"
    assert sum(r is not None for r in reports) == 1 + 400 // 26


def test_monitor_turns_critical_when_they_do_not_and_says_why():
    moves = np.full(400, 0.02)
    said = np.tile([0.8, 0.1, 0.1], (400, 1))
    monitor = ModelMonitor(manifest(), ("AAPL",))
    reports = [r for r in run(monitor, 100 * np.cumprod(1 + moves), said) if r is not None]
    assert reports[-1].level == "CRITICAL"
    assert reports[-1].multiplier == 0.0
    assert any("accuracy 0.0%" in reason for reason in reports[-1].reasons)


def test_monitor_names_drifted_features():
    rng = np.random.default_rng(2)
    features = rng.normal(loc=(0.0, 2.0), size=(300, 2))
    monitor = ModelMonitor(manifest(), ("AAPL",))
    moves = rng.choice([-0.02, 0.02], 300)
    run(monitor, 100 * np.cumprod(1 + moves), np.tile([0.45, 0.1, 0.45], (300, 1)), features)
    status = monitor.status(to_ns(datetime(2024, 3, 5, tzinfo=UTC)))
    assert status.drifted == ("b",)
    assert StalenessLevel[status.level].rank >= StalenessLevel.STALE.rank


def test_monitor_age_counts_in_the_bars_time():
    monitor = ModelMonitor(manifest(max_age_days=30), ("AAPL",))
    assert monitor.status(to_ns(datetime(2024, 3, 2, tzinfo=UTC))).level == "FRESH"
    assert monitor.status(to_ns(datetime(2024, 4, 15, tzinfo=UTC))).level == "STALE"
    assert monitor.status(to_ns(datetime(2024, 3, 2, tzinfo=UTC))).level == "FRESH"


def test_monitor_copes_with_missing_bars_and_predictions():
    monitor = ModelMonitor(manifest(), ("AAPL", "IBM"))
    hole = np.array([np.nan, 100.0])
    bar = Slice(0, 0, MINUTE_NS, hole, hole, hole, hole, hole)
    monitor.on_slice(bar, None)
    monitor.on_slice(bar, np.array([[np.nan] * 3, [0.2, 0.2, 0.6]]))
    assert monitor._tracker.active.tolist() == [False, True]


def test_outcome_log_leaves_unfilled_windows_out():
    log = OutcomeLog()
    assert log.accuracy_windows() == ()
    assert log.calibration_error() is None
    for _ in range(60):
        log.add(2, 2, 0.9)
    assert [(w.window_name, w.n) for w in log.accuracy_windows()] == [("last_20", 20), ("last_50", 50)]
