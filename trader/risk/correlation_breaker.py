"""When correlations spike, diversification is gone: measure it and say how much of a position may stay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trader.core.panel import FloatArray

MIN_OBSERVATIONS = 10
RELEASE = 0.8                     # a state is left when readings fall below this share of its threshold
BASELINE_FLOOR = 0.05             # a rise is relative to the baseline; near zero it would mean nothing
PC_RISE = 1.1                     # the first component must also stand out from its own baseline


class BreakerState(Enum):
    """How alike the symbols move."""

    NORMAL = "normal"
    ELEVATED = "elevated"
    CRISIS = "crisis"
    FLATTEN = "tripped"


class BreakerAction(Enum):
    """What to do about it."""

    NONE = "none"
    REDUCE = "reduce positions by half"
    REDUCE_SHARPLY = "reduce positions to a quarter"
    FLATTEN = "close all positions"


ORDER = (BreakerState.NORMAL, BreakerState.ELEVATED, BreakerState.CRISIS, BreakerState.FLATTEN)
MULTIPLIERS = dict(zip(ORDER, (1.0, 0.5, 0.25, 0.0), strict=True))
ACTIONS = dict(zip(ORDER, BreakerAction, strict=True))


class Multiplier(float):
    """A float that a position's exact quantity may be multiplied with; the four values are exact in both."""

    def __mul__(self, other: Any) -> Any:
        return Decimal(self) * other if isinstance(other, Decimal) else float.__mul__(self, other)

    __rmul__ = __mul__


@dataclass(frozen=True, slots=True)
class CorrelationReading:
    """What a window of returns says. ``rise`` is relative to the baseline's mean correlation."""

    mean_correlation: float
    rise: float
    first_pc_share: float
    absorption_ratio: float
    symbols: int
    observations: int


@dataclass(frozen=True, slots=True)
class CorrelationAlert:
    """The breaker's word after a check."""

    state: BreakerState
    action: BreakerAction
    position_multiplier: float
    mean_correlation: float
    baseline_mean_correlation: float
    rise: float
    first_pc_share: float
    message: str


