"""Arrays that one stage leaves for the next: ``.npz`` files whose bytes depend on their content alone."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trader.core.panel import FIELDS, BarPanel, FloatArray
from trader.pipeline.training_folds import FoldPart, Folds
from trader.pipeline.training_samples import Samples, join_opinion
from trader.utils.atomic import atomic_write_bytes

_TIMES = ("ts_ns", "available_ns")
_SOMETIMES = ("vwap", "trade_count")
_LABELS = ("y", "t0", "t1", "ret", "symbol", "unique", "weight", "opinion")


def write_arrays(path: Path, **arrays: Any) -> None:
    """Replace the file in one step."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    atomic_write_bytes(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Everything in the file."""
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def write_panel(path: Path, panel: BarPanel, **more: Any) -> None:
    """Bars, and further arrays beside them."""
    names = [*_TIMES, *FIELDS, *(name for name in _SOMETIMES if getattr(panel, name) is not None)]
    about = {"symbols": np.array(panel.symbols), "timeframe": np.array(panel.timeframe),
             "source": np.array(panel.source)}
    write_arrays(path, **about, **{name: getattr(panel, name) for name in names}, **more)


def read_panel(path: Path) -> tuple[BarPanel, dict[str, NDArray[Any]]]:
    """The bars, and what else was stored beside them."""
    stored = read_arrays(path)
    symbols, timeframe = tuple(str(s) for s in stored.pop("symbols")), str(stored.pop("timeframe"))
    source = str(stored.pop("source"))
    values = {name: stored.pop(name) for name in (*_TIMES, *FIELDS, *_SOMETIMES) if name in stored}
    return BarPanel(symbols, timeframe, source=source, **values), stored


def join_panels(earlier: BarPanel, later: BarPanel) -> BarPanel:
    """The bars of both, of the same symbols and bar size, one after the other."""
    def joined(name: str) -> Any:
        parts = [getattr(panel, name) for panel in (earlier, later)]
        return None if parts[0] is None else np.concatenate(parts)

    return dataclasses.replace(earlier, **{name: joined(name) for name in (*_TIMES, *FIELDS, *_SOMETIMES)})


def write_fold(path: Path, part: FoldPart | Folds) -> None:
    """Out-of-fold predictions, of one fold or of all joined."""
    names = sorted(part.iterations)
    write_arrays(
        path, probability=part.probability, prior=part.prior, members=np.array(names),
        iterations=np.array([part.iterations[name] for name in names]), rises=part.rises)


def read_fold(path: Path) -> tuple[FloatArray, FloatArray, dict[str, int], FloatArray]:
    """Probability, prior, iterations and rises, as `write_fold` was given them."""
    stored = read_arrays(path)
    trees = {str(name): int(n) for name, n in zip(stored["members"], stored["iterations"], strict=True)}
    return stored["probability"], stored["prior"], trees, stored["rises"]


def write_labels(path: Path, samples: Samples) -> None:
    """Labels without their features, which the matrix holds."""
    write_arrays(path, **{name: getattr(samples, name) for name in _LABELS})


def read_samples(path: Path, matrix: FloatArray) -> Samples:
    """Labels joined with the rows of the feature matrix ``(n_bars, n_symbols, n_features)`` that they begin at."""
    stored = read_arrays(path)
    X = join_opinion(matrix[stored["t0"], stored["symbol"]], stored["opinion"])
    return Samples(X=X, **{name: stored[name] for name in _LABELS})
