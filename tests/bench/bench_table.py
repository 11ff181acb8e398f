"""Interleaved runs and a table of medians; nothing here asserts a time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Timing:
    """CPU seconds of one contestant's runs, and what its last run returned."""

    seconds: tuple[float, ...]
    result: Any

    @property
    def median(self) -> float:
        """The middle run."""
        return statistics.median(self.seconds)


def interleave(contestants: Mapping[str, Callable[[], Any]], rounds: int = 5, warm: bool = True) -> dict[str, Timing]:
    """Run all contestants in turn, ``rounds`` times; one round before that does not count.

    Times are those of this process's CPUs, user and system, so a busy machine disturbs them less; contestants
    of one round meet the same disturbance, and ratios are taken from medians of the same rounds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    results: dict[str, Any] = {}
    for number in range(rounds + warm):
        for name, run in contestants.items():
            results.pop(name, None)
            start = time.process_time()
            results[name] = run()
            if number >= warm:
                seconds[name].append(time.process_time() - start)
    return {name: Timing(tuple(seconds[name]), results[name]) for name in contestants}


def ratio(times: Mapping[str, Timing], name: str, floor: str) -> float:
    """How many times the floor's time: the median of the rounds' own ratios."""
    return statistics.median(a / b for a, b in zip(times[name].seconds, times[floor].seconds, strict=True))


def table(title: str, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """A plain table; numbers to the right, words to the left."""
    cells = [[_word(value) for value in row] for row in rows]
    widths = [max(len(name), *(len(row[k]) for row in cells)) for k, name in enumerate(header)]
    right = [all(isinstance(row[k], int | float) for row in rows) for k in range(len(header))]

    def line(values: list[str]) -> str:
        aligned = (v.rjust(w) if r else v.ljust(w) for v, w, r in zip(values, widths, right, strict=True))
        return "  ".join(aligned).rstrip()

    return "\n".join(["", title, line(list(header)), line(["-" * w for w in widths]), *map(line, cells), ""])


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