class CorrelationCircuitBreaker:
    """Compare recent correlations with a baseline from training.

    The mean off-diagonal correlation's relative rise and the first principal component's share (of the
    correlation matrix's trace) raise the state; leaving it takes readings well below the thresholds.

    Parameters
    ----------
    baseline_correlation : matrix (n, n) of the training period, array or DataFrame; None: set it later.
    correlation_spike_threshold : relative rise that means ELEVATED (0.25 is 25 %).
    crisis_threshold : relative rise that means CRISIS.
    first_pc_threshold : share of the first component that means ELEVATED.
    flatten_threshold : mean correlation at which a crisis means FLATTEN.
    minimum_correlation : mean correlation below which nothing is alarming.
    persistence : readings in a row before a state rises.
    """

    def __init__(
        self,
        baseline_correlation: Any = None,
        correlation_spike_threshold: float = 0.25,
        crisis_threshold: float = 0.40,
        first_pc_threshold: float = 0.55,
        *,
        flatten_threshold: float = 0.95,
        minimum_correlation: float = 0.0,
        persistence: int = 1,
    ) -> None:
        if not 0 < correlation_spike_threshold < crisis_threshold:
            raise ValueError(
                f"correlation_spike_threshold ({correlation_spike_threshold}) must be above 0 and below "
                f"crisis_threshold ({crisis_threshold})"
            )
        self.correlation_spike_threshold = correlation_spike_threshold
        self.crisis_threshold = crisis_threshold
        self.first_pc_threshold = first_pc_threshold
        self.flatten_threshold = flatten_threshold
        self.minimum_correlation = minimum_correlation
        self.persistence = persistence
        self.state = BreakerState.NORMAL
        self.reading: CorrelationReading | None = None
        self.baseline_mean = math.nan
        self.baseline_first_pc = 0.0
        self._pressing = 0
        if baseline_correlation is not None:
            self.set_baseline(baseline_correlation)

    def set_baseline(self, correlation: Any) -> None:
        """Take a correlation matrix (n, n), n ≥ 2, as what is usual."""
        matrix = np.asarray(correlation, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
            raise ValueError(f"baseline_correlation has shape {matrix.shape}; expected (n, n) with n of 2 or more")
        if not np.isfinite(matrix).all() or np.abs(matrix).max() > 1.0 + 1e-9:
            raise ValueError("baseline_correlation holds values outside -1…1; expected correlations, not covariances")
        self.baseline_mean = _mean_off_diagonal(matrix)
        self.baseline_first_pc = float(np.linalg.eigvalsh(matrix)[-1]) / len(matrix)

    def check(self, recent_returns: Any) -> tuple[bool, CorrelationAlert]:
        """Judge a window of returns.

        Parameters
        ----------
        recent_returns : shape (n_observations, n_symbols), array or DataFrame; symbols with a gap or
            without movement are left out.

        Returns
        -------
        Whether the breaker is triggered (any state but NORMAL), and the alert with state and action.
        """
        self.observe(np.asarray(recent_returns, dtype=np.float64))
        return self.state is not BreakerState.NORMAL, self.alert()

    def observe(self, returns: FloatArray) -> CorrelationReading | None:
        """:meth:`check` without the words: the last reading, of these returns where they could be judged."""
        reading = measure(returns, self.baseline_mean)
        if reading is not None:
            self.reading = reading
            self._move(reading)
        return self.reading

    def _move(self, reading: CorrelationReading) -> None:
        place = ORDER.index(self.state)
        target = self._level(reading, 1.0)
        if target > place:
            self._pressing += 1
            if self._pressing >= self.persistence:
                self.state, self._pressing = ORDER[target], 0
            return
        self._pressing = 0
        held = self._level(reading, RELEASE)
        if held < place:
            self.state = ORDER[held]

    def _level(self, reading: CorrelationReading, ease: float) -> int:
        if reading.mean_correlation < self.minimum_correlation * ease:
            return 0
        rise = reading.rise if reading.rise == reading.rise else 0.0
        if rise >= self.crisis_threshold * ease:
            return 3 if reading.mean_correlation >= self.flatten_threshold * (1.0 if ease == 1.0 else 0.97) else 2
        pc_limit = max(self.first_pc_threshold, PC_RISE * self.baseline_first_pc)
        if rise >= self.correlation_spike_threshold * ease or reading.first_pc_share >= pc_limit * (0.5 + 0.5 * ease):
            return 1
        return 0

    def alert(self) -> CorrelationAlert:
        """The present state in words and numbers."""
        reading = self.reading or CorrelationReading(math.nan, math.nan, math.nan, math.nan, 0, 0)
        message = (
            f"{self.state.value}: mean correlation {reading.mean_correlation:.2f} against {self.baseline_mean:.2f}, "
            f"first component {reading.first_pc_share:.0%}"
        )
        return CorrelationAlert(
            self.state, ACTIONS[self.state], MULTIPLIERS[self.state], reading.mean_correlation, self.baseline_mean,
            reading.rise, reading.first_pc_share, message,
        )

    def get_position_multiplier(self) -> Multiplier:
        """1.0 normal, 0.5 elevated, 0.25 crisis, 0.0 flatten; scales exact quantities too."""
        return Multiplier(MULTIPLIERS[self.state])

    def get_status(self) -> dict[str, Any]:
        """State, multiplier, recommended action and the readings behind them; JSON-safe."""
        alert = self.alert()

        def number(value: float) -> float | None:
            return value if math.isfinite(value) else None

        return {
            "state": self.state.value,
            "is_triggered": self.state is not BreakerState.NORMAL,
            "position_multiplier": alert.position_multiplier,
            "recommended_action": alert.action.value,
            "mean_correlation": number(alert.mean_correlation),
            "baseline_mean_correlation": number(alert.baseline_mean_correlation),
            "correlation_rise": number(alert.rise),
            "first_pc_share": number(alert.first_pc_share),
        }

    def reset(self) -> None:
        """Back to NORMAL by hand."""
        self.state, self._pressing = BreakerState.NORMAL, 0


def measure(returns: FloatArray, baseline_mean: float = math.nan) -> CorrelationReading | None:
    """Correlations of a window (n_observations, n_symbols); None where fewer than two symbols can be judged.

    ``absorption_ratio`` is the share of the first fifth of the components (Kritzman et al. 2011).
    """
    matrix, observations = correlation_matrix(returns)
    if matrix is None:
        return None
    n = len(matrix)
    eigenvalues = np.linalg.eigvalsh(matrix)[::-1]
    mean = _mean_off_diagonal(matrix)
    rise = (mean - baseline_mean) / max(abs(baseline_mean), BASELINE_FLOOR)      # NaN without a baseline
    fifth = eigenvalues[:max(1, round(n / 5))]
    return CorrelationReading(
        mean, rise, float(eigenvalues[0]) / n, float(np.add.reduce(fifth)) / n, n, observations,
    )


def correlation_matrix(returns: FloatArray) -> tuple[NDArray[np.float64] | None, int]:
    """Correlations of the columns that are complete and move, and the number of observations."""
    if returns.ndim != 2:
        raise ValueError(f"returns have shape {returns.shape}; expected (n_observations, n_symbols)")
    columns = np.asfortranarray(returns)                # column by column, as the selection below lays them out
    total = np.add.reduce(columns)
    if not math.isfinite(float(np.add.reduce(total))):
        finite = np.isfinite(returns)
        rows = finite.any(axis=1)
        returns, finite = returns[rows], finite[rows]
        columns = returns[:, finite.all(axis=0)]
        total = np.add.reduce(columns)
    if len(returns) < MIN_OBSERVATIONS:
        return None, len(returns)
    moves = np.maximum.reduce(columns) > np.minimum.reduce(columns)
    if not np.logical_and.reduce(moves):
        columns, total = columns[:, moves], total[moves]
    if columns.shape[1] < 2:
        return None, len(returns)
    centred = columns - total / len(columns)
    centred /= np.sqrt(np.add.reduce(centred * centred))
    return centred.T @ centred, len(returns)


def _mean_off_diagonal(matrix: NDArray[np.float64]) -> float:
    n = len(matrix)
    return float(np.add.reduce(matrix, None) - matrix.trace()) / (n * (n - 1))
