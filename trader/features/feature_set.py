"""A set of features: fitted on training bars, then one pure function of bars."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from trader.core.panel import BarPanel, FloatArray
from trader.features import columns as columns_module
from trader.features import rolling as rolling_module
from trader.features import sessions as sessions_module
from trader.features.columns import Columns, symbol_columns
from trader.features.default_set import FEATURE_TYPES, default_features_of
from trader.features.feature import CrossSectionalFeature, Feature, module_source
from trader.features.feature_check import verify_cross_section, verify_feature
from trader.features.verification import Finding

FORMAT = 1


class FeatureSet:
    """Features in a fixed order, with one definition for history and for live bars.

    Parameters
    ----------
    features
        Per-symbol features first come first; cross-sectional ones may read any column of those.
    """

    def __init__(self, features: Iterable[Feature]) -> None:
        self.features: tuple[Feature, ...] = tuple(features)
        self.names: tuple[str, ...] = tuple(name for feature in self.features for name in feature.names)
        doubled = sorted({name for name in self.names if self.names.count(name) > 1})
        if doubled:
            raise ValueError(f"two features have the name {', '.join(doubled)}; every column needs a name of its own")
        self.spans: dict[Feature, slice] = {}
        start = 0
        for feature in self.features:
            self.spans[feature] = slice(start, start + len(feature.names))
            start += len(feature.names)
        self.own = [f for f in self.features if not f.cross_sectional]
        self.cross = [f for f in self.features if isinstance(f, CrossSectionalFeature)]
        for feature in self.cross:
            if feature.of not in self.names:
                raise ValueError(f"{feature.names[0]} ranks {feature.of!r}, which is not a column of this set")

    @property
    def lookback(self) -> int:
        """Bars, the current one included, that a live buffer must hold so that live equals batch to 1e-9."""
        return max((feature.memory for feature in self.features), default=0) + 1

    @property
    def warmup(self) -> int:
        """Bars of a symbol before every one of its features has a value."""
        return max((f.warmup if f.lookback is None else f.lookback for f in self.features), default=0)

    def fit(self, panel: BarPanel) -> FeatureSet:
        """A set with everything estimated from this panel, and frozen. Give it training bars only."""
        history = [columns for _, columns in symbol_columns(panel) if len(columns)]
        return FeatureSet(feature.fit(history) for feature in self.features)

    def transform(self, panel: BarPanel) -> FloatArray:
        """Features of every bar: ``(n_bars, n_symbols, n_features)``.

        NaN during a feature's warm-up and in the rows where a symbol has no bar; its other bars do not see such rows.
        """
        out = np.full((len(panel), len(panel.symbols), len(self.names)), np.nan)
        for j, (present, columns) in enumerate(symbol_columns(panel)):
            if len(columns):
                out[present, j] = self.compute(columns)
        self.combine(out)
        return out

    def compute(self, columns: Columns) -> FloatArray:
        """The per-symbol features of one symbol: ``(n, n_features)``, cross-sectional columns left NaN."""
        out = np.full((len(columns), len(self.names)), np.nan)
        for feature in self.own:
            values = shaped(feature, feature.compute(columns), len(columns))
            values[: feature.warmup] = np.nan
            out[:, self.spans[feature]] = values
        out[~np.isfinite(out)] = np.nan
        return out

    def combine(self, values: FloatArray) -> None:
        """Fill the cross-sectional columns of ``(n_bars, n_symbols, n_features)`` in place."""
        for feature in self.cross:
            of = values[:, :, self.names.index(feature.of)]
            combined = feature.combine(of)
            values[:, :, self.spans[feature].start] = np.where(np.isfinite(combined), combined, np.nan)

    def verify(self, panel: BarPanel) -> list[Finding]:
        """Look for any use of the future, understated memory or impurity on these bars; empty when there is none.

        ``raise findings[0].error()`` turns a finding into an exception.
        """
        found = [finding for feature in self.own for finding in verify_feature(feature, panel)]
        if self.cross:
            values = self.transform(panel)
            for feature in self.cross:
                found += verify_cross_section(feature, values[:, :, self.names.index(feature.of)])
        return found

    def fingerprint(self) -> str:
        """SHA-256 over names, parameters, fitted values and the code that computes them."""
        digest = hashlib.sha256()
        for module in (columns_module, rolling_module, sessions_module):
            digest.update(module_source(module.__file__).encode())
        for feature in self.features:
            definition = [type(feature).__name__, feature.names, feature.params()]
            digest.update(json.dumps(definition, sort_keys=True).encode())
            digest.update(feature.source().encode())
        return digest.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Everything needed to build the same set again, JSON-able; a user's own features by name only."""
        return {
            "format": FORMAT,
            "features": [
                {"type": type(f).__name__, "params": f.params()} if type(f).__name__ in FEATURE_TYPES
                else {"type": "user", "names": list(f.names)}
                for f in self.features
            ],
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any], extra: Sequence[Feature] = ()) -> FeatureSet:
        """The set that `to_dict` described. ``extra`` holds the user's own features it names."""
        if stored.get("format") != FORMAT:
            raise ValueError(f"feature set of format {stored.get('format')!r}; this version reads format {FORMAT}")
        users = {feature.names: feature for feature in extra}
        features: list[Feature] = []
        for item in stored["features"]:
            if item["type"] == "user":
                names = tuple(item["names"])
                if names not in users:
                    raise ValueError(
                        f"the stored set needs the user feature {', '.join(names)}; list it in features.extra"
                    )
                features.append(users[names])
            elif item["type"] in FEATURE_TYPES:
                params = {key: _tuples(value) for key, value in item["params"].items()}
                features.append(FEATURE_TYPES[item["type"]](**params))
            else:
                raise ValueError(f"unknown feature type {item['type']!r}; known: {', '.join(sorted(FEATURE_TYPES))}")
        return cls(features)


def default_features(timeframe: str = "15Min", extra: Sequence[Feature] = ()) -> FeatureSet:
    """The shipped set with windows suited to the timeframe, unfitted, followed by the user's own features."""
    return FeatureSet((*default_features_of(timeframe), *extra))


def shaped(feature: Feature, values: FloatArray, n: int) -> FloatArray:
    """A feature's answer as an array ``(n, len(feature.names))`` of its own; ValueError where it has another shape."""
    values = np.array(values, dtype=np.float64)
    if values.ndim == 1:
        values = values[:, None]
    if values.shape != (n, len(feature.names)):
        raise ValueError(
            f"feature {', '.join(feature.names)} returned shape {values.shape}, expected {(n, len(feature.names))}"
        )
    return values


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
