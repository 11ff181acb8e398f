"""Where to go on the time line."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input, Label

from console.moments import parse_moment
from console.screens.dialog import Dialog
from trader.utils.errors import UserError


class SeekScreen(Dialog[tuple[float | None, int | None]]):
    """A share, a time, a date."""

    def __init__(self, near_ns: int) -> None:
        super().__init__()
        self._near_ns = near_ns

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = "[b]Go to[/b]"
            box.border_subtitle = "enter goes  ·  esc back"
            yield Label("34%   10:45   2013-06-03   2013-06-03 10:45   (New York)")
            yield Input(id="place")
            yield Label("", id="problem", markup=False)

    def on_mount(self) -> None:
        self.query_one("#place").focus()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        try:
            self.dismiss(parse_moment(event.value, self._near_ns))
        except UserError as error:
            self.query_one("#problem", Label).update(str(error))
