"""Where a replay stands: a bar of time with marks for what happened along it."""

from __future__ import annotations

from typing import Any

from textual.content import Content
from textual.widget import Widget

from console.widgets import figures as f
from console.widgets.words import Part, content
from trader.frames import PlaybackRow

# the more serious one hides the lesser in the same cell
MARKS: dict[str, tuple[str, str, int]] = {
    "fill": ("·", "muted", 0), "veto": ("v", "warn", 1), "error": ("!", "bad_strong", 3),
    "breaker": ("▲", "warn_strong", 2), "halt": ("■", "bad_strong", 4),
}


def speed_word(speed: float) -> str:
    """``×0.25``, ``×5``, ``max``."""
    return "max" if speed == float("inf") else f"×{speed:g}"


def marks_line(marks: tuple[tuple[float, str], ...], width: int) -> list[Part]:
    """Marks at their places, one a cell."""
    cells: dict[int, str] = {}
    for place, kind in marks:
        column = min(width - 1, max(0, int(place * width)))
        if kind in MARKS and (column not in cells or MARKS[kind][2] > MARKS[cells[column]][2]):
            cells[column] = kind
    line: list[Part] = []
    at = 0
    for column in sorted(cells):
        glyph, tone, _ = MARKS[cells[column]]
        line += [(" " * (column - at), ""), (glyph, tone)]
        at = column + 1
    return line


def time_lines(playback: PlaybackRow, width: int) -> list[list[Part]]:
    """Two lines: state, bar, share; and the marks under the bar."""
    state = "■ at end" if playback.at_end else "▶ play" if playback.playing else "‖ paused"
    left: list[Part] = [(f"{state:<9}", "good_strong" if playback.playing else "warn_strong"),
                        (f"{speed_word(playback.speed):<6}", "strong"), (f"{f.day_time(playback.ts_ns)}  ", "")]
    share = playback.position / playback.total if playback.total else 0.0
    right = f"  {share * 100:3.0f}%"
    if width >= 120:
        right += f"  {f.number(playback.position, 0)} of {f.number(playback.total, 0)} events"
    room = max(10, width - sum(len(text) for text, _ in left) - len(right))
    knob = min(room - 1, int(share * room))
    bar: list[Part] = [("━" * knob, "accent"), ("●", "strong"), ("─" * (room - knob - 1), "faint")]
    indent = sum(len(text) for text, _ in left)
    legend = "· fill  v veto  ▲ breaker  ! error"
    return [[*left, *bar, (right, "muted")],
            [(f"{legend:<{indent}}"[:indent], "muted"), *marks_line(playback.marks, room)]]


class TimeLine(Widget):
    """The replay's second bar."""

    ALLOW_SELECT = False

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._playback: PlaybackRow | None = None

    def paint(self, playback: PlaybackRow | None) -> None:
        """Take where the player stands."""
        if playback is not self._playback:
            self._playback = playback
            self.refresh()

    def render(self) -> Content:
        if self._playback is None:
            return Content("")
        return Content("\n").join(content(line) for line in time_lines(self._playback, self.content_size.width))
