"""``alphatrade pipeline`` and ``alphatrade validate-features`` from the command line."""

from __future__ import annotations

import json
import operator
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trader.cli.main import main
from trader.pipeline import verdict

WORDS = ["--symbols", "AAPL,IBM", "--start", "2011-10-03", "--split", "2012-02-15", "--end", "2012-02-24"]
SMALL = ("model: {members: [lightgbm], iterations: 5, depth: 2}\n"
         "validation: {n_splits: 2, embargo_bars: 10}\n"
         "events: {stride: 3}\n")


@pytest.fixture(scope="module")
def validated(tmp_path_factory) -> Path:
    """A home whose pipeline has come as far as its verdict."""
    home = tmp_path_factory.mktemp("cli_pipeline") / "home"
    (home / "config").mkdir(parents=True)
    (home / "config" / "training.yaml").write_text(SMALL)
    (home / "config" / "settings.yaml").write_text("mode: sim\n")
    main(["pipeline", "--home", str(home), "--stage", "validate", *WORDS])
    return home


@pytest.fixture
def copy(validated, tmp_path) -> Path:
    """The same home, to be changed."""
    return Path(shutil.copytree(validated, tmp_path / "copy"))


def run(capsys, *words, code=0):
    assert main([*map(str, words)]) == code
    return capsys.readouterr()


def test_a_verdict_has_an_exit_code_a_record_and_words(copy, capsys):
    record = json.loads((copy / "state" / "validation.json").read_text())
    code = 0 if record["passed"] else 1
    shown = run(capsys, "pipeline", "--home", copy, "--stage", "validate", code=code).out.splitlines()
    assert len(shown) == 7
    assert all("skipped, inputs and outputs unchanged since" in line for line in shown)
    assert "The live gate stays shut: the validated backtest ran on synthetic-intraday prices" in shown[-1]
    assert (record["data_source"], record["in_sample"]) == ("synthetic-intraday", False)
    assert record["run_id"] in {path.name for path in (copy / "runs").iterdir()}
    assert record["figures"].keys() == {"sharpe_ratio", "max_drawdown", "win_rate", "profit_factor"}


def test_a_verdict_that_passes_and_one_that_does_not(copy, capsys, monkeypatch):
    for bound, code, said in ((1e9, 0, "passed"), (-1e9, 1, "not passed: max drawdown")):
        rule = verdict.Threshold("max_drawdown", "max drawdown", operator.lt, "<", bound, bound, "{:.1%}")
        monkeypatch.setattr(verdict, "THRESHOLDS", (rule,))
        monkeypatch.setattr("trader.pipeline.stages.validate.THRESHOLDS", (rule,))
        told = json.loads(run(capsys, "pipeline", "--home", copy, "--stage", "validate", "--json", code=code).out)
        assert told["ok"] is (code == 0)
        assert told["stages"][-1]["reason"] == "its thresholds changed"
        assert told["stages"][-1]["text"].startswith(said)
        assert told["stages"][-1]["facts"]["live_gate"] == "shut"


def test_paper_says_what_is_missing_and_how_long_it_has_run(copy, capsys):
    shown = run(capsys, "pipeline", "--home", copy, "--stage", "paper", code=1).out.splitlines()[-1]
    assert shown.startswith("✗ paper")
    assert "run on 0 of 10 trading days; it needs ALPACA_API_KEY and ALPACA_SECRET_KEY" in shown
    told = json.loads(run(capsys, "pipeline", "--home", copy, "--stage", "paper", "--json", code=1).out)
    facts = told["stages"][-1]["facts"]
    assert facts["paper_days"] == 0
    assert any("synthetic-intraday" in line for line in facts["live_locked_by"])
    assert any("0 of 10 trading days" in line for line in facts["live_locked_by"])


def test_without_a_stage_it_shows_what_would_run(copy, capsys):
    shown = run(capsys, "pipeline", "--home", copy).out.splitlines()
    assert [line.split()[1] for line in shown] == [
        "data", "features", "labels", "train", "calibrate", "backtest", "validate", "paper"]
    assert shown[0].startswith("= data       fresh: inputs and outputs unchanged since ")
    assert shown[-1] == "~ paper      stale: looks at the present"
    assert json.loads(run(capsys, "pipeline", "--home", copy, "--json").out)[1]["status"] == "fresh"


def test_choices_are_remembered_until_they_are_forgotten(copy, capsys):
    told = json.loads(run(capsys, "pipeline", "--home", copy, "--json", "--end", "2012-02-23").out)
    assert (told[0]["status"], told[0]["reason"]) == ("stale", "its choice of bars changed")
    assert json.loads(run(capsys, "pipeline", "--home", copy, "--json").out)[0]["status"] == "fresh"
    forgotten = json.loads(run(capsys, "pipeline", "--home", copy, "--json", "--forget-choices").out)
    assert forgotten[0]["status"] == "stale"


def test_force_runs_data_again_and_nothing_after_it(copy, capsys):
    shown = run(capsys, "pipeline", "--home", copy, "--stage", "data", "--force").out
    assert "(forced); " in shown
    assert "training sees none from 2012-02-15 on" in shown
    told = json.loads(run(capsys, "pipeline", "--home", copy, "--stage", "labels", "--json").out)
    assert [stage["status"] for stage in told["stages"]] == ["fresh"] * 3


