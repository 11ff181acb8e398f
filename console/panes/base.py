"""A pane: a bordered table that draws one part of a Frame, knows its age and can say more about a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, ClassVar

from rich.markup import escape

from console.widgets.figures import coarse_age
from console.widgets.line_table import Column, LineTable
from console.widgets.words import Part
from trader.frames import Frame

Facts = list[tuple[str, list[Part]]]        # heading or label, value; an empty value makes a heading


class Pane(LineTable):
    """What every pane shares; a subclass says what it draws."""

    NAME: ClassVar[str] = ""
    TITLE: ClassVar[str] = ""
    COLUMNS: ClassVar[tuple[Column, ...]] = ()
    EMPTY: ClassVar[str] = "nothing yet"
    FOLLOW: ClassVar[bool] = False
    HEADER: ClassVar[bool] = True

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(self.COLUMNS, self.row_key, empty=self.EMPTY, follow=self.FOLLOW, header=self.HEADER,
                         id=f"pane-{self.NAME}", classes="pane")
        self._clock = clock
        self._signature: tuple[Any, ...] | None = None
        self._changed_at = clock()
        self._titles = ("", "")
        self.frame = Frame()

    # -- what a subclass says --------------------------------------------------------------------------------

    @staticmethod
    def row_key(row: Any) -> Any:
        """What makes a row the same row in the next frame."""
        raise TypeError("a pane names its rows")

    def parts(self, frame: Frame) -> tuple[Any, ...]:
        """The objects this pane draws from: it paints when one of them is another object."""
        return (getattr(frame, self.NAME),)

    def rows(self, frame: Frame) -> Sequence[Any]:
        """The rows, in their natural order."""
        rows: Sequence[Any] = getattr(frame, self.NAME)
        return rows

    def summary(self, frame: Frame) -> str:
        """A few words for the border beside the title."""
        return ""

    def facts(self, row: Any, frame: Frame) -> Facts:
        """All about one row, for the detail screen."""
        return []

    def record(self, row: Any) -> dict[str, Any]:
        """The row as plain values, for export."""
        from dataclasses import asdict

        return asdict(row)

    # -- painting --------------------------------------------------------------------------------------------

    def paint(self, frame: Frame) -> None:
        """Draw what changed since the last frame."""
        signature = self.parts(frame)
        before = self._signature
        self.frame = frame
        if before is not None and len(before) == len(signature) and all(
                new is old for new, old in zip(signature, before, strict=True)):
            return
        self._signature = signature
        self._changed_at = self._clock()
        self.show(self.rows(frame))

    def retitle(self, number: int, *, stale: bool, note: str = "", aged: bool = True) -> None:
        """Write title and age into the border, where they differ from what stands there."""
        words = [f"[$tone-muted]{number}[/] [b]{self.TITLE}[/b]"]
        summary = self.summary(self.frame)
        if summary:
            words.append(f"[$tone-muted]{escape(summary)}[/]")
        if self.filter_text:
            words.append(f"[$tone-accent]/{escape(self.filter_text)} {len(self.shown)} of {self.total}[/]")
        if note:
            words.append(f"[$tone-warn]{escape(note)}[/]")
        age = coarse_age(self._clock() - self._changed_at) if aged and self._signature is not None else ""
        if stale:
            age = f"STALE {age}".strip()
        titles = ("  ".join(words), age)
        if titles != self._titles:
            self._titles = titles
            self.border_title, self.border_subtitle = titles
        self.set_class(stale, "-stale")
