"""The pipeline as a table: what each stage needs, which code decides its result, which module runs it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trader.pipeline.context import Context, StageResult


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage. Its module defines ``settings(context)``, ``run(context)`` and, where something is to be dropped
    before a forced run, ``forget(context)``."""

    name: str
    needs: tuple[str, ...]
    code: tuple[str, ...]       # source files below the package that decide the result
    reads: Mapping[str, str] = field(default_factory=dict)      # the one file that matters of a need's several
    blocks: bool = True         # a verdict of no keeps the stages that need it from running
    cached: bool = True         # False: it looks at the present and always runs

    def settings(self, context: Context) -> Mapping[str, Any]:
        """What of settings, choices and surroundings decides the result, each by a name for a person; JSON-able."""
        found: Mapping[str, Any] = self._module().settings(context)
        return found

    def run(self, context: Context) -> StageResult:
        """Do the work."""
        result: StageResult = self._module().run(context)
        return result

    def forget(self, context: Context) -> None:
        """Drop what an interrupted run left to go on from."""
        drop: Callable[[Context], None] | None = getattr(self._module(), "forget", None)
        if drop is not None:
            drop(context)

    def _module(self) -> Any:
        return importlib.import_module(f"trader.pipeline.stages.{self.name}")


_TRAINING = {"data": "training.npz"}        # later bars, which training must not see, do not make it stale
_MODEL = ("models/*.py", "pipeline/train.py", "pipeline/search.py", "pipeline/training_*.py", "mlops/drift.py",
          "mlops/outcomes.py")
_ENGINE = (
    "core/*.py", "backtest/*.py", "exchange/*.py", "execution/*.py", "risk/*.py", "strategy/*.py", "features/*.py",
    "models/*.py", "mlops/*.py", "analytics/*.py", "utils/metrics.py", "wiring.py", "prediction.py",
    "pipeline/backtest_run.py",
)

STAGES = {
    stage.name: stage for stage in (
        Stage("data", (), ("data/*.py", "core/sessions.py", "core/days.py", "pipeline/training_bars.py",
                           "pipeline/stages/data.py")),
        Stage("features", ("data",), ("features/*.py", "pipeline/feature_matrix.py", "pipeline/stages/features.py"),
              _TRAINING),
        Stage("labels", ("data", "features"), (
            "models/labels.py", "models/weights.py", "models/events.py", "strategy/opinion.py",
            "pipeline/training_samples.py", "pipeline/stages/labels.py"), _TRAINING),
        Stage("train", ("data", "features", "labels"), (*_MODEL, "pipeline/stages/train.py"), _TRAINING),
        Stage("calibrate", ("data", "features", "labels", "train"), (*_MODEL, "pipeline/stages/calibrate.py"),
              _TRAINING),
        Stage("backtest", ("data", "calibrate"), (*_ENGINE, "pipeline/stages/backtest.py")),
        Stage("validate", ("backtest",), ("pipeline/verdict.py", "pipeline/stages/validate.py"), blocks=False),
        Stage("paper", ("validate",), (), cached=False),
    )
}


def chain(name: str) -> list[Stage]:
    """A stage and everything that it depends on, in the order to run."""
    found: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        for need in stage.needs:
            visit(STAGES[need])
        found.setdefault(stage.name, stage)

    visit(STAGES[name])
    return list(found.values())
