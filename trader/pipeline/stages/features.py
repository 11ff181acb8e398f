"""features: fitted on the training bars, computed for each of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trader.core.panel import FloatArray
from trader.features.feature_set import FeatureSet, default_features
from trader.pipeline.context import Context, StageResult
from trader.pipeline.feature_matrix import feature_matrix
from trader.pipeline.stages.data import training_bars
from trader.pipeline.tables import read_arrays, write_arrays
from trader.utils.atomic import atomic_write_text

MATRIX, DEFINITION = "features.npz", "features.json"


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """The fitted set and its values on the training bars, ``(n_bars, n_symbols, n_features)``."""

    features: FeatureSet
    matrix: FloatArray


def settings(context: Context) -> Mapping[str, Any]:
    """Names, parameters and code of the unfitted features."""
    return {"feature fingerprint": default_features(context.timeframe, context.extra_features).fingerprint()}


def run(context: Context) -> StageResult:
    """Fit and transform."""
    train = training_bars(context)
    context.tick("fitting", 0, 2)
    fitted = default_features(train.timeframe, context.extra_features).fit(train)
    context.tick("computing", 1, 2)
    matrix = feature_matrix(fitted, train, context.workers)
    fingerprint = fitted.fingerprint()
    stored = {"fingerprint": fingerprint, "names": list(fitted.names), "set": fitted.to_dict()}
    paths = context.path(MATRIX), context.path(DEFINITION)
    write_arrays(paths[0], matrix=matrix)
    atomic_write_text(paths[1], json.dumps(stored, indent=1) + "\n")
    after = np.isfinite(train.close[fitted.warmup:])        # where a symbol has a bar
    known = float(np.isfinite(matrix[fitted.warmup:][after]).mean()) if after.any() else 0.0
    facts = {
        "fingerprint": fingerprint, "names": stored["names"], "lookback": fitted.lookback, "warmup": fitted.warmup,
        "bars": len(matrix), "known_share": round(known, 4),
    }
    text = (f"{len(fitted.names)} features of {len(matrix):,} bars, {known:.1%} known after {fitted.warmup} bars of "
            f"warm-up; fingerprint {fingerprint[:12]}")
    return StageResult(text, paths, facts)


def stored_features(context: Context) -> StoredFeatures:
    """What `run` left."""
    stored = json.loads(context.path(DEFINITION).read_text(encoding="utf-8"))
    features = FeatureSet.from_dict(stored["set"], context.extra_features)
    return StoredFeatures(features, read_arrays(context.path(MATRIX))["matrix"])
