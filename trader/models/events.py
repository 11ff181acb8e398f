"""Which bars become training samples: the symmetric CUSUM filter, or every n-th bar."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]


def cusum_events(close: ArrayLike, threshold: float | ArrayLike, *, log_returns: bool = True) -> IntArray:
    """Bars at which the cumulated move since the last event exceeds ``threshold`` (AFML 2.5.2.1).

    Strict inequality; the falling side is tested first; only the side that fired starts again from zero.

    Parameters
    ----------
    close : shape ``(n_bars,)``, finite and positive
    threshold : a return, one number or one per bar (a volatility known at that bar); NaN there: no event
    log_returns : cumulate log returns, else simple returns

    Returns
    -------
    Increasing bar indices, shape ``(n_events,)``.
    """
    prices = np.asarray(close, dtype=np.float64)
    if len(prices) < 2:
        return np.empty(0, dtype=np.int64)
    moves = np.diff(np.log(prices)) if log_returns else prices[1:] / prices[:-1] - 1.0
    limits = np.broadcast_to(np.asarray(threshold, dtype=np.float64), len(prices))[1:]
    events: list[int] = []
    up = down = 0.0             # both counted upwards; plain comparisons, because max() costs a call a bar
    for i, (move, limit) in enumerate(zip(moves.tolist(), limits.tolist(), strict=True), start=1):
        up += move
        if up < 0.0:
            up = 0.0
        down -= move
        if down < 0.0:
            down = 0.0
        if down > limit:
            down = 0.0
            events.append(i)
        elif up > limit:
            up = 0.0
            events.append(i)
    return np.asarray(events, dtype=np.int64)


def stride_events(n_bars: int, stride: int, offset: int = 0) -> IntArray:
    """Every ``stride``-th bar from ``offset`` on."""
    if stride < 1:
        raise ValueError(f"stride must be at least 1 bar; got {stride}")
    return np.arange(offset, n_bars, stride, dtype=np.int64)
