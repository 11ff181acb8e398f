"""Average daily volume and daily volatility of every symbol, from completed sessions alone."""

from __future__ import annotations

import numpy as np

from trader.core.panel import BarPanel, FloatArray, IntArray

WINDOW = 20         # sessions
MINIMUM = 5         # sessions with data before an estimate is given


class DailyStatistics:
    """Trailing means over `WINDOW` sessions; a session's own figures count from the next one on.

    Parameters
    ----------
    panel : BarPanel
        The venue's bars.
    session_of_bar : IntArray
        Shape ``(n_bars,)``: a running number of the session of each bar, from 0.

    Attributes
    ----------
    adv, volatility : FloatArray
        Shape ``(n_sessions, n_symbols)``: shares a session, standard deviation of daily log returns; NaN where
        fewer than `MINIMUM` sessions are known.
    """

    def __init__(self, panel: BarPanel, session_of_bar: IntArray) -> None:
        self._session_of_bar = session_of_bar
        self._known: tuple[int, list[tuple[float, float]]] = -1, []
        if not len(panel):
            self.adv = self.volatility = np.empty((0, len(panel.symbols)))
            return
        starts = np.flatnonzero(np.diff(session_of_bar, prepend=-1))
        volume = np.add.reduceat(np.nan_to_num(panel.volume), starts, axis=0)
        volume[volume == 0.0] = np.nan
        close = _last_of_group(panel.close, starts)
        returns = np.full_like(close, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            returns[1:] = np.log(close[1:] / close[:-1])
        self.adv = _trailing_mean(volume)
        variance = _trailing_mean(returns**2) - _trailing_mean(returns) ** 2
        self.volatility = np.sqrt(np.maximum(variance, 0.0))

    def of_session(self, session: int) -> list[tuple[float, float]]:
        """Average volume and volatility that count in a session, by column."""
        at, figures = self._known
        if at != session:
            figures = list(zip(self.adv[session].tolist(), self.volatility[session].tolist(), strict=True))
            self._known = session, figures
        return figures

    def replace(self, column: int, other: DailyStatistics, first_bar: int) -> None:
        """Take a symbol's figures from ``other``, which knows that symbol alone, from the session of a bar on."""
        first = int(self._session_of_bar[first_bar]) if first_bar < len(self._session_of_bar) else len(self.adv)
        self.adv[first:, column] = other.adv[first:, 0]
        self.volatility[first:, column] = other.volatility[first:, 0]
        self._known = -1, []


def _last_of_group(values: FloatArray, starts: IntArray) -> FloatArray:
    """The last value that is not NaN of each session, carried on where a session has none."""
    rows = np.arange(len(values))[:, None]
    known = np.maximum.accumulate(np.where(np.isnan(values), -1, rows), axis=0)
    last = known[np.append(starts[1:], len(values)) - 1]
    columns = np.arange(values.shape[1])[None, :]
    return np.where(last >= 0, values[np.maximum(last, 0), columns], np.nan)


def _trailing_mean(values: FloatArray) -> FloatArray:
    """Mean of the `WINDOW` rows before each row, leaving NaN out."""
    seen = ~np.isnan(values)
    totals = np.vstack([np.zeros((1, values.shape[1])), np.cumsum(np.where(seen, values, 0.0), axis=0)])
    counts = np.vstack([np.zeros((1, values.shape[1])), np.cumsum(seen, axis=0)])
    stop = np.arange(len(values))
    start = np.maximum(stop - WINDOW, 0)
    total, count = totals[stop] - totals[start], counts[stop] - counts[start]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count >= MINIMUM, total / count, np.nan)
