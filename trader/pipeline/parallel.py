"""Who does the work of folds, symbols and trials: this process, processes of this machine, or a Dask cluster.

The same tasks give the same results everywhere: a task is a pure function of what is shared and of its item, runs
on one thread, and results are put back in the order of the items. A worker that dies costs the task it was at; that
task is done again.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, Protocol, TypeVar

from trader.pipeline.leftovers import sweep
from trader.utils.atomic import cannot_write
from trader.utils.errors import UserError

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

Task = Callable[[S, T], R]
_TRIES = 3
_SCRATCH = "alphatrade-shared"
_PATIENCE = "10s"
_DESERTED, _LOOK = 30.0, 2.0    # seconds that a cluster may be without workers, and between two looks at it
# Spinning threads beside a busy neighbour make the boosters several times slower; read when OpenMP first loads.
_QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Workers(Protocol):
    """Runs tasks; ``count`` of them at a time."""

    count: int

    def run(
        self, task: Task[S, T, R], shared: S, items: Sequence[T], done: Callable[[int, R], None] = ...
    ) -> list[R]:
        """``task(shared, item)`` for every item, in their order.

        Parameters
        ----------
        task : a function of a module, so that another process finds it
        shared : what all tasks need; it travels once
        done : called here, in this thread, with number and result as soon as a task is done, in any order

        Raises
        ------
        UserError
            a task that killed its worker several times in a row
        """
        ...


class Serial:
    """One task after the other, in this process."""

    count = 1

    def run(
        self, task: Task[S, T, R], shared: S, items: Sequence[T], done: Callable[[int, R], None] = lambda n, r: None
    ) -> list[R]:
        found = []
        for number, item in enumerate(items):
            found.append(_alone(task, shared, item))
            done(number, found[-1])
        return found


SERIAL = Serial()


class Processes:
    """Loky processes of this machine, each in a pool of its own: where one is killed the others keep working."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._live: set[Any] = set()
        self._stopped = False
        self._pools: SimpleQueue[Any] = SimpleQueue()
        for _ in range(count):
            self._pools.put(None)           # started when there is work

    def run(
        self, task: Task[S, T, R], shared: S, items: Sequence[T], done: Callable[[int, R], None] = lambda n, r: None
    ) -> list[R]:
        import joblib

        self._stopped = False
        with _scratch() as folder:
            path = folder / "shared.joblib"
            try:
                joblib.dump(shared, path)   # arrays in it are mapped, not copied, by every worker
            except OSError as error:
                raise cannot_write(path, error) from error
            with ThreadPoolExecutor(self.count) as threads:
                waiting = {threads.submit(self._one, task, path, item): n for n, item in enumerate(items)}
                try:
                    return _collected(waiting, done)
                except BaseException:
                    self._stop()            # nobody waits for the tasks that run: an interrupt is answered at once
                    raise

    def close(self) -> None:
        """End the processes."""
        self._stop()

    def _stop(self) -> None:
        self._stopped = True
        while self._live:
            self._live.pop().shutdown(wait=True, kill_workers=True)

    def _one(self, task: Task[Any, T, R], path: Path, item: T) -> R:
        from concurrent.futures.process import BrokenProcessPool

        from joblib.externals.loky import ProcessPoolExecutor

        pool = self._pools.get()
        try:
            for _ in range(_TRIES):
                if pool not in self._live:
                    pool = ProcessPoolExecutor(1, env=_QUIET, initializer=_die_with, initargs=(os.getpid(),))
                    self._live.add(pool)
                try:
                    result: R = pool.submit(_mapped, task, path, item).result()
                    return result
                except BrokenProcessPool:
                    self._live.discard(pool)
                    pool.shutdown(wait=False, kill_workers=True)
                    if self._stopped:
                        break
            raise _deadly()
        finally:
            self._pools.put(pool)


