"""Freshness as a table: what is changed, which stages that makes stale, and the reason that is told."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trader.cli.main import main
from trader.core.clock import from_ns
from trader.core.sessions import bar_grid
from trader.data.catalog import parse_range
from trader.data.store import BarStore
from trader.pipeline import runner
from trader.pipeline.parallel import Processes
from trader.pipeline.runner import inputs_of, make_context, run_stage, survey, why_stale
from trader.pipeline.stage_table import STAGES, chain
from trader.pipeline.state import STATE_FILE, load_state

SETTINGS = ("model: {members: [lightgbm], iterations: 5, depth: 2}\n"
            "validation: {n_splits: 2, embargo_bars: 10}\n"
            "events: {stride: 2}\n"
            "importance: {mda: false}\n")
DONE = [stage.name for stage in chain("backtest")]
SYMBOLS = ("ONE", "TWO")


def write_bars(path: Path, moved: int | None = None) -> Path:
    """A walk of two symbols from October to March; one close moved by a cent where asked."""
    ts = bar_grid(*parse_range("2023-10-02", "2024-03-28"))
    rng, frames = np.random.default_rng(3), []
    for name in SYMBOLS:
        close = np.round(100 * np.exp(np.cumsum(0.002 * rng.standard_normal(len(ts)))), 2)
        opened = np.r_[close[:1], close[:-1]]
        if name == SYMBOLS[0] and moved is not None:
            close[moved] += 0.01
        high, low = np.maximum(opened, close) + 0.05, np.minimum(opened, close) - 0.05
        volume = rng.integers(1_000, 9_000, len(ts))
        frames.append(pd.DataFrame({
            "timestamp": [from_ns(int(t)).isoformat() for t in ts], "symbol": name, "open": opened, "high": high,
            "low": low, "close": close, "volume": volume}))
    pd.concat(frames).to_csv(path, index=False)
    return path


def bars_into(home: Path, moved: int | None = None) -> None:
    shutil.rmtree(BarStore(home).root, ignore_errors=True)      # what is stored is never overwritten
    assert main(["data", "import", "--home", str(home), str(write_bars(home.parent / "bars.csv", moved))]) == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A home with bars of its own in which the pipeline has run up to its backtest."""
    home = tmp_path_factory.mktemp("freshness") / "home"
    (home / "config").mkdir(parents=True)
    (home / "config" / "training.yaml").write_text(SETTINGS)
    (home / "config" / "settings.yaml").write_text("mode: sim\n")
    bars_into(home)
    assert main(["pipeline", "--home", str(home), "--stage", "backtest", "--split", "2024-02-15",
                 "--start", "2023-10-02", "--end", "2024-03-22"]) == 0
    return home


@pytest.fixture
def home(finished, tmp_path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "home"))


def stale(home: Path, **given) -> dict[str, str]:
    """Every stage up to the backtest that is stale by itself, with the reason; not those that only wait for others."""
    reports = survey(make_context(home, None, given), DONE)
    return {r.stage: r.reason for r in reports if r.status == "stale" and "must run first" not in r.reason}


def rewrite(name: str, old: str, new: str):
    def change(home: Path) -> None:
        path = home / "config" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
    return change


def add(name: str, text: str):
    def change(home: Path) -> None:
        with (home / "config" / name).open("a") as file:
            file.write(text)
    return change


def own_feature(home: Path) -> None:
    (home / "mine.py").write_text(
        "from trader.features.feature import feature\n\n"
        "@feature(lookback=1)\ndef up(bars):\n    return (bars.close > bars.open) * 1.0\n")
    add("settings.yaml", "features: {extra: ['mine.py:up']}\n")(home)


