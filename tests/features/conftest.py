"""Bars on which features are tried: made-up ones with awkward shapes, the bundled sample, real ones where present."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from trader.core.panel import BarPanel
from trader.features.feature_set import FeatureSet, default_features
from trader.features.probe import probe_panel

REAL = Path(os.environ.get("ALPHATRADE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "polygon_15m"


@pytest.fixture(scope="session")
def probe() -> BarPanel:
    return probe_panel(2400)


@pytest.fixture(scope="session")
def fitted(probe) -> FeatureSet:
    return default_features().fit(probe.rows(0, 1200))


@pytest.fixture(scope="session")
def daily() -> BarPanel:
    from trader.data.sample import daily_panel

    return daily_panel()


@pytest.fixture(scope="session")
def real() -> BarPanel:
    """Seven symbols of real 15-minute bars with half days and a session that most of them lack."""
    if not REAL.is_dir():
        pytest.skip(f"no real 15-minute bars in {REAL}; set ALPHATRADE_TEST_DATA to a folder that holds polygon_15m")
    import pandas as pd

    symbols = ("AAPL", "AMZN", "GOOGL", "META", "MSFT", "SPY", "PEP")
    frames = {}
    for symbol in symbols:
        frame = pd.read_parquet(REAL / f"{symbol}_15m.parquet").set_index("timestamp").loc["2024-08-09":]
        frames[symbol] = frame[frame["session"] == "rth"]
    times = pd.DatetimeIndex(sorted(set().union(*(frame.index for frame in frames.values()))))
    fields = {
        name: np.stack([frames[s][name].reindex(times).to_numpy(dtype=float) for s in symbols], axis=1)
        for name in ("open", "high", "low", "close", "volume")
    }
    ts_ns = times.as_unit("ns").asi8
    return BarPanel(symbols, "15Min", ts_ns, ts_ns + 900_000_000_000, **fields)
