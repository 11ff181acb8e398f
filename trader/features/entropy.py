"""How predictable the order of ups and downs has been."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trader.core.panel import FloatArray
from trader.features.columns import Columns
from trader.features.feature import Feature
from trader.features.rolling import rolling_sum


@dataclass(frozen=True)
class SignEntropy(Feature):
    """Shannon entropy of words of ``word`` up/down signs in the last ``window`` bars, as a share of the largest.

    The plug-in estimate of López de Prado (2018, 18.2). Words lie inside one session.
    """

    window: int = 100
    word: int = 3
    inputs = ("open", "close", "session_id")
    names = ("sign_entropy",)

    @property
    def lookback(self) -> int:  # type: ignore[override]
        return self.window + self.word

    def compute(self, columns: Columns) -> FloatArray:
        n = len(columns)
        up = columns.step > 0.0
        letter = np.zeros(n, dtype=np.int64)
        whole = np.isfinite(columns.step)
        position = columns.bars_in_session if columns.breaks.any() else np.arange(n) + 1
        # words that would reach over a session's first bar are not counted
        since_break = np.where(columns.session_start >= 0, position, n + self.word)
        for k in range(self.word):
            letter[k:] += up[: n - k] * (1 << k)
            whole[k:] &= np.isfinite(columns.step[: n - k])
            whole[:k] = False
        whole &= since_break >= self.word
        count = rolling_sum(whole.astype(np.float64), self.window)
        entropy = np.zeros(n)
        with np.errstate(invalid="ignore", divide="ignore"):
            for value in range(1 << self.word):
                share = rolling_sum((whole & (letter == value)).astype(np.float64), self.window) / count
                entropy -= np.where(share > 0.0, share * np.log2(share), 0.0)
        return np.where(count >= self.window / 4, entropy / self.word, np.nan)
