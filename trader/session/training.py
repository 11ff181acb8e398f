"""A training in a process of its own, at low priority, heard line by line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LINE_LIMIT = 1024 * 1024
NICENESS = 10


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """``model`` is the new model's directory, or None and ``error`` says why."""

    model: Path | None
    error: str = ""


def command(
    home: Path, *, symbols: Sequence[str], timeframe: str, start: str, end: str, seed: int, config: Path | None,
) -> list[str]:
    """The batch command that trains on bars before ``end`` (exclusive)."""
    chosen = [] if config is None else ["--config", str(config)]
    return [
        sys.executable, "-m", "trader.cli.main", "train", "--home", str(home), "--symbols", ",".join(symbols),
        "--timeframe", timeframe, "--start", start, "--end", end, "--seed", str(seed), "--progress", "json", *chosen,
    ]


async def train(argv: Sequence[str], on_progress: Callable[[dict[str, Any]], None],
                niceness: int = NICENESS) -> TrainingOutcome:
    """Run the command; cancelling this coroutine ends the process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}
    argv = ["nice", "-n", str(niceness), *argv] if os.name == "posix" else list(argv)
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=environment, limit=LINE_LIMIT,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.ensure_future(process.stderr.read())
    model: Path | None = None
    try:
        async for line in process.stdout:
            with contextlib.suppress(ValueError):
                facts = json.loads(line)
                if facts.get("stage") == "done" and facts.get("model"):
                    model = Path(facts["model"])
                on_progress(facts)
        code = await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        try:
            async with asyncio.timeout(3):
                await process.wait()
        except TimeoutError:
            process.kill()
        raise
    finally:
        if process.returncode is not None:
            words = (await errors).decode(errors="replace").strip()
        else:
            errors.cancel()
            words = ""
    if code != 0 or model is None:
        return TrainingOutcome(None, words.splitlines()[-1] if words else f"training ended with exit code {code}")
    return TrainingOutcome(model)
