"""The live screen: frames in, paint out; filter, freeze, export, detail, charts, crash, staleness."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

from frames_sample import LOG, FakeFeed, StillClock, busy

from console.app import AlphaTradeApp
from console.panes.log import LogPane
from console.panes.orders import OrdersPane
from console.panes.positions import PositionsPane
from console.panes.status import Banner, Moment, account_line, status_lines
from console.screens.charts import ChartsScreen
from console.screens.detail import DetailScreen, facts_content
from console.widgets.line_table import text_of
from trader.frames import LogRow


def plain(parts):
    return "".join(text for text, _ in parts)


async def test_freezing_stops_paint_but_not_intake_nor_the_lines_on_top():
    feed, clock = FakeFeed(), StillClock()
    app = AlphaTradeApp(feed, clock=clock)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press("space")
        pane, reads = app.screen.query_one(PositionsPane), feed.reads
        feed.current = replace(busy(), seq=900, positions=(), account=replace(busy().account, day_pnl=-400.0))
        app.tick()
        await pilot.pause()
        assert feed.reads > reads
        assert len(pane.shown) == 4
        assert "-400.00" in app.screen.query_one("#account").render().plain
        assert "FROZEN" in app.screen.query_one("#status").render().plain
        assert "frozen" in pane.border_title
        await pilot.press("space")
        await pilot.pause()
        assert len(pane.shown) == 0


async def test_a_pane_paints_only_when_its_part_is_another_object():
    feed = FakeFeed()
    app = AlphaTradeApp(feed, clock=StillClock())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        taken = []
        for kind in (PositionsPane, OrdersPane):
            pane = app.screen.query_one(kind)
            pane.show = lambda rows, name=kind.NAME: taken.append(name)
        feed.current = replace(feed.current, seq=901, orders=feed.current.orders[1:])
        app.tick()
        assert taken == ["orders"]


async def test_filter_through_the_input_and_escape():
    app = AlphaTradeApp(FakeFeed(), clock=StillClock())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press("2", "slash", *"msft")
        await pilot.pause()
        pane = app.screen.query_one(OrdersPane)
        assert {row.symbol for row in pane.shown} == {"MSFT"}
        await pilot.press("enter")
        await pilot.pause()
        assert app.focused is pane
        assert "/msft 3 of 10" in pane.border_title
        await pilot.press("escape")
        await pilot.pause()
        assert len(pane.shown) == 10


async def test_export_writes_what_is_shown(tmp_path):
    app = AlphaTradeApp(FakeFeed(), clock=StillClock(), exports=tmp_path / "exports")
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        for number in "1234567":
            await pilot.press(number, "e")
            await pilot.pause()
    names = {path.name.split("-")[0] for path in (tmp_path / "exports").iterdir()}
    assert names == {"positions", "orders", "risk", "breakers", "slippage", "models", "log"}
    as_json = json.loads(next((tmp_path / "exports").glob("orders-*.json")).read_text())
    with next((tmp_path / "exports").glob("orders-*.csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(as_json) == 10
    assert rows[0]["client_order_id"] == as_json[0]["client_order_id"]


async def test_export_to_a_place_that_cannot_be_written_says_so(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    app = AlphaTradeApp(FakeFeed(), clock=StillClock(), exports=blocked / "exports")
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await pilot.press("e")
        await pilot.pause()
        assert any(note.title == "Not exported" for note in app._notifications)


async def test_every_pane_opens_a_detail():
    app = AlphaTradeApp(FakeFeed(), clock=StillClock())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        for number, words in (("1", "take profit"), ("2", "+0.9 ms"), ("3", "spoke on"), ("4", "multiplier"),
                              ("5", "95th"), ("6", "progress"), ("7", "source")):
            await pilot.press(number, "enter")
            await pilot.pause()
            assert isinstance(app.screen, DetailScreen)
            facts = app.screen._pane.facts(app.screen._row, app.screen._pane.frame)
            assert words in facts_content(facts).plain
            await pilot.press("escape")
            await pilot.pause()


async def test_charts_draw_candles_fills_and_bracket():
    app = AlphaTradeApp(FakeFeed(), clock=StillClock())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press("c")
        await pilot.pause()
        await pilot.pause()
        assert isinstance(app.screen, ChartsScreen)
        drawn = "\n".join("".join(segment.text for segment in line) for line in app.screen._compositor.render_strips())
        assert all(word in drawn for word in ("AAPL", "target 457.07", "entry 448.11", "stop 443.63", "▲", "█"))
        await pilot.press("right")
        await pilot.pause()
        assert "MSFT" in app.screen.query_one("#candles").border_title
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(app.screen, ChartsScreen)


async def test_a_crashed_engine_leaves_the_console_with_a_banner():
    feed = FakeFeed()
    app = AlphaTradeApp(feed, clock=StillClock())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        feed.problem = "ValueError: [boom]"
        app.tick()
        await pilot.pause()
        assert "THE ENGINE STOPPED: ValueError: [boom]" in app.screen.query_one(Banner).render().plain
        assert app.screen.query_one(PositionsPane).has_class("-stale")
        await pilot.press("2", "down")
        assert app.is_running


async def test_old_news_look_old():
    feed, clock = FakeFeed(), StillClock()
    app = AlphaTradeApp(feed, clock=clock)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        clock.now += 12
        app.tick()
        await pilot.pause()
        pane = app.screen.query_one(PositionsPane)
        assert "no news from the engine for 12s" in app.screen.query_one(Banner).render().plain
        assert pane.has_class("-stale")
        assert pane.border_subtitle == "STALE 10s ago"


async def test_log_lines_that_went_by_are_counted():
    feed = FakeFeed()
    app = AlphaTradeApp(feed, clock=StillClock())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        later = LogRow(LOG[-1].seq + 8, LOG[-1].ts_ns, "info", "session", "later")
        feed.current = replace(feed.current, seq=900, log=(later,))
        app.tick()
        await pilot.pause()
        assert app.screen.query_one(LogPane).lost == 7


async def test_sim_speed_goes_up_and_down_from_where_it_is():
    feed = FakeFeed()
    app = AlphaTradeApp(feed, clock=StillClock())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press("right_square_bracket", "left_square_bracket", "p", "p")
        assert feed.commands == [("set_speed", {"speed": "3600"}), ("set_speed", {"speed": "300"}),
                                 ("pause_venue", {}), ("resume_venue", {})]


def test_status_and_account_keep_what_matters_in_sixty_cells():
    first, second = status_lines(busy(), Moment(), 60)
    assert "SIM" in plain(first)
    assert "trading on" in plain(first)
    assert "SYNTHETIC-INTRADAY" in plain(second)
    assert "-318.20" in plain(account_line(busy(), 60))


def test_meaning_is_never_colour_alone():
    frame = busy()
    lost = replace(frame.account, day_pnl=-1200.0, day_pnl_pct=-0.012)
    assert "■ LIMIT" in plain(account_line(replace(frame, account=lost), 120))
    warned = replace(frame.account, day_pnl=-600.0, day_pnl_pct=-0.006)
    assert "▲ WARNING" in plain(account_line(replace(frame, account=warned), 120))
    bare = PositionsPane.COLUMNS[7].make(replace(frame.positions[0], stop_loss=None))
    assert text_of(bare) == "⚠ NONE"
