"""What following the out-of-fold predictions would have returned, day by day, and how much of it may be luck."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from trader.core.days import days_of
from trader.core.panel import BarPanel, FloatArray
from trader.models.labels import LOSS, PROFIT
from trader.models.sharpe_statistics import (
    deflated_sharpe_ratio,
    expected_max_sharpe,
    minimum_track_record,
    probabilistic_sharpe_ratio,
    sharpe_moments,
)
from trader.pipeline.training_samples import Samples

_YEAR = 252
_Z_95 = 1.959963984540054
_MIN_DAYS = 20


@dataclass(frozen=True, slots=True)
class Trials:
    """What was tried before a model was chosen.

    ``variance_of_sharpe`` is that of the trials' daily Sharpe ratios, ``overfitting`` the probability that the best
    of them in sample is below the median out of sample (None where too little was tried).
    """

    n: int = 1
    variance_of_sharpe: float = 0.0
    overfitting: float | None = None


def daily_returns(
    probability: FloatArray, samples: Samples, panel: BarPanel, cost_bps: float = 0.0
) -> FloatArray:
    """Return of each session from the first sample to the last.

    At each sample one unit is on the likelier side from the label's start to its touch, shared among the labels of
    the symbol that overlap it and among the symbols; the return belongs to the session of the touch. A rule's bets are
    taken where they are likelier to pay than to lose, else left. Each position pays a round trip of ``cost_bps``.
    """
    day = days_of(panel.available_ns)
    all_days = np.unique(day[samples.t0.min():samples.t1.max() + 1])
    side = np.where(probability[:, PROFIT] > probability[:, LOSS], 1.0, 0.0 if samples.bets else -1.0)
    gained = (side * samples.ret - np.abs(side) * cost_bps / 1e4) * samples.unique / len(panel.symbols)
    place = np.searchsorted(all_days, day[samples.t1])
    found: FloatArray = np.bincount(place, gained, len(all_days)).astype(np.float64)
    return found


def judge_following(
    probability: FloatArray, samples: Samples, panel: BarPanel, trials: Trials, cost_bps: float
) -> dict[str, Any]:
    """`judge_returns` before costs; beside it ``net``, after costs, and ``blind``, every long side or bet taken.

    Both are ``[Sharpe, low, high]``, or None where it is not defined.
    """
    always = np.zeros_like(probability)
    always[:, PROFIT] = 1.0
    beside = {
        "net": daily_returns(probability, samples, panel, cost_bps), "blind": daily_returns(always, samples, panel)}
    facts = judge_returns(daily_returns(probability, samples, panel), trials) | {"cost_bps": cost_bps}
    for name, returns in beside.items():
        found = judge_returns(returns)
        facts[name] = [found[part] for part in ("sharpe", "sharpe_low", "sharpe_high")] if "sharpe" in found else None
    return facts


def judge_returns(returns: FloatArray, trials: Trials = Trials()) -> dict[str, Any]:
    """Sharpe ratio a year with its 95 % interval, and how it stands against luck; JSON-able.

    ``psr`` is the probability that the true ratio is positive, ``dsr`` that it exceeds what the best of so many
    worthless trials would show (Bailey and López de Prado, 2014).
    """
    facts: dict[str, Any] = {"n_days": len(returns), "n_trials": trials.n, "overfitting": trials.overfitting}
    if len(returns) < _MIN_DAYS or not returns.std() > 0:
        return facts
    sharpe, skew, kurtosis = sharpe_moments(returns)
    error = math.sqrt((1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2) / (len(returns) - 1))
    a_year = math.sqrt(_YEAR)
    needed = minimum_track_record(sharpe, 0.0, skew, kurtosis)
    return facts | {
        "sharpe": sharpe * a_year, "sharpe_low": (sharpe - _Z_95 * error) * a_year,
        "sharpe_high": (sharpe + _Z_95 * error) * a_year,
        "luck": expected_max_sharpe(trials.n, trials.variance_of_sharpe) * a_year,
        "psr": probabilistic_sharpe_ratio(sharpe, 0.0, len(returns), skew, kurtosis),
        "dsr": deflated_sharpe_ratio(sharpe, len(returns), trials.n, trials.variance_of_sharpe, skew, kurtosis),
        "days_needed": math.ceil(needed) if math.isfinite(needed) else None,
    }
