"""From bars and their features to labelled, weighted samples of all symbols in time order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trader.core.days import days_of
from trader.core.panel import FIELDS, BarPanel, FloatArray, IntArray
from trader.models.events import cusum_events, stride_events
from trader.models.labels import barrier_volatility, session_last_index, triple_barrier
from trader.models.weights import return_attribution, sequential_bootstrap, time_decay, uniqueness
from trader.pipeline.parallel import SERIAL, Workers
from trader.pipeline.training_settings import LabelSettings, TrainingSettings
from trader.strategy.opinion import make_rule, opinions, rule_facts

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
    opinion: FloatArray         # side times strength of the rule that took the bet; 0: a label of the long side

    @property
    def bets(self) -> bool:
        """Whether the labels are outcomes of a rule's bets; then its opinion is the last column of ``X``."""
        return bool(self.opinion.any())

    def __len__(self) -> int:
        return len(self.y)

    def rows(self, which: NDArray[np.int64]) -> Samples:
        """Some of the samples."""
        return Samples(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def build_samples(
    panel: BarPanel, features: FloatArray, settings: TrainingSettings, warmup: int,
    per_symbol: Mapping[str, LabelSettings] | None = None, workers: Workers = SERIAL,
) -> Samples:
    """Sample events, label them and weigh them.

    With ``settings.meta.primary`` the events are the bars at which that rule would enter, and a label tells what came
    of the side that it takes.

    Parameters
    ----------
    features : shape ``(n_bars, n_symbols, n_features)``
    warmup : bars of each symbol that yield no sample
    per_symbol : label parameters of symbols that differ from ``settings.labels``
    workers : who labels the symbols; the samples do not depend on it
    """
    task = _Task(
        panel, features, settings, warmup, dict(per_symbol or {}), days_of(panel.available_ns),
        rule_opinions(panel, settings))
    found = workers.run(_of_symbol, task, range(len(panel.symbols)))
    parts = [part for part in found if part is not None]
    if not parts:
        none, rows = np.empty(0), np.empty(0, dtype=np.int64)
        return Samples(np.empty((0, features.shape[2])), rows, rows, rows, none, rows, none, none, none)
    columns = [np.concatenate([part[k] for part in parts]) for k in range(9)]
    order = np.lexsort((columns[5], columns[2]))
    X, y, t0, t1, ret, symbol, unique, weight, opinion = (column[order] for column in columns)
    weight = weight * time_decay(unique, settings.weights.oldest)
    return Samples(join_opinion(X, opinion), y, t0, t1, ret, symbol, unique, weight / weight.mean(), opinion)


def join_opinion(X: FloatArray, opinion: FloatArray) -> FloatArray:
    """Features with the rule's opinion behind them, where there is a rule."""
    return np.column_stack((X, opinion)) if opinion.any() else X


def rule_of(settings: TrainingSettings) -> dict[str, Any] | None:
    """Name, parameters and fingerprint of the rule of ``settings.meta``; None where there is none."""
    wanted = settings.meta
    return None if wanted.primary is None else rule_facts(make_rule(wanted.primary, wanted.params), wanted.primary)


def rule_opinions(panel: BarPanel, settings: TrainingSettings) -> FloatArray | None:
    """What the rule of ``settings.meta`` says of every bar, ``(n_bars, n_symbols)``; None where there is none."""
    if settings.meta.primary is None:
        return None
    return opinions(make_rule(settings.meta.primary, settings.meta.params), panel)


class _Task(NamedTuple):
    panel: BarPanel
    features: FloatArray
    settings: TrainingSettings
    warmup: int
    per_symbol: dict[str, LabelSettings]
    days: IntArray
    opinion: FloatArray | None


def _of_symbol(task: _Task, j: int) -> tuple[NDArray[Any], ...] | None:
    """Columns of the samples of one symbol; None where its bars are too few."""
    panel, features, settings, warmup, per_symbol, days, opinion = task
    labels = per_symbol.get(panel.symbols[j], settings.labels)
    present = np.flatnonzero(np.isfinite(panel.close[:, j]))
    if len(present) <= warmup + labels.max_holding_periods:
        return None
    close = panel.close[present, j]
    sigma = barrier_volatility(close, labels.volatility_span)
    said = np.zeros(len(present)) if opinion is None else opinion[present, j]
    if opinion is not None:
        events = np.flatnonzero(said)
    elif settings.events.method == "cusum":
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
        max_holding_periods=labels.max_holding_periods, last_index=last,
        side=None if opinion is None else np.sign(said[events]), **within,
    )
    done = found.resolved
    start, end = events[done], found.touch_index[done]
    unique = uniqueness(start, end, len(close))
    return (
        features[present[start], j], found.label[done].astype(np.int64), present[start], present[end],
        found.ret[done], np.full(len(start), j), unique, _weight(settings, close, start, end, unique, j), said[start],
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
