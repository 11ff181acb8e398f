"""Workers: the same answers from this process, other processes and a real Dask cluster, whoever dies on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
from test_pipeline_stages import WORDS, artefacts, new_home
from test_pipeline_train import SMALL, PlainFeatures, panel

from trader.cli.main import main
from trader.pipeline.barriers import calibrate_barriers
from trader.pipeline.parallel import SERIAL, Workers, open_workers
from trader.pipeline.search import search_settings
from trader.pipeline.train import train_model
from trader.pipeline.training_samples import build_samples
from trader.pipeline.training_settings import ModelSettings, ValidationSettings
from trader.utils.errors import UserError
from trader.utils.session_file import process_start

TRIALS = 5
QUICK = msgspec.structs.replace(
    SMALL, model=ModelSettings(members=("lightgbm",), iterations=8, learning_rate=0.15, depth=3),
    validation=ValidationSettings(n_splits=2, embargo_bars=10))


def add(shared: np.ndarray, item: int) -> float:
    return float(shared.sum()) + item


DONE_HERE: list[int] = []


def die_once(folder: Path, item: int) -> int:
    """Item 2 kills its worker the first time, once all that it did before has arrived; beginnings leave lines."""
    with (folder / "begun").open("a") as file:
        file.write(f"{item}\n")
    time.sleep(0.3)
    if item == 2 and not (folder / "died").exists():
        (folder / "died").touch()
        while not all((folder / f"heard{done}").exists() for done in DONE_HERE):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
    DONE_HERE.append(item)
    return item * item


def die_always(shared: None, item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def never_done(shared: object, item: object) -> None:
    Path("begun").touch()               # in its worker's folder
    time.sleep(600)


def complain(shared: None, item: int) -> None:
    raise UserError(f"item {item} is wrong", exit_code=7)


@contextmanager
def running_cluster(folder: Path, n_workers: int) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """The address of a scheduler on the loopback, and its process followed by those of its workers."""
    here = str(Path(__file__).parent)
    surroundings = os.environ | {
        "PYTHONPATH": here, "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "2"}
    facts = folder / "scheduler.json"
    quiet = {"env": surroundings, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    common = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(facts)]
    scheduler, worker = ["scheduler", "--port", "0", *common], ["worker", "--nthreads", "1", "--no-nanny", *common]
    commands = [scheduler, *[worker] * n_workers]
    started = [subprocess.Popen([sys.executable, "-m", "dask", *words], **quiet) for words in commands]
    try:
        from distributed import Client

        for _ in range(1_200):
            if facts.exists() and facts.stat().st_size:
                break
            time.sleep(0.1)
        with Client(scheduler_file=str(facts), set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=120)
            address = client.scheduler.address
        yield address, started
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait(60)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with workers, one of which is going to be killed."""
    with running_cluster(tmp_path_factory.mktemp("dask"), 3) as (address, _):
        yield address


@pytest.fixture(scope="module", params=["processes", "cluster"])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    address = request.getfixturevalue("cluster") if request.param == "cluster" else None
    with open_workers(2, address) as opened:
        yield opened


def test_results_come_in_the_order_of_the_items(workers):
    heard: dict[int, float] = {}
    shared, items = np.arange(50_000.0), list(range(7))

    def done(number: int, result: float) -> None:
        assert threading.current_thread() is threading.main_thread()
        heard[number] = result

    found = workers.run(add, shared, items, done)
    assert found == SERIAL.run(add, shared, items)
    assert heard == dict(enumerate(found))
    assert workers.count >= 2


def test_a_killed_worker_costs_only_its_task(workers, tmp_path):
    assert workers.run(
        die_once, tmp_path, list(range(6)), lambda number, _: (tmp_path / f"heard{number}").touch(),
    ) == [0, 1, 4, 9, 16, 25]
    begun = Counter((tmp_path / "begun").read_text().split())
    assert begun["2"] == 2
    assert sum(begun.values()) == 7


def test_a_task_that_always_kills_is_given_up():
    with open_workers(2) as workers, pytest.raises(UserError, match="killed its worker 3 times"):
        workers.run(die_always, None, [1])


def test_errors_of_a_task_arrive_as_they_are(workers):
    with pytest.raises(UserError, match="item 3 is wrong") as caught:
        workers.run(complain, None, [3])
    assert caught.value.exit_code == 7


def test_a_search_does_not_depend_on_who_works(workers):
    bars = panel(n_bars=600, signal=0.6)
    samples = build_samples(bars, PlainFeatures().transform(bars), QUICK, 10)
    alone = search_settings(samples, bars, QUICK, 3, TRIALS)
    shared = search_settings(samples, bars, QUICK, 3, TRIALS, workers)
    assert [t.facts() for t in shared.tried] == [t.facts() for t in alone.tried]
    assert shared.settings == alone.settings
    assert shared.trials == alone.trials
    assert np.array_equal(shared.folds.probability, alone.folds.probability)


