"""The model of a session: the stored one where it fits, else one trained beside the session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trader.core import events as ev
from trader.core.clock import from_ns
from trader.prediction import barriers_of, require_bars, require_use
from trader.session import training
from trader.utils.errors import UserError

if TYPE_CHECKING:
    from trader.features.feature_set import FeatureSet
    from trader.models.artifact import ModelArtifact
    from trader.strategy.base_strategy import BaseStrategy


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to predict."""

    artifact: ModelArtifact
    features: FeatureSet

    def barriers(self, symbols: tuple[str, ...]) -> dict[str, tuple[float, float, int]]:
        """Profit taking, stop loss (multiples of volatility) and holding bars that the labels had, by symbol."""
        return barriers_of(self.artifact.labels, symbols)


class Learner:
    """Finds, loads or trains the model; everything that takes long happens in a thread or a process of its own."""

    def __init__(
        self, home: Path, name: str, strategy: type[BaseStrategy], *, symbols: tuple[str, ...], timeframe: str,
        extra: tuple[str, ...], months: int, seed: int, config: Path | None, waited_for: bool = False,
    ) -> None:
        self._home = home
        self._name = name
        self._strategy = strategy
        self._symbols = symbols
        self._timeframe = timeframe
        self._extra = extra
        self._months = months
        self._seed = seed
        self._config = config
        self._niceness = 0 if waited_for else training.NICENESS     # a session that waits gains nothing by modesty
        self.refused = ""                       # why the stored model was not taken

    async def stored(self, before_ns: int) -> LoadedModel | None:
        """The current model, if it knows these bars and has seen none from ``before_ns`` on."""
        return await asyncio.to_thread(self._stored, before_ns)

    def _stored(self, before_ns: int) -> LoadedModel | None:
        from trader.models.artifact import ArtifactError
        from trader.models.registry import latest_model

        directory = latest_model(self._home, self._name)
        if directory is None:
            return None
        try:
            loaded = self._load(directory)
        except ArtifactError as error:
            self.refused = str(error)
            return None
        if loaded.artifact.trained_through_ns > before_ns:
            through = from_ns(loaded.artifact.trained_through_ns).date()
            self.refused = f"{directory.name} has seen bars up to {through}, later than this session's first"
            return None
        return loaded

    def _load(self, directory: Path) -> LoadedModel:
        from trader.features.user_features import load_user_features
        from trader.prediction import load_model

        loaded = LoadedModel(*load_model(directory, load_user_features(self._extra, self._home)))
        require_use(loaded.artifact, self._strategy)
        require_bars(loaded.artifact, self._timeframe, self._symbols)
        return loaded

    def announcement(self, before_ns: int) -> ev.TrainingProgress:
        """What a training on the months before a moment says first."""
        start, end = self._range(before_ns)
        return ev.TrainingProgress(ts=before_ns, state="running", stage="start", done=0, total=0,
                                   message=f"{self._name} on {start.date()} … {end.date()}")

    def _range(self, before_ns: int) -> tuple[datetime, datetime]:
        end = from_ns(before_ns)
        return end - timedelta(days=round(self._months * 30.44)), end

    async def train(self, before_ns: int, report: Callable[[ev.TrainingProgress], None], now_ns: Callable[[], int],
                    ) -> LoadedModel | None:
        """Train on the months before ``before_ns`` (exclusive) in a process of its own; None when that fails."""
        start, end = self._range(before_ns)
        argv = training.command(
            self._home, symbols=self._symbols, timeframe=self._timeframe, start=start.date().isoformat(),
            end=end.isoformat(), seed=self._seed, config=self._config)

        def progress(facts: dict[str, Any]) -> None:
            if facts.get("stage") == "done":
                return
            report(ev.TrainingProgress(
                ts=now_ns(), state="running", stage=str(facts.get("stage", "")), done=int(facts.get("done") or 0),
                total=int(facts.get("total") or 0), eta_seconds=facts.get("eta_seconds"),
                message=str(facts.get("message", ""))))

        outcome = await training.train(argv, progress, self._niceness)
        if outcome.model is None:
            report(ev.TrainingProgress(ts=now_ns(), state="failed", stage="failed", done=0, total=0,
                                       message=outcome.error))
            return None
        try:
            loaded = await asyncio.to_thread(self._load, outcome.model)
        except UserError as error:
            report(ev.TrainingProgress(ts=now_ns(), state="failed", stage="failed", done=0, total=0,
                                       message=str(error)))
            return None
        report(ev.TrainingProgress(ts=now_ns(), state="done", stage="done", done=1, total=1, eta_seconds=0.0,
                                   message=loaded.artifact.summary))
        return loaded
