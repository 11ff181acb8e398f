"""Replay keys drive the player; feeds pass frames, errors and halts."""

from __future__ import annotations

from datetime import datetime
from threading import Event
from types import SimpleNamespace

import pytest
from frames_sample import NOW, FakePlayer, StillClock, busy, replayed
from textual.widgets import Input

from console.app import AlphaTradeApp
from console.feed import AttachFeed, LiveFeed, ReplayFeed
from console.moments import parse_moment
from console.panes.timeline import marks_line, speed_word, time_lines
from console.screens.seek import SeekScreen
from console.session import HostInWaiting, leave, wait_until_flat
from console.widgets.figures import NEW_YORK
from console.widgets.words import width
from trader.utils.errors import UserError


async def drive(*keys, check=None):
    player = FakePlayer()
    app = AlphaTradeApp(ReplayFeed(player, threaded=False), clock=StillClock())
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await pilot.pause()
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        if check:
            check(app, player)
    return player


MOVES = {
    ("right",): ("step", 1), ("left",): ("step", -1), ("shift+right",): ("step", 26), ("shift+left",): ("step", -26),
    ("home",): ("fraction", 0.0), ("end",): ("fraction", 1.0), ("n", "f"): ("run_to", "fill"),
    ("n", "v"): ("run_to", "veto"), ("n", "e"): ("run_to", "error"), ("n", "h"): ("run_to", "halt"),
}


async def test_keys_move_the_player():
    player = await drive(*(key for keys in MOVES for key in keys), "n", "escape")
    assert player.told == list(MOVES.values())


async def test_space_plays_and_pauses_and_brackets_change_the_speed():
    player = await drive("space")
    assert player.playing
    player = await drive("space", "space", "right_square_bracket", "right_square_bracket", "left_square_bracket")
    assert not player.playing
    assert player.pace == 2.0


async def test_stepping_pauses():
    assert not (await drive("space", "right")).playing


async def test_no_event_ahead_is_said():
    def check(app, player):
        assert any("no breaker after this moment" in str(note.message) for note in app._notifications)
    await drive("n", "b", check=check)


async def test_seeking_by_a_typed_time_and_a_mistake_in_it():
    player = FakePlayer()
    app = AlphaTradeApp(ReplayFeed(player, threaded=False), clock=StillClock())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press("g")
        await pilot.pause()
        app.screen.query_one(Input).value = "noon"
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, SeekScreen)
        app.screen.query_one(Input).value = "34%"
        await pilot.press("enter")
        await pilot.pause()
    assert player.told == [("fraction", 0.34)]


def at(*parts):
    return int(datetime(*parts, tzinfo=NEW_YORK).timestamp()) * 10**9


@pytest.mark.parametrize(("text", "place"), [
    ("34%", (0.34, None)), ("100 %", (1.0, None)), ("10:45", (None, at(2013, 6, 3, 10, 45))),
    ("9:31", (None, at(2013, 6, 3, 9, 31))), ("2013-12-02", (None, at(2013, 12, 2, 9, 30))),
    ("2013-12-02 15:59:30", (None, at(2013, 12, 2, 15, 59, 30))), ("2013-12-02T16:00", (None, at(2013, 12, 2, 16, 0))),
])
def test_moments_are_read(text, place):
    assert parse_moment(text, NOW) == place


@pytest.mark.parametrize("text", ["", "noon", "101%", "2013-13-01", "25:00", "-5%"])
def test_other_words_are_refused(text):
    with pytest.raises(UserError):
        parse_moment(text, NOW)


@pytest.mark.parametrize("room", [78, 118, 198])
def test_the_time_line_fits_its_room(room):
    for line in time_lines(replayed(playing=True, speed=float("inf")).playback, room):
        assert width(line) <= room


def test_the_gravest_mark_wins_its_cell():
    assert marks_line(((0.5, "fill"), (0.5, "halt"), (0.5, "veto")), 10) == [(" " * 5, ""), ("■", "bad_strong")]
    assert speed_word(0.25) == "×0.25"
    assert speed_word(float("inf")) == "max"


def test_a_broken_player_is_an_error_on_the_screen_not_a_crash():
    player = FakePlayer()
    feed = ReplayFeed(player, threaded=False)

    def broken(elapsed):
        raise KeyError("AAPL")
    player.tick = broken
    assert feed.frame().playback is not None                    # the last good frame stays
    assert feed.error() == "KeyError: 'AAPL'"


def test_the_replay_thread_folds_and_ends():
    player = FakePlayer()
    feed = ReplayFeed(player)
    feed.run_to("breaker")
    for _ in range(6_000):
        notices = feed.notices()
        if notices:
            break
        feed._woken.set()
        import time

        time.sleep(0.01)
    assert notices == ["no breaker after this moment"]
    feed.close()
    assert not feed._thread.is_alive()


class Host:
    def __init__(self, step="flat"):
        self.error = self.user_error = None
        self.alive = True
        self.said = []
        self.halted = SimpleNamespace(halt=SimpleNamespace(latched=True, step=step), status=SimpleNamespace(bars=0))

    def frame(self):
        return self.halted

    def halt(self, source, reason):
        self.said.append(("halt", source, reason))

    def stop(self, timeout=0.0, reason=""):
        self.said.append(("stop",))
        return True


def test_a_live_feed_halts_its_host_and_reports_its_end():
    host = Host()
    feed = LiveFeed(host)
    assert feed.halt("f12") is None
    assert host.said == [("halt", "console", "f12")]
    assert feed.error() is None
    host.error, host.user_error = "no keys", UserError("no keys")
    assert feed.error() == "no keys"
    assert feed.refused()


def test_leaving_stops_or_waits_until_flat(capsys):
    host = Host()
    assert leave(host, None, "halt") == 0
    assert host.said == [("stop",)]
    host = Host()
    host.user_error = UserError("port 8080 is busy", exit_code=2)
    assert leave(host, None, "refused") == 2
    assert "port 8080 is busy" in capsys.readouterr().err
    assert not wait_until_flat(Host("failed"))
    assert not wait_until_flat(Host("closing"), within_s=0.0)


def test_a_halt_before_the_engine_is_up_is_delivered_first():
    host, begin = Host(), Event()
    host.start = lambda: host.said.append("started")

    def make():
        begin.wait(60)
        return host
    waiting = HostInWaiting(make)
    waiting.start()
    assert waiting.alive
    assert waiting.frame().seq == 0
    assert waiting.resume("me", "why")
    waiting.halt("console", "f12")
    waiting.painted()
    begin.set()
    assert waiting.ready(60) is host
    waiting.halt("console", "again")
    assert host.said == ["started", ("halt", "console", "f12"), ("halt", "console", "again")]


@pytest.mark.parametrize(("error", "code"), [(UserError("no such file x.yaml"), 2), (ImportError("no pandas"), 70)])
def test_an_engine_that_cannot_start_is_said(error, code, capsys):
    def make():
        raise error
    waiting = HostInWaiting(make)
    waiting.start()
    waiting.painted()
    assert waiting.ready(60) is None
    assert LiveFeed(waiting).refused() == (code == 2)
    assert leave(waiting, None, "stop") == code
    assert str(error) in capsys.readouterr().err


def test_an_attached_session_is_halted_through_its_follower():
    heard = Event()
    follower = SimpleNamespace(poll=busy, halt=lambda reason: heard.set())
    feed = AttachFeed(follower, threaded=False)
    assert feed.can.live
    assert not feed.can.resume
    assert feed.frame().account.equity == busy().account.equity
    assert feed.halt("f12") is None
    assert heard.wait(60)
    assert feed.resume("me", "why") is not None
