"""Labels, weights, folds against the plain loops of the book: ``python -m tests.bench.bench_labels``.

The loops see a tenth of the events; their time is scaled, so that a run stays short.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bench.bench_table import interleave, table
from trader.models.events import cusum_events
from trader.models.labels import triple_barrier
from trader.models.validation import PurgedKFold
from trader.models.weights import uniqueness

EVENTS, SHARE, PERIODS = 100_000, 10, 20
UP, DOWN = 0.01, 0.01


def prices(count: int = EVENTS + PERIODS + 1) -> NDArray[np.float64]:
    """A random walk."""
    return 100.0 * np.exp(np.cumsum(np.random.default_rng(3).normal(0.0, 0.004, count)))


def loop_labels(close: NDArray[np.float64], starts: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """First barrier that a path touches, one bar after the other: class (0 loss, 1 neither, 2 profit) and last bar."""
    path = close.tolist()
    labels, ends = [], []
    for start in starts.tolist():
        label, end = 1, start + PERIODS
        for bar in range(start + 1, end + 1):
            move = path[bar] / path[start] - 1.0
            if move > UP or move < -DOWN:
                label, end = (2 if move > UP else 0), bar
                break
        labels.append(label)
        ends.append(end)
    return labels, ends


def loop_uniqueness(starts: list[int], ends: list[int], bars: int) -> list[float]:
    """Mean of one over the labels alive, by counting every bar of every label."""
    alive = [0] * bars
    for start, end in zip(starts, ends, strict=True):
        for bar in range(start, end + 1):
            alive[bar] += 1
    return [sum(1.0 / alive[bar] for bar in range(start, end + 1)) / (end + 1 - start)
            for start, end in zip(starts, ends, strict=True)]


def measure(rounds: int = 5) -> tuple[str, dict[str, Any]]:
    """The table, and each contestant's last result."""
    close = prices()
    starts = np.arange(EVENTS)
    few = starts[:EVENTS // SHARE]
    head = close[:len(few) + PERIODS + 1]
    marked = triple_barrier(close, starts, profit_taking=UP, stop_loss=DOWN, max_holding_periods=PERIODS)
    last = np.where(marked.label == 1, starts + PERIODS, marked.touch_index)
    begins, ends = few.tolist(), last[:len(few)].tolist()
    times = interleave({
        "triple barrier": lambda: triple_barrier(
            close, starts, profit_taking=UP, stop_loss=DOWN, max_holding_periods=PERIODS),
        "triple barrier, loop": lambda: loop_labels(head, few),
        "uniqueness": lambda: uniqueness(starts, last, len(close)),
        "uniqueness, loop": lambda: loop_uniqueness(begins, ends, len(head)),
        "CUSUM filter": lambda: cusum_events(close, 0.01),
        "purged 5-fold": lambda: sum(
            len(train) for train, _ in PurgedKFold(starts, last, 5, 10).split()),
    }, rounds)
    rows: list[tuple[Any, ...]] = []
    for name, timing in times.items():
        if name.endswith("loop"):
            continue
        floor = times.get(f"{name}, loop")
        loop = floor.median * SHARE if floor else float("nan")
        rows.append((name, timing.median * 1e3, loop * 1e3, loop / timing.median))
    text = table(f"labels, {EVENTS:,} events; CPU milliseconds, median of {rounds}",
                 ("task", "ms", "loop ms", "faster by"), rows)
    return text, {name: timing.result for name, timing in times.items()} | {"last": last}


@pytest.mark.bench
def test_arrays_label_as_the_loop_does() -> None:
    text, results = measure(rounds=3)
    print(text)
    labels, ends = results["triple barrier, loop"]
    assert results["triple barrier"].label[:len(labels)].tolist() == labels
    assert results["last"][:len(ends)].tolist() == ends
    assert results["uniqueness"][:len(ends) - PERIODS].tolist() == pytest.approx(
        results["uniqueness, loop"][:len(ends) - PERIODS])


if __name__ == "__main__":
    print(measure()[0])
