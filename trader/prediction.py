"""Features and a model as one predictor: in one batch over stored bars, or bar by bar; the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trader.core import events as ev
from trader.core.days import day_of
from trader.core.panel import BarPanel, FloatArray, Slice
from trader.utils.errors import UserError

if TYPE_CHECKING:
    from trader.features.feature import Feature
    from trader.features.feature_set import FeatureSet
    from trader.mlops.monitoring import ModelMonitor
    from trader.models.artifact import ModelArtifact
    from trader.strategy.base_strategy import BaseStrategy
    from trader.strategy.opinion import Opinion


def load_model(directory: Path, extra: Sequence[Feature] = ()) -> tuple[ModelArtifact, FeatureSet]:
    """A stored model and the fitted features that it was trained on; ArtifactError on any mismatch."""
    from trader.features.feature_set import FeatureSet
    from trader.models.artifact import ArtifactError, ModelArtifact

    artifact = ModelArtifact.load(directory)
    try:
        features = FeatureSet.from_dict(artifact.feature_set_dict, extra)
    except Exception as error:              # a set that this program cannot build, for whatever reason
        raise ArtifactError(f"model {artifact.model_id}: its features cannot be built here: {error}") from error
    artifact.require_features(features.fingerprint())
    if artifact.meta is not None:
        rule_of(artifact)
    return artifact, features


def rule_of(artifact: ModelArtifact) -> BaseStrategy:
    """The rule whose bets a meta-model judges; ArtifactError where it is not the one of the training."""
    from trader.models.artifact import ArtifactError
    from trader.strategy.opinion import make_rule, rule_facts

    assert artifact.meta is not None
    name = str(artifact.meta["primary"])
    try:
        rule = make_rule(name, artifact.meta["params"])
    except UserError as error:
        raise ArtifactError(
            f"model {artifact.model_id} judges the bets of {name}, which is not as it was: {error}") from None
    artifact.require_rule(rule_facts(rule, name)["fingerprint"])
    return rule


def require_use(artifact: ModelArtifact, strategy: type[BaseStrategy] | BaseStrategy) -> None:
    """ArtifactError where a strategy cannot read what the model's classes mean."""
    from trader.models.artifact import ArtifactError

    if strategy.judges_bets and artifact.meta is None:
        raise ArtifactError(
            f"strategy {strategy.name} needs a model of a rule's bets and {artifact.model_id} is none: set name: "
            f"{strategy.model_name} and meta.primary: trend in training.yaml, then alphatrade train")
    if not strategy.judges_bets and artifact.meta is not None:
        raise ArtifactError(
            f"model {artifact.model_id} judges the bets of {artifact.meta['primary']}; strategy {strategy.name} needs "
            "one of the long side's labels: use the strategy ml_meta, or train without meta.primary")


def require_bars(artifact: ModelArtifact, timeframe: str, symbols: Sequence[str]) -> None:
    """ArtifactError where the model was trained on bars of another size, or never saw a symbol."""
    from trader.models.artifact import ArtifactError

    data = artifact.manifest["data"]
    if data["timeframe"] != timeframe:
        raise ArtifactError(
            f"model {artifact.model_id} was trained on {data['timeframe']} bars, these are {timeframe}: train one on "
            f"them (alphatrade train --timeframe {timeframe})")
    unknown = [symbol for symbol in symbols if symbol not in data["symbols"]]
    if unknown:
        raise ArtifactError(
            f"model {artifact.model_id} was not trained on {', '.join(unknown)} but on {', '.join(data['symbols'])}: "
            "train it again (alphatrade train), or leave them out")


