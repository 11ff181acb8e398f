"""Fifty symbols and ten years of 15-minute bars out of the store: ``python -m tests.bench.bench_store``."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.bench_data import bars
from tests.bench.bench_table import interleave, ratio, table
from trader.core.panel import FIELDS, BarPanel
from trader.data.bars import SymbolBars
from trader.data.catalog import load_panel
from trader.data.resample import resample
from trader.data.store import BarStore


class Resident:
    """The greatest resident memory, in MB, while a block runs, over what there was before."""

    def __enter__(self) -> Resident:
        self._stop, self.before = threading.Event(), _resident_mb()
        self.peak = self.before
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self.peak = max(self.peak, _resident_mb())

    def __exit__(self, *_: object) -> None:
        self.peak = max(self.peak, _resident_mb())
        self._stop.set()
        self._thread.join()

    @property
    def grown(self) -> float:
        return self.peak - self.before


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def fill(home: Path, panel: BarPanel) -> None:
    """The panel's symbols into a store, a tenth of the bars a part."""
    store, step = BarStore(home), -(-len(panel) // 10)
    for j, symbol in enumerate(panel.symbols):
        for start in range(0, len(panel), step):
            part = panel.rows(start, start + step)
            own = SymbolBars(part.ts_ns, *(np.ascontiguousarray(getattr(part, name)[:, j]) for name in FIELDS))
            store.write(symbol, panel.timeframe, own, source="real", adjustment="split", origin="bench")


def by_pandas(home: Path, symbols: tuple[str, ...]) -> Any:
    """What one would write first: a frame for each symbol, concatenated side by side."""
    import pandas as pd

    frames = {
        symbol: pd.concat(pd.read_parquet(part) for part in sorted(
            (home / "data" / "raw" / "15Min" / symbol).glob("*.parquet"))).set_index("ts_ns")
        for symbol in symbols
    }
    wide = pd.concat(frames, axis=1)
    return {name: wide.xs(name, axis=1, level=1).to_numpy() for name in FIELDS}


def measure(name: str = "l", rounds: int = 3) -> tuple[str, BarPanel, BarPanel, Any]:
    made = bars(name)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        fill(home, made)
        load_panel(home, made.symbols, "15m")               # warm: calendar, libraries, page cache
        with Resident() as memory:
            loaded = load_panel(home, made.symbols, "15m")
        arrays = sum(getattr(loaded, field).nbytes for field in (*FIELDS, "ts_ns", "available_ns")) / 1e6
        start = time.perf_counter()
        load_panel(home, made.symbols, "15m")
        wall = time.perf_counter() - start
        times = interleave({
            "load_panel": lambda: load_panel(home, made.symbols, "15m"),
            "one month of it": lambda: load_panel(home, made.symbols, "15m", "2024-03-01", "2024-03-31"),
            "resample to 60Min": lambda: resample(loaded, "60Min"),
            "pandas read_parquet + concat": lambda: by_pandas(home, made.symbols),
        }, rounds)
        rows = [(task, t.median * 1e3, ratio(times, task, "load_panel")) for task, t in times.items()]
    text = table(f"store, {len(made.symbols)} symbols, {made.close.size:,} bars; CPU ms, median of {rounds}",
                 ("task", "ms", "× load_panel"), rows)
    text += f"load_panel: {wall * 1e3:.0f} ms by the clock; memory grew by {memory.grown:.0f} MB at most for "
    text += f"{arrays:.0f} MB of arrays (× {memory.grown / arrays:.2f})\n"
    return text, made, loaded, times["pandas read_parquet + concat"].result


@pytest.mark.bench
def test_loaded_bars_are_those_that_were_stored() -> None:
    text, made, loaded, wide = measure("s", rounds=2)
    print(text)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(made, name))
        np.testing.assert_array_equal(wide[name], getattr(made, name))


if __name__ == "__main__":
    print(measure()[0])
