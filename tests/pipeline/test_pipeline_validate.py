"""Thresholds, the live gate with its paper days, and the examination before training."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path

import msgspec
import numpy as np
import pytest

from trader.config import load_settings
from trader.core.clock import DAY_NS, MINUTE_NS
from trader.core.panel import REAL, SYNTHETIC_INTRADAY, BarPanel
from trader.core.sessions import sessions_between
from trader.data.catalog import parse_range
from trader.features.feature import feature
from trader.features.feature_set import FeatureSet
from trader.models.validation import PurgedKFold
from trader.pipeline.feature_validation import leaks, validate_features
from trader.pipeline.readiness import FIRST_LIVE_DAYS, PAPER_DAYS, live_refusals, traded_days
from trader.pipeline.stationarity import (
    CONSTANT,
    LONG_MEMORY,
    STATIONARY,
    TOO_FEW,
    UNDECIDED,
    UNIT_ROOT,
    examine,
    judge_features,
)
from trader.pipeline.terms import Terms, differences, terms_of
from trader.pipeline.training_samples import Samples
from trader.pipeline.training_settings import EventSettings, LabelSettings, TrainingSettings, ValidationSettings
from trader.pipeline.verdict import Validation, failures, figures_of, read_validation, remarks, write_validation
from trader.session.live_gate import FIRST_LIVE_SIZE, OVERRIDE, require_gate, size_factor
from trader.utils.errors import UserError

GOOD = {"sharpe_ratio": 1.6, "max_drawdown": 0.08, "win_rate": 0.55, "profit_factor": 1.8, "total_trades": 300}
NOW = parse_range("2025-06-30", None)[0]
assert NOW is not None
TERMS = Terms(
    strategy="ml_momentum", parameters="0" * 16, features="0" * 16, risk="0" * 16, barriers="0" * 16,
    timeframe="15Min", model="ml_momentum-1", symbols=("AAPL", "MSFT"),
)
RECORD = Validation(
    passed=True, failed=(), remarks=(), figures=figures_of(GOOD), data_source=REAL, in_sample=False,
    terms=TERMS, run_id="backtest-20250601-000000-abcd", report_sha256="0" * 64, settings_hash="0" * 16,
)


def sessions(count: int, start: str = "2025-06-02") -> list[tuple[date, int, int]]:
    first = parse_range(start, None)[0]
    assert first is not None
    return sessions_between(first, first + 60 * DAY_NS)[:count]


def run(home: Path, mode: str, start_ns: int, end_ns: int | None) -> Path:
    """A run as sessions leave it."""
    folder = home / "runs" / f"{mode}-{start_ns}"
    folder.mkdir(parents=True)
    ended = {} if end_ns is None else {"ended_ns": end_ns}
    (folder / "run.json").write_text(json.dumps({"mode": mode, "started_ns": start_ns, **ended}))
    return folder


def trade(home: Path, mode: str, count: int) -> None:
    for _, opens, closes in sessions(count):
        run(home, mode, opens - MINUTE_NS, closes + MINUTE_NS)


# -- thresholds ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("key", "just_missed", "just_passed"), [
    ("sharpe_ratio", 1.0, 1.0001), ("max_drawdown", 0.20, 0.1999), ("win_rate", 0.48, 0.4801),
    ("profit_factor", 1.2, 1.2001),
])
def test_the_guides_bounds_are_strict(key, just_missed, just_passed):
    assert failures(GOOD) == ()
    assert failures({**GOOD, key: just_passed}) == ()
    missed = failures({**GOOD, key: just_missed})
    assert len(missed) == 1
    assert missed[0].startswith(key.replace("_ratio", "").replace("_", " ").replace("sharpe", "Sharpe ratio"))
    assert any("short of the ideal" in text for text in remarks({**GOOD, key: just_passed}))


def test_a_figure_without_a_value_does_not_pass():
    assert failures({**GOOD, "win_rate": None}) == ("win rate not defined, must be > 48.0%",)
    assert len(failures({})) == 4


def test_a_profit_factor_without_any_loss_passes():
    report = {**GOOD, "profit_factor": None}
    assert failures({**report, "winning_trades": 5, "losing_trades": 0}) == ()
    assert len(failures({**report, "winning_trades": 0, "losing_trades": 0})) == 1


def test_remarks_name_a_sharpe_that_may_be_luck():
    assert any("reaches down to -0.40" in text for text in remarks({**GOOD, "sharpe_ci_low": -0.4}))


def test_the_record_survives_the_disk(home):
    assert read_validation(home) is None
    write_validation(home, RECORD)
    assert read_validation(home) == RECORD


# -- paper days ---------------------------------------------------------------------------------------------

def test_a_day_counts_when_half_its_session_was_covered(home):
    (monday, opens, closes), (_, next_opens, next_closes) = sessions(2)
    middle = (opens + closes) // 2
    run(home, "paper", opens - MINUTE_NS, middle - 30 * MINUTE_NS)
    assert traded_days(home, "paper", NOW) == []
    run(home, "paper", middle, middle + 30 * MINUTE_NS)         # a second run of the same day adds to the first
    assert traded_days(home, "paper", NOW) == [monday]
    run(home, "sim", next_opens, next_closes)
    assert traded_days(home, "paper", NOW) == [monday]


def test_one_run_over_a_weekend_counts_sessions_not_days(home):
    days = sessions(6)
    run(home, "paper", days[0][1], days[-1][2])
    assert traded_days(home, "paper", NOW) == [day for day, _, _ in days]


def test_a_killed_run_ended_when_its_journal_was_last_written(home):
    (day, opens, closes), = sessions(1)
    folder = run(home, "paper", opens, None)
    assert traded_days(home, "paper", NOW) == []                # no journal: nothing is known of it
    journal = folder / "journal.sqlite"
    journal.touch()
    os.utime(journal, ns=(closes, closes))
    assert traded_days(home, "paper", NOW) == [day]


def test_unreadable_runs_and_the_future_count_for_nothing(home):
    (_, opens, closes), = sessions(1)
    (run(home, "paper", opens, closes) / "run.json").write_text("{")
    run(home, "paper", opens + 1, closes)
    assert traded_days(home, "paper", opens + MINUTE_NS) == []


# -- the gate -----------------------------------------------------------------------------------------------

def test_the_gate_opens_after_a_real_validation_and_two_weeks_of_paper(home):
    write_validation(home, RECORD)
    trade(home, "paper", PAPER_DAYS - 1)
    with pytest.raises(UserError, match=f"run on {PAPER_DAYS - 1} of {PAPER_DAYS} trading days"):
        require_gate(home, TERMS, now_ns=NOW)
    day = sessions(PAPER_DAYS)[-1]
    run(home, "paper", day[1], day[2])
    assert require_gate(home, TERMS, now_ns=NOW) == ()
    assert require_gate(home, TERMS) == ()                             # as a session asks


@pytest.mark.parametrize(("record", "said"), [
    (None, "no backtest has been validated yet"),
    ({"passed": False, "failed": ("Sharpe ratio 0.30, must be > 1.00",)}, "Sharpe ratio 0.30, must be"),
    ({"data_source": SYNTHETIC_INTRADAY}, "ran on synthetic-intraday prices"),
    ({"in_sample": True}, "is in-sample"),
])
def test_the_gate_says_what_locks_it(home, record, said):
    trade(home, "paper", PAPER_DAYS)
    if record is not None:
        write_validation(home, msgspec.structs.replace(RECORD, **record))
    refusals = live_refusals(home, NOW, TERMS)
    assert len(refusals) == 1
    assert said in refusals[0]
    with pytest.raises(UserError, match="live trading is locked: ") as caught:
        require_gate(home, TERMS, now_ns=NOW)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"passed": true}'])
def test_a_record_that_cannot_be_read_locks(home, text):
    (home / "state").mkdir(parents=True)
    (home / "state" / "validation.json").write_text(text)
    with pytest.raises(UserError, match=r"validation\.json cannot be read.*--stage validate"):
        require_gate(home, TERMS, now_ns=NOW)


@pytest.mark.parametrize(("change", "said"), [
    ({"strategy": "trend"}, "strategy trend in place of ml_momentum"),
    ({"model": "ml_momentum-2"}, "model ml_momentum-2 in place of ml_momentum-1"),
    ({"model": None}, "model none in place of ml_momentum-1"),
    ({"timeframe": "1Day"}, "timeframe 1Day in place of 15Min"),
    ({"risk": "1" * 16}, "other risk limits"),
    ({"parameters": "1" * 16}, "other strategy parameters or code"),
    ({"symbols": ("AAPL", "TSLA")}, r"symbols that it did not trade \(TSLA\)"),
])
def test_what_was_not_validated_does_not_trade_live(home, change, said):
    write_validation(home, RECORD)
    trade(home, "paper", PAPER_DAYS)
    with pytest.raises(UserError, match=f"the last validation was of something else: live would trade {said}"):
        require_gate(home, msgspec.structs.replace(TERMS, **change), now_ns=NOW)


def test_fewer_symbols_than_validated_may_trade_live(home):
    write_validation(home, RECORD)
    trade(home, "paper", PAPER_DAYS)
    assert require_gate(home, msgspec.structs.replace(TERMS, symbols=("MSFT",)), now_ns=NOW) == ()


def test_terms_know_settings_by_what_they_say(home, tmp_path):
    config = home / "config"
    config.mkdir(parents=True)
    risk, settings = config / "risk_params.yaml", config / "settings.yaml"
    settings.write_text("strategy: {name: trend}\n")

    def terms() -> Terms:
        return terms_of(load_settings(home), timeframe="15Min", symbols=("MSFT", "AAPL"))

    risk.write_text("intraday_loss_circuit_breaker: 0.01\n")
    first = terms()
    assert first.symbols == ("AAPL", "MSFT")
    assert first.model is None
    risk.write_text("# the guide's\nintraday_loss_circuit_breaker: 0.010\n")
    assert terms() == first
    risk.write_text("intraday_loss_circuit_breaker: 0.02\n")
    assert differences(first, terms()) == ("other risk limits",)
    risk.unlink()
    file = tmp_path / "mine.py"
    code = (
        "from trader.strategy.base_strategy import BaseStrategy\n"
        "class Mine(BaseStrategy):\n    def on_slice(self, context):\n        return []\n")
    file.write_text(code)
    settings.write_text(f"strategy: {{name: '{file}:Mine'}}\n")
    mine = terms()
    file.write_text(code + "# changed\n")
    assert differences(mine, terms()) == ("other strategy parameters or code",)


def test_the_override_is_by_name_and_tells_what_it_overrides(home):
    overridden = require_gate(home, TERMS, OVERRIDE, now_ns=NOW)
    assert len(overridden) == 2
    with pytest.raises(UserError, match=f"by the exact words {OVERRIDE}, not 'yes'"):
        require_gate(home, TERMS, "yes", now_ns=NOW)


def test_live_begins_with_a_quarter_of_the_size(home):
    assert size_factor(home, now_ns=NOW) == FIRST_LIVE_SIZE == 0.25
    trade(home, "live", FIRST_LIVE_DAYS)
    assert size_factor(home, now_ns=sessions(FIRST_LIVE_DAYS)[-1][1]) == 0.25
    assert size_factor(home, now_ns=NOW) == 1.0


# -- stationarity -------------------------------------------------------------------------------------------

def test_known_processes_get_their_names():
    rng = np.random.default_rng(3)
    noise = rng.standard_normal(4000)
    persistent = np.zeros(4000)
    for i in range(1, 4000):
        persistent[i] = 0.5 * persistent[i - 1] + noise[i]
    shifting = noise + np.repeat([0.0, 2.0, 0.0, 2.0], 1000)
    assert examine(noise)[0] == STATIONARY
    assert examine(persistent)[0] == STATIONARY
    assert examine(np.cumsum(noise))[0] == UNIT_ROOT
    assert examine(shifting)[0] == LONG_MEMORY                  # levels that shift look so to both tests
    assert examine(np.cumsum(noise), window=100)[0] == UNDECIDED    # 40 windows of 100 could look so by their overlap
    assert examine(np.full(4000, 7.0))[0] == CONSTANT
    assert examine(np.full(4000, np.nan))[0] == TOO_FEW


def test_most_symbols_decide_and_a_tie_is_mild():
    rng = np.random.default_rng(4)
    noise = rng.standard_normal((3000, 3))
    walk = np.cumsum(rng.standard_normal((3000, 1)), axis=0)
    values = np.stack((np.hstack((noise[:, :2], walk)), np.hstack((walk, 2.0 * walk, noise[:, :1]))), axis=2)
    first, second = judge_features(("mostly_noise", "mostly_walk"), ("A", "B", "C"), values)
    assert (first.verdict, second.verdict) == (STATIONARY, UNIT_ROOT)
    assert first.symbols["C"] == UNIT_ROOT
    assert judge_features(("x",), ("A", "B"), values[:, 1:, :1])[0].verdict == STATIONARY


# -- folds --------------------------------------------------------------------------------------------------

def samples(n: int = 600, holding: int = 8, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    t0 = np.sort(rng.integers(0, 2000, n))
    t1 = t0 + rng.integers(1, holding, n)
    none = np.zeros(n)
    return Samples(np.zeros((n, 1)), rng.integers(0, 3, n), t0, t1, none, np.arange(n), none + 1.0, none + 1.0, none)


@pytest.mark.parametrize("seed", range(3))
def test_purged_folds_do_not_leak_and_unpurged_ones_do(seed):
    some = samples(4000, seed=seed)
    for train, test in PurgedKFold(some.t0, some.t1, 4, 10).split():
        assert list(leaks(some, train, test, 10)) == []
        everything_else = np.setdiff1d(np.arange(len(some)), test)
        found = "; ".join(leaks(some, everything_else, test, 10))
        assert "overlap test labels" in found


def test_the_overlap_counted_is_that_of_brute_force():
    some = samples(300, seed=9)
    test = np.arange(100, 160)
    train = np.setdiff1d(np.arange(300), test)
    overlapping = sum(
        any(some.t0[i] < some.t1[j] and some.t0[j] < some.t1[i] for j in test) for i in train)
    near = int(((some.t0[train] > some.t0[test].max()) & (some.t0[train] <= some.t0[test].max() + 5)).sum())
    assert list(leaks(some, train, test, 5)) == [
        f"{overlapping} training labels overlap test labels", f"{near} training labels begin within the embargo"]
    assert next(iter(leaks(some, np.append(train, test[:2]), test, 0))) == "2 labels are on both sides"
    assert list(leaks(some, train[:0], test, 0)) == ["0 training and 60 test labels"]


# -- the whole examination ----------------------------------------------------------------------------------

SETTINGS = TrainingSettings(
    events=EventSettings(stride=2), validation=ValidationSettings(n_splits=3, embargo_bars=10),
    labels=LabelSettings(max_holding_periods=6, profit_taking=2.0, stop_loss=2.0))


def panel(n_bars: int = 1200, n_symbols: int = 2, seed: int = 0) -> BarPanel:
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(0.002 * rng.standard_normal((n_bars, n_symbols)), axis=0))
    opened = np.vstack((close[:1], close[:-1]))
    index = np.arange(n_bars)
    ts = 1_704_205_800 * 10**9 + index // 26 * DAY_NS + index % 26 * 15 * MINUTE_NS
    return BarPanel(
        ("AAA", "BBB")[:n_symbols], "15Min", ts, ts + 15 * MINUTE_NS, opened, np.maximum(opened, close),
        np.minimum(opened, close), close, 1e5 * np.exp(rng.standard_normal((n_bars, n_symbols))))


@feature(lookback=1)
def step(bars):
    return np.append(np.nan, np.diff(np.log(bars.close)))


@feature(lookback=0)
def level(bars):
    return bars.close.copy()


@feature(lookback=2)
def tomorrow(bars):
    return np.append(np.diff(np.log(bars.close)), np.nan)


def test_sound_features_pass_every_check():
    ticks = []
    report = validate_features(panel(), FeatureSet([step]), SETTINGS, tick=lambda *facts: ticks.append(facts))
    assert report["passed"], report["checks"]
    assert list(report["checks"]) == ["stationarity", "labels", "look-ahead", "train and test"]
    assert [done for _, done, _ in ticks] == [0, 1, 2, 3, 4, 5]
    assert sum(report["checks"]["labels"]["shares"].values()) == pytest.approx(1.0, abs=1e-3)
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize(("bad", "check", "said"), [
    (level, "stationarity", "level (unit root)"), (tomorrow, "look-ahead", "tomorrow"),
])
def test_a_planted_fault_fails_its_check_and_no_other(bad, check, said):
    report = validate_features(panel(), FeatureSet([step, bad]), SETTINGS)
    assert not report["passed"]
    assert [name for name, found in report["checks"].items() if not found["passed"]] == [check]
    assert said in report["checks"][check]["text"]


def test_labels_that_hardly_touch_fail():
    far = labels_with(profit_taking=9.0, stop_loss=3.0)
    report = validate_features(panel(), FeatureSet([step]), far)
    assert "profit below 5%" in report["checks"]["labels"]["text"]
    assert not report["checks"]["labels"]["passed"]


def labels_with(**more) -> TrainingSettings:
    return msgspec.structs.replace(SETTINGS, labels=msgspec.structs.replace(SETTINGS.labels, **more))


def test_a_panel_too_short_is_one_clear_error():
    with pytest.raises(UserError, match="at least 300 labelled samples"):
        validate_features(panel().rows(0, 200), FeatureSet([step]), SETTINGS)
