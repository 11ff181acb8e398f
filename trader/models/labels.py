"""The triple-barrier method on arrays: which barrier a price path touches first, when, at what return.

Reference: López de Prado, *Advances in Financial Machine Learning* (2018), chapter 3. Conventions: the path
starts after the entry bar, a touch is strict (``>`` and ``<``), returns are simple, and a label whose outcome
lies beyond the last bar is *unresolved*, never guessed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
CodeArray = NDArray[np.int8]

LOSS, NEUTRAL, PROFIT = 0, 1, 2
CLASSES = (LOSS, NEUTRAL, PROFIT)
UNRESOLVED = -1

BARRIER_NONE, BARRIER_STOP, BARRIER_VERTICAL, BARRIER_PROFIT = -1, 0, 1, 2


@dataclass(frozen=True, slots=True)
class TripleBarrierLabels:
    """Outcome of each event; every array has shape ``(n_events,)``.

    ``label`` is 0 loss, 1 neutral, 2 profit, -1 unresolved. ``touch_index`` is the bar of the touch (-1 when
    unresolved), ``ret`` the simple return of the side taken (NaN when unresolved), ``barrier`` which barrier
    ended it: 0 stop, 1 vertical, 2 profit, -1 none.
    """

    label: CodeArray
    touch_index: IntArray
    ret: FloatArray
    barrier: CodeArray

    @property
    def resolved(self) -> NDArray[np.bool_]:
        """Which events have an outcome."""
        resolved: NDArray[np.bool_] = self.label != UNRESOLVED
        return resolved


def barrier_volatility(close: ArrayLike, span: int = 100) -> FloatArray:
    """Exponentially weighted standard deviation of simple returns, known at each bar's close.

    The same numbers as ``close.pct_change().ewm(span=span).std()`` (adjusted, bias-corrected; AFML 3.1).

    Parameters
    ----------
    close : shape ``(n_bars,)``, finite and positive
    span : bars; the decay is ``1 - 2 / (span + 1)``

    Returns
    -------
    Shape ``(n_bars,)``; NaN for the first two bars.
    """
    prices = np.asarray(close, dtype=np.float64)
    sigma = np.full(len(prices), np.nan)
    if len(prices) < 3:
        return sigma
    returns = prices[1:] / prices[:-1] - 1.0
    decay = 1.0 - 2.0 / (span + 1.0)
    weight = weight_sq = mean = scatter = 0.0
    for i, value in enumerate(returns.tolist(), start=1):
        weight, weight_sq = decay * weight + 1.0, decay * decay * weight_sq + 1.0
        delta = value - mean
        mean += delta / weight
        scatter = decay * scatter + delta * (value - mean)
        if i > 1:
            unbias = weight - weight_sq / weight
            sigma[i] = math.sqrt(max(scatter, 0.0) / unbias)
    return sigma


def triple_barrier(
    close: ArrayLike,
    start_index: ArrayLike,
    *,
    profit_taking: float | ArrayLike | None,
    stop_loss: float | ArrayLike | None,
    max_holding_periods: int | ArrayLike,
    side: ArrayLike | None = None,
    open: ArrayLike | None = None,
    high: ArrayLike | None = None,
    low: ArrayLike | None = None,
    last_index: ArrayLike | None = None,
) -> TripleBarrierLabels:
    """Label each event by the first barrier its path touches.

    Parameters
    ----------
    close : shape ``(n_bars,)``, finite and positive
    start_index : bars at whose close the position is taken, shape ``(n_events,)``
    profit_taking, stop_loss : distance as a fraction of the entry price (0.02 is 2 %), one number or one per
        event (multiply a volatility in before for scaled barriers); None switches the barrier off
    max_holding_periods : vertical barrier in bars, one number or one per event
    side : +1 long, -1 short, per event; long when None
    open, high, low : given together, touches are judged within the bar: the stop before the profit
        (pessimistic), filled at the barrier, or at the open where the bar gaps beyond it
    last_index : last bar that each *event* may reach (its session's end): brings the vertical barrier
        forward. An event with no bar left before it is unresolved

    Returns
    -------
    TripleBarrierLabels
    """
    prices = np.asarray(close, dtype=np.float64)
    start = np.asarray(start_index, dtype=np.int64)
    n_bars, n_events = len(prices), len(start)
    if not np.all(np.isfinite(prices) & (prices > 0)):
        bad = int(np.flatnonzero(~(np.isfinite(prices) & (prices > 0)))[0])
        raise ValueError(f"close must be finite and positive; bar {bad} holds {prices[bad]}: drop it first")
    if n_events and (start.min() < 0 or start.max() >= n_bars):
        raise ValueError(f"start_index must lie in 0..{n_bars - 1}; got {start.min()}..{start.max()}")
    within = (open, high, low)
    if any(a is not None for a in within) and any(a is None for a in within):
        raise ValueError("open, high and low go together: give all three for touches within the bar, or none")

    upper = _distance(profit_taking, n_events, "profit_taking")
    lower = _distance(stop_loss, n_events, "stop_loss")
    holding = np.broadcast_to(np.asarray(max_holding_periods, dtype=np.int64), n_events)
    if n_events and holding.min() < 1:
        raise ValueError(f"max_holding_periods must be at least 1 bar; got {holding.min()}")
    sign = np.ones(n_events) if side is None else np.asarray(side, dtype=np.float64)
    vertical = start + holding
    if last_index is not None:
        vertical = np.minimum(vertical, np.asarray(last_index, dtype=np.int64))

    label = np.full(n_events, UNRESOLVED, dtype=np.int8)
    barrier = np.full(n_events, BARRIER_NONE, dtype=np.int8)
    touch = np.full(n_events, -1, dtype=np.int64)
    ret = np.full(n_events, np.nan)
    entry = prices[start]
    bars = None
    if open is not None and high is not None and low is not None:
        bars = (np.asarray(open, np.float64), np.asarray(high, np.float64), np.asarray(low, np.float64))

    known_barriers = ~(np.isnan(upper) | np.isnan(lower))
    alive = np.flatnonzero(known_barriers & (vertical > start) & (start + 1 < n_bars))
    for step in range(1, int(holding.max(initial=0)) + 1):
        if not len(alive):
            break
        at = start[alive] + step
        value = sign[alive] * (prices[at] / entry[alive] - 1.0)
        if bars is None:
            stopped, taken = value < -lower[alive], value > upper[alive]
            out = value
        else:
            stopped, taken, out = _touch_within(
                bars, at, entry[alive], sign[alive], lower[alive], upper[alive], value
            )
        ended = at == vertical[alive]
        done = stopped | taken | ended
        which = alive[done]
        code = np.where(stopped, BARRIER_STOP, np.where(taken, BARRIER_PROFIT, BARRIER_VERTICAL))[done]
        barrier[which] = code
        label[which] = code         # a class has the number of the barrier that decides it
        touch[which] = at[done]
        ret[which] = out[done]
        alive = alive[~done]
        alive = alive[start[alive] + step + 1 < n_bars]
    return TripleBarrierLabels(label, touch, ret, barrier)


def session_last_index(session: ArrayLike) -> IntArray:
    """The last bar of each bar's session; ``session``, shape ``(n_bars,)``, is constant within one."""
    ids = np.asarray(session)
    if not len(ids):
        return np.empty(0, dtype=np.int64)
    ends = np.append(np.flatnonzero(ids[1:] != ids[:-1]), len(ids) - 1)
    return ends[np.searchsorted(ends, np.arange(len(ids)))].astype(np.int64)


def meta_labels(labels: TripleBarrierLabels) -> CodeArray:
    """1 where the side taken reached its profit first, else 0; -1 where unresolved (AFML 3.6)."""
    return np.where(labels.resolved, labels.barrier == BARRIER_PROFIT, UNRESOLVED).astype(np.int8)


def _distance(value: float | ArrayLike | None, n_events: int, name: str) -> FloatArray:
    if value is None:
        return np.full(n_events, np.inf)
    distance = np.broadcast_to(np.asarray(value, dtype=np.float64), n_events)
    if np.any(distance < 0):
        raise ValueError(f"{name} must not be negative; got {np.nanmin(distance)}")
    return distance


def _touch_within(
    bars: tuple[FloatArray, FloatArray, FloatArray], at: IntArray, entry: FloatArray, sign: FloatArray,
    lower: FloatArray, upper: FloatArray, at_close: FloatArray,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], FloatArray]:
    """Touches judged by open, high and low; the return is the barrier's, or the open's beyond it."""
    opened, high, low = (series[at] / entry - 1.0 for series in bars)
    start = sign * opened
    best = np.where(sign > 0, high, -low)
    worst = np.where(sign > 0, low, -high)
    stopped = worst < -lower
    opens_in_profit = start > upper         # a gap into profit is filled before the bar can turn to the stop
    stopped &= ~opens_in_profit
    taken = (best > upper) & ~stopped
    out = np.where(stopped, np.minimum(-lower, start), np.where(taken, np.maximum(upper, start), at_close))
    return stopped, taken, out
