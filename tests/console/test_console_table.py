"""The line table paints dirty rows only, and keeps cursor, filter and sort through updates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from frames_sample import FakeFeed, StillClock, busy
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App

from console.app import AlphaTradeApp
from console.screens.monitor import fold
from console.theme import THEMES
from console.widgets import figures as f
from console.widgets.line_table import Column, LineTable, cell, text_of
from console.widgets.meter import loss_gauge, meter
from console.widgets.words import fit, width


@dataclass(frozen=True)
class Row:
    name: str
    value: float


COLUMNS = (
    Column("name", "Name", lambda r: cell(r.name), left=True),
    Column("value", "Value", lambda r: cell(f.number(r.value)), order=lambda r: r.value),
)


class TableApp(App):
    def __init__(self):
        super().__init__()
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = THEMES[0].name

    def compose(self):
        yield LineTable(COLUMNS, lambda row: row.name)


def shown(table):
    return ["".join(segment.text for segment in table.render_line(y)).rstrip() for y in range(table.size.height)]


async def test_only_changed_rows_are_painted():
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        table = app.query_one(LineTable)
        rows = [Row(name, 1.0) for name in "abcdef"]
        table.show(rows)
        await pilot.pause()
        painted = []
        original = table.refresh
        table.refresh = lambda *regions, **more: painted.extend(regions) or original(*regions, **more)
        table.show([*rows[:2], Row("c", 2.0), *rows[3:]])
        assert [(region.y, region.height) for region in painted] == [(3, 1)]
        painted.clear()
        table.show([replace(row) for row in table.shown])           # equal rows are the same rows
        assert painted == []


async def test_the_cursor_stays_on_its_row_and_the_header_on_top():
    app = TableApp()
    async with app.run_test(size=(40, 6)) as pilot:
        table = app.query_one(LineTable)
        table.show([Row(name, 1.0) for name in "bcdefghij"])
        await pilot.press("down", "down")
        assert table.current.name == "d"
        table.show([Row(name, 1.0) for name in "abcdefghij"])
        assert table.current.name == "d"
        await pilot.press("ctrl+end")
        await pilot.pause()
        lines = shown(table)
        assert lines[0].split() == ["Name", "Value"]
        assert lines[-1].split() == ["▸j", "1.00"]


async def test_filter_and_sort():
    app = TableApp()
    async with app.run_test(size=(40, 10)) as pilot:
        table = app.query_one(LineTable)
        table.show([Row("beta", 3.0), Row("alpha", 1.0), Row("gamma", 2.0)])
        await pilot.pause()
        table.next_sort()
        assert [row.name for row in table.shown] == ["alpha", "beta", "gamma"]
        table.next_sort()
        assert [row.value for row in table.shown] == [1.0, 2.0, 3.0]
        table.reverse_sort()
        assert [row.value for row in table.shown] == [3.0, 2.0, 1.0]
        assert "▼ Value" in shown(table)[0]
        table.set_filter("AM")
        assert [row.name for row in table.shown] == ["gamma"]
        assert table.total == 3
        table.set_filter("zz")
        assert "no row contains" in shown(table)[1]
        table.set_filter("")
        table.next_sort()
        assert [row.name for row in table.shown] == ["beta", "alpha", "gamma"]


async def test_numbers_are_right_aligned_and_never_clipped():
    app = TableApp()
    async with app.run_test(size=(30, 6)) as pilot:
        table = app.query_one(LineTable)
        table.show([Row("a", 5.0), Row("b", 1234567.891)])
        await pilot.pause()
        first, second = shown(table)[1:3]
        assert first.endswith("5.00")
        assert second.endswith("1,234,567.89")
        assert len(first) == len(second)


@given(st.floats(-0.05, 0.05), st.integers(9, 41))
def test_the_gauge_keeps_its_width_and_grows_with_the_loss(share, cells):
    parts = loss_gauge(share, 0.005, 0.01, cells)
    assert width(parts) == 2 * max(4, (cells - 1) // 2) + 1
    bigger = loss_gauge(share * 2, 0.005, 0.01, cells)
    filled = [sum(text.count("━") + text.count("┿") for text, _ in each) for each in (parts, bigger)]
    assert filled[0] <= filled[1]


@given(st.floats(-1, 3), st.integers(1, 40))
def test_a_meter_keeps_its_width(share, cells):
    assert width(meter(share, cells, "accent")) == cells


def test_a_full_meter_differs_from_an_empty_one_without_colour():
    assert text_of(meter(1.0, 4, "bad")) == "━━━━"
    assert text_of(meter(0.0, 4, "bad")) == "────"
    assert text_of(meter(0.001, 4, "bad")) == "╾───"


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 12)), min_size=1, max_size=8), st.integers(1, 60))
def test_fitting_keeps_the_most_important(items, room):
    line = fit([(rank, [("x" * size, "")]) for rank, size in items], room)
    assert width(line) <= room or len(line) == 1
    assert line


@pytest.mark.parametrize(("value", "text"), [
    (0.0, "0.00"), (-0.001, "0.00"), (1234.5, "+1,234.50"), (-7.25, "-7.25"), (None, "–"), (float("nan"), "–")])
def test_signed_numbers(value, text):
    assert f.signed(value) == text


@pytest.mark.parametrize(("seconds", "text"), [
    (0.44, "0.4s"), (59.9, "59s"), (185, "3m 05s"), (8040, "2h 14m"), (443_000, "5d 3h"), (None, "–")])
def test_spans(seconds, text):
    assert f.span(seconds) == text


def test_times_are_new_york_through_the_change_of_clocks():
    before, after = 1362898740, 1362898800                     # 2013-03-10: 01:59 EST, then 03:00 EDT
    assert f.clock_time(before * 10**9) == "01:59:00"
    assert f.clock_time(after * 10**9) == "03:00:00"


@pytest.mark.parametrize(("size", "kind"), [
    ((80, 24), "small"), ((99, 60), "small"), ((120, 40), "normal"), ((120, 29), "small"), ((160, 48), "wide"),
    ((200, 60), "wide"), ((200, 34), "normal")])
def test_how_panes_fold(size, kind):
    assert fold(*size) == kind


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60), (60, 15)])
async def test_halt_state_and_result_are_on_every_size(size):
    app = AlphaTradeApp(FakeFeed(busy()), clock=StillClock())
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        for number in "1367":
            await pilot.press(number)
            await pilot.pause()
            top = app.screen.query_one("#status").render().plain
            assert "trading on" in top
            assert "-318.20" in app.screen.query_one("#account").render().plain
            assert app.focused.region.height >= 3, number       # the pane asked for is there


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_a_still_screen_lays_nothing_out(size):
    app = AlphaTradeApp(FakeFeed(busy()), clock=StillClock())
    async with app.run_test(size=size) as pilot:
        for _ in range(4):
            await pilot.pause()
        laid_out = []
        original = app.screen._refresh_layout
        app.screen._refresh_layout = lambda *args, **more: laid_out.append(1) or original(*args, **more)
        for _ in range(6):
            app.tick()
            await pilot.pause()
        assert not laid_out
