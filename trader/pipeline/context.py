"""What every stage is given: settings, choices, what the stages before it left, and where to put its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trader.pipeline.parallel import SERIAL, Workers
from trader.pipeline.state import Choices, PipelineState

if TYPE_CHECKING:
    from trader.config import Loaded
    from trader.features.feature import Feature
    from trader.pipeline.training_settings import LabelSettings, TrainingSettings

FOLDER = Path("data") / "pipeline"      # what one stage leaves for the next

Tick = Callable[[str, int, int], None]  # what is being done, units done, units in all


@dataclass(frozen=True)
class StageResult:
    """What a stage did. Equal inputs give equal text, facts and files; what else is to be told goes into ``note``."""

    text: str
    outputs: tuple[Path, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    ok: bool = True
    note: str = ""


@dataclass(frozen=True)
class Context:
    """One run of the pipeline."""

    home: Path
    loaded: Loaded
    training: TrainingSettings
    state: PipelineState
    tick: Tick = lambda text, done, total: None
    workers: Workers = SERIAL       # who does what is independent; nothing that is stored depends on it
    key: str = ""                   # names the inputs of the stage that runs: equal ones, equal key

    @property
    def choices(self) -> Choices:
        return self.state.choices

    @property
    def symbols(self) -> tuple[str, ...] | None:
        """The wanted symbols; None means all there are."""
        return self.choices.symbols or self.training.data.symbols or None

    @property
    def timeframe(self) -> str:
        """The bar size by its one name: ``15Min``, ``1Day``."""
        from trader.data.timeframe import parse_timeframe

        return parse_timeframe(self.choices.timeframe or self.training.data.timeframe).name

    def path(self, name: str) -> Path:
        """Where an intermediate file lives."""
        return self.home / FOLDER / name

    def facts(self, stage: str) -> Mapping[str, Any]:
        """What a stage that has run reported."""
        return self.state.stages[stage].facts

    def relative(self, path: Path) -> str:
        """A path as the state file names it."""
        return path.relative_to(self.home).as_posix() if path.is_relative_to(self.home) else str(path)

    @cached_property
    def extra_features(self) -> tuple[Feature, ...]:
        """The user's own features, verified."""
        from trader.features.user_features import load_user_features

        return load_user_features(self.loaded.settings.features.extra, self.home)

    @cached_property
    def per_symbol(self) -> Mapping[str, LabelSettings] | None:
        """Label parameters by symbol, where the settings ask for them."""
        if not self.training.labels.per_symbol or self.loaded.barriers_path is None:
            return None
        from trader.pipeline.barriers import load_barriers

        return load_barriers(self.loaded.barriers_path, self.training.labels)
