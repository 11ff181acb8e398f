"""The guide's four agent tasks: one command each, as JSON for agents and as a table for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trader.cli import report_model
from trader.cli.main import main
from trader.core import events as ev
from trader.core.fold import Fold
from trader.core.journal import Journal, read_events
from trader.utils.run_dir import JOURNAL_FILE

TRAINING = """
data: {symbols: [AAPL, MSFT], timeframe: 1Day, start: 2005-01-03, end: 2010-01-01}
events: {stride: 2}
model: {members: [xgboost], iterations: 20, min_iterations: 5}
validation: {n_splits: 2, embargo_bars: 5}
"""
STUDY = ["--start", "2010-01-04", "--end", "2010-12-31", "--symbols", "AAPL,MSFT", "--timeframe", "1Day"]


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a small trained model and a backtest that used it."""
    home = tmp_path_factory.mktemp("worked")
    (home / "training.yaml").write_text(TRAINING, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHATRADE_HOME", str(home))
        assert main(["train", "--config", str(home / "training.yaml"), "--json"]) == 0
        assert main(["backtest", *STUDY, "--strategy", "ml_momentum", "--output", str(home / "results"), "--json"]) == 0
        yield home


def asked(capsys: pytest.CaptureFixture[str], home: Path, *words: str) -> dict[str, Any]:
    assert main([*words, "--home", str(home), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def shown(capsys: pytest.CaptureFixture[str], home: Path, *words: str) -> str:
    assert main([*words, "--home", str(home)]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], home: Path, *words: str) -> str:
    assert main([*words, "--home", str(home)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def journal_of(home: Path) -> Path:
    (run,) = (home / "runs").iterdir()
    return run / JOURNAL_FILE


def test_analyse_a_backtest(worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = asked(capsys, tmp_path, "backtest", *STUDY, "--strategy", "sma_cross", "--output", str(tmp_path / "out"))
    written = json.loads((tmp_path / "out" / "backtest_report.json").read_text(encoding="utf-8"))
    for name in ("sharpe_ratio", "max_drawdown", "win_rate", "profit_factor", "total_trades"):
        assert report[name] == written[name]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"equity_curve.csv", "trades.csv", "backtest_report.json", "backtest_report.csv",
                     "metrics_summary.txt"}
    header = (tmp_path / "out" / "backtest_report.csv").read_text(encoding="utf-8")
    assert all(name in header for name in ("sharpe_ratio", "max_drawdown", "win_rate", "profit_factor"))


def test_does_the_model_need_retraining(worked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = asked(capsys, worked, "report", "model")
    # a year after a training that may be 30 days old
    assert report["staleness_level"] == "CRITICAL"
    assert report["is_stale"]
    assert report["retrain_urgency"] == "critical"
    assert report["retrain_command"] == "alphatrade train"
    assert any("days old; the limit is 30" in issue for issue in report["issues"])
    assert report["age_days"] > 360

    told = [e for _, e in read_events(journal_of(worked)) if isinstance(e, ev.ModelHealth)]
    assert report["session_level"] == told[-1].level
    text = shown(capsys, worked, "report", "model")
    assert "CRITICAL, positions × 0, retraining: critical" in text
    assert "last_20" in text


def test_the_replay_counts_what_the_sessions_own_monitor_counted(worked: Path) -> None:
    events = [e for _, e in read_events(journal_of(worked))]
    fold = Fold()
    reader = report_model.Reader(fold)
    compared = 0
    for event in events:
        fold.apply(event)
        reader.take(event)
        if isinstance(event, ev.ModelHealth):
            counted = reader.report()["accuracy_windows"]
            assert [(w["window_name"], w["accuracy"], w["n"]) for w in counted] == [tuple(w) for w in event.windows]
            compared += len(counted)
    assert compared > 5


def test_execution_quality(worked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = asked(capsys, worked, "report", "execution")
    fills = [e for _, e in read_events(journal_of(worked)) if isinstance(e, ev.OrderFilled)]
    assert report["total_fills"] == len(fills) > 0
    assert report["avg_slippage"] == report["avg_slippage_bps"]
    assert report["fill_rate"] == report["avg_fill_rate"] == pytest.approx(1.0, abs=0.2)
    assert report["vwap_performance"] == report["pct_beat_vwap"]
    assert 0 <= report["vwap_performance"] <= 1
    assert sum(row["executions"] for row in report["by_symbol"]) == len(fills)
    assert sum(row["cost"] for row in report["by_symbol"]) == pytest.approx(report["total_slippage_cost"], abs=0.01)
    assert asked(capsys, worked, "report", "execution", "--hours", "24")["total_executions"] <= len(fills)
    text = shown(capsys, worked, "report", "execution")
    assert "avg slippage" in text
    assert "AAPL" in text


def test_risk_status(worked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = asked(capsys, worked, "report", "risk")
    assert {"state", "is_triggered", "position_multiplier", "recommended_action"} <= set(report)
    assert set(report["correlation"]) == {"state", "is_triggered", "position_multiplier", "recommended_action"}
    assert {b["breaker"] for b in report["breakers"]} >= {"intraday_loss", "drawdown", "correlation"}
    # the stale model blocks entries, and the report says so
    assert report["is_triggered"]
    assert report["position_multiplier"] == 0.0
    assert "model" in [cause["what"] for cause in report["causes"]]
    text = shown(capsys, worked, "report", "risk")
    assert "positions × 0" in text
    assert "intraday_loss" in text


START = {
    "ts": 1, "run_id": "r", "mode": "sim", "account": "a", "symbols": ("AAPL",), "timeframe": "15Min",
    "source": "real", "cash": 100_000, "strategy": "trend",
}


def written(home: Path, *events: ev.Event) -> None:
    journal = Journal(home / "runs" / "r" / JOURNAL_FILE, durable=False)
    for event in events:
        journal.append(event)  # type: ignore[arg-type]
    journal.close()


def test_risk_status_of_a_halted_session_in_a_crisis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = ev.SessionStarted(**{**START, "cash": Decimal(100_000)})
    crisis = ev.BreakerChanged(
        ts=2, breaker="correlation", state="crisis", multiplier=0.25, value=0.5, limit=0.4,
        action="reduce positions to a quarter", detail="alike")
    written(tmp_path, start, crisis)
    report = asked(capsys, tmp_path, "report", "risk")
    same = {"state": "crisis", "is_triggered": True, "position_multiplier": 0.25,
            "recommended_action": "reduce positions to a quarter"}
    assert report["correlation"] == same
    assert {name: report[name] for name in same} == same

    home = tmp_path / "halted"
    written(home, start, crisis, ev.HaltLatched(ts=3, source="key", reason="news"))
    report = asked(capsys, home, "report", "risk", "--run", "r")
    assert (report["state"], report["position_multiplier"], report["halted"]) == ("halted", 0.0, True)
    assert report["recommended_action"].startswith("mend the cause, then `alphatrade resume --mode sim`")
    assert report["correlation"] == same


@pytest.mark.parametrize("about", ["model", "execution", "risk"])
def test_without_a_run_the_error_says_how_to_make_one(
    about: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert "`alphatrade backtest` makes one" in refused(capsys, tmp_path, "report", about)
    assert "there is no run 'other'" in refused(capsys, tmp_path, "report", about, "--run", "other")


def test_mistakes_are_named(worked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--hours belongs to `alphatrade report execution`" in refused(
        capsys, worked, "report", "risk", "--hours", "3")
    assert "--hours 0 is not a number of hours above 0" in refused(
        capsys, worked, "report", "execution", "--hours", "0")
    written(tmp_path, ev.SessionStarted(**{**START, "cash": Decimal(1)}))
    assert "run r had no model (strategy trend)" in refused(capsys, tmp_path, "report", "model")
    gone = ev.ModelLoaded(ts=2, model_id="m-1", path=str(tmp_path / "gone"), trained_through=0, source="real")
    written(tmp_path / "b", ev.SessionStarted(**{**START, "cash": Decimal(1)}), gone)
    assert "the run's model m-1 cannot be judged without its directory" in refused(
        capsys, tmp_path / "b", "report", "model")
    written(tmp_path / "c")
    assert "holds no events" in refused(capsys, tmp_path / "c", "report", "risk")
    quiet = asked(capsys, tmp_path, "report", "execution")
    assert quiet["total_executions"] == 0
    assert quiet["vwap_performance"] is None
    assert quiet["recommendation"].startswith("nothing was executed")
