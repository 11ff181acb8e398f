"""The correlation breaker inside the pipeline: its windows, its baseline and its pace."""

from __future__ import annotations

import math

import numpy as np

from trader.core.events import BreakerChanged
from trader.core.history import History
from trader.core.panel import FloatArray
from trader.risk.breakers import Breaker, Step
from trader.risk.correlation_breaker import (
    ACTIONS,
    MULTIPLIERS,
    ORDER,
    CorrelationCircuitBreaker,
    correlation_matrix,
)
from trader.risk.params import RiskParams


class CorrelationGuard(Breaker):
    """A :class:`CorrelationCircuitBreaker` read every few bars.

    The window is the last ``correlation_window_bars`` returns; the baseline, the correlations of the bars
    before it, is renewed once a window so that a slow change of the market does not stay an alarm for ever.
    """

    def __init__(self, params: RiskParams) -> None:
        super().__init__("correlation", tuple(
            Step(math.inf, state.value, MULTIPLIERS[state], ACTIONS[state].value) for state in ORDER[1:]
        ))
        self._params = params
        self._slices = 0
        self._baseline_age = 0
        self.circuit = CorrelationCircuitBreaker(
            None, params.correlation_spike_threshold, params.crisis_threshold, params.first_pc_threshold,
            flatten_threshold=params.flatten_threshold, minimum_correlation=params.correlation_minimum,
            persistence=params.correlation_persistence,
        )

    @property
    def limit(self) -> float:
        """The relative rise that means crisis."""
        return self._params.crisis_threshold

    def on_slice(self, ts: int, history: History) -> BreakerChanged | None:
        """Count a bar; measure when it is time."""
        self._slices += 1
        params = self._params
        if self._slices % params.correlation_every_bars:
            return None
        window = params.correlation_window_bars
        if history.n < 2 * window + 1:
            return None
        self._baseline_age += params.correlation_every_bars
        if self.circuit.baseline_mean != self.circuit.baseline_mean or self._baseline_age >= window:
            self._renew(history, window)
        reading = self.circuit.observe(_returns(history.close(window + 1)))
        if reading is None:
            return None
        # A rise from next to nothing alarms nobody: it counts from the level at which it can.
        counts = reading.rise == reading.rise and reading.mean_correlation >= params.correlation_minimum
        self.value = max(0.0, reading.rise) if counts else 0.0
        self.words = f"mean {reading.mean_correlation:.2f}, first PC {reading.first_pc_share:.0%}"
        place = ORDER.index(self.circuit.state)
        return None if place == self._place else self._move(ts, place, self.circuit.alert().message)

    def _renew(self, history: History, window: int) -> None:
        reach = min(history.n, window + 1 + self._params.correlation_baseline_bars)
        matrix, _ = correlation_matrix(_returns(history.close(reach)[:-window]))
        if matrix is not None:
            self.circuit.set_baseline(np.clip(matrix, -1.0, 1.0))
            self._baseline_age = 0

    def reset(self, ts: int, detail: str = "") -> BreakerChanged | None:
        """Back to normal by hand."""
        self.circuit.reset()
        return super().reset(ts, detail)


def _returns(close: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(close)
        out: FloatArray = logs[1:] - logs[:-1]
    return out
