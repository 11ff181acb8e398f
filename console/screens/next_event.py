"""After ``n``: which event to run to."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from console.bindings import bindings
from console.keymap import display
from console.screens.dialog import Dialog
from console.theme import content_style


class NextEventScreen(Dialog[str]):
    """One more key."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("next")

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = "[b]Run to the next …[/b]"
            box.border_subtitle = "esc back"
            keys = [key for key in self.owner.keys if key.scope == "next"]
            yield Static(Content("   ").join(
                Content.assemble((display(key.keys), content_style("accent") + " bold"), f" {key.label}")
                for key in keys))

    def action_run_to(self, kind: str) -> None:
        self.dismiss(kind)
