"""From bars and their features to labelled, weighted samples of all symbols in time order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trader.core.days import days_of
from trader.core.panel import FIELDS, BarPanel, FloatArray, IntArray
from trader.models.events import cusum_events, stride_events
from trader.models.labels import barrier_volatility, session_last_index, triple_barrier
from trader.models.weights import return_attribution, sequential_bootstrap, time_decay, uniqueness
from trader.pipeline.training_settings import LabelSettings, TrainingSettings

_MIN_KNOWN = 0.5        # share of the features that a sample must have


@dataclass(frozen=True, slots=True)
class Samples:
    """Labelled samples sorted by their bar, then symbol; every array has ``n`` rows.

    ``t0`` and ``t1`` are rows of the panel: the bar whose close begins the label, and the one that decided
    it.
    """

    X: FloatArray               # (n, n_features)
    y: IntArray                 # 0 loss, 1 neutral, 2 profit
    t0: IntArray
    t1: IntArray
    ret: FloatArray
    symbol: IntArray            # column of the panel
    unique: FloatArray          # uniqueness among the labels of the same symbol
    weight: FloatArray          # mean one

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, which: NDArray[np.int64]) -> Samples:
        """Some of the samples."""
        return Samples(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def build_samples(
    panel: BarPanel, features: FloatArray, settings: TrainingSettings, warmup: int,
    per_symbol: Mapping[str, LabelSettings] | None = None,
) -> Samples:
    """Sample events, label them and weigh them.

    Parameters
    ----------
    features : shape ``(n_bars, n_symbols, n_features)``
    warmup : bars of each symbol that yield no sample
    per_symbol : label parameters of symbols that differ from ``settings.labels``
    """
    days = days_of(panel.available_ns)
    parts = []
    for j, name in enumerate(panel.symbols):
        labels = (per_symbol or {}).get(name, settings.labels)
        present = np.flatnonzero(np.isfinite(panel.close[:, j]))
        if len(present) <= warmup + labels.max_holding_periods:
            continue
        parts.append(_of_symbol(panel, features, settings, labels, j, present, days, warmup))
    if not parts:
        none, rows = np.empty(0), np.empty(0, dtype=np.int64)
        return Samples(np.empty((0, features.shape[2])), rows, rows, rows, none, rows, none, none)
    columns = [np.concatenate([part[k] for part in parts]) for k in range(8)]
    order = np.lexsort((columns[5], columns[2]))
    X, y, t0, t1, ret, symbol, unique, weight = (column[order] for column in columns)
    weight = weight * time_decay(unique, settings.weights.oldest)
    return Samples(X, y, t0, t1, ret, symbol, unique, weight / weight.mean())


def _of_symbol(
    panel: BarPanel, features: FloatArray, settings: TrainingSettings, labels: LabelSettings, j: int,
    present: IntArray, days: IntArray, warmup: int,
) -> tuple[NDArray[Any], ...]:
    close = panel.close[present, j]
    sigma = barrier_volatility(close, labels.volatility_span)
    if settings.events.method == "cusum":
        events = cusum_events(close, settings.events.cusum_threshold * sigma)
    else:
        events = stride_events(len(close), settings.events.stride, j % settings.events.stride)
    known = np.isfinite(features[present[events], j]).mean(axis=1) >= _MIN_KNOWN
    events = events[known & (events >= warmup)]
    unit = sigma[events] if labels.volatility_scaled else np.ones(len(events))
    last = session_last_index(days[present])[events] if labels.close_at_session_end else None
    within = {}
    if labels.use_high_low:
        within = {name: getattr(panel, name)[present, j] for name in ("open", "high", "low")}
    found = triple_barrier(
        close, events, profit_taking=labels.profit_taking * unit, stop_loss=labels.stop_loss * unit,
        max_holding_periods=labels.max_holding_periods, last_index=last, **within,
    )
    done = found.resolved
    start, end = events[done], found.touch_index[done]
    unique = uniqueness(start, end, len(close))
    return (
        features[present[start], j], found.label[done].astype(np.int64), present[start], present[end],
        found.ret[done], np.full(len(start), j), unique, _weight(settings, close, start, end, unique, j),
    )


def _weight(
    settings: TrainingSettings, close: FloatArray, start: IntArray, end: IntArray, unique: FloatArray, j: int
) -> FloatArray:
    """How much each label of a symbol counts, before time decay."""
    wanted = settings.weights
    weight = unique.copy() if wanted.uniqueness else np.ones(len(unique))
    if not len(weight):
        return weight
    if wanted.by_return:
        moves = np.concatenate(([0.0], np.diff(np.log(close))))
        weight *= return_attribution(start + 1, end, moves)         # the entry bar's own return came before
    if wanted.sequential_bootstrap:
        drawn = sequential_bootstrap(start, end, len(close), np.random.default_rng([settings.seed, j]))
        weight *= np.bincount(drawn, minlength=len(weight))
    return weight


def panel_hash(panel: BarPanel) -> str:
    """SHA-256 over symbols, timeframe, source, times and every value of the bars."""
    digest = hashlib.sha256(repr((panel.symbols, panel.timeframe, panel.source)).encode())
    for name in ("ts_ns", "available_ns", *FIELDS):
        digest.update(np.ascontiguousarray(getattr(panel, name)).astype("<f8" if name in FIELDS else "<i8").tobytes())
    return digest.hexdigest()
