"""All about one row, kept up to date while it is looked at."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from console.panes.base import Facts, Pane
from console.screens.dialog import Dialog
from console.theme import content_style
from console.widgets.words import content


def facts_content(facts: Facts) -> Content:
    """Headings, and labels with their values in one column."""
    labels = [label for label, parts in facts if parts]
    width = max((len(label) for label in labels), default=0)
    lines: list[Content] = []
    for label, parts in facts:
        if not parts:
            lines += [Content("")] * bool(lines) + [Content.assemble((label, content_style("accent") + " bold"))]
        else:
            lines.append(Content.assemble((f"  {label:<{width}}  ", content_style("muted")), content(parts)))
    return Content("\n").join(lines)


class DetailScreen(Dialog[None]):
    """A pane's facts about a row."""

    def __init__(self, pane: Pane, row: Any) -> None:
        super().__init__()
        self._pane, self._row = pane, row

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="box") as box:
            box.border_title = f"[b]{self._pane.TITLE}[/b]"
            box.border_subtitle = "times in New York  ·  esc back"
            yield Static(id="facts")

    def on_mount(self) -> None:
        self._show()
        self.set_interval(0.5, self._show)
        self.query_one("#box").focus()

    def _show(self) -> None:
        key = self._pane.row_key(self._row)
        for row in self._pane.shown:
            if self._pane.row_key(row) == key:
                self._row = row
                break
        self.query_one("#facts", Static).update(facts_content(self._pane.facts(self._row, self._pane.frame)))
