"""The bottom line: the keys of the moment, the most needed ones first to stay when room is short."""

from __future__ import annotations

from typing import Any

from textual.content import Content
from textual.widget import Widget

from console.keymap import Key, display
from console.theme import content_style


class KeyBar(Widget):
    """Keys and labels from the table, each of them also a button for the mouse."""

    DEFAULT_CSS = "KeyBar { height: 1; width: 1fr; background: $surface; padding: 0 1; }"
    ALLOW_SELECT = False

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._keys: tuple[Key, ...] = ()

    def show_keys(self, keys: tuple[Key, ...]) -> None:
        """Keys in the order of the table."""
        if keys != self._keys:
            self._keys = keys
            self.refresh()

    def render(self) -> Content:
        pieces: list[tuple[Key, str, int]] = []
        for key in (key for key in self._keys if key.rank):
            sign = display(key.keys)
            pieces.append((key, sign, len(sign) + 1 + len(key.label) + 2))
        room = self.size.width
        while pieces and sum(width for *_, width in pieces) - 2 > room:
            pieces.remove(min(pieces, key=lambda piece: piece[0].rank))
        line: list[Content] = []
        for key, sign, _ in sorted(pieces, key=lambda piece: -piece[0].rank):
            danger = key.priority
            line.append(Content.assemble(
                (sign, content_style("bad_strong" if danger else "accent")), " ",
                (key.label, content_style("bad_strong" if danger else "muted")),
                ("  ", ""),
            ))
        return Content.assemble(*line)
