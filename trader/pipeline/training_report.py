"""What out-of-fold predictions say about a model, with intervals and without flattery."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trader.core.panel import SYNTHETIC_INTRADAY, FloatArray, IntArray
from trader.mlops.outcomes import wilson_interval
from trader.models.calibration_metrics import evaluate, log_losses
from trader.models.labels import LOSS, NEUTRAL, PROFIT
from trader.pipeline.training_samples import Samples

_BLOCKS = 30
_T_CLAIM = 2.0


def score_predictions(
    probability: FloatArray, prior: FloatArray, y: IntArray, t0: IntArray, unique: FloatArray, source: str,
    bets: bool = False,
) -> dict[str, Any]:
    """Scores of out-of-fold probabilities against what class frequencies alone would say.

    Parameters
    ----------
    probability, prior : shape ``(n, 3)``; ``prior`` holds the class shares of each fold's training labels
    y, t0, unique : class, starting bar and uniqueness of each label, shape ``(n,)``, in time order
    source : ``real`` or ``synthetic-intraday``
    bets : the labels are outcomes of a rule's bets, so that "direction" is whether the barrier touched paid

    Returns
    -------
    JSON-able. Intervals are Wilson's over the *effective* number of outcomes: labels that overlap are not independent,
    nor are those of symbols that move together, so it is the sum of uniquenesses, or what the scatter between 30
    stretches of time leaves of it. ``t`` values come from means over these stretches; ``skill`` is the share of the
    class shares' log-loss that is saved.
    """
    hit = np.argmax(probability, axis=1) == y
    accuracy, low, high, effective = _proportion(hit, unique, t0)
    metrics = evaluate(probability, y)
    gain = log_losses(prior, y) - log_losses(probability, y)
    confusion = np.zeros((3, 3), dtype=np.int64)
    np.add.at(confusion, (y, np.argmax(probability, axis=1)), 1)
    direction = _direction(probability, prior, y, t0, unique)
    edge = direction["t"] > _T_CLAIM and direction["accuracy_low"] > direction["base_rate"]
    return {
        "n": len(y), "n_effective": effective,
        "class_shares": (np.bincount(y, minlength=3) / len(y)).tolist(),
        "accuracy": accuracy, "accuracy_low": low, "accuracy_high": high,
        "base_rate": float((np.argmax(prior, axis=1) == y).mean()),
        "log_loss": metrics.log_loss, "log_loss_prior": float(log_losses(prior, y).mean()),
        "skill": float(gain.mean() / log_losses(prior, y).mean()),
        "log_loss_gain_t": _block_t(gain, t0),
        "confusion": confusion.tolist(), "direction": direction,
        "edge": bool(edge and source != SYNTHETIC_INTRADAY), "verdict": _verdict(direction, edge, source, bets),
    }


def _direction(
    probability: FloatArray, prior: FloatArray, y: IntArray, t0: IntArray, unique: FloatArray
) -> dict[str, float]:
    """Up or down, among the labels that touched a barrier: the only part that can be traded."""
    touched = y != NEUTRAL
    if touched.sum() < 2:
        return {"n": int(touched.sum()), "accuracy": 0.0, "accuracy_low": 0.0, "accuracy_high": 1.0, "base_rate": 0.0,
                "n_effective": 0.0, "log_loss_gain": 0.0, "skill": 0.0, "t": 0.0}
    up = (y[touched] == PROFIT).astype(np.int64)
    said, expected = (_share_up(p[touched]) for p in (probability, prior))
    accuracy, low, high, effective = _proportion((said > 0.5) == (up == 1), unique[touched], t0[touched])
    gain = log_losses(expected, up) - log_losses(said, up)
    return {
        "n": len(up), "n_effective": effective, "accuracy": accuracy, "accuracy_low": low, "accuracy_high": high,
        "base_rate": float(((expected > 0.5) == (up == 1)).mean()), "log_loss_gain": float(gain.mean()),
        "skill": float(gain.mean() / log_losses(expected, up).mean()),
        "t": _block_t(gain, t0[touched]),
    }


def _share_up(p: FloatArray) -> FloatArray:
    both = np.maximum(p[:, LOSS] + p[:, PROFIT], 1e-12)
    return np.clip(p[:, PROFIT] / both, 1e-12, 1 - 1e-12)


def _proportion(hit: NDArray[np.bool_], unique: FloatArray, t0: IntArray) -> tuple[float, float, float, float]:
    """Share of hits with its interval over the effective number of outcomes."""
    share = float(hit.mean())
    effective = max(min(float(unique.sum()), _independent(hit, t0)), 1.0)
    n = max(1, round(effective))
    low, high = wilson_interval(round(share * n), n)
    return share, low, high, effective


def _independent(hit: NDArray[np.bool_], t0: IntArray) -> float:
    """How many independent outcomes would scatter as much as these do between stretches of time."""
    share, n = float(hit.mean()), len(hit)
    total, count = _blocks(hit.astype(np.float64), t0)
    if len(count) < 2:
        return float(n)
    variance = float(((total - share * count) ** 2).sum()) * len(count) / (len(count) - 1) / n**2
    return share * (1.0 - share) / variance if variance > 0.0 else float(n)


def _blocks(values: FloatArray, t0: IntArray) -> tuple[FloatArray, FloatArray]:
    """Sum and number of the values in each stretch of time that holds any."""
    edges = np.linspace(t0.min(), t0.max() + 1, _BLOCKS + 1)
    block = np.clip(np.searchsorted(edges, t0, side="right") - 1, 0, _BLOCKS - 1)
    count = np.bincount(block, minlength=_BLOCKS)
    return np.bincount(block, values, _BLOCKS)[count > 0], count[count > 0].astype(np.float64)


def _block_t(values: FloatArray, t0: IntArray) -> float:
    """t value of the mean over stretches of time, which sees through overlap and moves that symbols share."""
    total, count = _blocks(values, t0)
    means = total / count
    spread = means.std(ddof=1) if len(means) > 1 else 0.0
    return float(means.mean() / (spread / math.sqrt(len(means)))) if spread > 0 else 0.0


def judge_bets(probability: FloatArray, samples: Samples) -> dict[str, Any]:
    """What vetoing a rule's bets would have been worth, out of fold and before costs; JSON-able.

    A bet is taken where it is likelier to pay than to lose. Its meta-label is 1 where profit was touched first (López
    de Prado, 2018, 3.6). ``t`` is of the return that choosing adds to taking the same share of all bets blindly.
    """
    paid, taken = samples.y == PROFIT, probability[:, PROFIT] > probability[:, LOSS]
    facts: dict[str, Any] = {"n": len(paid), "taken": float(taken.mean())}
    for name, rows in (("all", np.ones(len(paid), bool)), ("chosen", taken)):
        if not rows.any():
            continue
        share, low, high, effective = _proportion(paid[rows], samples.unique[rows], samples.t0[rows])
        facts[name] = {
            "n_effective": effective, "paid": share, "paid_low": low, "paid_high": high,
            "return_bps": float(np.average(samples.ret[rows], weights=samples.unique[rows])) * 1e4,
        }
    meta = evaluate(probability[:, PROFIT], paid.astype(np.int64))
    return facts | {
        "t": _block_t((taken - taken.mean()) * samples.ret, samples.t0), "brier": meta.brier_score,
        "ece": meta.expected_calibration_error,
    }


def _verdict(direction: dict[str, float], edge: bool, source: str, bets: bool) -> str:
    what = "paying bets told from losing ones" if bets else "direction right"
    said = (
        f"{what} in {direction['accuracy']:.1%} [{direction['accuracy_low']:.1%}, "
        f"{direction['accuracy_high']:.1%}] of {direction['n_effective']:,.0f} effective outcomes, "
        f"base rate {direction['base_rate']:.1%}, log-loss gain t = {direction['t']:+.1f}"
    )
    if source == SYNTHETIC_INTRADAY:
        return f"no edge can be claimed on {SYNTHETIC_INTRADAY} bars: {said}"
    if not edge:
        return f"no edge beyond chance: {said}"
    return f"an edge on these labels, before costs: {said}"
