"""``alphatrade backtest`` as a person runs it: files, run, replay, repeatability, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trader.cli.main import main
from trader.core import events as ev
from trader.core.journal import check, read_events

RUN = ["backtest", "--strategy", "trend", "--symbols", "AAPL,MSFT", "--start", "2012-06-15", "--end", "2012-07-06"]
FILES = {"equity_curve.csv", "trades.csv", "backtest_report.json", "backtest_report.csv", "metrics_summary.txt"}


def alphatrade(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_it_writes_the_files_and_a_run_that_replays(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output, errors = alphatrade(capsys, *RUN, "--json")
    assert (code, errors) == (0, "")
    report = json.loads(output)
    assert {Path(path).name for path in report["results"]} >= FILES
    assert json.loads((home / "results" / "backtest_report.json").read_text())["total_trades"] == report["total_trades"]
    journal = home / "runs" / report["run_id"] / "journal.sqlite"
    assert check(journal) is None
    started = next(event for _, event in read_events(journal))
    assert isinstance(started, ev.SessionStarted)
    assert (started.mode, started.source) == ("backtest", "synthetic-intraday")
    from trader.replay import Player

    player = Player("latest", home)
    player.seek_fraction(1.0)
    assert player.frame().account.trades == report["total_trades"]


def test_twice_gives_the_same_bytes(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for name in ("one", "two"):
        assert alphatrade(capsys, *RUN, "--output", str(tmp_path / name))[0] == 0
        outputs.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert outputs[0] == outputs[1]
    assert outputs[0].keys() >= FILES


def test_real_daily_bars_are_marked_real(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output, _ = alphatrade(
        capsys, "backtest", "--strategy", "trend", "--timeframe", "1d", "--symbols", "AAPL,IBM",
        "--start", "2010-01-01", "--end", "2012-12-31", "--json")
    assert code == 0
    report = json.loads(output)
    assert report["data_source"] == "real"
    assert report["counts"]["slices"] > 700


@pytest.mark.parametrize(("flags", "said"), [
    (["--symbols", "NOSUCH"], "NOSUCH"),
    (["--start", "2031-01-01"], "2031"),
    (["--start", "2012-08-01", "--end", "2012-07-01"], "2012-0"),
    (["--start", "once"], "once"),
    (["--initial-capital", "0"], "--initial-capital"),
    (["--strategy", "clairvoyance"], "clairvoyance"),
    (["--strategy", "ml_momentum"], "alphatrade train"),
    (["--timeframe", "7Lightyears"], "7Lightyears"),
])
def test_wrong_input_is_named_and_leaves_nothing(
        home: Path, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, output, errors = alphatrade(capsys, "backtest", *flags)
    assert code == 2
    assert said in errors
    assert len(errors.strip().splitlines()) == 1
    assert output == ""
    assert not list(home.glob("runs/*"))
    assert not (home / "results").exists()
