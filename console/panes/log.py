"""What just happened, line by line; follows the end until the cursor leaves it."""

from __future__ import annotations

from typing import Any

from console.panes.base import Facts, Pane
from console.widgets import figures as f
from console.widgets.line_table import Column, cell
from trader.frames import Frame, LogRow

# level → sign and word, tone of the sign, tone of the text
LEVELS: dict[str, tuple[str, str, str]] = {
    "info": ("· info", "muted", ""), "warning": ("▲ warn", "warn", "warn"), "error": ("✗ error", "bad_strong", "bad"),
    "fill": ("✓ fill", "good", ""), "veto": ("✗ veto", "warn", ""), "halt": ("■ HALT", "alarm", "bad_strong"),
}


class LogPane(Pane):
    """The event log."""

    NAME = "log"
    TITLE = "Events"
    EMPTY = "nothing has happened yet"
    FOLLOW = True
    HEADER = False
    COLUMNS = (
        Column("time", "Time", lambda r: cell(f.clock_time(r.ts_ns), "muted"), left=True, order=lambda r: r.ts_ns),
        Column("level", "Level", lambda r: cell(*LEVELS.get(r.level, (r.level, "", ""))[:2]), left=True),
        Column("source", "Source", lambda r: cell(r.source, "muted"), left=True, drop=3, at_most=10),
        Column("text", "Event", lambda r: cell(r.text, LEVELS.get(r.level, ("", "", ""))[2]), left=True,
               flex=True, at_least=58),
    )

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._last_seq: int | None = None
        self.lost = 0

    @staticmethod
    def row_key(row: LogRow) -> Any:
        return row.seq

    def rows(self, frame: Frame) -> tuple[LogRow, ...]:
        log = frame.log
        if log and self._last_seq is not None and log[0].seq > self._last_seq + 1 and frame.playback is None:
            self.lost += log[0].seq - self._last_seq - 1
        self._last_seq = log[-1].seq if log else None
        return log

    def summary(self, frame: Frame) -> str:
        return f"{f.number(self.lost, 0)} went by unseen" if self.lost else ""

    def facts(self, row: LogRow, frame: Frame) -> Facts:
        sign, tone, _ = LEVELS.get(row.level, (row.level, "", ""))
        return [("event", []), ("time", [(f.day_time(row.ts_ns), "")]), ("level", [(sign, tone)]),
                ("source", [(row.source, "")]), ("number", [(f.number(row.seq, 0), "muted")]),
                ("text", [(row.text, "strong")])]
