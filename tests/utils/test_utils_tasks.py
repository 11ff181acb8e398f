"""Tasks end, also those that swallow a cancellation or need a moment to clear up."""

from __future__ import annotations

import asyncio

from trader.utils.tasks import end


async def test_a_task_that_forgets_a_cancellation_is_asked_again() -> None:
    asked = 0

    async def forgetful() -> None:
        nonlocal asked
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                asked += 1
                if asked == 3:
                    raise

    task = asyncio.create_task(forgetful())
    await asyncio.sleep(0)
    await end(task, again_s=0.01)
    assert task.cancelled()
    assert asked == 3


async def test_clearing_up_is_not_disturbed_and_faults_are_not_raised() -> None:
    cleared = False

    async def tidy() -> None:
        nonlocal cleared
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            cleared = True

    async def faulty() -> None:
        raise ValueError("its own affair")

    tasks = asyncio.create_task(tidy()), asyncio.create_task(faulty())
    await asyncio.sleep(0)
    await end(*tasks)
    assert cleared
    assert all(task.done() for task in tasks)


async def test_nothing_to_end_is_no_fault() -> None:
    await end()
