"""How fit the models are, and how far a training has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from console.panes.base import Facts, Pane
from console.widgets import figures as f
from console.widgets.line_table import Cell, Column, cell
from console.widgets.meter import meter
from trader.frames import Frame, ModelRow, TrainingRow

LEVELS = {
    "FRESH": ("● FRESH", "good_strong"), "AGING": ("◐ AGING", "warn_strong"), "STALE": ("▲ STALE", "caution"),
    "CRITICAL": ("■ CRITICAL", "alarm"),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the pane: what it says of which model."""

    subject: ModelRow | TrainingRow
    name: str
    value: Cell

    @property
    def key(self) -> tuple[str, str]:
        return (getattr(self.subject, "model_id", "training"), self.name)


def accuracy(windows: tuple[tuple[str, float, int], ...]) -> Cell:
    """Accuracy windows side by side."""
    parts: list[tuple[str, str]] = []
    for name, share, observations in windows:
        parts += [(f"{name} ", "muted"), (f.percent(share, 1), ""), (f" ({f.number(observations, 0)})  ", "muted")]
    return tuple(parts) or cell("no outcome yet", "muted")


def training_bar(training: TrainingRow, width: int = 16) -> Cell:
    """Progress with a time left."""
    if training.state == "failed":
        return ((f"✗ failed: {training.message}", "bad_strong"),)
    if training.state == "done":
        return ((f"✓ done {training.message}".rstrip(), "good"),)
    share = training.done / training.total if training.total else 0.0
    left = "" if training.eta_seconds is None else f"  {f.countdown(training.eta_seconds)} left"
    return (*meter(share, width, "accent"), (f" {share * 100:3.0f}%", "strong"), (left, ""),
            (f"  {training.stage} {training.done}/{training.total}", "muted"))


def model_facts(model: ModelRow) -> list[Fact]:
    """The lines for one model."""
    facts = [
        Fact(model, "model", (LEVELS.get(model.level, (model.level, "")), (f" ×{model.multiplier:.2f}  ", ""),
                              (model.model_id, "strong"), (f"  {f.span(model.age_days * 86_400)} old", "muted"))),
        Fact(model, "accuracy", accuracy(model.windows)),
    ]
    if model.estimated_accuracy is not None:
        facts.append(Fact(model, "estimated", ((f.percent(model.estimated_accuracy, 1), ""),
                                               (" before outcomes arrive", "muted"))))
    facts.append(Fact(model, "drifted", cell(", ".join(model.drifted), "warn") if model.drifted
                      else cell("no feature", "muted")))
    facts += [Fact(model, "why" if not place else f"why {place + 1}", cell(reason, "warn"))
              for place, reason in enumerate(model.reasons)]
    if model.summary:
        facts.append(Fact(model, "about", cell(model.summary, "muted")))
    return facts


class ModelsPane(Pane):
    """Age, accuracy, drift; a training's bar on top."""

    NAME = "models"
    TITLE = "Model staleness"
    EMPTY = "no model yet: a rule-based strategy trades"
    HEADER = False
    COLUMNS = (
        Column("name", "Model", lambda r: cell(r.name, "muted"), left=True),
        Column("value", "", lambda r: r.value, left=True, flex=True),
    )

    @staticmethod
    def row_key(row: Fact) -> Any:
        return row.key

    def parts(self, frame: Frame) -> tuple[Any, ...]:
        return (frame.models, frame.training)

    def rows(self, frame: Frame) -> list[Fact]:
        held = {row.key: row for row in self._rows}
        rows: list[Fact] = []
        if frame.training is not None:
            rows.append(Fact(frame.training, "training", training_bar(frame.training)))
        for model in frame.models:
            same = [row for row in held.values() if row.subject is model]
            rows += same or model_facts(model)
        return rows

    def summary(self, frame: Frame) -> str:
        worst = next((level for level in reversed(LEVELS) if any(row.level == level for row in frame.models)), "")
        busy = frame.training is not None and frame.training.state == "running"
        return f"{worst}{'  training' if busy else ''}".strip()

    def record(self, row: Fact) -> dict[str, Any]:
        return super().record(row.subject)

    def facts(self, row: Fact, frame: Frame) -> Facts:
        subject = row.subject
        if isinstance(subject, TrainingRow):
            return [("training", []), ("progress", list(training_bar(subject, 30))), ("stage", [(subject.stage, "")]),
                    ("message", [(subject.message or f.UNKNOWN, "")])]
        level = LEVELS.get(subject.level, (subject.level, ""))
        facts: Facts = [
            (subject.model_id, []),
            ("staleness", [level, (f"  position size ×{subject.multiplier:.2f}", "")]),
            ("age", [(f"{f.number(subject.age_days, 1)} days", "")]),
            ("trained through", [(f.day_time(subject.trained_through_ns), "")]),
            ("trained on", [(subject.source or f.UNKNOWN, "")]),
            ("about", [(subject.summary or f.UNKNOWN, "")]),
            ("Accuracy", []),
            *((name, [(f.percent(share), "strong"), (f"  of {f.number(count, 0)} outcomes", "muted")])
              for name, share, count in subject.windows),
            ("estimated", [(f.percent(subject.estimated_accuracy), ""), ("  before outcomes arrive", "muted")]),
            (f"Drifted features  {len(subject.drifted)}", []),
            *((name, [("▲ distribution differs from training", "warn")]) for name in subject.drifted),
            ("Reasons", []),
            *(("", [(reason, "")]) for reason in subject.reasons),
        ]
        return facts
