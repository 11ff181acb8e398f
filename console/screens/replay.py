"""A recorded run in the same panes, with a time line."""

from __future__ import annotations

from typing import ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType

from console.bindings import bindings
from console.feed import ReplayFeed
from console.panes.timeline import TimeLine
from console.screens.monitor import MonitorScreen
from trader.frames import Frame


class ReplayScreen(MonitorScreen):
    """Play, pause, step, seek, run to the next event."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("replay")
    SCOPES = ("monitor", "replay", "table")
    aged = False                            # the frame's own clock tells the time here

    def compose_extra(self) -> ComposeResult:
        yield TimeLine(id="timeline")

    def watch_frame(self, frame: Frame) -> None:
        super().watch_frame(frame)
        for line in self.query(TimeLine):
            line.paint(frame.playback)

    @property
    def feed(self) -> ReplayFeed:
        """The feed, known to be a replay."""
        return cast(ReplayFeed, self.owner.feed)

    def action_play(self) -> None:
        self.feed.play()

    def action_step(self, slices: int) -> None:
        self.feed.step(slices)

    def action_speed(self, direction: int) -> None:
        self.feed.change_speed(direction)

    def action_seek_fraction(self, place: float) -> None:
        self.feed.seek(fraction=place)

    def action_next_event(self) -> None:
        from console.screens.next_event import NextEventScreen

        self.app.push_screen(NextEventScreen(), self._run_to)

    def _run_to(self, kind: str | None) -> None:
        if kind:
            self.feed.run_to(kind)

    def action_seek(self) -> None:
        from console.screens.seek import SeekScreen

        self.app.push_screen(SeekScreen(self.frame.now_ns), self._seek)

    def _seek(self, place: tuple[float | None, int | None] | None) -> None:
        if place is not None:
            self.feed.seek(fraction=place[0], ts_ns=place[1])
