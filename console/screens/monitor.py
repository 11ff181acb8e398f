"""The panes and how they share the screen: the common part of live and replay."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.widgets import Input, Static

from console import export
from console.bindings import bindings
from console.keymap import PANES, display, index
from console.panes.base import Pane
from console.panes.breakers import BreakersPane
from console.panes.log import LogPane
from console.panes.models import ModelsPane
from console.panes.orders import OrdersPane
from console.panes.positions import PositionsPane
from console.panes.risk import RiskPane
from console.panes.slippage import SlippagePane
from console.panes.status import AccountLine, Banner, StatusBar
from console.screens.base import FrameScreen
from console.widgets.key_bar import KeyBar
from console.widgets.words import content
from trader.frames import Frame

PANE_TYPES: tuple[type[Pane], ...] = (
    PositionsPane, OrdersPane, RiskPane, BreakersPane, SlippagePane, ModelsPane, LogPane)


def fold(width: int, height: int) -> str:
    """How panes share the screen: one at a time, two columns, or three."""
    if width < 100 or height < 30:
        return "small"
    return "wide" if width >= 150 and height >= 40 else "normal"


class MonitorScreen(FrameScreen):
    """Status, account, alarm, seven panes, keys."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("monitor")
    AUTO_FOCUS = "#pane-positions"

    def __init__(self) -> None:
        super().__init__()
        self._panes: dict[str, Pane] = {}
        self._front = "positions"
        self._maximised: str | None = None
        self._arranged: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        clock = self.owner.clock
        panes = {kind.NAME: kind(clock=clock) for kind in PANE_TYPES}
        self._panes = {name: panes[name] for name in PANES}
        yield StatusBar(id="status")
        yield AccountLine(id="account")
        yield Banner(id="banner")
        yield from self.compose_extra()
        yield Static(id="tabs")
        with Vertical(id="panes"):
            with Vertical(id="left"):
                yield panes["positions"]
                yield panes["orders"]
                yield panes["log"]
            with Vertical(id="side"):
                with Vertical(id="limits"):
                    yield panes["risk"]
                    yield panes["breakers"]
                with Vertical(id="quality"):
                    yield panes["slippage"]
                    yield panes["models"]
        yield Input(id="filter", placeholder="show rows that contain …", compact=True)
        yield KeyBar(id="keys")

    def compose_extra(self) -> ComposeResult:
        """Widgets between the account line and the panes."""
        yield from ()

    def on_mount(self) -> None:
        self.query_one(Banner).resume_key = display(index(self.owner.keys)["resume"].keys)
        self.query_one("#filter").display = False
        self._arrange()

    # -- painting --------------------------------------------------------------------------------------------

    def watch_frame(self, frame: Frame) -> None:
        if not self._panes:
            return
        moment = self.moment
        for line in self.query("StatusBar, AccountLine, Banner").results():
            line.paint(frame, moment)                   # type: ignore[attr-defined]
        self.set_class(frame.halt.latched, "-halted")
        self.paint_panes(frame)

    def paint_panes(self, frame: Frame) -> None:
        """Draw the panes that can be seen."""
        stale = self.moment.stale_s is not None or self.moment.error is not None
        frozen = self.moment.frozen_s is not None
        for number, pane in enumerate(self._panes.values(), 1):
            if pane.display:
                if not frozen:
                    pane.paint(frame)
                pane.retitle(number, stale=stale, note="frozen" if frozen else "", aged=self.aged)

    aged = True

    # -- how the panes share the screen ----------------------------------------------------------------------

    def on_resize(self, event: Resize) -> None:
        self._arrange()

    def _arrange(self) -> None:
        if not self._panes:
            return
        kind = fold(self.size.width, self.size.height)
        arranged = (kind, self._front, self._maximised, self.size)
        if arranged == self._arranged:
            return
        self._arranged = arranged
        for name in ("small", "normal", "wide"):
            self.set_class(name == kind, f"-{name}")
        self.set_class(self.size.height >= 54, "-tall")
        self.set_class(self._maximised is not None, "-maximised")
        for name, pane in self._panes.items():
            if self._maximised is not None:
                pane.display = name == self._maximised
            elif kind == "small":
                pane.display = name == self._front or (name == "log" and self.size.height >= 20)
            else:
                pane.display = True
            pane.set_class(kind == "small" and name == self._front, "-front")
        left, side = self.query_one("#left"), self.query_one("#side")
        box = self.query_one("#panes")
        in_side = kind == "small" and self._panes[self._front] in side.query(Pane).results()
        if in_side and box.children[0] is left:         # the events stay below
            box.move_child(left, after=side)
        elif not in_side and box.children[0] is side:
            box.move_child(left, before=side)
        self.set_class(in_side, "-events")
        for group in ("#left", "#side", "#limits", "#quality"):
            box = self.query_one(group)
            box.display = any(pane.display for pane in box.query(Pane))
        tabs = self.query_one("#tabs", Static)
        tabs.display = kind == "small" and self._maximised is None
        if tabs.display:
            tabs.update(content(part for number, name in enumerate(PANES, 1) for part in (
                (f" {number} {name} ", "badge" if name == self._front else "muted"),)))
        self.call_after_refresh(self._repaint)

    def _repaint(self) -> None:
        self.watch_frame(self.frame)

    @property
    def pane(self) -> Pane:
        """The pane that keys speak to."""
        return self.focused if isinstance(self.focused, Pane) else self._panes[self._front]

    def action_pane(self, name: str) -> None:
        self._front = name
        if self._maximised is not None:
            self._maximised = name
        self._arrange()
        self._panes[name].focus()

    def action_next_pane(self, step: int) -> None:
        self.action_pane(PANES[(PANES.index(self.pane.NAME) + step) % len(PANES)])

    def action_maximise_pane(self) -> None:
        self._maximised = None if self._maximised is not None else self.pane.NAME
        self._front = self.pane.NAME
        self._arrange()

    def on_descendant_focus(self) -> None:
        if isinstance(self.focused, Pane):
            self._front = self.focused.NAME

    # -- rows ------------------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = True
        field.border_title = f"filter {self.pane.TITLE.lower()}"
        self._filtering = self.pane
        field.value = self.pane.filter_text
        field.focus()

    @on(Input.Changed, "#filter")
    def _filter_typed(self, event: Input.Changed) -> None:
        if self.query_one("#filter").display:
            self._filtering.set_filter(event.value)
            self._repaint()

    @on(Input.Submitted, "#filter")
    def _filter_kept(self) -> None:
        self._leave_filter()

    def _leave_filter(self) -> None:
        self.query_one("#filter").display = False
        self._filtering.focus()
        self._repaint()

    def action_back(self) -> None:
        if self.query_one("#filter").display:
            self._filtering.set_filter("")
            self._leave_filter()
        elif self._maximised is not None:
            self.action_maximise_pane()
        else:
            self.pane.set_filter("")
            self._repaint()

    def action_sort(self) -> None:
        self.pane.next_sort()

    def action_reverse(self) -> None:
        self.pane.reverse_sort()

    @on(Pane.Opened)
    def action_detail(self) -> None:
        row = self.pane.current
        if row is not None:
            from console.screens.detail import DetailScreen

            self.app.push_screen(DetailScreen(self.pane, row))

    def action_export(self) -> None:
        pane = self.pane
        try:
            as_csv, _ = export.write(self.owner.exports, pane.NAME, (pane.record(row) for row in pane.shown))
        except OSError as error:
            self.notify(f"{self.owner.exports}: {error.strerror}", title="Not exported", severity="error", markup=False)
            return
        self.notify(f"{as_csv} and .json", title=f"{len(pane.shown)} rows exported", markup=False)

    def action_charts(self) -> None:
        from console.screens.charts import ChartsScreen

        row = self.pane.current
        self.app.push_screen(ChartsScreen(getattr(row, "symbol", None)))
