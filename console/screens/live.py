"""The session of the moment."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import BindingType

from console.bindings import bindings
from console.screens.monitor import MonitorScreen

# a simulated market's pace: real time, then so many times faster
SIM_SPEEDS = ("1", "10", "60", "300", "900", "3600", "max")


class LiveScreen(MonitorScreen):
    """Panes fed by a running session, here or attached."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("live")
    SCOPES = ("monitor", "live", "table")

    def __init__(self) -> None:
        super().__init__()
        self._held = False

    def action_pause_paint(self) -> None:
        self.owner.freeze()

    def action_resume(self) -> None:
        if not self.frame.halt.latched:
            self.notify("trading is not halted", title="Nothing to resume")
            return
        from console.screens.resume import ResumeScreen

        self.app.push_screen(ResumeScreen())

    def action_sim_speed(self, step: int) -> None:
        word = self.frame.status.speed.lstrip("×").replace(",", "")
        try:
            factor = float(word)
        except ValueError:
            factor = 1.0 if word == "real time" else float("inf")
        places = [float("inf") if speed == "max" else float(speed) for speed in SIM_SPEEDS]
        nearest = min(range(len(places)), key=lambda i: 0.0 if places[i] == factor else abs(places[i] - factor))
        speed = SIM_SPEEDS[max(0, min(len(SIM_SPEEDS) - 1, nearest + step))]
        self.owner.feed.command("set_speed", speed=speed)
        self.notify("as fast as it goes" if speed == "max" else f"×{int(speed):,}", title="Market speed", timeout=2)

    def action_sim_pause(self) -> None:
        self._held = not self._held
        self.owner.feed.command("pause_venue" if self._held else "resume_venue")
        self.notify("held; the engine waits for bars" if self._held else "goes on", title="Market", timeout=2)
