"""All default features in a batch and bar by bar, and the slowest ones: ``python -m tests.bench.bench_features``."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from tests.bench.bench_data import bars
from tests.bench.bench_table import interleave, ratio, table
from trader.features.columns import symbol_columns
from trader.features.feature_set import FeatureSet, default_features
from trader.features.live import LiveFeatures

LIVE_BARS = 60


def measure(rounds: int = 3, rows: int = 13_104) -> tuple[str, dict[str, Any]]:
    """The tables, and the batch and live values of the last bars."""
    panel = bars("s").rows(0, rows)
    features = default_features().fit(panel.rows(0, min(rows, 5_000)))
    times = interleave({
        "close, mean of 20 (floor)": lambda: np.lib.stride_tricks.sliding_window_view(
            panel.close, 20, axis=0).mean(axis=-1),
        "all default features": lambda: features.transform(panel),
    }, rounds)
    floor = "close, mean of 20 (floor)"
    lines: list[tuple[Any, ...]] = [
        (name, timing.median * 1e3, panel.close.size / timing.median, ratio(times, name, floor))
        for name, timing in times.items()
    ]
    text = table(f"features, {len(features.names)} columns, {panel.close.size:,} bars; CPU ms, median of {rounds}",
                 ("task", "ms", "bars/s", "× floor"), lines)
    text += _slowest(features, panel.rows(0, min(rows, 5_000)))
    live = LiveFeatures(features, panel.rows(0, rows - LIVE_BARS))
    waits, last = [], np.empty(0)
    for i in range(rows - LIVE_BARS, rows):
        bar = panel.slice(i)
        start = time.process_time()
        last = live.push(bar)
        waits.append((time.process_time() - start) * 1e3)
    waits.sort()
    text += table(f"live, a bar of {len(panel.symbols)} symbols; CPU ms over {LIVE_BARS} bars",
                  ("task", "p50", "p99"), [("push", waits[len(waits) // 2], waits[int(len(waits) * 0.99)])])
    return text, {"batch": times["all default features"].result[-1], "live": last}


def _slowest(features: FeatureSet, panel: Any, shown: int = 8) -> str:
    """What the batch spends its time on, one symbol."""
    _, columns = symbol_columns(panel)[0]
    spent = []
    for feature in features.own:
        start = time.process_time()
        feature.compute(columns.rows(0, len(columns)))
        spent.append(((time.process_time() - start) * 1e3, ", ".join(feature.names[:3])))
    spent.sort(reverse=True)
    return table(f"slowest features, {len(columns):,} bars of one symbol; CPU ms, each with fresh columns",
                 ("feature", "ms"), [(name, ms) for ms, name in spent[:shown]])


@pytest.mark.bench
def test_live_features_equal_the_batch() -> None:
    text, results = measure(rounds=2, rows=5_200)
    print(text)
    assert results["live"] == pytest.approx(results["batch"], rel=1e-9, abs=1e-9, nan_ok=True)


if __name__ == "__main__":
    print(measure()[0])
