"""How predictable the order of ups and downs, and of large and small moves, has been."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trader.core.panel import FloatArray, IntArray
from trader.features.columns import Columns
from trader.features.feature import Feature
from trader.features.rolling import masked_mean, rolling_sums

Mask = NDArray[np.bool_]


def plug_in_entropy(letters: IntArray, alphabet: int, word: int, whole: Mask, window: int) -> FloatArray:
    """Shannon entropy of words over the last ``window`` places ``(n,)``, as a share of the largest.

    The plug-in estimate (López de Prado 2018, 18.2). ``letters`` run from 0 to ``alphabet - 1``; a word counts where
    ``whole`` says that all its letters stand together. NaN with fewer words than a quarter of the window.
    """
    n = len(letters)
    code = np.zeros(n, dtype=np.int64)
    for k in range(min(word, n)):
        code[k:] += letters[: n - k] * alphabet**k
    words = np.arange(alphabet**word)[:, None]
    sums = rolling_sums(np.vstack([whole, whole & (code == words)]).astype(np.float64), window)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = sums[1:] / sums[0]
        entropy = -np.sum(np.where(share > 0.0, share * np.log2(share), 0.0), axis=0)
    return np.where(sums[0] >= window / 4, entropy / (word * np.log2(alphabet)), np.nan)


def match_lengths(letters: IntArray, alphabet: int, reach: IntArray, window: int, longest: int) -> IntArray:
    """For each place, how many letters back from it have stood so before, ending within ``window`` places before it.

    ``reach`` tells how many letters back from each place belong together; words lie within that, and are of
    ``longest`` letters at most.
    """
    n = len(letters)
    index = np.arange(n)
    matched = np.zeros(n, dtype=np.int64)
    alive = np.ones(n, dtype=bool)
    code = np.zeros(n, dtype=np.int64)
    for k in range(min(longest, n)):
        code[k:] += letters[: n - k] * alphabet**k
        usable = reach > k
        order = np.lexsort((index, np.where(usable, code, -1)))
        before = np.full(n, -1)
        same = code[order[1:]] == code[order[:-1]]
        same &= usable[order[1:]] & usable[order[:-1]]
        before[order[1:][same]] = order[:-1][same]
        alive &= usable & (before >= 0) & (index - before <= window)
        matched[alive] = k + 1
    return matched


def step_reach(columns: Columns, longest: int) -> IntArray:
    """How many bars up to each one follow each other in its session and have a return, ``longest`` at most."""
    whole = np.isfinite(columns.step)
    index = np.arange(len(columns))
    # the first bar known may be anywhere in its session: words reach back to it and no further
    broken = np.maximum.accumulate(np.where(~whole, index + 1, np.where(columns.breaks, index, 0)))
    return np.minimum(index + 1 - broken, longest)


@dataclass(frozen=True)
class SignEntropy(Feature):
    """Plug-in entropy of words of ``word`` up/down signs in the last ``window`` bars. Words lie inside one session."""

    window: int = 100
    word: int = 3
    inputs = ("open", "close", "session_id")
    names = ("sign_entropy",)

    @property
    def lookback(self) -> int:  # type: ignore[override]
        return self.window + self.word

    def compute(self, columns: Columns) -> FloatArray:
        whole = step_reach(columns, self.word) >= self.word
        return plug_in_entropy((columns.step > 0.0).astype(np.int64), 2, self.word, whole, self.window)


@dataclass(frozen=True)
class SizeEntropy(Feature):
    """Plug-in entropy of pairs of letters that tell a return's sign and whether it is large for its time.

    Large is beyond the root mean square of the last ``usual`` returns: about as many small as large ones, whatever the
    volatility. López de Prado's (2018, 18.5) quantile encoding with limits that are known at the bar.
    """

    window: int = 130
    usual: int = 50
    inputs = ("open", "close", "session_id")
    names = ("size_entropy",)

    @property
    def lookback(self) -> int:  # type: ignore[override]
        return self.window + self.usual + 2

    def compute(self, columns: Columns) -> FloatArray:
        squares = columns.step ** 2
        known = np.isfinite(squares)
        usual = masked_mean(squares, known, self.usual, at_least=self.usual - 1)
        letters = (columns.step > 0.0) + 2 * (squares > 0.5 * usual)
        whole = (step_reach(columns, 2) >= 2) & np.isfinite(usual)
        whole[1:] &= np.isfinite(usual[:-1])
        return plug_in_entropy(letters.astype(np.int64), 4, 2, whole, self.window)


@dataclass(frozen=True)
class MatchEntropy(Feature):
    """Kontoyiannis' entropy rate of up/down signs, by lengths of matches (López de Prado 2018, 18.3): bits a bar.

    ``mean of log2(window) / (L + 1)`` over the last ``window`` bars, where ``L`` is how many signs back from a bar
    have stood so among the ``window`` bars before it. About 1 for coins; lower where patterns return. Bars whose match
    was ended by the session's beginning do not count.
    """

    window: int = 100
    longest: int = 12
    inputs = ("open", "close", "session_id")
    names = ("match_entropy",)

    @property
    def lookback(self) -> int:  # type: ignore[override]
        return 2 * self.window + self.longest

    def compute(self, columns: Columns) -> FloatArray:
        reach = step_reach(columns, self.longest)
        matched = match_lengths((columns.step > 0.0).astype(np.int64), 2, reach, self.window, self.longest)
        # at the beginning of the bars known a match could be longer than what is seen: those bars are out of reach
        free = (matched < reach) | (reach == self.longest)
        free[: self.window] = False
        return masked_mean(np.log2(self.window) / (matched + 1.0), free, self.window, at_least=self.window // 4)