class BatchPredictor:
    """Probabilities of a whole panel, computed once before the first slice is played.

    Only rows from ``start`` on are predicted; features and rule see the bars before as history.
    """

    def __init__(self, artifact: ModelArtifact, features: FeatureSet, panel: BarPanel, start: int = 0) -> None:
        self.model_id = artifact.model_id
        self._start = start
        values = features.transform(panel)[start:]
        self.features: FloatArray = values
        n_bars, n_symbols, n_features = values.shape
        self._opinions: FloatArray | None = None
        if artifact.meta is not None:
            from trader.strategy.opinion import opinions

            self._opinions = opinions(rule_of(artifact), panel, start)
        batch = artifact.predict(
            values.reshape(n_bars * n_symbols, n_features),
            None if self._opinions is None else self._opinions.reshape(n_bars * n_symbols))
        self._probabilities = batch.calibrated.reshape(n_bars, n_symbols, 3)
        self.failures = batch.failures
        self.last_features: FloatArray | None = None
        self.opinion: FloatArray | None = None

    def predict(self, bar: Slice) -> FloatArray | None:
        """Probabilities ``(n_symbols, 3)`` at a slice of the panel; NaN rows where there are none."""
        row = int(bar.index) - self._start  # type: ignore[call-overload]
        self.last_features = self.features[row]
        self.opinion = None if self._opinions is None else self._opinions[row]
        return self._probabilities[row]


class LivePredictor:
    """Probabilities bar by bar from a ring of recent bars."""

    def __init__(self, artifact: ModelArtifact, features: FeatureSet, history: BarPanel) -> None:
        from trader.features.live import LiveFeatures

        self.model_id = artifact.model_id
        self._artifact = artifact
        self._live = LiveFeatures(features, history)
        self._rule: Opinion | None = None
        if artifact.meta is not None:
            from trader.strategy.opinion import Opinion

            self._rule = Opinion(rule_of(artifact), history)
        self.opinion: FloatArray | None = None
        self.last_features: FloatArray | None = None
        self.failures: dict[str, str] = {}          # members missing from the last prediction, and why

    def predict(self, bar: Slice) -> FloatArray | None:
        """Probabilities ``(n_symbols, 3)``; RuntimeError when no member of the ensemble can predict."""
        self.last_features = self._live.push(bar)
        if self._rule is not None:
            self.opinion = self._rule.push(bar, day_of(bar.available_ns))
        batch = self._artifact.predict(self.last_features, self.opinion)
        self.failures = batch.failures
        return batch.calibrated


class HealthWatch:
    """The model monitor as the engine sees it: it also needs the features that the prediction was made from."""

    def __init__(self, monitor: ModelMonitor, predictor: BatchPredictor | LivePredictor) -> None:
        self._monitor = monitor
        self._predictor = predictor

    def on_slice(self, bar: Slice, probabilities: FloatArray | None) -> ev.ModelHealth | None:
        """Record the predictions, resolve those whose outcome is known; an event when the health has changed."""
        predictor = self._predictor
        return self._monitor.on_slice(
            bar, probabilities, predictor.last_features, predictor.failures, predictor.opinion)


def model_loaded(artifact: ModelArtifact, ts: int) -> ev.ModelLoaded:
    """The event that announces a model."""
    return ev.ModelLoaded(
        ts=ts, model_id=artifact.model_id, path=str(artifact.directory or ""),
        trained_through=artifact.trained_through_ns, source=artifact.source, summary=artifact.summary,
    )


def trained_before(artifact: ModelArtifact, first_ns: int) -> bool:
    """Whether the model has seen nothing of the bars from ``first_ns`` on."""
    return bool(artifact.trained_through_ns <= first_ns)


def barriers_of(labels: dict[str, Any], symbols: tuple[str, ...]) -> dict[str, tuple[float, float, int]]:
    """Profit taking, stop loss and holding bars of a model's labels, by symbol.

    Empty where the labels are not scaled by volatility: the strategy's own multiples hold then.
    """
    if not labels.get("volatility_scaled"):
        return {}
    special = labels.get("per_symbol") or {}
    own = {symbol: special.get(symbol, labels) for symbol in symbols}
    return {
        symbol: (float(v["profit_taking"]), float(v["stop_loss"]), int(v["max_holding_periods"]))
        for symbol, v in own.items()
    }
