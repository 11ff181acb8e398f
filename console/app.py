"""The app: a tick, themes, keys, halt and leaving. Everything it shows comes from its feed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.command import CommandPalette
from textual.driver import Driver
from textual.markup import escape
from textual.screen import Screen

from console.bindings import bindings
from console.feed import Feed
from console.halt import HaltSwitch, driver_with_halt
from console.keymap import HALT_ID, KEYS, Key, index, remap
from console.panes.status import Moment
from console.screens.base import FrameScreen
from console.theme import NAMES, THEMES, full_name
from trader.frames import Frame

STALE_AFTER_S = 5.0                         # the host makes a frame at least every second


class AlphaTradeApp(App[str], inherit_bindings=False):
    """The console. Returns ``stop``, ``halt`` or ``leave``: what to do with the session."""

    TITLE = "AlphaTrade"
    CSS_PATH = "console.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")
    COMMAND_PALETTE_BINDING = "ctrl+p"
    ESCAPE_TO_MINIMIZE = False

    def __init__(self, feed: Feed, *, theme: str | None = None, keys: Mapping[str, object] | None = None,
                 exports: Path | None = None, hz: float = 5.0, clock: Callable[[], float] = monotonic,
                 driver_class: type[Driver] | None = None, painted: Callable[[], None] | None = None) -> None:
        self.feed = feed
        self.clock = clock
        self.exports = exports or Path.cwd() / "results" / "exports"
        self.keys = remap(keys) if keys else KEYS
        self.switch = HaltSwitch(feed, clock)
        super().__init__(driver_class=driver_class)
        halt_keys = frozenset(index(self.keys)[HALT_ID].keys.split(","))
        self.driver_class = driver_with_halt(self.driver_class, self.switch, halt_keys)
        for each in THEMES:
            self.register_theme(each)
        self.theme = full_name(theme)
        self.set_keymap({key.id: key.keys for key, old in zip(self.keys, KEYS, strict=True) if key.keys != old.keys})
        self._period = 1.0 / hz
        self._painted = painted
        self._frozen_at: float | None = None
        self._newest: Frame | None = None
        self._newest_at = clock()
        self._was_latched = False

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(THEMES[0].variables)

    def get_default_screen(self) -> Screen[object]:
        if self.feed.can.time_line:
            from console.screens.replay import ReplayScreen

            return ReplayScreen()
        from console.screens.live import LiveScreen

        return LiveScreen()

    def on_mount(self) -> None:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
                asyncio.get_running_loop().add_signal_handler(number, self.exit, "stop")
        self.tick()
        self.set_interval(self._period, self.tick)
        if self._painted is not None:
            self.call_after_refresh(self._painted)

    # -- the tick --------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Hand the latest frame to the screen that can be seen."""
        frame, now = self.feed.frame(), self.clock()
        if frame is not self._newest:
            self._newest, self._newest_at = frame, now
        self._notice(frame)
        if self.feed.refused():
            self.exit("refused")
            return
        for screen in reversed(self.screen_stack):
            if isinstance(screen, FrameScreen):
                screen.take(frame, self._moment(frame, now))
                break

    def _moment(self, frame: Frame, now: float) -> Moment:
        age = now - self._newest_at
        expected = self.feed.can.live and not frame.status.ended
        return Moment(
            source=self.feed.source, error=self.feed.error(),
            stale_s=float(int(age)) if expected and age > STALE_AFTER_S else None,
            frozen_s=None if self._frozen_at is None else float(int(now - self._frozen_at)),
            halt_requested=self.switch.requested,
        )

    def _notice(self, frame: Frame) -> None:
        for said in self.feed.notices():
            self.notify(said, markup=False)
        if frame.halt.latched != self._was_latched:
            self._was_latched = frame.halt.latched
            if frame.halt.latched:
                self.bell()
            self.switch.requested = False

    def freeze(self) -> None:
        """Freeze the panes, or let them go on. Intake, status, account and alarm never stop."""
        self._frozen_at = self.clock() if self._frozen_at is None else None
        self.tick()

    # -- halt ------------------------------------------------------------------------------------------------

    def action_halt(self) -> None:
        """Halt at once, without a question."""
        problem = self.switch.fire("f12")
        if problem:
            self.notify(problem, title="Halt", severity="warning", markup=False)
        else:
            self.notify("sent: cancel all, close by policy, latch", title="HALT", severity="error")
        self.tick()

    def halt_lifted(self) -> None:
        """The latch is off; forget that a halt was asked for."""
        self.switch.requested = False

    # -- keys ------------------------------------------------------------------------------------------------

    def allows(self, key: Key) -> bool:
        """Whether the feed lets this key do anything."""
        can = self.feed.can
        if key.id == HALT_ID:
            return can.live                 # the key itself works everywhere; in a replay it says that nothing is live
        if key.id == "resume":
            return can.resume
        if key.id.startswith("sim_"):
            return can.command
        return True

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette's entries: the key table, and the themes."""
        from console.keymap import display

        shown = next((each for each in reversed(self.screen_stack) if isinstance(each, FrameScreen)), None)
        for key in shown.usable_keys() if shown else ():
            if key.palette:
                node = self if key.scope == "app" else shown
                yield SystemCommand(
                    f"{key.label}: {key.id.replace('_', ' ')}", escape(f"{key.about} ({display(key.keys)})"),
                    lambda action=key.action, node=node: self.run_worker(self.run_action(action, node)))
        for name in NAMES:
            yield SystemCommand(f"Theme: {name.removeprefix('alphatrade-')}", "Change the colours",
                                lambda name=name: setattr(self, "theme", name))

    def action_next_theme(self) -> None:
        self.theme = NAMES[(NAMES.index(self.theme) + 1) % len(NAMES)] if self.theme in NAMES else NAMES[0]
        self.notify(self.theme.removeprefix("alphatrade-"), title="Theme", timeout=2)

    def action_help(self) -> None:
        from console.screens.help import HelpScreen

        shown = self.screen
        if isinstance(shown, FrameScreen):
            self.push_screen(HelpScreen(shown.usable_keys()))

    # -- leaving ---------------------------------------------------------------------------------------------

    def action_ask_quit(self) -> None:
        """Leave; asks first while a session runs that has something at stake."""
        from console.screens.leave import LeaveScreen, at_stake

        if isinstance(self.screen, (LeaveScreen, CommandPalette)):
            return
        frame = self._newest or Frame()
        owns_session = self.feed.can.resume
        running = owns_session and not frame.status.ended and self.feed.error() is None
        if running and (at_stake(frame) or frame.status.mode in ("paper", "live")):
            self.push_screen(LeaveScreen(frame), self._leave)
        else:
            self.exit("stop")

    def _leave(self, choice: str | None) -> None:
        if choice == "halt":
            self.switch.fire("quit")
        if choice:
            self.exit(choice)
