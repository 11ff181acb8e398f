"""The portfolio's one-day value at risk by replaying past days on today's positions."""

from __future__ import annotations

import math

import numpy as np

from trader.core.history import History
from trader.core.panel import FloatArray
from trader.risk.facts import MarketFacts
from trader.risk.params import RiskParams
from trader.risk.var import VAR_METHODS

MIN_BARS = 60
BAR_WINDOW = 260


class TailRisk:
    """VaR of any vector of exposures over the last scenarios.

    The scenarios are daily returns of completed sessions; until ``var_min_days`` of them exist, returns of
    bars scaled by the square root of the bars in a day.
    """

    def __init__(self, params: RiskParams, symbols: tuple[str, ...]) -> None:
        self._params = params
        self._column = {symbol: i for i, symbol in enumerate(symbols)}
        self._method = VAR_METHODS[params.var_method]
        self._scenarios: FloatArray = np.empty((0, len(symbols)))
        self._made_at: tuple[int, int] = (-1, -1)

    def refresh(self, facts: MarketFacts, history: History) -> None:
        """Renew the scenarios when a session was completed, or while bars stand in, every few bars."""
        params = self._params
        daily = facts.daily_returns
        if len(daily) >= params.var_min_days:
            key = (facts.days, 0)
            if key != self._made_at:
                self._made_at = key
                window = daily[-params.var_window_days:]
                complete = math.isfinite(float(window.sum()))
                self._scenarios = window.copy() if complete else np.nan_to_num(window, nan=0.0)
            return
        bars = history.n // params.var_every_bars if history.n >= MIN_BARS else -1
        if (facts.days, bars) == self._made_at:
            return
        self._made_at = (facts.days, bars)
        if bars < 0:
            self._scenarios = np.empty((0, len(self._column)))
            return
        # Up to the last full group of bars: whoever asks first within a group gets the same scenarios.
        since = history.n - bars * params.var_every_bars
        close = history.close(BAR_WINDOW + 1 + since)
        close = close[:len(close) - since]
        with np.errstate(invalid="ignore"):
            returns = close[1:] / close[:-1] - 1.0
        self._scenarios = np.nan_to_num(returns, nan=0.0) * math.sqrt(history.bars_per_day)

    @property
    def known(self) -> bool:
        """Whether there are scenarios at all."""
        return len(self._scenarios) > 0

    def exposures(self, held: dict[str, float], pending: dict[str, float]) -> FloatArray:
        """Signed dollars by column: positions plus entries on the way."""
        columns = self._column
        out = [0.0] * len(columns)
        for dollars in (held, pending):
            for symbol, value in dollars.items():
                i = columns.get(symbol)
                if i is not None:
                    out[i] += value
        return np.array(out)

    def var(self, exposures: FloatArray) -> float:
        """Dollars lost in a day at the confidence level; never negative."""
        if not self.known:
            return 0.0
        return max(0.0, self._method(self._scenarios @ exposures, self._params.var_confidence))

    def largest_within(self, exposures: FloatArray, symbol: str, per_share: float, quantity: int, limit: float) -> int:
        """The most shares (of ``quantity``) whose addition keeps the VaR within ``limit``.

        The VaR along the line of quantities is close to convex; bisection finds the upper edge from zero.
        """
        i = self._column[symbol]

        def within(shares: int) -> bool:
            trial = exposures.copy()
            trial[i] += shares * per_share
            return self.var(trial) <= limit

        low, high = 0, quantity
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if within(middle) else (low, middle)
        return low
