"""Circuit breakers: state word, multiplier, and when they let go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from console.panes.base import Facts, Pane
from console.widgets import figures as f
from console.widgets.line_table import Cell, Column, cell
from console.widgets.meter import meter
from trader.frames import BreakerRow, Frame

STATES = {
    "normal": ("normal", "good"), "warning": ("▲ warning", "warn_strong"), "elevated": ("▲ elevated", "warn_strong"),
    "crisis": ("■ CRISIS", "alarm"), "tripped": ("■ TRIPPED", "alarm"),
}
# what a breaker measures in; the others are plain numbers
UNITS = {"intraday_loss": "%", "drawdown": "%"}


@dataclass(frozen=True, slots=True)
class Breaker:
    """A breaker's row with its countdown in whole seconds of the frame's clock."""

    row: BreakerRow
    seconds_left: int | None


def _value(row: BreakerRow) -> str:
    return f.in_unit(row.value, UNITS.get(row.name, ""))


def _limit(row: BreakerRow) -> str:
    return f.in_unit(row.limit, UNITS.get(row.name, ""))


def _tone(row: BreakerRow) -> str:
    return {"normal": "accent", "warning": "warn", "elevated": "warn"}.get(row.state, "bad")


def _multiplier(item: Breaker) -> Cell:
    return cell(f"×{item.row.multiplier:.2f}", "" if item.row.multiplier >= 1 else "warn")


class BreakersPane(Pane):
    """What would stop trading, and how near it is."""

    NAME = "breakers"
    TITLE = "Circuit breakers"
    EMPTY = "no breaker has reported yet"
    COLUMNS = (
        Column("name", "Breaker", lambda b: cell(b.row.name.replace("_", " ")), left=True),
        Column("state", "State", lambda b: cell(*STATES.get(b.row.state, (b.row.state, ""))), left=True),
        Column("multiplier", "Size", _multiplier, order=lambda b: b.row.multiplier),
        Column("value", "Value", lambda b: cell(_value(b.row), "strong"), order=lambda b: b.row.value),
        Column("limit", "Limit", lambda b: cell(_limit(b.row), "muted"), drop=3, order=lambda b: b.row.limit),
        Column("bar", "", lambda b: meter(b.row.value / b.row.limit if b.row.limit else 0.0, 8, _tone(b.row)),
               left=True, drop=7),
        Column("left", "Left", lambda b: cell("" if b.seconds_left is None else f.countdown(b.seconds_left), "warn"),
               drop=2, order=lambda b: b.seconds_left),
        Column("action", "Action", lambda b: cell(b.row.action or b.row.detail, "muted"), left=True, drop=6,
               flex=True, at_least=16),
    )

    @staticmethod
    def row_key(row: Breaker) -> Any:
        return row.row.name

    def parts(self, frame: Frame) -> tuple[Any, ...]:
        if any(row.until_ns for row in frame.breakers):
            return (frame.breakers, frame.now_ns)
        return (frame.breakers,)

    def rows(self, frame: Frame) -> list[Breaker]:
        held = {item.row.name: item for item in self._rows}
        rows = []
        for row in frame.breakers:
            left = None if row.until_ns is None else max(0, (row.until_ns - frame.now_ns) // 1_000_000_000)
            old = held.get(row.name)
            rows.append(old if old and old.row is row and old.seconds_left == left else Breaker(row, left))
        return rows

    def summary(self, frame: Frame) -> str:
        least = min((row.multiplier for row in frame.breakers), default=1.0)
        return f"size ×{least:.2f}"

    def record(self, row: Breaker) -> dict[str, Any]:
        return {**super().record(row.row), "seconds_left": row.seconds_left}

    def facts(self, row: Breaker, frame: Frame) -> Facts:
        breaker = row.row
        return [
            (breaker.name.replace("_", " "), []),
            ("state", [STATES.get(breaker.state, (breaker.state, ""))]),
            ("position multiplier", list(_multiplier(row))),
            ("value", [(_value(breaker), "strong"), (f" of {_limit(breaker)}", "muted")]),
            ("action", [(breaker.action or f.UNKNOWN, "")]),
            ("detail", [(breaker.detail or f.UNKNOWN, "")]),
            ("lets go", [(f.day_time(breaker.until_ns), ""),
                         ("" if row.seconds_left is None else f"  in {f.countdown(row.seconds_left)}", "warn")]),
        ]
