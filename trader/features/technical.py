"""Technical indicators by TA-Lib, all relative to price, with an Ichimoku cloud that looks back only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trader.core.panel import FloatArray
from trader.features.columns import Columns
from trader.features.feature import Feature
from trader.features.rolling import lag, rolling_max, rolling_min


@dataclass(frozen=True)
class Oscillators(Feature):
    """RSI, ATR as a share of price, ADX and the MACD histogram as a share of price (Wilder 1978; Appel 1979).

    TA-Lib's recursions start at the first bar given: infinite memory, forgotten at (period - 1) / period a bar.
    """

    period: int = 14
    fast: int = 12
    slow: int = 26
    signal: int = 9
    inputs = ("high", "low", "close")
    names = ("rsi", "atr_share", "adx", "macd_histogram")
    lookback = None
    spans_sessions = True

    @property
    def warmup(self) -> int:
        return max(5 * self.period, 3 * self.slow)

    @property
    def memory(self) -> int:
        return max(40 * self.period, 20 * self.slow)

    def compute(self, columns: Columns) -> FloatArray:
        import talib

        high, low, close = columns.high, columns.low, columns.close
        _, _, histogram = talib.MACD(close, self.fast, self.slow, self.signal)
        return np.stack([
            talib.RSI(close, self.period),
            talib.ATR(high, low, close, self.period) / close,
            talib.ADX(high, low, close, self.period),
            histogram / close,
        ], axis=1)


@dataclass(frozen=True)
class EmaRatios(Feature):
    """Log of close over its exponential averages."""

    periods: tuple[int, ...] = (12, 26, 50)
    lookback = None
    spans_sessions = True

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"ema_ratio_{period}" for period in self.periods)

    @property
    def warmup(self) -> int:
        return 3 * max(self.periods)

    @property
    def memory(self) -> int:
        return 15 * max(self.periods)

    def compute(self, columns: Columns) -> FloatArray:
        import talib

        averages = [talib.EMA(columns.close, period) for period in self.periods]
        return columns.log_close[:, None] - np.log(np.stack(averages, axis=1))


def ichimoku(high: FloatArray, low: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Tenkan, kijun, and the cloud's two edges as they stand over today's bar, that is computed 26 bars ago.

    The chikou span is today's close drawn 26 bars back: where it is drawn it is the future, so there is none.
    """
    def middle(window: int) -> FloatArray:
        return 0.5 * (rolling_max(high, window) + rolling_min(low, window))

    tenkan, kijun = middle(9), middle(26)
    return tenkan, kijun, lag(0.5 * (tenkan + kijun), 26), lag(middle(52), 26)


@dataclass(frozen=True)
class Ichimoku(Feature):
    """Log of close over tenkan, kijun and the edges of the cloud."""

    inputs = ("high", "low", "close")
    names = ("ichimoku_tenkan", "ichimoku_kijun", "ichimoku_senkou_a", "ichimoku_senkou_b")
    lookback = 77
    spans_sessions = True

    def compute(self, columns: Columns) -> FloatArray:
        return columns.log_close[:, None] - np.log(np.stack(ichimoku(columns.high, columns.low), axis=1))
