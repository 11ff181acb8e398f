"""labels: which bars become samples, what the triple barrier says of them, how much each counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from trader.models.labels import LOSS, NEUTRAL, PROFIT
from trader.pipeline.context import Context, StageResult
from trader.pipeline.stages.data import training_bars
from trader.pipeline.stages.features import StoredFeatures, stored_features
from trader.pipeline.tables import read_samples, write_labels
from trader.pipeline.train import require_enough
from trader.pipeline.training_samples import Samples, build_samples, rule_of

LABELS = "labels.npz"
CLASSES = {LOSS: "loss", NEUTRAL: "neutral", PROFIT: "profit"}


def settings(context: Context) -> Mapping[str, Any]:
    """Events, barriers and weights."""
    chosen = context.training
    own = context.per_symbol
    special = None if own is None else {name: msgspec.to_builtins(labels) for name, labels in own.items()}
    return {
        "events settings": chosen.events, "labels settings": chosen.labels, "barriers of symbols": special,
        "weights settings": chosen.weights, "rule of the bets": rule_of(chosen),
        "seed": chosen.seed if chosen.weights.sequential_bootstrap else None,
    }


def run(context: Context) -> StageResult:
    """Sample, label, weigh."""
    train = training_bars(context)
    stored = stored_features(context)
    samples = build_samples(
        train, stored.matrix, context.training, stored.features.warmup, context.per_symbol, context.workers)
    require_enough(samples, train)
    path = context.path(LABELS)
    write_labels(path, samples)
    shares = {name: float((samples.y == k).mean()) for k, name in CLASSES.items()}
    facts = {
        "samples": len(samples), "effective": round(float(samples.unique.sum()), 1), "class_shares": shares,
        "mean_holding_bars": round(float((samples.t1 - samples.t0).mean()), 2),
        "by_symbol": {
            name: int(count) for name, count in
            zip(train.symbols, np.bincount(samples.symbol, minlength=len(train.symbols)), strict=True)
        },
    }
    text = (f"{len(samples):,} labels ({facts['effective']:,.0f} effective): "
            + ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
            + f"; held {facts['mean_holding_bars']:.1f} bars on average")
    return StageResult(text, (path,), facts)


def stored_samples(context: Context) -> tuple[StoredFeatures, Samples]:
    """Features, and the samples of them that `run` left."""
    stored = stored_features(context)
    return stored, read_samples(context.path(LABELS), stored.matrix)
