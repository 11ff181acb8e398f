"""Leaving while something is at stake."""

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
from trader.frames import Frame


def at_stake(frame: Frame) -> str:
    """What would be left behind, in words; empty where nothing is."""
    working = sum(order.is_open for order in frame.orders)
    words = []
    if frame.positions:
        words.append(f"{len(frame.positions)} open position{'s' * (len(frame.positions) != 1)}")
    if working:
        words.append(f"{working} working order{'s' * (working != 1)}")
    return " and ".join(words)


class LeaveScreen(Dialog[str]):
    """Halt, leave running or stop; never the key that asked."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("quit")

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self._frame = frame

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = "[b]Leave the console[/b]"
            box.border_subtitle = "esc back"
            stake = at_stake(self._frame)
            mode = self._frame.status.mode
            lines = [Content.assemble((f"The {mode} session is running" + (f" with {stake}." if stake else "."),
                                       content_style("strong"))), Content("")]
            for key in self.owner.keys:
                if key.scope == "quit":
                    lines.append(Content.assemble(
                        (f"  {display(key.keys):<3}",
                         content_style("bad_strong" if key.kind == "danger" else "accent")),
                        (f" {key.about.removeprefix('On leaving: ')}", content_style(""))))
            yield Static(Content("\n").join(lines))

    def action_choose(self, choice: str) -> None:
        self.dismiss(choice)
