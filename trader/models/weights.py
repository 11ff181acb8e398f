"""How much each label counts when labels overlap: concurrency, uniqueness, return attribution, decay, bootstrap.

Reference: López de Prado (2018), chapter 4. A label is alive on every bar from entry to touch, both included.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def concurrency(start: ArrayLike, end: ArrayLike, n_bars: int) -> IntArray:
    """Number of labels alive on each bar, shape ``(n_bars,)``; ``start``, ``end`` are bars, inclusive."""
    first, last = _spans(start, end, n_bars)
    change = np.bincount(first, minlength=n_bars + 1) - np.bincount(last + 1, minlength=n_bars + 1)
    return np.cumsum(change)[:n_bars].astype(np.int64)


def uniqueness(start: ArrayLike, end: ArrayLike, n_bars: int) -> FloatArray:
    """Mean of ``1 / concurrency`` over each label's life, in (0, 1], shape ``(n_events,)``."""
    first, last = _spans(start, end, n_bars)
    alive = concurrency(first, last, n_bars)
    share = np.divide(1.0, alive, out=np.zeros(n_bars), where=alive > 0)
    total = np.concatenate(([0.0], np.cumsum(share)))
    mean: FloatArray = (total[last + 1] - total[first]) / (last + 1 - first)
    return mean


def return_attribution(start: ArrayLike, end: ArrayLike, log_returns: ArrayLike) -> FloatArray:
    """Absolute return that belongs to each label alone, with mean one (AFML 4.6, bars ``start..end``).

    ``log_returns`` has shape ``(n_bars,)``, the return into each bar; a NaN (the first) counts as zero.
    """
    returns = np.nan_to_num(np.asarray(log_returns, dtype=np.float64))
    first, last = _spans(start, end, len(returns))
    alive = concurrency(first, last, len(returns))
    share = np.divide(returns, alive, out=np.zeros(len(returns)), where=alive > 0)
    total = np.concatenate(([0.0], np.cumsum(share)))
    weight: FloatArray = np.abs(total[last + 1] - total[first])
    if weight.sum() > 0:
        weight *= len(weight) / weight.sum()
        return weight
    return np.ones(len(weight))


def time_decay(unique: ArrayLike, oldest: float = 1.0) -> FloatArray:
    """Linear decay over cumulated uniqueness: 1 for the newest label, ``oldest`` for the first (AFML 4.7).

    A negative ``oldest`` gives the first ``-oldest`` share of the labels no weight at all.
    """
    cumulated = np.cumsum(np.asarray(unique, dtype=np.float64))
    if not len(cumulated):
        return cumulated
    if not -1.0 < oldest <= 1.0:
        raise ValueError(f"oldest must lie in (-1, 1]; got {oldest}")
    slope = (1.0 - oldest) / cumulated[-1] if oldest >= 0 else 1.0 / ((oldest + 1.0) * cumulated[-1])
    decay: FloatArray = np.maximum(1.0 - slope * cumulated[-1] + slope * cumulated, 0.0)
    return decay


def draw_probabilities(start: ArrayLike, end: ArrayLike, n_bars: int, drawn: ArrayLike) -> FloatArray:
    """Chance of each label to be drawn next, given those drawn: its mean uniqueness beside them (AFML 4.5.3)."""
    first, last = _spans(start, end, n_bars)
    chosen = np.asarray(drawn, dtype=np.int64)
    return _next_draw(first, last, concurrency(first[chosen], last[chosen], n_bars))


def sequential_bootstrap(
    start: ArrayLike, end: ArrayLike, n_bars: int, rng: np.random.Generator, n_draws: int | None = None
) -> IntArray:
    """Draw labels with replacement, each the less likely the more it overlaps those drawn before (AFML 4.5).

    Parameters
    ----------
    start, end : bars, inclusive, shape ``(n_events,)``
    rng : the same generator state gives the same draws
    n_draws : as many as there are labels when None

    Returns
    -------
    Rows in the order drawn, shape ``(n_draws,)``. Costs ``n_draws * (n_bars + n_events)``.
    """
    first, last = _spans(start, end, n_bars)
    wanted = len(first) if n_draws is None else n_draws
    alive = np.zeros(n_bars, dtype=np.int64)
    drawn = np.empty(wanted, dtype=np.int64)
    for k in range(wanted):
        chance = np.cumsum(_next_draw(first, last, alive))
        row = min(int(np.searchsorted(chance, rng.random() * chance[-1], side="right")), len(first) - 1)
        drawn[k] = row
        alive[first[row]:last[row] + 1] += 1
    return drawn


def _next_draw(first: IntArray, last: IntArray, alive: IntArray) -> FloatArray:
    total = np.concatenate(([0.0], np.cumsum(1.0 / (alive + 1.0))))
    unique = (total[last + 1] - total[first]) / (last + 1 - first)
    chance: FloatArray = unique / unique.sum()
    return chance


def _spans(start: ArrayLike, end: ArrayLike, n_bars: int) -> tuple[IntArray, IntArray]:
    first, last = np.asarray(start, dtype=np.int64), np.asarray(end, dtype=np.int64)
    if first.shape != last.shape:
        raise ValueError(f"start and end must have one shape; got {first.shape} and {last.shape}")
    if len(first) and (first.min() < 0 or last.max() >= n_bars or np.any(last < first)):
        raise ValueError(f"labels must satisfy 0 <= start <= end < {n_bars}")
    return first, last
