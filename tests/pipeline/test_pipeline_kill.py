"""A pipeline killed by SIGKILL, at chosen places and at random moments, ends with the bytes of one left in peace."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_pipeline_stages import WORDS, artefacts, new_home

from trader.pipeline.runner import make_context, survey
from trader.pipeline.stage_table import chain
from trader.pipeline.state import STATE_FILE

MOMENTS = int(os.environ.get("ALPHATRADE_KILLS", "3"))
DONE = [stage.name for stage in chain("validate")]
SEARCH = ["--search", "2"]

# Each dies at its own place: the words say in which module what is wrapped, and at which call the process dies. The
# usual suite visits every other one; ALPHATRADE_KILLS=20 all of them, and more moments.
PLACES = {
    "before the first write": ("trader.pipeline.tables", "atomic_write_bytes", 1),
    "between a file and its name": ("trader.utils.atomic", "sync_directory", 2),
    "after a stage, before its report": ("trader.pipeline.runner", "_write", 3),
    "within a trial": ("trader.pipeline.search", "predict_fold", 3),
    "between two folds": ("trader.pipeline.training_folds", "predict_fold", 2),
    "within the final ensemble": ("trader.pipeline.stages.train", "fit_final", 1),
    "amid a model's files": ("trader.models.artifact", "_sync", 3),
    "before the model is the current one": ("trader.models.registry", "promote", 1),
    "amid the backtest": ("trader.backtest.report", "report_of", 1),
    "amid the result files": ("trader.backtest.report", "atomic_write_text", 2),
    "before the verdict": ("trader.pipeline.stages.validate", "write_validation", 1),
}
DYING = """
import importlib, os, sys
module, name, at = importlib.import_module(sys.argv[1]), sys.argv[2], int(sys.argv[3])
original, calls = getattr(module, name), 0
def dying(*args, **kwargs):
    global calls
    calls += 1
    if calls == at:
        os.kill(os.getpid(), 9)
    return original(*args, **kwargs)
setattr(module, name, dying)
from trader.cli.main import main
sys.exit(main(sys.argv[4:]))
"""


def words(home: Path) -> list[str]:
    return ["pipeline", "--home", str(home), "--stage", "validate", "--json", *SEARCH, *WORDS]


def run(home: Path) -> subprocess.Popen:
    """The command in a process of its own, as a person starts it; its exit code 1 is the gate's no."""
    command = [sys.executable, "-m", "trader.cli.main", *words(home)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))    # as a terminal gives it


@pytest.fixture(scope="module")
def peaceful(tmp_path_factory) -> dict[str, bytes]:
    """What an uninterrupted run leaves."""
    home = new_home(tmp_path_factory.mktemp("peaceful") / "home")
    process = run(home)
    said = process.communicate()
    assert process.returncode in (0, 1), said
    return artefacts(home)


def ends_the_same(home: Path, expected: dict[str, bytes]) -> None:
    process = run(home)
    said, errors = process.communicate()
    assert process.returncode in (0, 1), errors
    assert [stage["stage"] for stage in json.loads(said)["stages"]] == DONE
    found = artefacts(home)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    left = [path.name for folder in ("models", "results", "state", "data/pipeline", "results/pipeline")
            for path in (home / folder).glob(".*")]
    assert left == []
    assert len(list((home / "runs").iterdir())) == 1
    reports = survey(make_context(home, None, {}), DONE)
    assert {report.status for report in reports} == {"fresh"}


def test_killed_at_every_place_it_ends_the_same(peaceful, tmp_path):
    """One home that dies at place after place: each command goes on where the one before was killed."""
    home = new_home(tmp_path / "home")
    for place, what in list(PLACES.items())[:: 1 if MOMENTS >= 20 else 2]:
        died = subprocess.run(
            [sys.executable, "-c", DYING, *map(str, what), *words(home)], capture_output=True, text=True, check=False)
        assert died.returncode == -signal.SIGKILL, (place, died.stdout[-500:], died.stderr)
    stages = json.loads((home / STATE_FILE).read_text())["stages"]
    assert set(stages) == set(DONE[:-1])            # it died before the verdict, every time
    assert "of an interrupted run" in stages["train"]["note"]
    ends_the_same(home, peaceful)


def done_in(home: Path) -> int:
    """How many stages the state file tells of."""
    try:
        return len(json.loads((home / STATE_FILE).read_text())["stages"])
    except OSError:
        return 0


@pytest.mark.parametrize("seed", range(max(1, MOMENTS // 10)))
def test_killed_at_random_moments_it_ends_the_same(peaceful, tmp_path, seed):
    """After some stage, and a random while into the next; a busy machine moves the moment, not the outcome."""
    home, rng, killed = new_home(tmp_path / "home"), random.Random(seed), 0
    for moment in range(MOMENTS):
        process = run(home)
        while process.poll() is None and done_in(home) < moment % 6:
            time.sleep(0.005)
        try:
            process.wait(timeout=rng.uniform(0.0, 0.5))
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        process.communicate()
    assert killed
    ends_the_same(home, peaceful)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_answered_in_one_line_and_the_next_command_goes_on(peaceful, tmp_path, number):
    home = new_home(tmp_path / "home")
    process = run(home)
    while process.poll() is None and done_in(home) < 3:
        time.sleep(0.005)
    process.send_signal(number)
    said, errors = process.communicate(timeout=200)
    assert process.returncode == 128 + number
    assert (said, errors) == (
        "", "alphatrade: interrupted; what was done is kept: give the command again to go on\n")
    ends_the_same(home, peaceful)
