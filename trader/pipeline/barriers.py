"""Barrier distances per symbol: a grid judged on purged stretches of each symbol's own past.

A good label set has three classes in fair balance, is decided well before its vertical barrier, stands far from what
a round trip costs, and does so in every stretch of the past, not only on average. Profits are not looked at:
barriers chosen for the return of always being long would only learn the drift of the sample. What the choice is
worth is told by stretches that had no part in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import yaml

from trader.core.clock import iso
from trader.core.days import days_of
from trader.core.panel import BarPanel, FloatArray, IntArray
from trader.models.labels import TripleBarrierLabels, barrier_volatility, session_last_index, triple_barrier
from trader.pipeline.parallel import SERIAL, Workers
from trader.pipeline.training_samples import panel_hash
from trader.pipeline.training_settings import LabelSettings
from trader.utils.atomic import atomic_write_text
from trader.utils.errors import UserError
from trader.utils.typed_yaml import load_typed

DISTANCES = (1.5, 2.0, 2.5, 3.0, 4.0)       # of profit and of stop, in units of the bar volatility
RATIO = 2.0                                 # the further of the two is at most so many times the nearer
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
    validated_score: float = 0.0        # mean score of each stretch under what the others had chosen
    agreement: float = 0.0              # share of those choices that were this one
    cost_share: float = 0.0             # share of the way between the barriers that a round trip costs
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
    cost_bps: float = 0.0               # of a round trip
    symbols: dict[str, SymbolBarriers] = {}


@dataclass(frozen=True, slots=True)
class _Judged:
    """One combination: its score in every stretch of the past, and what its labels look like."""

    profit: float
    stop: float
    horizon: int
    scores: tuple[float, ...]
    shares: tuple[float, float, float]
    holding: float
    cost_share: float
    events: int

    @property
    def order(self) -> tuple[float, float, int]:
        """Among equal scores the even and the sooner one wins."""
        return (-abs(math.log(self.profit / self.stop)), -self.horizon, round(self.profit * 10))


class _Task(NamedTuple):
    panel: BarPanel
    labels: LabelSettings
    cost_bps: float


def calibrate_barriers(
    panel: BarPanel, labels: LabelSettings = LabelSettings(), cost_bps: float = 5.0, workers: Workers = SERIAL
) -> BarrierFile:
    """Choose both distances and the horizon for every symbol with enough bars.

    Parameters
    ----------
    panel : bars that end before anything the labels will be judged on
    labels : the other label settings (touches within the bar, session rule, volatility span)
    cost_bps : what a round trip costs, in hundredths of a per cent of the price
    workers : who judges the symbols; the result does not depend on it

    Raises
    ------
    UserError
        no symbol has enough bars
    """
    found = workers.run(_of_symbol, _Task(panel, labels, cost_bps), range(len(panel.symbols)))
    chosen = {name: own for name, own in zip(panel.symbols, found, strict=True) if own is not None}
    if not chosen:
        raise UserError(
            f"no symbol has {_MIN_EVENTS} labels: {len(panel)} {panel.timeframe} bars of {', '.join(panel.symbols)}; "
            "give more history"
        )
    return BarrierFile(
        timeframe=panel.timeframe, source=panel.source, start=iso(int(panel.ts_ns[0])),
        end=iso(int(panel.available_ns[-1])), data_hash=panel_hash(panel), volatility_span=labels.volatility_span,
        cost_bps=cost_bps, symbols=chosen,
    )


def _of_symbol(task: _Task, j: int) -> SymbolBarriers | None:
    """The choice for one column of the panel; None where its bars are too few."""
    pairs = [(p, s) for p, s in product(DISTANCES, repeat=2) if max(p, s) <= RATIO * min(p, s)]
    bars = _bars_of(task, j)
    if bars is None:
        return None
    judged = [found for pair, h in product(pairs, HORIZONS) if (found := _judge(bars, task, *pair, h)) is not None]
    if not judged:
        return None
    best = _best(judged, range(_BLOCKS))
    others = [_best(judged, [b for b in range(_BLOCKS) if b != held]) for held in range(_BLOCKS)]
    held_out = [choice.scores[held] for held, choice in enumerate(others)]
    return SymbolBarriers(
        profit_taking=best.profit, stop_loss=best.stop, max_holding_periods=best.horizon,
        score=round(min(best.scores), 4), validated_score=round(float(np.mean(held_out)), 4),
        agreement=others.count(best) / len(others), cost_share=round(best.cost_share, 4), class_shares=best.shares,
        mean_holding=round(best.holding, 2), events=best.events,
    )


def _best(judged: Sequence[_Judged], blocks: Iterable[int]) -> _Judged:
    """The combination whose worst stretch is the best."""
    wanted = list(blocks)
    return max(judged, key=lambda found: (min(found.scores[b] for b in wanted), found.order))


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


class _Bars(NamedTuple):
    """What the barriers of one symbol are judged on."""

    close: FloatArray
    events: IntArray
    sigma: FloatArray               # at each event
    last: IntArray | None
    within: dict[str, FloatArray]


def _bars_of(task: _Task, j: int) -> _Bars | None:
    panel, labels = task.panel, task.labels
    present = np.flatnonzero(np.isfinite(panel.close[:, j]))
    close = panel.close[present, j]
    events = np.arange(labels.volatility_span, len(close))
    if len(events) < _MIN_EVENTS:
        return None
    sigma = barrier_volatility(close, labels.volatility_span)[events]
    last = None
    if labels.close_at_session_end:
        last = session_last_index(days_of(panel.available_ns)[present])[events]
    names = ("open", "high", "low") if labels.use_high_low else ()
    return _Bars(close, events, sigma, last, {name: getattr(panel, name)[present, j] for name in names})


def _judge(bars: _Bars, task: _Task, profit: float, stop: float, horizon: int) -> _Judged | None:
    events, sigma = bars.events, bars.sigma
    within: dict[str, Any] = dict(bars.within)
    found = triple_barrier(
        bars.close, events, profit_taking=profit * sigma, stop_loss=stop * sigma, max_holding_periods=horizon,
        last_index=bars.last, **within,
    )
    done = found.resolved
    if done.sum() < _MIN_EVENTS:
        return None
    # fair odds pay the stop's distance against the profit's; a cost moves break-even by its share of their sum
    eaten = np.minimum(task.cost_bps / 1e4 / np.maximum((profit + stop) * sigma, 1e-12), 1.0)
    scores = tuple(_score(found, events, rows, horizon, eaten) for rows in _stretches(found, events))
    loss, neutral, gain = (np.bincount(found.label[done], minlength=3) / done.sum()).round(4).tolist()
    holding = float((found.touch_index - events)[done].mean())
    return _Judged(
        profit, stop, horizon, scores, (loss, neutral, gain), holding, float(eaten[done].mean()), int(done.sum()))


def _stretches(found: TripleBarrierLabels, events: IntArray) -> list[IntArray]:
    """Rows of each stretch of time whose labels end inside it."""
    blocks = np.array_split(np.arange(len(events)), _BLOCKS)
    return [rows[found.resolved[rows] & (found.touch_index[rows] <= events[rows[-1]])] for rows in blocks]


def _score(
    found: TripleBarrierLabels, events: IntArray, rows: IntArray, horizon: int, eaten: FloatArray
) -> float:
    """Entropy of the classes (1 when all three are equally frequent) less a quarter of the share of the horizon used
    up, and less the share of the way that costs eat."""
    if len(rows) < 2:
        return -1.0
    shares = np.bincount(found.label[rows], minlength=3) / len(rows)
    entropy = -float(np.sum(shares[shares > 0] * np.log(shares[shares > 0]))) / math.log(3.0)
    used = float((found.touch_index - events)[rows].mean()) / horizon
    return float(entropy - 0.25 * used - eaten[rows].mean())
