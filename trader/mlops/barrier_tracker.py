"""The triple barrier bar by bar: follows one position-to-be per symbol until the live bars decide it.

The same outcomes as ``trader.models.labels.triple_barrier`` gives on the whole series; a test holds them
together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trader.core.days import day_of
from trader.core.panel import FloatArray, Slice

_LOSS, _NEUTRAL, _PROFIT, _OPEN, _DROPPED = 0, 1, 2, -1, -2


class BarrierTracker:
    """Resolves entries at later slices.

    Parameters
    ----------
    n_symbols : width of the slices
    labels : ``profit_taking, stop_loss, max_holding_periods, volatility_scaled, volatility_span,
        use_high_low, close_at_session_end`` as in a model's manifest; distances may be lists with one value
        per symbol
    min_returns : returns that must be known before a volatility is trusted, at least 2
    """

    def __init__(self, n_symbols: int, labels: dict[str, Any], min_returns: int = 2) -> None:
        self._take = np.broadcast_to(np.asarray(labels["profit_taking"], dtype=np.float64), n_symbols)
        self._stop = np.broadcast_to(np.asarray(labels["stop_loss"], dtype=np.float64), n_symbols)
        self._hold = np.broadcast_to(np.asarray(labels["max_holding_periods"], dtype=np.int64), n_symbols)
        self._scaled = bool(labels.get("volatility_scaled", False))
        self._within = bool(labels.get("use_high_low", False))
        self._by_session = bool(labels.get("close_at_session_end", False))
        self._decay = 1.0 - 2.0 / (labels.get("volatility_span", 100) + 1.0)
        self.active = np.zeros(n_symbols, dtype=bool)
        self._side = np.ones(n_symbols)
        self._entry = np.full(n_symbols, np.nan)
        self._unit = np.ones(n_symbols)
        self._bars = np.zeros(n_symbols, dtype=np.int64)
        self._day = 0
        self._close = np.full(n_symbols, np.nan)
        self._weight, self._weight_sq = np.zeros(n_symbols), np.zeros(n_symbols)
        self._mean, self._scatter = np.zeros(n_symbols), np.zeros(n_symbols)
        self._min_returns = max(2, min_returns)
        self._returns = np.zeros(n_symbols, dtype=np.int64)

    def push(self, bar: Slice) -> NDArray[np.int64]:
        """Advance by one slice; per symbol 0, 1, 2 where an entry was decided, else -1."""
        there = np.isfinite(bar.close)
        result = np.full(len(there), _OPEN, dtype=np.int64)
        if self._by_session:
            self._end_session(bar, there, result)
        moved = self.active & there
        self._bars += moved
        if moved.any():
            code = self._decide(bar, moved)
            result[moved & (code != _OPEN)] = code[moved & (code != _OPEN)]
        self.active &= result == _OPEN
        self._learn_volatility(bar.close, there)
        return np.where(result == _DROPPED, _OPEN, result)

    def enter(self, wanted: NDArray[np.bool_], side: NDArray[np.float64] | None = None) -> NDArray[np.bool_]:
        """Start following ``wanted`` symbols from the close of the last slice; returns which could be.

        ``side`` is the side taken, positive long, negative short, shape ``(n_symbols,)``; long when None. A short one
        makes its profit at the lower barrier.
        """
        unit = self._volatility() if self._scaled else np.ones(len(self.active))
        begin: NDArray[np.bool_] = wanted & ~self.active & np.isfinite(self._close) & np.isfinite(unit)
        self._entry[begin], self._unit[begin], self._bars[begin] = self._close[begin], unit[begin], 0
        self._side[begin] = 1.0 if side is None else np.sign(side[begin])
        self.active |= begin
        return begin

    def _decide(self, bar: Slice, moved: NDArray[np.bool_]) -> NDArray[np.int64]:
        take, stop = self._take * self._unit, self._stop * self._unit
        with np.errstate(invalid="ignore"):
            low = self._side * ((bar.low if self._within else bar.close) / self._entry - 1.0)
            high = self._side * ((bar.high if self._within else bar.close) / self._entry - 1.0)
            stopped, taken = np.minimum(low, high) < -stop, np.maximum(low, high) > take
            if self._within:
                stopped &= ~(self._side * (bar.open / self._entry - 1.0) > take)
        late = self._bars >= self._hold
        return np.where(stopped, _LOSS, np.where(taken, _PROFIT, np.where(late, _NEUTRAL, _OPEN)))

    def _end_session(self, bar: Slice, there: NDArray[np.bool_], result: NDArray[np.int64]) -> None:
        """Entries of an earlier day ended at that day's last close, without a touch."""
        day = day_of(bar.available_ns)
        if day != self._day:
            result[self.active] = np.where(self._bars[self.active] > 0, _NEUTRAL, _DROPPED)
            self.active[:] = False
        if there.any():
            self._day = day

    def _learn_volatility(self, close: FloatArray, there: NDArray[np.bool_]) -> None:
        """One step of the adjusted, bias-corrected exponentially weighted variance of simple returns."""
        with np.errstate(invalid="ignore"):
            value = close / self._close - 1.0
        known = np.isfinite(value)
        whole = bool(known.all())
        weight = self._decay * self._weight + 1.0
        delta = value - self._mean if whole else np.where(known, value - self._mean, 0.0)
        mean = self._mean + delta / weight
        gain = delta * (value - mean) if whole else np.where(known, delta * (value - mean), 0.0)
        scatter, weight_sq = self._decay * self._scatter + gain, self._decay**2 * self._weight_sq + 1.0
        if not whole:
            held = ~known
            for fresh, before in ((weight, self._weight), (weight_sq, self._weight_sq), (mean, self._mean),
                                  (scatter, self._scatter)):
                fresh[held] = before[held]
        self._weight, self._weight_sq, self._mean, self._scatter = weight, weight_sq, mean, scatter
        self._returns += known
        self._close = close.copy() if whole else np.where(there, close, self._close)

    def _volatility(self) -> FloatArray:
        with np.errstate(invalid="ignore", divide="ignore"):
            unbias = self._weight - self._weight_sq / self._weight
            sigma = np.sqrt(np.maximum(self._scatter, 0.0) / unbias)
        return np.where(self._returns >= self._min_returns, sigma, np.nan)
