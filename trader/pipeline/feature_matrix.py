"""Features of all bars, one symbol a task."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trader.features.feature_set import FeatureSet
from trader.pipeline.parallel import SERIAL, Workers

if TYPE_CHECKING:
    from trader.core.panel import BarPanel, FloatArray


class _Task(NamedTuple):
    panel: BarPanel
    features: dict[str, Any]        # as `FeatureSet.to_dict` tells them: code does not travel


def feature_matrix(fitted: FeatureSet, panel: BarPanel, workers: Workers = SERIAL) -> FloatArray:
    """What ``fitted.transform(panel)`` gives, ``(n_bars, n_symbols, n_features)``, by several workers.

    Sets that hold a user's own features are computed here: the user's file need not be there on another machine.
    """
    stored = fitted.to_dict()
    users = any(item["type"] == "user" for item in stored["features"])
    if workers.count == 1 or users or FeatureSet.from_dict(stored).names != fitted.names:
        return fitted.transform(panel)
    out = np.full((len(panel), len(panel.symbols), len(fitted.names)), np.nan)

    def done(j: int, values: FloatArray) -> None:
        out[:, j] = values

    workers.run(_of_symbol, _Task(panel, stored), range(len(panel.symbols)), done)
    fitted.combine(out)
    return out


def _of_symbol(task: _Task, j: int) -> FloatArray:
    """The features of one symbol, ``(n_bars, n_features)``; NaN where it has no bar."""
    from trader.features.columns import symbol_columns

    panel, features = _only(task.panel, j), FeatureSet.from_dict(task.features)
    [(present, columns)] = symbol_columns(panel)
    out = np.full((len(panel), len(features.names)), np.nan)
    if len(columns):
        out[present] = features.compute(columns)
    return out


def _only(panel: BarPanel, j: int) -> BarPanel:
    """The panel's column ``j`` as a panel."""
    from trader.core.panel import FIELDS

    values = {name: getattr(panel, name)[:, j:j + 1] for name in FIELDS}
    return dataclasses.replace(panel, symbols=panel.symbols[j:j + 1], vwap=None, trade_count=None, **values)
