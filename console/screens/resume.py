"""Lifting the halt: a typed word and a reason, both kept in the journal."""

from __future__ import annotations

import asyncio
import getpass

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input, Label

from console.screens.dialog import Dialog

WORD = "RESUME"


class ResumeScreen(Dialog[None]):
    """Asks; the engine decides."""

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = "[b]Resume trading[/b]"
            box.border_subtitle = "enter confirms  ·  esc back"
            yield Label(f"Type [b]{WORD}[/b] and say why. New orders may be sent as soon as the latch is off.")
            yield Input(placeholder=f"the word {WORD}", id="word")
            yield Input(placeholder="the reason, for the journal", id="reason", max_length=200)
            yield Label("", id="problem", markup=False)

    def on_mount(self) -> None:
        self.query_one("#word").focus()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        word, reason = self.query_one("#word", Input), self.query_one("#reason", Input)
        if word.value.strip() != WORD:
            self._say(f"type {WORD}, in capitals")
            word.focus()
        elif not reason.value.strip():
            self._say("a reason is needed")
            reason.focus()
        else:
            self._resume(reason.value.strip())

    def _say(self, problem: str) -> None:
        self.query_one("#problem", Label).update(problem)

    @work(exclusive=True)
    async def _resume(self, reason: str) -> None:
        self._say("asking the engine …")
        problem = await asyncio.to_thread(self.owner.feed.resume, getpass.getuser(), reason)
        if problem:
            self._say(problem)
            return
        self.owner.halt_lifted()
        self.notify(reason, title="Trading resumed", markup=False)
        self.dismiss(None)
