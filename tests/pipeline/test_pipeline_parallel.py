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
from pathlib import Path

import msgspec
import numpy as np
import pytest
from test_pipeline_train import SMALL, PlainFeatures, panel

from trader.models.artifact import read_manifest
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


def die_once(folder: Path, item: int) -> int:
    """Item 2 kills its worker the first time; every beginning leaves a line."""
    with (folder / "begun").open("a") as file:
        file.write(f"{item}\n")
    time.sleep(0.3)
    if item == 2 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def die_always(shared: None, item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def complain(shared: None, item: int) -> None:
    raise UserError(f"item {item} is wrong", exit_code=7)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with workers on the loopback."""
    folder = tmp_path_factory.mktemp("dask")
    here = str(Path(__file__).parent)
    surroundings = os.environ | {
        "PYTHONPATH": here, "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "2"}
    facts = folder / "scheduler.json"
    quiet = {"env": surroundings, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    common = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(facts)]
    scheduler, worker = ["scheduler", "--port", "0", *common], ["worker", "--nthreads", "1", "--no-nanny", *common]
    commands = [scheduler, worker, worker, worker]          # one of the three is going to be killed
    started = [subprocess.Popen([sys.executable, "-m", "dask", *words], **quiet) for words in commands]
    try:
        from distributed import Client

        for _ in range(300):
            if facts.exists() and facts.stat().st_size:
                break
            time.sleep(0.1)
        with Client(scheduler_file=str(facts), set_as_default=False) as client:
            client.wait_for_workers(3, timeout=30)
            address = client.scheduler.address
        yield address
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait(20)


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
    assert workers.run(die_once, tmp_path, list(range(6))) == [0, 1, 4, 9, 16, 25]
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


def test_search_and_training_do_not_depend_on_who_works(workers, tmp_path):
    bars = panel(n_bars=600, signal=0.6)
    samples = build_samples(bars, PlainFeatures().transform(bars), QUICK, 10)
    alone = search_settings(samples, bars, QUICK, 3, TRIALS)
    shared = search_settings(samples, bars, QUICK, 3, TRIALS, workers)
    assert [t.facts() for t in shared.tried] == [t.facts() for t in alone.tried]
    assert shared.settings == alone.settings
    assert shared.trials == alone.trials
    assert np.array_equal(shared.folds.probability, alone.folds.probability)

    more = {"features": PlainFeatures(), "search": 2}
    first = train_model(bars, QUICK, tmp_path / "a", **more)
    second = train_model(bars, QUICK, tmp_path / "b", workers=workers, **more)
    for path in sorted(p for p in first.rglob("*") if p.is_file()):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()
    assert read_manifest(second)["scores"]["n_trials"] == 2


def test_folds_and_symbols_do_not_depend_on_who_works(workers, tmp_path):
    bars = panel(n_bars=600)
    assert calibrate_barriers(bars, workers=workers) == calibrate_barriers(bars)
    first = train_model(bars, QUICK, tmp_path / "a", features=PlainFeatures())
    second = train_model(bars, QUICK, tmp_path / "b", features=PlainFeatures(), workers=workers)
    assert (first / "manifest.json").read_bytes() == (second / "manifest.json").read_bytes()


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
import sys, test_pipeline_parallel as own
from trader.pipeline.parallel import open_workers
with open_workers(2) as workers:
    workers.run(own.tell_and_sleep, sys.argv[1], [0, 1])
"""


def tell_and_sleep(folder: str, item: int) -> None:
    Path(folder, f"{os.getpid()}.pid").touch()
    time.sleep(60)


def test_workers_end_with_the_process_that_they_work_for(tmp_path):
    surroundings = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS, str(tmp_path)], env=surroundings)
    while len(list(tmp_path.glob("*.pid"))) < 2:
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    for _ in range(100):
        if not any(process_start(pid) for pid in pids):
            break
        time.sleep(0.1)
    assert not any(process_start(pid) for pid in pids)
    assert len(list(tmp_path.glob(".alphatrade-shared.*"))) == 1
    with pytest.MonkeyPatch.context() as patch, open_workers(2) as workers:
        patch.setattr("tempfile.tempdir", str(tmp_path))
        assert workers.run(add, np.arange(3.0), [1]) == [4.0]
    assert not list(tmp_path.glob(".alphatrade-shared.*"))      # what the killed one left is gone too
