"""Ending asyncio tasks so that they have really ended."""

from __future__ import annotations

import asyncio
from typing import Any


async def end(*tasks: asyncio.Task[Any], again_s: float = 4.0) -> None:
    """Cancel tasks, again every ``again_s`` seconds, and return when all of them are over, whatever they raise.

    ``again_s`` is the time that a task's own clearing up may take undisturbed.

    One ``cancel`` is not enough for code of others: before Python 3.12 ``asyncio.wait_for`` returns its result and
    forgets a cancellation that arrives in the same turn of the loop, and a task that reads a busy socket that way
    would go on for ever.
    """
    going = {task for task in tasks if not task.done()}
    while going:
        for task in going:
            task.cancel()
        _, going = await asyncio.wait(going, timeout=again_s)
    await asyncio.gather(*tasks, return_exceptions=True)        # nobody else asks how they ended
