"""Barrier distances per symbol: a grid judged on purged stretches of each symbol's own past.

A good label set has three classes in fair balance, is decided well before its vertical barrier, and does so
in every stretch of the past, not only on average. Nothing here looks at features or at profits: barriers
chosen for the return of always being long would only learn the drift of the sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml

from trader.core.clock import iso
from trader.core.days import days_of
from trader.core.panel import BarPanel, IntArray
from trader.models.labels import TripleBarrierLabels, barrier_volatility, session_last_index, triple_barrier
from trader.pipeline.training_samples import panel_hash
from trader.pipeline.training_settings import LabelSettings
from trader.utils.atomic import atomic_write_text
from trader.utils.errors import UserError
from trader.utils.typed_yaml import load_typed

DISTANCES = (1.5, 2.0, 2.5, 3.0, 4.0)       # in units of the bar volatility, profit and stop alike
HORIZONS = (13, 20, 26)                     # bars
_BLOCKS = 4
_MIN_EVENTS = 200
_HEADER = (
    "# Written by `alphatrade calibrate-barriers`: distances in units of the bar volatility, horizon in bars.\n"
    "# Used by `alphatrade train` where training.yaml says labels.per_symbol: true.\n"
)


class SymbolBarriers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the calibration chose for one symbol, and why."""

    profit_taking: float
    stop_loss: float
    max_holding_periods: int
    score: float                        # worst stretch of the past; 1 is ideal
    class_shares: tuple[float, float, float]    # loss, neutral, profit
    mean_holding: float                 # bars
    events: int


class BarrierFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``config/triple_barrier_params.yaml``."""

    timeframe: str = ""
    source: str = ""
    start: str = ""
    end: str = ""
    data_hash: str = ""
    volatility_span: int = 100
    symbols: dict[str, SymbolBarriers] = {}


@dataclass(frozen=True, slots=True)
class _Judged:
    score: float
    shares: tuple[float, float, float]
    holding: float
    events: int


def calibrate_barriers(panel: BarPanel, labels: LabelSettings = LabelSettings()) -> BarrierFile:
    """Choose distance and horizon for every symbol with enough bars.

    Parameters
    ----------
    panel : bars that end before anything the labels will be judged on
    labels : the other label settings (touches within the bar, session rule, volatility span)

    Raises
    ------
    UserError
        no symbol has enough bars
    """
    days = days_of(panel.available_ns)
    chosen = {}
    for j, name in enumerate(panel.symbols):
        present = np.flatnonzero(np.isfinite(panel.close[:, j]))
        best = max(
            (
                (judged.score, -horizon, distance, horizon, judged)
                for distance, horizon in product(DISTANCES, HORIZONS)
                if (judged := _judge(panel, j, present, days, distance, horizon, labels)) is not None
            ),
            key=lambda found: found[:3], default=None,
        )
        if best is None:
            continue
        score, _, distance, horizon, judged = best
        chosen[name] = SymbolBarriers(
            profit_taking=distance, stop_loss=distance, max_holding_periods=horizon, score=round(score, 4),
            class_shares=judged.shares, mean_holding=round(judged.holding, 2),
            events=judged.events,
        )
    if not chosen:
        raise UserError(
            f"no symbol has {_MIN_EVENTS} labels: {len(panel)} {panel.timeframe} bars of {', '.join(panel.symbols)}; "
            "give more history"
        )
    return BarrierFile(
        timeframe=panel.timeframe, source=panel.source, start=iso(int(panel.ts_ns[0])),
        end=iso(int(panel.available_ns[-1])), data_hash=panel_hash(panel), volatility_span=labels.volatility_span,
        symbols=chosen,
    )


def write_barriers(path: Path, found: BarrierFile) -> None:
    """Replace the file in one step."""
    text = yaml.safe_dump(msgspec.to_builtins(found), sort_keys=False, default_flow_style=None, width=110)
    atomic_write_text(path, _HEADER + text)


def load_barriers(path: Path, labels: LabelSettings) -> Mapping[str, LabelSettings]:
    """Label settings per symbol from the file, the common ones for everything that it does not say."""
    stored = load_typed(path, BarrierFile)
    return {
        name: msgspec.structs.replace(
            labels, profit_taking=own.profit_taking, stop_loss=own.stop_loss,
            max_holding_periods=own.max_holding_periods, volatility_scaled=True,
            volatility_span=stored.volatility_span,
        )
        for name, own in stored.symbols.items()
    }


def _judge(
    panel: BarPanel, j: int, present: IntArray, days: IntArray, distance: float, horizon: int, labels: LabelSettings
) -> _Judged | None:
    close = panel.close[present, j]
    sigma = barrier_volatility(close, labels.volatility_span)
    events = np.arange(labels.volatility_span, len(close))
    if len(events) < _MIN_EVENTS:
        return None
    last = session_last_index(days[present])[events] if labels.close_at_session_end else None
    within: dict[str, Any] = {}
    if labels.use_high_low:
        within = {name: getattr(panel, name)[present, j] for name in ("open", "high", "low")}
    found = triple_barrier(
        close, events, profit_taking=distance * sigma[events], stop_loss=distance * sigma[events],
        max_holding_periods=horizon, last_index=last, **within,
    )
    scores = [_score(found, events, rows, horizon) for rows in _stretches(found, events)]
    done = found.resolved
    if not scores or done.sum() < _MIN_EVENTS:
        return None
    loss, neutral, profit = (np.bincount(found.label[done], minlength=3) / done.sum()).round(4).tolist()
    holding = float((found.touch_index - events)[done].mean())
    return _Judged(min(scores), (loss, neutral, profit), holding, int(done.sum()))


def _stretches(found: TripleBarrierLabels, events: IntArray) -> list[IntArray]:
    """Rows of each stretch of time whose labels end inside it."""
    blocks = np.array_split(np.arange(len(events)), _BLOCKS)
    return [
        rows[found.resolved[rows] & (found.touch_index[rows] <= events[rows[-1]])] for rows in blocks if len(rows)
    ]


def _score(found: TripleBarrierLabels, events: IntArray, rows: IntArray, horizon: int) -> float:
    """Entropy of the classes (1 when all three are equally frequent) less the share of the horizon used up."""
    if len(rows) < 2:
        return -1.0
    shares = np.bincount(found.label[rows], minlength=3) / len(rows)
    entropy = -float(np.sum(shares[shares > 0] * np.log(shares[shares > 0]))) / math.log(3.0)
    used = float((found.touch_index - events)[rows].mean()) / horizon
    return float(entropy - 0.25 * used)
