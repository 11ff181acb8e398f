"""Candles with own fills and bracket; probability, equity and drawdown below. Drawn at most once a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.color import Color
from textual.containers import Horizontal
from textual.widgets import Static

from console import chart
from console.bindings import bindings
from console.panes.status import AccountLine, Banner, StatusBar
from console.screens.base import FrameScreen
from console.widgets import figures as f
from console.widgets.key_bar import KeyBar
from trader.frames import CandleSeries, Frame, PositionRow

EVERY_S = 1.0
TONES = ("good", "bad", "accent", "warn", "muted", "text")


class ChartsScreen(FrameScreen):
    """One symbol at a time."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("charts")
    SCOPES = ("charts",)

    def __init__(self, symbol: str | None = None) -> None:
        super().__init__()
        self._symbol = symbol
        self._drawn_at = float("-inf")
        self._drawn: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield StatusBar(id="status")
        yield AccountLine(id="account")
        yield Banner(id="banner")
        yield Static(id="candles", classes="chart")
        with Horizontal(id="under"):
            yield Static(id="probability", classes="chart")
            yield Static(id="equity", classes="chart")
            yield Static(id="drawdown", classes="chart")
        yield KeyBar(id="keys")

    def on_resize(self) -> None:
        small = self.size.width < 100 or self.size.height < 30
        self.query_one("#drawdown").display = not small
        self.query_one("#under").display = self.size.height >= 20
        self._drawn_at = float("-inf")
        self.call_after_refresh(lambda: self.watch_frame(self.frame))

    def watch_frame(self, frame: Frame) -> None:
        if self.query_one_optional("#candles") is None:     # not made yet, or taken down already
            return
        for line in self.query("StatusBar, AccountLine, Banner").results():
            line.paint(frame, self.moment)                  # type: ignore[attr-defined]
        now = self.owner.clock()
        if now - self._drawn_at >= EVERY_S:
            self._drawn_at = now
            self._draw(frame)

    def _series(self, frame: Frame) -> CandleSeries | None:
        named = {series.symbol: series for series in frame.candles}
        return named.get(self._symbol or "") or next(iter(frame.candles), None)

    def _draw(self, frame: Frame) -> None:
        series = self._series(frame)
        position = next((row for row in frame.positions if series and row.symbol == series.symbol), None)
        room = self.query_one("#candles").content_size
        drawn = (series, position, frame.equity, room, self.app.theme)
        if drawn == self._drawn or room.width < 2:
            return
        self._drawn = drawn
        colours = {tone: Color.parse(self.app.theme_variables[f"tone-{tone}"]).rgb for tone in TONES}
        self._draw_symbol(frame, series, position, colours)
        self._draw_money(frame, colours)

    def _draw_symbol(self, frame: Frame, series: CandleSeries | None, position: PositionRow | None,
                     colours: chart.Colours) -> None:
        if series is None or len(series.ts_ns) < 2:
            self._put("candles", "Candles", "", None)
            self._put("probability", "P(profit)", "", None)
            return
        self._put("candles", f"{series.symbol}  [$tone-muted]{frame.status.timeframe} {frame.status.source}[/]",
                  f"▲ bought  ▼ sold  times in {f.ZONE}", lambda w, h: chart.candles(series, position, w, h, colours))
        known = [(ts, share) for ts, share in zip(series.ts_ns, series.probability, strict=False) if share is not None]
        if len(known) < 2:
            self._put("probability", "P(profit)", "", None)
            return
        times, shares = zip(*known, strict=True)
        self._put("probability", "P(profit)", f.percent(shares[-1], 1),
                  lambda w, h: chart.line(times, shares, w, h, colours, "accent", 2, 0.5))

    def _draw_money(self, frame: Frame, colours: chart.Colours) -> None:
        if len(frame.equity) < 2:
            self._put("equity", "Equity $", "", None)
            self._put("drawdown", "Drawdown %", "", None)
            return
        times, values = zip(*frame.equity, strict=True)
        below = chart.drawdowns(values)
        self._put("equity", "Equity $", f.number(values[-1]),
                  lambda w, h: chart.line(times, values, w, h, colours, "good"))
        self._put("drawdown", "Drawdown %", f"{f.number(min(below), 2)}% at worst",
                  lambda w, h: chart.line(times, below, w, h, colours, "bad", 2))

    def _put(self, name: str, title: str, note: str, make: Callable[[int, int], Text] | None) -> None:
        place = self.query_one(f"#{name}", Static)
        place.border_title, place.border_subtitle = title, note
        width, height = place.content_size
        if make is None:
            place.update(Text("no data yet"))
        elif place.display and width >= 20 and height >= 4:
            place.update(make(width, height))

    def action_symbol(self, step: int) -> None:
        symbols = [series.symbol for series in self.frame.candles]
        if symbols:
            place = symbols.index(self._symbol) if self._symbol in symbols else 0
            self._symbol = symbols[(place + step) % len(symbols)]
            self._drawn_at = float("-inf")
            self.watch_frame(self.frame)

    def action_leave(self) -> None:
        self.app.pop_screen()
