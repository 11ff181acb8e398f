"""Is a feature stationary? ADF and KPSS together, because they answer opposite questions.

ADF asks for evidence against a unit root, KPSS for evidence against stationarity (Kwiatkowski et al. 1992). A level
that wanders (a price) fails both ways; volatility, with its long memory, refutes a unit root and yet is no short-memory
process, which trees can live with.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trader.core.panel import FloatArray

STATIONARY, LONG_MEMORY, UNDECIDED, UNIT_ROOT = "stationary", "long memory", "undecided", "unit root"
CONSTANT, TOO_FEW = "constant", "too few values"
SIGNIFICANCE = 0.05
MIN_VALUES = 100
MAX_VALUES = 20_000             # the latest; more only cost time
WINDOWS = 50                    # a rolling window must fit so often into the values before a unit root is believed
_VERDICTS = {(True, True): STATIONARY, (True, False): LONG_MEMORY, (False, True): UNDECIDED, (False, False): UNIT_ROOT}


@dataclass(frozen=True, slots=True)
class Stationarity:
    """One feature over all symbols: medians of the p-values, and the verdict that most symbols gave."""

    feature: str
    verdict: str
    adf_p: float | None
    kpss_p: float | None
    symbols: dict[str, str]             # verdict by symbol

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"feature": self.feature, "verdict": self.verdict, "adf_p": self.adf_p, "kpss_p": self.kpss_p,
                "symbols": self.symbols}


def judge_features(
    names: Sequence[str], symbols: Sequence[str], values: FloatArray, windows: Sequence[int] | None = None
) -> list[Stationarity]:
    """Judge every feature on every symbol.

    Parameters
    ----------
    values : shape ``(n_bars, n_symbols, n_features)``; NaN where a symbol has no bar or a feature no value
    windows : bars that each feature looks back on; 0 when None
    """
    spans = [0] * len(names) if windows is None else windows
    return [_judge(name, symbols, values[:, :, k], spans[k]) for k, name in enumerate(names)]


def examine(series: FloatArray, window: int = 0) -> tuple[str, float | None, float | None]:
    """Verdict, p-value of ADF (one lag, constant) and of KPSS (level, automatic lags; 0.01 and 0.1 are bounds).

    Parameters
    ----------
    series : shape ``(n,)``; values that are not finite are left out
    window : bars that a value is made of. Overlapping windows make anything wander: below `WINDOWS` of them a unit
        root is not told from a slow feature, and the verdict is *undecided*
    """
    from statsmodels.tools.sm_exceptions import InterpolationWarning
    from statsmodels.tsa.stattools import adfuller, kpss

    known = series[np.isfinite(series)][-MAX_VALUES:]
    if len(known) < MIN_VALUES:
        return TOO_FEW, None, None
    if np.ptp(known) <= 1e-12 * max(1.0, float(np.abs(known).max())):
        return CONSTANT, None, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InterpolationWarning)       # p-values outside KPSS's table
        warnings.simplefilter("ignore", FutureWarning)              # tuples will have names in statsmodels 0.16
        adf_p, kpss_p = float(adfuller(known, maxlag=1, autolag=None)[1]), float(kpss(known, nlags="auto")[1])
    verdict = _VERDICTS[adf_p < SIGNIFICANCE, kpss_p >= SIGNIFICANCE]
    if verdict == UNIT_ROOT and len(known) < WINDOWS * window:
        verdict = UNDECIDED
    return verdict, adf_p, kpss_p


def _judge(name: str, symbols: Sequence[str], values: FloatArray, window: int) -> Stationarity:
    found = [examine(values[:, j], window) for j in range(len(symbols))]
    by_symbol = {symbol: verdict for symbol, (verdict, _, _) in zip(symbols, found, strict=True)}
    counted = Counter(verdict for verdict, _, _ in found if verdict != TOO_FEW)
    # in a tie the milder verdict: with many features and symbols one odd series is no surprise
    mildest_first = (STATIONARY, LONG_MEMORY, UNDECIDED, CONSTANT, UNIT_ROOT)
    verdict = max(mildest_first, key=lambda v: counted[v]) if counted else TOO_FEW
    tested = [(a, k) for _, a, k in found if a is not None and k is not None]
    if not tested:
        return Stationarity(name, verdict, None, None, by_symbol)
    adf, kpss = (round(float(np.median(column)), 6) for column in zip(*tested, strict=True))
    return Stationarity(name, verdict, adf, kpss, by_symbol)
