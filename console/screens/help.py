"""Every key that works here, from the key table."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from console.keymap import KINDS, Key, display
from console.screens.dialog import Dialog
from console.theme import content_style

LEFT = ("danger", "session", "time", "view")
RIGHT = ("pane", "row")


def help_content(keys: tuple[Key, ...], kinds: tuple[str, ...] = (*LEFT, *RIGHT)) -> Content:
    """Keys under their headings."""
    lines: list[Content] = []
    width = max(len(display(key.keys, every=True)) for key in keys)
    for kind in kinds:
        heading = KINDS[kind]
        chosen = [key for key in keys if key.kind == kind]
        if not chosen:
            continue
        lines += [Content("")] * bool(lines) + [Content.assemble((heading, content_style("accent") + " bold"))]
        lines += [Content.assemble((f"  {display(key.keys, every=True):<{width}}  ",
                                    content_style("bad_strong" if key.kind == "danger" else "strong")),
                                   (key.about, content_style(""))) for key in chosen]
    return Content("\n").join(lines)


class HelpScreen(Dialog[None]):
    """The keys of the screen behind it."""

    def __init__(self, keys: tuple[Key, ...]) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="box") as box:
            box.border_title = "[b]Keys[/b]"
            box.border_subtitle = "esc back  ·  any key can be changed: console.keys in config/settings.yaml"
            if self.app.size.width >= 130:
                with Horizontal(id="columns"):
                    yield Static(help_content(self._keys, LEFT))
                    yield Static(help_content(self._keys, RIGHT))
            else:
                yield Static(help_content(self._keys))

    def on_mount(self) -> None:
        self.query_one("#box").focus()