class Cluster:
    """A Dask cluster, through joblib's backend for it."""

    def __init__(self, client: Any, count: int, address: str) -> None:
        self._client, self.count, self._address = client, count, address
        self._deserted = False

    def run(
        self, task: Task[S, T, R], shared: S, items: Sequence[T], done: Callable[[int, R], None] = lambda n, r: None
    ) -> list[R]:
        from concurrent.futures import CancelledError

        from distributed.scheduler import KilledWorker
        from joblib import Parallel, delayed, parallel_config

        found: dict[int, R] = {}
        box = [shared]                      # a list, whose identity joblib recognises, scattered once to all workers
        try:
            with self._watched(), parallel_config(backend="dask", client=self._client, scatter=[box]):
                calls = (delayed(_numbered)(task, box, number, item) for number, item in enumerate(items))
                for number, result in Parallel(return_as="generator_unordered", batch_size=1)(calls):
                    found[number] = result
                    done(number, result)
        except KilledWorker:
            raise _deadly() from None
        except (CancelledError, OSError) as error:
            here = self._client.status == "running"
            if here and isinstance(error, OSError):
                raise                           # the task's own
            what = "all its workers died" if here or self._deserted else "its scheduler was lost"
            raise UserError(
                f"the cluster at {self._address} is gone ({what}); start it again and give the command again: "
                "what was done is kept") from None
        except ModuleNotFoundError as error:
            raise UserError(
                f"a worker of the cluster lacks the module {error.name}; install the same alphatrade on every machine"
            ) from None
        return [found[number] for number in range(len(items))]

    def close(self) -> None:
        """Leave the cluster; its scheduler and workers go on."""
        self._client.close()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """While the block runs, leave a cluster that has had no worker for a while: Dask itself waits for ever."""
        over = Event()

        def watch() -> None:
            empty = 0.0
            while not over.wait(_LOOK):
                with suppress(Exception):       # a scheduler that does not answer is the client's own affair
                    workers = self._client.scheduler_info(n_workers=-1)["workers"]
                    empty = 0.0 if workers else empty + _LOOK
                if empty >= _DESERTED:
                    self._deserted = True
                    self._client.close()
                    return

        watcher = Thread(target=watch, name="cluster-watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()


@contextmanager
def open_workers(count: int = 1, scheduler: str | None = None) -> Iterator[Workers]:
    """Workers for the time of a block.

    Parameters
    ----------
    count : processes on this machine; 1 works in this one
    scheduler : address of a Dask scheduler, such as ``tcp://10.0.0.5:8786``, whose workers are used instead

    Raises
    ------
    UserError
        the extra is not installed, nobody answers at the address, or the scheduler has no workers
    """
    if count < 1:
        raise UserError(f"--workers must be at least 1; got {count}")
    if scheduler is None and count == 1:
        yield SERIAL
        return
    workers = Processes(count) if scheduler is None else _join(scheduler)
    try:
        yield workers
    finally:
        workers.close()


def _join(scheduler: str) -> Cluster:
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(
            f"--scheduler needs Dask ({error}); install it with: pip install 'alphatrade[cluster]'") from None
    for name in logging.root.manager.loggerDict:        # what they have to tell, errors here tell in one line
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        client: Any = Client(scheduler, timeout=_PATIENCE, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Dask scheduler answers at {scheduler} ({str(error) or type(error).__name__}); "
            "start one with: dask scheduler") from None
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        client.close()
        raise UserError(f"the scheduler at {scheduler} has no workers; start some with: dask worker {scheduler}")
    return Cluster(client, sum(facts["nthreads"] for facts in workers.values()), scheduler)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A directory for the time of a block; those that killed processes left go too."""
    place = Path(tempfile.gettempdir())
    sweep([place], of=_SCRATCH)
    folder = place / f".{_SCRATCH}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _collected(waiting: dict[Future[R], int], done: Callable[[int, R], None]) -> list[R]:
    """Results in the order of their numbers; the first error cancels what has not begun."""
    found: dict[int, R] = {}
    try:
        for future in as_completed(waiting):
            number = waiting[future]
            found[number] = future.result()
            done(number, found[number])
    except BaseException:
        for future in waiting:
            future.cancel()
        raise
    return [found[number] for number in range(len(waiting))]


def _die_with(parent: int) -> None:
    """End this worker when the process that it works for is gone, however that one died."""
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    Thread(target=watch, name="parent-watch", daemon=True).start()


def _mapped(task: Task[Any, T, R], path: Path, item: T) -> R:
    import joblib

    return _alone(task, joblib.load(path, mmap_mode="r"), item)


def _numbered(task: Task[S, T, R], box: list[S], number: int, item: T) -> tuple[int, R]:
    return number, _alone(task, box[0], item)


def _alone(task: Task[S, T, R], shared: S, item: T) -> R:
    """The task on one thread: sums in another order would differ in their last digits."""
    from threadpoolctl import threadpool_limits

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with threadpool_limits(limits=1):
        return task(shared, item)


def _deadly() -> UserError:
    return UserError(
        f"a task killed its worker {_TRIES} times; it may need more memory than there is: use fewer workers, or less "
        "history")
