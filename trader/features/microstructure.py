"""Price impact from bars: Kyle's, Amihud's and Hasbrouck's lambda."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trader.core.panel import FloatArray
from trader.features.columns import Columns
from trader.features.feature import Feature
from trader.features.rolling import masked_mean, rolling_mean, rolling_ols

CARRY_LIMIT = 16        # bars: a sign older than this is no longer carried, so that memory stays finite


def tick_signs(change: FloatArray, carry_limit: int | None = None) -> FloatArray:
    """Sign of each price change by the tick rule: unchanged prices keep the last sign, 0 before the first.

    ``carry_limit`` ends the carrying after so many bars.
    """
    sign = np.sign(np.nan_to_num(change))
    index = np.arange(len(sign))
    last = np.maximum.accumulate(np.where(sign != 0.0, index, -1))
    carried = np.where(last >= 0, sign[np.maximum(last, 0)], 0.0)
    if carry_limit is not None:
        carried[index - last > carry_limit] = 0.0
    return carried


def kyle_lambda(close: FloatArray, volume: FloatArray, window: int = 50) -> tuple[FloatArray, FloatArray]:
    """Kyle's lambda and its t-statistic ``(n,)`` each: OLS of the price change on tick-signed volume.

    ``dP = a + lambda b V`` over the last ``window`` bars (Kyle 1985; López de Prado 2018, 19.4.1), first value at
    bar ``window``. Price units per share.
    """
    change = np.full(len(close), np.nan)
    change[1:] = np.diff(close)
    return rolling_ols(change, tick_signs(change) * volume, window)


def amihud(step: FloatArray, close: FloatArray, volume: FloatArray, window: int = 20) -> FloatArray:
    """Amihud (2002): mean of absolute return over dollar volume; bars without volume or return are left out."""
    usable = np.isfinite(step) & (volume > 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.abs(step) / (close * volume)
    return masked_mean(np.where(usable, ratio, 0.0), usable, window)


def hasbrouck_lambda(
    step: FloatArray, sign: FloatArray, close: FloatArray, volume: FloatArray, window: int = 50,
) -> tuple[FloatArray, FloatArray]:
    """Hasbrouck (2009): slope and t-statistic of log return on ``sign sqrt(dollar volume)``."""
    return rolling_ols(step, sign * np.sqrt(close * volume), window)


@dataclass(frozen=True)
class KyleLambda(Feature):
    """Kyle's lambda in basis points per bar of average volume, and its t-statistic.

    Returns in place of price changes and volume in units of the window's mean make symbols comparable; the
    t-statistic is the one of the regression in raw units but for the change of scale within the window.
    """

    window: int = 50
    inputs = ("open", "close", "volume", "session_id")
    names = ("kyle_lambda", "kyle_t")

    @property
    def lookback(self) -> int:  # type: ignore[override]
        return self.window + CARRY_LIMIT

    def compute(self, columns: Columns) -> FloatArray:
        signed = tick_signs(columns.step, CARRY_LIMIT) * columns.volume
        slope, t_stat = rolling_ols(columns.step, signed, self.window)
        return np.stack([1e4 * slope * rolling_mean(columns.volume, self.window), t_stat], axis=1)


@dataclass(frozen=True)
class Illiquidity(Feature):
    """Log of Amihud's measure per billion dollars, and Hasbrouck's t-statistic."""

    window: int = 50
    inputs = ("open", "close", "volume", "session_id")
    names = ("amihud_log", "hasbrouck_t")

    @property
    def lookback(self) -> int:  # type: ignore[override]
        return self.window + CARRY_LIMIT

    def compute(self, columns: Columns) -> FloatArray:
        step, close, volume = columns.step, columns.close, columns.volume
        with np.errstate(invalid="ignore", divide="ignore"):
            level = np.log(1e9 * amihud(step, close, volume, self.window))
        t_stat = hasbrouck_lambda(step, tick_signs(step, CARRY_LIMIT), close, volume, self.window)[1]
        return np.stack([level, t_stat], axis=1)
