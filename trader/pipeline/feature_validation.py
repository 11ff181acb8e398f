"""What must hold before a training is worth its time: features, labels and folds examined, nothing trained.

Four checks, each with its own numbers: stationarity, label distribution, look-ahead, integrity of train and test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trader.core.clock import iso
from trader.core.panel import BarPanel, FloatArray, IntArray
from trader.features.feature_set import FeatureSet
from trader.models.validation import PurgedKFold, purged_holdout
from trader.pipeline.stationarity import CONSTANT, STATIONARY, UNIT_ROOT, judge_features
from trader.pipeline.train import require_enough
from trader.pipeline.training_samples import Samples, build_samples, panel_hash
from trader.pipeline.training_settings import LabelSettings, TrainingSettings

MIN_CLASS_SHARE = 0.05
MAX_CLASS_DRIFT = 0.25          # largest change of a class's share from one quarter of the time to another
_LOOKED_AT = 3                  # look-ahead is tried on so many lookbacks of the latest bars
_MIN_LOOKED_AT = 1_000

CLASSES = ("loss", "neutral", "profit")


@dataclass(frozen=True, slots=True)
class Check:
    """One check: whether it passed, what to say, and all its numbers."""

    name: str
    passed: bool
    text: str
    facts: dict[str, Any]


def validate_features(
    panel: BarPanel, features: FeatureSet, settings: TrainingSettings,
    per_symbol: dict[str, LabelSettings] | None = None, tick: Callable[[str, int, int], None] = lambda t, d, n: None,
) -> dict[str, Any]:
    """Examine what a training on this panel would learn from.

    Parameters
    ----------
    features : unfitted
    per_symbol : label parameters of symbols that differ from ``settings.labels``
    tick : called with what is being done, units done, units in all

    Returns
    -------
    JSON-able: ``passed``, ``checks`` by name (each with ``passed``, ``text`` and its numbers), ``data``.

    Raises
    ------
    UserError
        too few bars to make labels from
    """
    tick("features", 0, 5)
    fitted = features.fit(panel)
    matrix = fitted.transform(panel)
    samples = build_samples(panel, matrix, settings, fitted.warmup, per_symbol)
    require_enough(samples, panel)
    plan: dict[str, Callable[[], Check]] = {
        "stationarity": lambda: stationarity(fitted, panel, matrix),
        "labels": lambda: label_distribution(samples, panel),
        "look-ahead": lambda: look_ahead(fitted, panel),
        "train and test": lambda: fold_integrity(samples, settings),
    }
    checks = []
    for done, (name, check) in enumerate(plan.items(), start=1):
        tick(name, done, 5)
        checks.append(check())
    tick("done", 5, 5)
    return {
        "passed": all(check.passed for check in checks),
        "data": {
            "source": panel.source, "symbols": list(panel.symbols), "timeframe": panel.timeframe, "bars": len(panel),
            "start": iso(int(panel.ts_ns[0])), "end": iso(int(panel.available_ns[-1])), "hash": panel_hash(panel),
        },
        "features": {"count": len(fitted.names), "fingerprint": fitted.fingerprint(), "lookback": fitted.lookback},
        "checks": {c.name: {"passed": c.passed, "text": c.text, **c.facts} for c in checks},
    }


def stationarity(features: FeatureSet, panel: BarPanel, matrix: FloatArray) -> Check:
    """No feature may wander like a price. One that stands still does no harm, and is named.

    The bundled sample has such a one: its synthesized bars open where the last one closed, so they show no spread.
    """
    windows = [f.warmup if f.lookback is None else f.lookback for f in features.features for _ in f.names]
    found = judge_features(features.names, panel.symbols, matrix, windows)
    bad = [f"{s.feature} ({s.verdict})" for s in found if s.verdict == UNIT_ROOT]
    still = [s.feature for s in found if s.verdict == CONSTANT]
    good = sum(s.verdict == STATIONARY for s in found)
    text = f"{good} of {len(found)} features stationary"
    text += f"; not usable as they are: {', '.join(bad)}" if bad else ", none with a unit root"
    text += f"; constant in these bars: {', '.join(still)}" if still else ""
    return Check("stationarity", not bad, text, {"features": [s.to_dict() for s in found]})


def label_distribution(samples: Samples, panel: BarPanel) -> Check:
    """Every class must occur, and occur about as often early as late."""
    shares = _shares(samples.y)
    quarters = [_shares(samples.y[rows]) for rows in np.array_split(np.arange(len(samples)), 4)]
    drift = float(np.ptp(np.array(quarters), axis=0).max())
    rare = [name for name, share in zip(CLASSES, shares, strict=True) if share < MIN_CLASS_SHARE]
    problems = [f"{' and '.join(rare)} below {MIN_CLASS_SHARE:.0%}: move the barriers"] if rare else []
    if drift > MAX_CLASS_DRIFT:
        problems.append(f"a class's share moves by {drift:.0%} over time: scale the barriers by volatility")
    told = ", ".join(f"{name} {share:.1%}" for name, share in zip(CLASSES, shares, strict=True))
    text = f"{len(samples):,} labels, {samples.unique.sum():,.0f} effective: {told}"
    return Check("labels", not problems, "; ".join([text, *problems]), {
        "count": len(samples), "effective": round(float(samples.unique.sum()), 1),
        "shares": dict(zip(CLASSES, shares, strict=True)), "largest_drift": round(drift, 4),
        "by_quarter": [dict(zip(CLASSES, quarter, strict=True)) for quarter in quarters],
        "by_symbol": {
            name: dict(zip(CLASSES, _shares(samples.y[samples.symbol == j]), strict=True))
            for j, name in enumerate(panel.symbols) if (samples.symbol == j).any()
        },
        "mean_holding_bars": round(float((samples.t1 - samples.t0).mean()), 2),
    })


def look_ahead(features: FeatureSet, panel: BarPanel) -> Check:
    """No feature may change when later bars are withheld or altered, nor depend on more than it declares."""
    bars = min(len(panel), max(_MIN_LOOKED_AT, _LOOKED_AT * features.lookback))
    found = features.verify(panel.rows(len(panel) - bars, len(panel)))
    text = "; ".join(str(finding) for finding in found) or (
        f"no feature changed when the future of the latest {bars:,} bars was withheld or altered")
    facts = [
        {"feature": f.feature, "kind": f.kind, "bar": f.bar, "when": f.when, "cause": f.cause} for f in found]
    return Check("look-ahead", not found, text, {"bars": bars, "findings": facts})


def fold_integrity(samples: Samples, settings: TrainingSettings) -> Check:
    """No training label may share a bar's return with a test label, or begin within the embargo after one."""
    chosen = settings.validation
    splits = list(PurgedKFold(samples.t0, samples.t1, chosen.n_splits, chosen.embargo_bars).split())
    problems, folds = [], []
    tested = np.zeros(len(samples), dtype=np.int64)
    for number, (train, test) in enumerate(splits, start=1):
        tested[test] += 1
        problems += [f"fold {number}: {text}" for text in leaks(samples, train, test, chosen.embargo_bars)]
        early, late = purged_holdout(samples.t0[train], samples.t1[train], chosen.holdout_share)
        problems += [f"fold {number}, early stopping: {text}" for text in leaks(samples, train[early], train[late], 0)]
        folds.append({"train": len(train), "test": len(test), "purged": len(samples) - len(train) - len(test)})
    if (tested != 1).any():
        problems.append(f"{int((tested != 1).sum())} labels are not tested exactly once")
    twice = len(samples) - len(np.unique(np.stack((samples.t0, samples.symbol)), axis=1).T)
    if twice:
        problems.append(f"{twice} labels stand there twice")
    text = "; ".join(problems) or (
        f"{chosen.n_splits} folds: no label is on both sides, none overlaps, embargo {chosen.embargo_bars} bars kept, "
        f"{sum(f['purged'] for f in folds):,} labels purged")
    return Check("train and test", not problems, text, {"folds": folds, "problems": problems})


def leaks(samples: Samples, train: IntArray, test: IntArray, embargo: int) -> Iterable[str]:
    """How a training set knows of its test set; found bar by bar, not by the rule that made the split."""
    both = np.intersect1d(train, test)
    if len(both):
        yield f"{len(both)} labels are on both sides"
    if not len(train) or not len(test):
        yield f"{len(train)} training and {len(test)} test labels"
        return
    change = np.zeros(int(samples.t1.max()) + 2, dtype=np.int64)
    np.add.at(change, samples.t0[test], 1)
    np.add.at(change, samples.t1[test], -1)
    covered = np.concatenate(([0], np.cumsum(np.cumsum(change) > 0)))       # bars that test labels live on, so far
    shared = covered[samples.t1[train]] - covered[samples.t0[train]] > 0
    if shared.any():
        yield f"{int(shared.sum())} training labels overlap test labels"
    last = int(samples.t0[test].max())
    near = (samples.t0[train] > last) & (samples.t0[train] <= last + embargo)
    if near.any():
        yield f"{int(near.sum())} training labels begin within the embargo"


def _shares(y: IntArray) -> list[float]:
    return [round(float(share), 4) for share in np.bincount(y, minlength=3) / max(1, len(y))]