@pytest.mark.parametrize(("words", "said"), [
    (["--stage", "nonsense"], "invalid choice: 'nonsense'"),
    (["--force"], "--force needs --stage"),
    (["--stage", "data", "--split", "soon"], "--split 'soon' is not a date"),
    (["--stage", "data", "--symbols", ","], "--symbols names no symbol"),
    (["--stage", "data", "--symbols", "NOPE"], "NOPE"),
    (["--stage", "data", "--timeframe", "fortnight"], "is not a bar size"),
    (["--stage", "data", "--initial-capital", "-5"], "--initial-capital -5.0 must be above 0"),
    (["--stage", "data", "--timeframe", "1d", "--split", "1999-01-01"], "leaves nothing on one side"),
    (["--stage", "data", "--config", "none.yaml"], "none.yaml"),
])
def test_mistakes_are_one_line_and_leave_no_state(capsys, home, words, said):
    shown = run(capsys, "pipeline", *words, code=2)
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert not (home / "state" / "pipeline.json").exists()


def test_a_home_that_cannot_be_written(capsys, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    shown = run(capsys, "pipeline", "--home", blocked / "home", "--stage", "data", *WORDS, code=2)
    assert "cannot write" in shown.err


def test_daily_bars_go_the_same_way(home, capsys):
    (home / "config").mkdir(parents=True)
    (home / "config" / "training.yaml").write_text(SMALL + "data: {timeframe: 1Day}\n")
    words = ["--symbols", "IBM,MSFT", "--start", "2009-01-02", "--end", "2012-12-31"]
    told = json.loads(run(capsys, "pipeline", "--stage", "labels", *words, "--json").out)
    facts = {stage["stage"]: stage["facts"] for stage in told["stages"]}
    assert facts["data"]["source"] == "real"
    assert facts["data"]["backtest_bars"] == pytest.approx(0.2 * facts["data"]["bars"], abs=2)
    assert facts["labels"]["samples"] > 300


def test_help_needs_no_heavy_imports():
    code = (
        "import sys\nfrom trader.cli.main import parse\n"
        "for name in ('pipeline', 'validate-features'):\n"
        "    try: parse([name, '--help'])\n"
        "    except SystemExit: pass\n"
        "sys.exit(bool({'pandas', 'numpy', 'pyarrow', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


# -- validate-features --------------------------------------------------------------------------------------

DAYS = ["--symbols", "AAPL,IBM", "--start", "2011-10-03", "--end", "2012-02-15"]


def test_features_of_the_sample_are_examined(copy, capsys):
    told = json.loads(run(capsys, "validate-features", "--home", copy, *DAYS, "--json", code=0).out)
    stored = json.loads((copy / "results" / "pre_training_validation.json").read_text())
    assert told.pop("report") == str(copy / "results" / "pre_training_validation.json")
    assert told == stored
    assert told["passed"]
    assert told["data"]["end"] < "2012-02-15"
    assert len(told["checks"]["stationarity"]["features"]) == told["features"]["count"]


def test_a_failed_check_is_a_table_with_a_cross_and_exit_code_1(copy, capsys):
    (copy / "config" / "settings.yaml").write_text("features:\n  extra: ['mine.py:level']\n")
    (copy / "mine.py").write_text(
        "from trader.features.feature import feature\n\n"
        "@feature(lookback=0)\ndef level(bars):\n    return bars.close.copy()\n")
    shown = run(capsys, "validate-features", "--home", copy, *DAYS, code=1).out
    assert "level (unit root)" in shown
    assert [line.split()[0] for line in shown.splitlines()[-5:-1]] == ["✗", "✓", "✓", "✓"]


def test_a_feature_that_sees_the_future_is_named(copy, capsys):
    (copy / "config" / "settings.yaml").write_text("features:\n  extra: ['mine.py:tomorrow']\n")
    (copy / "mine.py").write_text(
        "import numpy as np\nfrom trader.features.feature import feature\n\n"
        "@feature(lookback=2)\ndef tomorrow(bars):\n    return np.append(bars.close[1:] / bars.close[:-1], np.nan)\n")
    shown = run(capsys, "validate-features", "--home", copy, *DAYS, code=2)
    assert "tomorrow" in shown.err
    assert "look-ahead" in shown.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_amid_an_import_waits_for_its_end(monkeypatch, capsys, tmp_path, number):
    """A library whose import is broken off may swallow that, and fail by what is missing."""
    (tmp_path / "heavy.py").write_text(f"import signal\nsignal.raise_signal({int(number)})\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    seen = []

    def importing(*_, **__):
        import heavy

        seen.append(heavy.whole)
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("in a library's words") from None

    monkeypatch.setattr("trader.pipeline.runner.run_stage", importing)
    monkeypatch.delitem(sys.modules, "heavy", raising=False)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    home = ["--home", str(tmp_path / "home")]
    assert main(["pipeline", *home, "--stage", "data", *WORDS]) == 128 + number
    assert seen == [True]
    assert capsys.readouterr().err == (
        "alphatrade: interrupted; what was done is kept: give the command again to go on\n")
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
