"""Volume, volatility and daily returns of each symbol from completed sessions only."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trader.core.history import History
from trader.core.panel import FloatArray

DEFAULT_DAILY_VOLATILITY = 0.02
MIN_DAYS_FOR_VOLATILITY = 10
VOLATILITY_DAYS = 20


class MarketFacts:
    """Point-in-time daily aggregates, advanced when a new session's first bar arrives.

    ``update`` costs one comparison while the day lasts. A running session is never part of an average: its
    volume would understate, its close does not exist yet.

    Parameters
    ----------
    symbols : the columns.
    adv_days : sessions in the average daily volume.
    keep_days : sessions of returns kept for the scenarios.
    """

    def __init__(self, symbols: tuple[str, ...], adv_days: int = 20, keep_days: int = 250) -> None:
        self.symbols = symbols
        self.column = {symbol: i for i, symbol in enumerate(symbols)}
        self.day = 0
        self.days = 0                                   # completed sessions seen
        self._adv_days = adv_days
        self._keep = keep_days + 1
        shape = (2 * self._keep, len(symbols))
        self._close: FloatArray = np.full(shape, np.nan)
        self._volume: FloatArray = np.full(shape, np.nan)
        self._returns: FloatArray = np.full(shape, np.nan)
        self._rows = 0
        self._adv = [math.nan] * len(symbols)
        self._volatility = [math.nan] * len(symbols)
        self.daily_returns: FloatArray = np.empty((0, len(symbols)))

    def update(self, history: History) -> bool:
        """Take in the sessions that ended since the last call; True when a new session began."""
        if history.n == 0:
            return False
        day = history.today
        if day == self.day:
            return False
        reach = history.n if self.day == 0 else int(3 * history.bars_per_day) + 8
        days = history.day(reach)
        if self.day and days[0] >= self.day:            # sessions longer than thought, or skipped slices
            days = history.day(history.n)
        stop = int(days.searchsorted(day))
        start = int(days.searchsorted(self.day)) if self.day else 0
        bounds = [start, stop]
        if start < stop and days[start] != days[stop - 1]:              # several sessions at once
            bounds[1:1] = (np.flatnonzero(np.diff(days[start:stop])) + 1 + start).tolist()
        close, volume = history.close(len(days)), history.volume(len(days))
        for low, high in pairwise(bounds):
            if high > low:
                self._push(close[low:high], volume[low:high])
        self.day = day
        self._refresh()
        return True

    def _push(self, close: FloatArray, volume: FloatArray) -> None:
        if self._rows == len(self._close):
            for array in (self._close, self._volume, self._returns):
                array[:self._keep] = array[-self._keep:]
            self._rows = self._keep
        row = self._rows
        last = close[-1]
        if not math.isfinite(np.add.reduce(last)):
            last = last.copy()
            for i in np.flatnonzero(np.isnan(last)):
                seen = close[~np.isnan(close[:, i]), i]
                last[i] = seen[-1] if len(seen) else (self._close[row - 1, i] if row else math.nan)
        self._close[row] = last
        if row:
            with np.errstate(invalid="ignore", divide="ignore"):
                self._returns[row] = last / self._close[row - 1] - 1.0
        total = np.add.reduce(volume)
        if not np.minimum.reduce(total) > 0.0:          # a day without volume, or one with gaps
            total = np.nansum(volume, axis=0)
            total = np.where(total > 0.0, total, math.nan)
        self._volume[row] = total
        self._rows = row + 1
        self.days += 1

    def _refresh(self) -> None:
        n = self._rows
        if n == 0:
            return
        volume = self._volume[max(0, n - self._adv_days):n]
        total = np.add.reduce(volume)
        if not math.isfinite(np.add.reduce(total)):
            known = ~np.isnan(volume)
            count = known.sum(axis=0)
            total = np.where(known, volume, 0.0).sum(axis=0)
            self._adv = np.where(count > 0, total / np.maximum(count, 1), math.nan).tolist()
        else:
            self._adv = (total / len(volume)).tolist()
        if n < 2:
            return
        self.daily_returns = self._returns[max(0, n - self._keep) + 1:n]
        recent = self.daily_returns[-VOLATILITY_DAYS:]
        if len(recent) >= MIN_DAYS_FOR_VOLATILITY:
            self._volatility = _column_std(recent).tolist()

    def adv(self, symbol: str, history: History) -> tuple[float, bool]:
        """Average daily volume in shares, and whether completed sessions back it.

        On a first day there is none; the volume of today's closed bars stands in: it is known, and it errs
        to the small side.
        """
        i = self.column[symbol]
        value = self._adv[i]
        if value == value:
            return value, True
        days = history.day(int(history.bars_per_day) + 1)
        volume = history.volume(len(days))[days == days[-1], i] if len(days) else np.empty(0)
        return float(np.nansum(volume)), False

    def volatility(self, symbol: str, history: History) -> float:
        """Daily volatility of simple returns; from bars, scaled, until ten sessions are complete."""
        i = self.column[symbol]
        value = self._volatility[i]
        if value == value and value > 0.0:
            return value
        close = history.close(131)[:, i]
        close = close[~np.isnan(close)]
        if len(close) <= MIN_DAYS_FOR_VOLATILITY:
            return DEFAULT_DAILY_VOLATILITY
        spread = float(np.std(close[1:] / close[:-1] - 1.0, ddof=1)) * math.sqrt(history.bars_per_day)
        return spread if spread > 0.0 else DEFAULT_DAILY_VOLATILITY


def _column_std(returns: FloatArray) -> NDArray[np.float64]:
    n = len(returns)
    mean = np.add.reduce(returns) / n
    if math.isfinite(np.add.reduce(mean)):
        away = returns - mean
        spread: NDArray[np.float64] = np.sqrt(np.add.reduce(away * away) / (n - 1))
        return spread
    known = ~np.isnan(returns)
    count = known.sum(axis=0)
    mean = np.where(known, returns, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = (np.where(known, returns - mean, 0.0) ** 2).sum(axis=0)
    enough = count >= MIN_DAYS_FOR_VOLATILITY
    out: NDArray[np.float64] = np.where(enough, np.sqrt(squares / np.maximum(count - 1, 1)), math.nan)
    return out
