"""The halt key stops everything, from anywhere; resuming and leaving ask."""

from __future__ import annotations

import pytest
from frames_sample import FakeFeed, FakePlayer, StillClock, busy, halted
from textual import events
from textual.command import CommandPalette
from textual.drivers.headless_driver import HeadlessDriver
from textual.widgets import Input

from console.app import AlphaTradeApp
from console.feed import ReplayFeed
from console.halt import HaltSwitch, driver_with_halt
from console.panes.status import Banner
from console.screens.charts import ChartsScreen
from console.screens.detail import DetailScreen
from console.screens.help import HelpScreen
from console.screens.leave import LeaveScreen
from console.screens.resume import ResumeScreen

# how to get there: keys, and the frame to start from
PLACES = {
    "positions": ((), busy), "log": (("7",), busy), "filter input": (("slash", "a"), busy),
    "help": (("question_mark",), busy),
    "detail": (("2", "enter"), busy), "charts": (("c",), busy), "palette": (("ctrl+p", "x"), busy),
    "leaving": (("q",), busy),
    "frozen": (("space",), busy), "maximised": (("f",), busy), "resume": (("r",), halted),
    "resume reason": (("r", "tab", "x"), halted),
}
ARRIVED = {"help": HelpScreen, "detail": DetailScreen, "charts": ChartsScreen, "palette": CommandPalette,
           "leaving": LeaveScreen, "resume": ResumeScreen, "resume reason": ResumeScreen}


@pytest.mark.parametrize("place", PLACES)
async def test_halt_works_from_anywhere(place):
    keys, frame = PLACES[place]
    feed, clock = FakeFeed(frame()), StillClock()
    app = AlphaTradeApp(feed, clock=clock)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.pause()
        if place in ARRIVED:
            assert isinstance(app.screen, ARRIVED[place])
        if "input" in place or "reason" in place:
            assert isinstance(app.focused, Input)
        for pressed, key in enumerate(("f12", "ctrl+backslash"), 1):
            await pilot.press(key)
            await pilot.pause()
            assert len(feed.halts) == pressed, key
            clock.now += 1.0


async def test_the_request_is_on_the_screen_before_the_engine_answers():
    app = AlphaTradeApp(FakeFeed(), clock=StillClock())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("f12")
        await pilot.pause()
        banner = app.screen.query_one(Banner)
        assert banner.display
        assert "HALT REQUESTED" in banner.render().plain
        app.feed.current = halted()
        app.tick()
        await pilot.pause()
        assert "HALTED since 10:44:00" in banner.render().plain
        assert app.screen.has_class("-halted")


async def test_a_replay_says_that_nothing_is_live():
    app = AlphaTradeApp(ReplayFeed(FakePlayer(), threaded=False), clock=StillClock())
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await pilot.press("f12")
        await pilot.pause()
        assert any("nothing is live" in str(note.message) for note in app._notifications)
        assert not app.switch.requested


def test_one_press_heard_twice_halts_once_and_a_later_press_again():
    feed, clock = FakeFeed(), StillClock()
    switch = HaltSwitch(feed, clock)
    switch.fire("f12")
    switch.fire("f12")
    clock.now += 1.0
    switch.fire("f12")
    assert feed.halts == ["f12", "f12"]


def test_a_feed_that_fails_is_said_not_raised():
    feed = FakeFeed()

    def broken(reason):
        raise OSError("disk full")
    feed.halt = broken
    switch = HaltSwitch(feed)
    assert "disk full" in switch.fire("f12")
    assert not switch.requested


def test_the_terminals_thread_fires_before_the_app_hears_of_it():
    feed = FakeFeed()
    heard = []

    class Deaf(HeadlessDriver):
        def __init__(self):
            pass

        def process_message(self, message):
            heard.append((message.key, list(feed.halts)))
    driver = driver_with_halt(Deaf, HaltSwitch(feed), frozenset({"f12"}))()
    driver.process_message(events.Key("a", "a"))
    driver.process_message(events.Key("f12", None))
    assert heard == [("a", []), ("f12", ["f12"])]


async def test_resume_wants_the_word_and_a_reason():
    feed = FakeFeed(halted())
    app = AlphaTradeApp(feed, clock=StillClock())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press("r", *"resume", "enter")
        await pilot.pause()
        assert feed.resumes == []
        assert isinstance(app.screen, ResumeScreen)
        app.screen.query_one("#word", Input).value = "RESUME"
        await pilot.press("enter")
        await pilot.pause()
        assert feed.resumes == []                               # no reason yet
        app.screen.query_one("#reason", Input).value = "feed is back"
        feed.resume_answer = "positions differ from the broker"
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert isinstance(app.screen, ResumeScreen)             # refused: the dialog says why
        assert "differ" in str(app.screen.query_one("#problem").render())
        feed.resume_answer = None
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert feed.resumes[-1][1] == "feed is back"
        assert not isinstance(app.screen, ResumeScreen)


@pytest.mark.parametrize(("key", "choice"), [("h", "halt"), ("l", "leave"), ("s", "stop")])
async def test_leaving_with_positions_asks(key, choice):
    feed = FakeFeed()
    app = AlphaTradeApp(feed, clock=StillClock())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press("q", key)
        await pilot.pause()
    assert app.return_value == choice
    assert bool(feed.halts) == (choice == "halt")


async def test_leaving_with_nothing_at_stake_stops():
    frame = busy()
    from dataclasses import replace

    app = AlphaTradeApp(FakeFeed(replace(frame, positions=(), orders=())), clock=StillClock())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press("q")
        await pilot.pause()
    assert app.return_value == "stop"


async def test_escape_stays():
    app = AlphaTradeApp(FakeFeed(), clock=StillClock())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press("q", "escape")
        await pilot.pause()
        assert app.is_running
        assert not isinstance(app.screen, LeaveScreen)