def test_folds_and_symbols_do_not_depend_on_who_works(workers, tmp_path):
    bars = panel(n_bars=600)
    assert calibrate_barriers(bars, workers=workers) == calibrate_barriers(bars)
    first = train_model(bars, QUICK, tmp_path / "a", features=PlainFeatures())
    second = train_model(bars, QUICK, tmp_path / "b", features=PlainFeatures(), workers=workers)
    assert (first / "manifest.json").read_bytes() == (second / "manifest.json").read_bytes()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which one worker has run the pipeline up to its model, with a search."""
    return run_pipeline(tmp_path_factory.mktemp("alone"))


def run_pipeline(folder: Path, *more: str) -> Path:
    home = new_home(folder / "home")
    assert main(["pipeline", "--home", str(home), "--stage", "calibrate", "--search", "2", *WORDS, *more]) == 0
    return home


@pytest.mark.parametrize("who", ["processes", "cluster"])
def test_a_pipeline_does_not_depend_on_who_works(alone, who, request, tmp_path, capsys):
    """Every file of models, results and what stages leave each other is the same to the byte."""
    more = ["--workers", "2"] if who == "processes" else ["--scheduler", request.getfixturevalue("cluster")]
    shared = run_pipeline(tmp_path, *more)
    assert artefacts(shared) == artefacts(alone)
    assert len(artefacts(alone)) > 15
    told = capsys.readouterr().out
    assert main(["pipeline", "--home", str(shared), "--stage", "calibrate"]) == 0
    assert capsys.readouterr().out.count("skipped, inputs and outputs unchanged") == 5, told


@pytest.mark.parametrize(("dies", "what"), [
    ("scheduler", "its scheduler was lost"), ("workers", "all its workers died")])
def test_a_cluster_that_goes_away_is_one_line_and_nothing_is_half_written(tmp_path, monkeypatch, capfd, dies, what):
    home = new_home(tmp_path / "home")
    words = ["pipeline", "--home", str(home), *WORDS, "--stage"]
    assert main([*words, "labels"]) == 0
    monkeypatch.setattr("trader.pipeline.training_folds.predict_fold", never_done)
    with running_cluster(tmp_path, 2) as (address, processes):
        victims = processes[:1] if dies == "scheduler" else processes[1:]

        def kill_at_work() -> None:
            while not (tmp_path / "begun").exists():
                time.sleep(0.05)
            for process in victims:
                process.kill()

        threading.Thread(target=kill_at_work, daemon=True).start()
        capfd.readouterr()
        assert main([*words, "train", "--scheduler", address]) == 2
        said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert f"the cluster at {address} is gone ({what}); start it again" in said
    assert not list((home / "data" / "pipeline").glob("f*s.npz"))[1:]       # features, no folds
    monkeypatch.undo()
    assert main([*words, "train"]) == 0


def test_what_is_missing_is_said(monkeypatch):
    with pytest.raises(UserError, match="--workers must be at least 1"), open_workers(0):
        pass
    monkeypatch.setattr("trader.pipeline.parallel._PATIENCE", "1s")
    with pytest.raises(UserError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9 .*dask scheduler"), \
            open_workers(1, "tcp://127.0.0.1:9"):
        pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"pip install 'alphatrade\[cluster\]'"), open_workers(1, "tcp://127.0.0.1:9"):
        pass


ORPHANS = """
import os, sys, time
from pathlib import Path
from trader.pipeline.parallel import open_workers
def tell_and_sleep(folder, item):
    Path(folder, f"{os.getpid()}.pid").touch()
    time.sleep(60)
if __name__ == "__main__":
    with open_workers(2) as workers:
        workers.run(tell_and_sleep, sys.argv[1], [0, 1])
"""


def test_workers_end_with_the_process_that_they_work_for(tmp_path, monkeypatch):
    (tmp_path / "orphans.py").write_text(ORPHANS)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "orphans.py"), str(tmp_path)], env=os.environ | {"TMPDIR": str(tmp_path)})
    while len(list(tmp_path.glob("*.pid"))) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    for _ in range(600):
        if not any(process_start(pid) for pid in pids):
            break
        time.sleep(0.1)
    assert not any(process_start(pid) for pid in pids)
    assert len(list(tmp_path.glob(".alphatrade-shared.*"))) == 1
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_workers(2) as workers:
        workers.run(add, None, [])
    assert not list(tmp_path.glob(".alphatrade-shared.*"))      # what the killed one left is gone too
