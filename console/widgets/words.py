"""Toned text: a list of (text, tone) parts becomes Textual Content."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len
from textual.content import Content

from console.theme import content_style

Part = tuple[str, str]


def content(parts: Iterable[Part]) -> Content:
    """The parts in a row."""
    return Content.assemble(*((text, content_style(tone)) for text, tone in parts))


def width(parts: Iterable[Part]) -> int:
    """Cells that the parts take."""
    return sum(cell_len(text) for text, _ in parts)


def fit(items: Iterable[tuple[int, list[Part]]], room: int, gap: str = "  ",
        gap_tone: str = "") -> list[Part]:
    """As many items as ``room`` cells hold, in their order; those of the lowest rank go first."""
    kept = [item for item in items if item[1]]
    while len(kept) > 1 and sum(width(parts) for _, parts in kept) + len(gap) * (len(kept) - 1) > room:
        kept.remove(min(kept, key=lambda item: item[0]))
    line: list[Part] = []
    for place, (_, parts) in enumerate(kept):
        line += [(gap, gap_tone), *parts] if place else parts
    return line
