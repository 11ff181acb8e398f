"""The stages as a chain: what runs, what is skipped and why, and what is left after a kill."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trader.cli.main import main
from trader.models.artifact import ModelArtifact, read_manifest
from trader.pipeline.leftovers import sweep
from trader.pipeline.runner import REPORTS, run_stage, survey
from trader.pipeline.runner import make_context as context_of
from trader.pipeline.stage_table import STAGES, chain
from trader.pipeline.stages.data import training_bars
from trader.pipeline.stages.features import stored_features
from trader.pipeline.state import STATE_FILE
from trader.pipeline.train import train_model
from trader.utils.errors import UserError
from trader.utils.session_file import SessionLock

WORDS = ["--symbols", "AAPL,IBM", "--start", "2011-10-03", "--split", "2012-02-15", "--end", "2012-03-02"]
SMALL = ("model: {members: [catboost, lightgbm], iterations: 8, depth: 3}\n"
         "validation: {n_splits: 2, embargo_bars: 10}\n"
         "events: {stride: 3}\n")
UP_TO_BACKTEST = [stage.name for stage in chain("backtest")]


def new_home(folder: Path) -> Path:
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "training.yaml").write_text(SMALL)
    (folder / "config" / "settings.yaml").write_text("mode: sim\n")
    return folder


def pipeline(home: Path, *words: str) -> list:
    """Reports of a run, from the library."""
    stage, force = words[0], "--force" in words
    return run_stage(context_of(home, None, {}), stage, force=force)


def statuses(reports) -> dict[str, str]:
    return {report.stage: report.status for report in reports}


def artefacts(home: Path) -> dict[str, bytes]:
    """Everything that must be equal, whenever and however often it was interrupted."""
    found = [path for part in ("data/pipeline", "models", "results") for path in (home / part).rglob("*")]
    return {path.relative_to(home).as_posix(): path.read_bytes() for path in sorted(found) if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A home in which the pipeline has run up to its backtest."""
    home = new_home(tmp_path_factory.mktemp("pipeline") / "home")
    assert main(["pipeline", "--home", str(home), "--stage", "backtest", *WORDS]) == 0
    return home


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """The same home, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_the_table_is_a_chain_without_circles():
    for name, stage in STAGES.items():
        order = [s.name for s in chain(name)]
        assert order[-1] == name
        assert set(stage.needs) <= set(order[:-1])
    assert [s.name for s in chain("paper")] == list(STAGES)


def test_what_is_fresh_is_skipped_and_says_why(copy):
    before = artefacts(copy)
    reports = pipeline(copy, "backtest")
    assert statuses(reports) == dict.fromkeys(UP_TO_BACKTEST, "fresh")
    assert all("inputs and outputs unchanged since 20" in report.reason for report in reports)
    assert artefacts(copy) == before


def test_each_stage_leaves_a_report(finished):
    for name in UP_TO_BACKTEST:
        report = json.loads((finished / REPORTS / f"{name}.json").read_text())
        assert report["status"] == "ran"
        assert report["ok"]
        assert report["inputs"].keys() > {"its code", *STAGES[name].needs}
        assert report["outputs"]
        assert report["text"]


def test_training_ends_where_the_backtest_begins(finished):
    state = json.loads((finished / STATE_FILE).read_text())["stages"]
    manifest = read_manifest(finished / "models" / state["calibrate"]["facts"]["model"])
    assert manifest["data"]["end"] < "2012-02-15"
    report = json.loads((finished / "results" / "backtest_report.json").read_text())
    assert report["start"] == "2012-02-15"
    assert not report["in_sample"]
    assert report["model"] == state["calibrate"]["facts"]["model"]
    first = (finished / "results" / "equity_curve.csv").read_text().splitlines()[1]
    assert first.startswith("2012-02-15")


def test_the_stages_give_the_model_of_a_training_in_one_piece(finished, tmp_path):
    context = context_of(finished, None, {})
    train = training_bars(context)
    directory = train_model(train, context.training, tmp_path)
    whole, staged = ModelArtifact.load(directory), ModelArtifact.load(finished / directory.relative_to(tmp_path))
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        assert path.read_bytes() == (staged.directory / path.relative_to(directory)).read_bytes(), path.name
    rows = stored_features(context).matrix[-40:].reshape(-1, len(whole.feature_names))
    np.testing.assert_array_equal(whole.predict(rows).calibrated, staged.predict(rows).calibrated)


def test_a_setting_runs_only_what_depends_on_it(copy):
    with (copy / "config" / "training.yaml").open("a") as file:
        file.write("calibration: {methods: [none, platt]}\n")
    reports = {report.stage: report for report in pipeline(copy, "calibrate")}
    assert statuses(reports.values()) == {
        **dict.fromkeys(("data", "features", "labels", "train"), "fresh"), "calibrate": "ran"}
    assert reports["calibrate"].reason == "its training settings changed"
    assert reports["calibrate"].facts["method"] in ("none", "platt")


def test_a_lost_output_is_made_again_the_same_and_nothing_after_it_runs(copy):
    before = artefacts(copy)
    (copy / "data" / "pipeline" / "labels.npz").unlink()
    reports = {report.stage: report for report in pipeline(copy, "backtest")}
    assert reports.pop("labels").reason == "data/pipeline/labels.npz is missing"
    assert set(statuses(reports.values()).values()) == {"fresh"}
    assert artefacts(copy) == before


def test_a_report_changed_by_hand_is_not_believed(copy):
    path = copy / "results" / "backtest_report.json"
    honest = path.read_bytes()
    path.write_text(json.dumps({**json.loads(honest), "sharpe_ratio": 9.0}))
    report = pipeline(copy, "backtest")[-1]
    assert (report.status, report.reason) == ("ran", "results/backtest_report.json was changed")
    assert path.read_bytes() == honest


def test_force_runs_the_named_stage_alone_and_gives_the_same(copy):
    before = artefacts(copy)
    reports = pipeline(copy, "train", "--force")
    assert statuses(reports) == {**dict.fromkeys(("data", "features", "labels"), "fresh"), "train": "ran"}
    assert reports[-1].reason == "forced"
    reports = pipeline(copy, "calibrate", "--force")
    assert statuses(reports)["train"] == "fresh"
    assert artefacts(copy) == before


def test_the_survey_says_what_would_run_and_runs_nothing(copy):
    (copy / "data" / "pipeline" / "features.json").write_text("{}")
    before = artefacts(copy)
    found = {report.stage: (report.status, report.reason) for report in survey(context_of(copy, None, {}))}
    assert found["data"][0] == "fresh"
    assert found["features"] == ("stale", "data/pipeline/features.json was changed")
    assert found["labels"] == ("stale", "features must run first")
    assert found["paper"][0] == "stale"
    assert artefacts(copy) == before


def test_a_state_that_cannot_be_read_counts_as_none(copy):
    (copy / STATE_FILE).write_text("{ half")
    first = survey(context_of(copy, None, {}))[0]
    assert (first.status, first.reason) == ("stale", "has not run yet")


def test_a_lost_report_is_written_again_without_running(copy):
    (copy / REPORTS / "train.json").unlink()
    assert pipeline(copy, "train")[-1].status == "fresh"
    assert json.loads((copy / REPORTS / "train.json").read_text())["facts"]["folds"] == 2


def test_a_failing_stage_says_so_in_its_report_and_leaves_the_others(copy):
    with (copy / "config" / "training.yaml").open("a") as file:
        file.write("labels: {profit_taking: 500, stop_loss: 500}\n")
    before = artefacts(copy)
    with pytest.raises(UserError, match="stage labels: all labels are of one class"):
        pipeline(copy, "backtest")
    report = json.loads((copy / REPORTS / "labels.json").read_text())
    assert report["status"] == "failed"
    assert "one class" in report["text"]
    assert {name for name, data in artefacts(copy).items() if data != before[name]} == {"results/pipeline/labels.json"}
    (copy / "config" / "training.yaml").write_text(SMALL)
    assert set(statuses(pipeline(copy, "backtest")).values()) == {"fresh"}
    assert artefacts(copy) == before


def test_errors_in_the_bars_keep_the_next_stages_from_running(copy, monkeypatch):
    class Broken:
        def as_dict(self):
            return {"check": "ohlc", "severity": "error", "count": 1, "advice": "mend them"}

    monkeypatch.setattr("trader.pipeline.stages.data.check_bars", lambda bars, timeframe: [Broken()])
    context = context_of(copy, None, {"end": "2012-02-29"})
    reports = run_stage(context, "labels")
    assert [(report.stage, report.ok) for report in reports] == [("data", False)]
    assert "AAPL ohlc, mend them" in reports[0].text


def test_a_journal_that_the_disk_refuses_is_one_line_and_leaves_no_run(copy, monkeypatch):
    def full(*args, **kwargs):
        try:
            raise sqlite3.OperationalError("database or disk is full")
        finally:
            raise sqlite3.IntegrityError("closing it says less")

    monkeypatch.setattr("trader.backtest.engine.BacktestEngine.run", full)
    before = {path.name for path in (copy / "runs").iterdir()}
    with pytest.raises(UserError, match=r"stage backtest: cannot write .*journal\.sqlite: database or disk is full"):
        run_stage(context_of(copy, None, {"initial_capital": 5e4}), "backtest")
    assert {path.name for path in (copy / "runs").iterdir()} == before


def test_two_pipelines_do_not_share_a_home(copy):
    with SessionLock(copy, "pipeline"), pytest.raises(UserError, match="another pipeline runs") as caught:
        pipeline(copy, "data")
    assert caught.value.exit_code == 3
    assert pipeline(copy, "data")[-1].status == "fresh"


def test_what_the_dead_left_goes_and_what_the_living_write_stays(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    gone, kept = int(dead.stdout), os.getpid()
    for pid in (gone, kept):
        (tmp_path / f".report.json.{pid}.0a1b2c3d.tmp").touch()
        (tmp_path / f".ml_momentum-0123456789ab.{pid}.new" / "model").mkdir(parents=True)
    (tmp_path / ".keep").touch()
    sweep([tmp_path, tmp_path / "not there"])
    assert {path.name for path in tmp_path.iterdir()} == {
        ".keep", f".report.json.{kept}.0a1b2c3d.tmp", f".ml_momentum-0123456789ab.{kept}.new"}
