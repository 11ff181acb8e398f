"""A table for rows that move many times a second: one cached strip a row, only dirty lines are repainted.

Textual's DataTable repaints its whole visible area at any changed cell (about 60 ms); this one pays for the rows
that changed. Rows are immutable objects: the same object in the same place is the same line on the screen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from console.bindings import bindings
from console.theme import line_styles

Cell = tuple[tuple[str, str], ...]          # parts: text, tone


def cell(text: str, tone: str = "") -> Cell:
    """A cell of one tone."""
    return ((text, tone),)


@dataclass(frozen=True, slots=True)
class Column:
    """How one column is made from a row.

    ``drop`` says how early the column goes when the width does not do (0: never); ``flex`` takes what room is left;
    ``order`` is the value to sort by (the cell's text without it); ``quiet`` blanks a value equal to the one above.
    """

    key: str
    title: str
    make: Callable[[Any], Cell]
    left: bool = False
    drop: int = 0
    flex: bool = False
    order: Callable[[Any], Any] | None = None
    quiet: bool = False
    at_most: int = 0
    at_least: int = 10                      # of a flexible column, before others are dropped for it


def text_of(parts: Cell) -> str:
    """A cell without its tones."""
    return "".join(text for text, _ in parts)


class LineTable(ScrollView, can_focus=True, inherit_bindings=False):
    """Rows of cells, with a cursor, a filter and a sort."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("table")
    ALLOW_SELECT = False
    DEFAULT_CSS = """
    LineTable { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }
    """

    class Opened(Message):
        """A row was clicked while it had the cursor."""

    def __init__(self, columns: Sequence[Column], row_key: Callable[[Any], Any], *, empty: str = "nothing here",
                 follow: bool = False, header: bool = True, **more: Any) -> None:
        super().__init__(**more)
        self.columns = tuple(columns)
        self._row_key = row_key
        self._empty = empty
        self._follow = self._following = follow
        self._header = header
        self._rows: Sequence[Any] = ()              # as they came
        self._shown: list[Any] = []                 # filtered and sorted
        self._cells: dict[Any, tuple[Any, tuple[Cell, ...]]] = {}
        self._strips: dict[int, tuple[Any, Any, Strip]] = {}
        self._visible: tuple[int, ...] = ()
        self._widths: tuple[int, ...] = ()
        self._laid_for = -1
        self._natural = [0] * len(self.columns)
        self._widened = True
        self._styles: dict[str, Style] | None = None
        self._cursor_key: Any = None
        self._cursor = 0
        self.filter_text = ""
        self.sort_column: str | None = None
        self.descending = False

    # -- what is shown ---------------------------------------------------------------------------------------

    @property
    def total(self) -> int:
        """Rows before the filter."""
        return len(self._rows)

    @property
    def shown(self) -> Sequence[Any]:
        """Rows after filter and sort."""
        return self._shown

    @property
    def current(self) -> Any | None:
        """The row under the cursor."""
        return self._shown[self._cursor] if 0 <= self._cursor < len(self._shown) else None

    def show(self, rows: Sequence[Any]) -> None:
        """Take new rows; only the lines that differ are painted again. An equal row is the same row."""
        self._rows = [self._held(row) for row in rows]
        self._arrange()

    def _held(self, row: Any) -> Any:
        held = self._cells.get(self._row_key(row))
        return held[0] if held is not None and (held[0] is row or held[0] == row) else row

    def set_filter(self, text: str) -> None:
        """Keep the rows in which some cell contains ``text`` (case does not matter)."""
        if text != self.filter_text:
            self.filter_text = text
            self._arrange()

    def next_sort(self) -> None:
        """Sort by the next column; after the last one, rows stand as they came."""
        keys = [None, *(column.key for column in self.columns)]
        self.sort_column = keys[(keys.index(self.sort_column) + 1) % len(keys)]
        self.descending = False
        self._layout_columns()
        self._strips.clear()
        self._arrange()
        self.refresh()

    def reverse_sort(self) -> None:
        """Turn the order of the sort around."""
        self.descending = not self.descending
        self._strips.clear()
        self._arrange()
        self.refresh()

    def cells(self, row: Any) -> tuple[Cell, ...]:
        """The row's cells, made once per row object."""
        key = self._row_key(row)
        held = self._cells.get(key)
        if held is None or held[0] is not row:
            held = (row, tuple(column.make(row) for column in self.columns))
            self._cells[key] = held
            for place, made in enumerate(held[1]):
                length = sum(cell_len(text) for text, _ in made)
                if length > self._natural[place]:
                    self._natural[place] = length
                    self._widened = True
        return held[1]

    def _arrange(self) -> None:
        rows: Iterable[Any] = self._rows
        if len(self._cells) > 2 * len(self._rows) + 64:
            alive = {self._row_key(row) for row in self._rows}
            self._cells = {key: held for key, held in self._cells.items() if key in alive}
        if self.filter_text:
            wanted = self.filter_text.casefold()
            rows = [row for row in rows if any(wanted in text_of(made).casefold() for made in self.cells(row))]
        if self.sort_column is not None:
            place = next(i for i, column in enumerate(self.columns) if column.key == self.sort_column)
            order = self.columns[place].order or (lambda row: text_of(self.cells(row)[place]))
            known = [row for row in rows if order(row) is not None]
            rows = sorted(known, key=order, reverse=self.descending) + [row for row in rows if order(row) is None]
        elif self.descending:
            rows = list(rows)[::-1]
        before, self._shown = self._shown, list(rows)
        widened = self._measure()
        self._keep_cursor()
        changed_count = len(before) != len(self._shown)
        if changed_count:
            self.virtual_size = Size(0, len(self._shown) + self._header)
        if widened or not self._shown or not before:
            self._strips.clear()
            self.refresh()
        else:
            self._refresh_changed(before)
        if self._following and changed_count:
            self.scroll_end(animate=False)

    def _refresh_changed(self, before: list[Any]) -> None:
        top = self.scroll_offset.y
        for line in range(top, top + self.size.height):
            old = before[line] if line < len(before) else None
            new = self._shown[line] if line < len(self._shown) else None
            if old is not new:
                self._refresh_row(line)

    def _refresh_row(self, line: int) -> None:
        self.refresh(Region(0, line - self.scroll_offset.y + self._header, self.size.width, 1))

    def _keep_cursor(self) -> None:
        if self._following:
            self._cursor = max(0, len(self._shown) - 1)
        elif self._cursor_key is not None:
            for place, row in enumerate(self._shown):
                if self._row_key(row) == self._cursor_key:
                    self._cursor = place
                    break
        self._cursor = max(0, min(self._cursor, len(self._shown) - 1))

    # -- widths ----------------------------------------------------------------------------------------------

    def _measure(self) -> bool:
        """Widths only grow, so that numbers that change do not make columns dance. Whether they did."""
        for row in self._shown:
            self.cells(row)
        if not self._widened:
            return False
        self._widened = False
        return self._layout_columns()

    def _need(self, place: int) -> int:
        column = self.columns[place]
        title = cell_len(column.title) + (2 if column.key == self.sort_column else 0)
        length = max(title, self._natural[place])
        return min(length, column.at_most) if column.at_most else length

    @property
    def _room(self) -> int:
        """Cells beside the scrollbar."""
        return self.scrollable_content_region.width

    def _layout_columns(self) -> bool:
        self._laid_for = self._room
        room = self._room - 1                               # one cell for the cursor's mark
        places = list(range(len(self.columns)))

        def least(i: int) -> int:
            return min(self._need(i), self.columns[i].at_least) if self.columns[i].flex else self._need(i)

        def need(chosen: list[int]) -> int:
            return sum(least(i) for i in chosen) + 2 * (len(chosen) - 1)

        while len(places) > 1 and need(places) > room:
            droppable = [i for i in places if self.columns[i].drop]
            if not droppable:
                break
            places.remove(max(droppable, key=lambda i: (self.columns[i].drop, i)))
        spare = room - need(places)
        widths = []
        for i in places:
            if self.columns[i].flex:
                widths.append(max(6, least(i) + spare))
            else:
                widths.append(least(i))
        if not any(self.columns[i].flex for i in places) and len(places) > 1:
            extra = max(0, min(3, spare // (len(places) - 1)))
            widths = [width + (extra if place else 0) for place, width in enumerate(widths)]
        settled = (tuple(places), tuple(widths))
        if settled == (self._visible, self._widths):
            return False
        self._visible, self._widths = settled
        self._strips.clear()
        return True

    # -- painting --------------------------------------------------------------------------------------------

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles = None
        self._strips.clear()

    def _tones(self) -> dict[str, Style]:
        if self._styles is None:
            self._styles = line_styles(self.app.theme_variables, self.rich_style)
        return self._styles

    def render_line(self, y: int) -> Strip:
        """One line of the viewport; the header stays on top."""
        width = self._room
        if width != self._laid_for:
            self._layout_columns()
        tones = self._tones()
        if self._header and y == 0:
            return self._header_strip(width, tones)
        line = y - self._header + self.scroll_offset.y
        if not self._shown:
            if y == self._header:
                said = f"no row contains “{self.filter_text}”" if self.filter_text and self._rows else self._empty
                return Strip([Segment(f" {said}", tones["muted"])]).adjust_cell_length(width, tones[""])
            return Strip.blank(width, tones[""])
        if line >= len(self._shown):
            return Strip.blank(width, tones[""])
        row = self._shown[line]
        look = (width, self.has_focus and line == self._cursor,
                self._shown[line - 1] if line and any(c.quiet for c in self.columns) else None)
        held = self._strips.get(line)
        if held is None or held[0] is not row or held[1] != look:
            held = (row, look, self._row_strip(row, line, look[1], width, tones))
            self._strips[line] = held
        return held[2]

    def _header_strip(self, width: int, tones: dict[str, Style]) -> Strip:
        segments = [Segment(" ", tones["heading"])]
        for place, (i, room) in enumerate(zip(self._visible, self._widths, strict=True)):
            column = self.columns[i]
            mark = ("▼ " if self.descending else "▲ ") if column.key == self.sort_column else ""
            title = (column.title + (" " + mark.strip() if mark else "")) if column.left else mark + column.title
            segments.append(Segment("  " if place else "", tones["heading"]))
            segments.append(Segment(_aligned(title, room, column.left), tones["accent" if mark else "heading"]))
        return Strip(segments).adjust_cell_length(width, tones[""])

    def _row_strip(self, row: Any, line: int, cursor: bool, width: int, tones: dict[str, Style]) -> Strip:
        over = Style(bgcolor=self.app.theme_variables["tone-cursor"]) if cursor else None
        made = self.cells(row)
        above = self.cells(self._shown[line - 1]) if line else None
        base = tones[""] + over if over else tones[""]
        segments = [Segment("▸" if cursor else " ", tones["accent"] + over if over else tones["accent"])]
        for place, (i, room) in enumerate(zip(self._visible, self._widths, strict=True)):
            column = self.columns[i]
            parts = made[i]
            if column.quiet and above is not None and self.sort_column is None and above[i] == parts:
                parts = cell("")
            if place:
                segments.append(Segment("  ", base))
            pad = room - sum(cell_len(text) for text, _ in parts)
            if pad > 0 and not column.left:
                segments.append(Segment(" " * pad, base))
            for text, tone in _clipped(parts, room) if pad < 0 else parts:
                style = tones[tone]
                segments.append(Segment(text, style + over if over and not style.reverse else style))
            if pad > 0 and column.left:
                segments.append(Segment(" " * pad, base))
        return Strip(segments).adjust_cell_length(width, base)

    # -- cursor ----------------------------------------------------------------------------------------------

    def move_cursor(self, line: int) -> None:
        """Put the cursor on a row of those shown, and scroll to it."""
        old, self._cursor = self._cursor, max(0, min(line, len(self._shown) - 1))
        self._following = self._follow and self._cursor == len(self._shown) - 1
        row = self.current
        self._cursor_key = None if row is None else self._row_key(row)
        self._refresh_row(old)
        self._refresh_row(self._cursor)
        height = max(1, self.size.height - self._header)
        top = self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False)
        elif self._cursor >= top + height:
            self.scroll_to(y=self._cursor - height + 1, animate=False)

    def action_cursor(self, step: int) -> None:
        self.move_cursor(self._cursor + step)

    def action_page(self, step: int) -> None:
        self.move_cursor(self._cursor + step * max(1, self.size.height - self._header - 1))

    def action_edge(self, side: int) -> None:
        self.move_cursor(0 if side < 0 else len(self._shown) - 1)

    def on_focus(self) -> None:
        self._refresh_row(self._cursor)

    def on_blur(self) -> None:
        self._refresh_row(self._cursor)

    def on_click(self, event: events.Click) -> None:
        line = event.y - self.styles.gutter.top - self._header + self.scroll_offset.y
        if 0 <= line < len(self._shown):
            if line == self._cursor and event.chain >= 2:
                self.post_message(self.Opened())
            self.move_cursor(line)

    def on_resize(self) -> None:
        self.virtual_size = Size(0, len(self._shown) + self._header)
        self._layout_columns()
        self.refresh()
        if self._following:
            self.scroll_end(animate=False)


def _aligned(text: str, room: int, left: bool) -> str:
    length = cell_len(text)
    if length > room:
        return set_cell_size(text, room)
    return text + " " * (room - length) if left else " " * (room - length) + text


def _clipped(parts: Cell, room: int) -> Cell:
    kept: list[tuple[str, str]] = []
    left = room - 1                                         # the last cell says that something is missing
    for text, tone in parts:
        if cell_len(text) > left:
            kept.append((set_cell_size(text, max(0, left)) + "…", tone))
            break
        kept.append((text, tone))
        left -= cell_len(text)
    return tuple(kept)
