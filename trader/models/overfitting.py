"""How likely the best of many trials is only the luckiest: combinatorially symmetric cross-validation.

Reference: Bailey, Borwein, López de Prado and Zhu, "The Probability of Backtest Overfitting" (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Overfitting:
    """``probability`` is the share of splits whose best trial in sample ranks in the lower half out of sample.

    ``logits`` has one entry a split: the log-odds of that rank, positive above the median.
    """

    probability: float
    logits: FloatArray
    n_trials: int


def probability_of_overfitting(returns: ArrayLike, n_blocks: int = 16) -> Overfitting:
    """Judge a selection by Sharpe ratio.

    Parameters
    ----------
    returns : of every trial over the same periods in time order, shape ``(n_periods, n_trials)``
    n_blocks : even number of equal blocks of time, the last periods left out where they do not divide; each half of
        the blocks is once the sample in which the best is chosen
    """
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(f"returns of two trials or more, shape (n_periods, n_trials), expected; got {values.shape}")
    if n_blocks < 2 or n_blocks % 2 or len(values) < 2 * n_blocks:
        raise ValueError(f"n_blocks must be even and at most half the {len(values)} periods; got {n_blocks}")
    length = len(values) // n_blocks
    values = values[:length * n_blocks]
    edges, count = np.arange(n_blocks) * length, np.full(n_blocks, float(length))
    total, squares = np.add.reduceat(values, edges), np.add.reduceat(values * values, edges)
    inside = np.zeros((_choose(n_blocks), n_blocks))
    for row, blocks in enumerate(combinations(range(n_blocks), n_blocks // 2)):
        inside[row, blocks] = 1.0
    chosen = np.argmax(_sharpe(inside, total, squares, count), axis=1)
    out = _sharpe(1.0 - inside, total, squares, count)
    own = out[np.arange(len(out)), chosen][:, None]
    rank = (out < own).sum(axis=1) + 0.5 * ((out == own).sum(axis=1) + 1)       # ties share their ranks
    omega = rank / (values.shape[1] + 1)
    logits = np.log(omega / (1.0 - omega))
    return Overfitting(float(np.mean(logits <= 0.0)), logits, values.shape[1])


def _sharpe(used: FloatArray, total: FloatArray, squares: FloatArray, count: FloatArray) -> FloatArray:
    """Sharpe ratio of each trial over the blocks of each split, shape ``(n_splits, n_trials)``; 0 without movement."""
    n = (used @ count)[:, None]
    mean = used @ total / n
    variance = np.maximum(used @ squares / n - mean * mean, 0.0)
    return np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > 1e-18)


def _choose(n_blocks: int) -> int:
    from math import comb

    return comb(n_blocks, n_blocks // 2)
