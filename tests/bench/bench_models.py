"""Events, splits, calibration, ensembles beside plain versions of the same: ``python -m tests.bench.bench_models``.

Options: ``full`` (the ensemble on 100,000 rows, too; minutes) and a number of rounds. Labels and weights have a bench
of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.bench.bench_table import interleave, ratio, table
from trader.core.panel import BarPanel
from trader.mlops.drift import DriftReference
from trader.mlops.monitoring import ModelMonitor
from trader.models.calibration import ProbabilityCalibrationManager
from trader.models.ensemble import EnsembleModel
from trader.models.events import cusum_events
from trader.models.validation import PurgedKFold

N, HORIZON = 100_000, 20
METHODS = ("none", "temperature", "platt", "beta", "isotonic")
Subject = tuple[str, float, int, Callable[[int], Any], Callable[[int], Any]]


def prices(n: int = N, seed: int = 0) -> np.ndarray:
    """A random walk of 0.2 % a bar."""
    return 100.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0, 0.002, n)))


def spans(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Label starts and ends, one label a bar."""
    start = np.arange(n - HORIZON)
    return start, start + np.random.default_rng(1).integers(1, HORIZON, len(start))


def plain_splits(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Purging as pandas-minded code does it: every test label against every training label of its surroundings."""
    start, end = spans(n)
    splits = []
    for test in np.array_split(np.arange(len(start)), 5):
        first, last = start[test].min(), end[test].max()
        train = [i for i in range(len(start)) if end[i] <= first or start[i] >= max(last, start[test[-1]] + 21)]
        splits.append((np.array(train), test))
    return splits


def our_splits(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(PurgedKFold(*spans(n), 5, HORIZON).split())


def plain_cusum(close: np.ndarray) -> list[int]:
    """The filter with pandas, as the book prints it."""
    import pandas as pd

    events, up, down = [], 0.0, 0.0
    moves = pd.Series(np.log(close)).diff()
    for i in moves.index[1:]:
        up, down = max(0.0, up + moves.loc[i]), min(0.0, down + moves.loc[i])
        if down < -0.01:
            down = 0.0
            events.append(i)
        elif up > 0.01:
            up = 0.0
            events.append(i)
    return events


def overconfident(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(n, 3))
    true, said = np.exp(logits), np.exp(2 * logits)
    y = (rng.random(n)[:, None] > (true / true.sum(axis=1, keepdims=True)).cumsum(axis=1)).sum(axis=1)
    return said / said.sum(axis=1, keepdims=True), y


def reference_calibration(n: int) -> Any:
    """The same four maps, one against the rest, in the same forward chain, by scikit-learn."""
    from sklearn.isotonic import IsotonicRegression
    from sklearn.linear_model import LogisticRegression

    p, y = overconfident(n)
    logs = np.log(np.clip(p, 1e-12, 1 - 1e-12))
    for k in range(1, 6):
        past = slice(0, n * k // 5)
        for c in range(3):
            happened = (y[past] == c).astype(int)
            IsotonicRegression(out_of_bounds="clip").fit(p[past, c], happened)
            LogisticRegression(C=1e6).fit((logs[past, c] - np.log1p(-p[past, c]))[:, None], happened)
            LogisticRegression(C=1e6).fit(np.column_stack((logs[past, c], -np.log1p(-p[past, c]))), happened)
        LogisticRegression(C=1e6).fit(logs[past], y[past])


def our_calibration(n: int) -> Any:
    return ProbabilityCalibrationManager(methods=METHODS).fit(*overconfident(n))


# subject, what must hold for 100,000 (seconds), rows of the plain version, ours, plain
SUBJECTS: tuple[Subject, ...] = (
    ("CUSUM events", 0.030, 20_000, lambda n: cusum_events(prices(n), 0.01), lambda n: plain_cusum(prices(n))),
    ("purged splits × 5", 0.005, 20_000, our_splits, plain_splits),
    ("calibration, auto", 1.0, 100_000, our_calibration, reference_calibration),
)


def measure(rounds: int = 3) -> str:
    """Ours on 100,000, the plain version on as many as it bears; seconds are scaled to 100,000."""
    rows = []
    for name, limit, plain_rows, ours, plain in SUBJECTS:
        times = interleave({
            "ours": lambda ours=ours: ours(N), "plain": lambda plain=plain, n=plain_rows: plain(n)}, rounds)
        scale = N / plain_rows
        rows.append((name, times["ours"].median * 1e3, limit * 1e3, times["plain"].median * scale * 1e3,
                     scale * ratio(times, "plain", "ours")))
    title = f"models on {N:,} rows; CPU milliseconds, median of {rounds}"
    return table(title, ("subject", "ours", "must hold", "plain", "× faster"), rows)


def measure_loop(rounds: int = 5) -> str:
    """What a session pays at each slice of seven symbols: prediction, and the watch over the model."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(3000, 50))
    y = np.digitize(X[:, 0] + rng.normal(size=3000), [-0.5, 0.5])
    model = EnsembleModel(iterations=200, learning_rate=0.05, depth=5).fit(X, y)
    slices, watch = _watched(rng)

    def predict() -> None:
        for i in range(0, 700, 7):
            model.predict_proba(X[i:i + 7])

    def one_by_one() -> None:
        for i in range(0, 70, 7):
            for row in range(i, i + 7):
                model.predict_proba(X[row:row + 1])

    times = interleave({"seven rows": predict, "row by row": one_by_one, "watch": watch}, rounds)
    rows = [
        ("ensemble, seven rows", times["seven rows"].median / 100 * 1e3, 3.0, times["row by row"].median / 10 * 1e3),
        ("model monitor", times["watch"].median / slices * 1e3, 0.2, float("nan")),
    ]
    return table("at each slice; CPU milliseconds", ("subject", "ours", "must hold", "row by row"), rows)


def measure_ensemble() -> str:
    """The ensemble on 100,000 rows, 50 features, three classes, 200 trees, one thread."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(N, 50))
    y = np.digitize(X[:, 0] + 0.5 * X[:, 1] + rng.normal(size=N), [-0.6, 0.6])
    members = ("catboost", "xgboost", "lightgbm")
    times = interleave({
        name: lambda names=names: EnsembleModel(names, iterations=200, learning_rate=0.05, depth=6).fit(X, y)
        for name, names in {**{m: (m,) for m in members}, "ensemble": members}.items()}, 1, warm=False)
    rows = [(name, timing.median, 120.0 if name == "ensemble" else float("nan")) for name, timing in times.items()]
    return table("training, 100,000 × 50, three classes, 200 trees; CPU seconds", ("model", "s", "must hold"), rows)


def _watched(rng: np.random.Generator) -> tuple[int, Callable[[], None]]:
    n, k, f = 2000, 7, 35
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.002, (n, k)), axis=0))
    start = 1_704_205_800 * 10**9 + np.arange(n) * 900 * 10**9
    panel = BarPanel(tuple("ABCDEFG"), "15Min", start, start + 900 * 10**9, close, close, close, close, close)
    features, said = rng.normal(size=(n, k, f)), rng.dirichlet([2.0, 2.0, 2.0], (n, k))
    names = tuple(f"f{i}" for i in range(f))
    manifest = {
        "name": "m", "version": "1", "trained_through_ns": int(start[0]),
        "labels": {"profit_taking": 2.0, "stop_loss": 2.0, "max_holding_periods": 12, "volatility_scaled": True},
        "monitoring": {"expected_accuracy": 0.3, "expected_calibration_error": 0.05, "max_age_days": 30,
                       "drift": DriftReference.fit(names, features.reshape(-1, f), 2000).to_dict()},
    }

    def watch() -> None:
        monitor = ModelMonitor(manifest, panel.symbols)
        for i in range(n):
            monitor.on_slice(panel.slice(i), said[i], features[i])

    return n, watch


@pytest.mark.bench
def test_the_fast_versions_say_what_the_plain_ones_say() -> None:
    print(measure(1), measure_loop(1))
    close, n = prices(3000), 3000
    assert cusum_events(close, 0.01).tolist() == plain_cusum(close)
    for (train, test), (expected, tested) in zip(our_splits(n), plain_splits(n), strict=True):
        assert (train.tolist(), test.tolist()) == (expected.tolist(), tested.tolist())


if __name__ == "__main__":
    words = sys.argv[1:]
    count = next((int(word) for word in words if word.isdigit()), 3)
    print(measure(count), measure_loop(count), measure_ensemble() if "full" in words else "", sep="\n")