# What is changed, and the stages that are then stale of themselves. A session's settings, training.yaml among them,
# stand in the backtest's report by their hash: it always follows.
CHANGES = {
    "nothing": (lambda home: None, {}),
    "a bar before the split": (lambda home: bars_into(home, 40), {"data": "its stored bars changed"}),
    "a bar after the split": (lambda home: bars_into(home, -200), {"data": "its stored bars changed"}),
    "when samples are taken": (rewrite("training.yaml", "stride: 2", "stride: 3"), {
        "labels": "its events settings changed"}),
    "where barriers stand": (add("training.yaml", "labels: {profit_taking: 2.5}\n"), {
        "labels": "its labels settings changed"}),
    "weights": (add("training.yaml", "weights: {oldest: 0.5}\n"), {"labels": "its weights settings changed"}),
    "trees": (rewrite("training.yaml", "depth: 2", "depth: 3"), {"train": "its model settings changed"}),
    "ridge": (rewrite("training.yaml", "depth: 2", "depth: 2, l2: 5.0"), {"train": "its model settings changed"}),
    "folds": (rewrite("training.yaml", "embargo_bars: 10", "embargo_bars: 12"), {
        "train": "its validation settings changed"}),
    "seed": (add("training.yaml", "seed: 8\n"), {"train": "its seed changed"}),
    "seed where labels are drawn": (add("training.yaml", "weights: {sequential_bootstrap: true}\nseed: 8\n"), {
        "labels": "its weights settings changed, its seed changed"}),
    "calibration": (add("training.yaml", "calibration: {methods: [none]}\n"), {
        "calibrate": "its training settings changed"}),
    "what training does not look at": (add("training.yaml", "staleness: {max_age_days: 9}\n"), {
        "calibrate": "its training settings changed"}),
    "the session's settings": (add("settings.yaml", "log: {level: DEBUG}\n"), {"backtest": "its settings changed"}),
    "a feature of one's own": (own_feature, {"features": "its feature fingerprint changed"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_exactly_what_depends_on_a_change_is_stale(home, name):
    change, expected = CHANGES[name]
    change(home)
    assert stale(home) == expected


GIVEN = {
    "choices as they were": ({"end": "2024-03-22"}, {}),
    "another end": ({"end": "2024-03-21"}, {"data": "its choice of bars changed"}),
    "a search": ({"search": 3}, {"train": "its search changed"}),
    "a strategy": ({"strategy": "trend"}, {"backtest": "its strategy changed"}),
    "capital": ({"initial_capital": 5e4}, {"backtest": "its initial capital changed"}),
    "fewer symbols": ({"symbols": ("ONE",)}, {"data": "its choice of bars changed, its stored bars changed"}),
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_choice_makes_stale_what_it_decides(home, name):
    given, expected = GIVEN[name]
    assert stale(home, **given) == expected


def test_later_bars_do_not_train_again(home):
    """Bars from the split on are not what training sees: more of them run the backtest alone."""
    reports = {r.stage: r for r in run_stage(make_context(home, None, {"end": "2024-03-26"}), "backtest")}
    assert {name: r.status for name, r in reports.items()} == {
        **dict.fromkeys(DONE, "fresh"), "data": "ran", "backtest": "ran"}
    assert reports["backtest"].reason == "data gave another result"
    bars_into(home, 40)
    run_stage(make_context(home, None, {}), "data")
    assert stale(home) == {"features": "data gave another result"}


def test_who_works_decides_nothing(home):
    plain, shared = make_context(home, None, {}), make_context(home, None, {}, workers=Processes(3))
    assert [inputs_of(STAGES[n], plain) for n in DONE] == [inputs_of(STAGES[n], shared) for n in DONE]


@pytest.mark.parametrize("source", [
    "features/technical.py", "models/labels.py", "pipeline/stages/train.py", "risk/limits.py", "data/check.py"])
def test_code_makes_stale_what_it_computes(home, monkeypatch, source):
    """A stage whose table names the source file; the others stay as they are until its result differs."""
    package = Path(runner.__file__).parent.parent
    touched = {name for name, stage in STAGES.items() if any(package / source in package.glob(p) for p in stage.code)}
    plain = runner.code_hash
    monkeypatch.setattr(runner, "code_hash", lambda code: plain(code) + "x" * any(
        package / source in package.glob(pattern) for pattern in code))
    context = make_context(home, None, {})
    found = {n: why_stale(STAGES[n], inputs_of(STAGES[n], context), context) for n in DONE}
    assert {name for name, reason in found.items() if reason} == touched & set(DONE)
    assert all(reason in (None, "its code changed") for reason in found.values())


def test_every_output_is_watched(home):
    """Lost, shortened or edited by hand: the stage that made it runs again, and it alone."""
    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-1])

    def edit(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))

    stages = load_state(home).stages
    assert sum(len(stages[name].outputs) for name in DONE) > 15
    for owner in DONE:
        for output in stages[owner].outputs:
            path = home / output
            honest = path.read_bytes()
            for spoil, word in ((Path.unlink, "is missing"), (cut, "was changed"), (edit, "was changed")):
                spoil(path)
                assert stale(home) == {owner: f"{output} {word}"}
                path.write_bytes(honest)
    assert stale(home) == {}


def test_a_report_that_was_touched_is_told_again(home):
    for name in DONE:
        path = home / "results" / "pipeline" / f"{name}.json"
        honest = path.read_bytes()
        path.write_bytes(honest[:100])
        assert run_stage(make_context(home, None, {}), name)[-1].status == "fresh"
        assert path.read_bytes() == honest


@pytest.mark.parametrize("text", ["", "{ half", "[]", '{"format": 99}', '{"format": 1, "stages": {"data": 5}}'])
def test_a_state_that_cannot_be_read_counts_as_none(home, text):
    (home / STATE_FILE).write_text(text)
    assert stale(home) == {"data": "has not run yet"}
    assert json.loads(json.dumps(dataclasses.asdict(survey(make_context(home, None, {}))[0])))["status"] == "stale"
