"""A lane: one daemon thread with one HTTP client of its own, so that no call ever blocks the event loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from trader.execution.broker_errors import BrokerUnreachable

Client = TypeVar("Client")
Result = TypeVar("Result")

_Job = tuple[Callable[[Any], Any], "Future[Any]"]


class Lane(Generic[Client]):
    """Runs calls one after the other in a thread of its own.

    ``deadline_s`` bounds a whole call: a read time-out only counts the silence between two bytes, so a server
    that drips would hold the lane for ever. A lane whose call overran is left behind with its client and a
    new thread takes over; the thread is a daemon and cannot delay the end of the process.
    """

    def __init__(self, name: str, client: Callable[[], Client], deadline_s: float) -> None:
        self._name = name
        self._make_client = client
        self._deadline_s = deadline_s
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._started = False

    async def call(self, work: Callable[[Client], Result]) -> Result:
        """The result of ``work(client)``; `BrokerUnreachable` after the deadline, counted from its turn."""
        if not self._started:
            self._start()
        done: Future[Result] = Future()
        loop = asyncio.get_running_loop()
        turn = asyncio.Event()

        def job(client: Client) -> Result:
            loop.call_soon_threadsafe(turn.set)
            return work(client)

        jobs = self._jobs
        jobs.put((job, done))
        answer = asyncio.wrap_future(done)
        try:
            await turn.wait()
            async with asyncio.timeout(self._deadline_s):
                return await asyncio.shield(answer)
        except TimeoutError:
            if jobs is self._jobs:
                self._replace()
            raise BrokerUnreachable(f"no complete answer within {self._deadline_s:g} s") from None
        finally:
            answer.cancel()                         # takes back what has not begun; the rest ends unheard

    def close(self) -> None:
        """Let the thread end after its present call."""
        if self._started:
            self._jobs.put(None)
            self._jobs = queue.SimpleQueue()
            self._started = False

    def _start(self) -> None:
        self._started = True
        client = self._make_client()
        threading.Thread(
            target=_work, args=(client, self._jobs), name=f"broker-{self._name}", daemon=True
        ).start()

    def _replace(self) -> None:
        stuck, self._jobs = self._jobs, queue.SimpleQueue()
        while not stuck.empty():                    # calls that waited behind the stuck one go on in the new lane
            job = stuck.get()
            if job is not None:
                self._jobs.put(job)
        stuck.put(None)
        self._start()


def _work(client: Any, jobs: queue.SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        work, done = job
        if not done.set_running_or_notify_cancel():
            continue
        try:
            result = work(client)
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(result)
