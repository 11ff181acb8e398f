"""Pictures that were looked at: the live screen at three sizes, halted, replay, help, charts, another theme."""

from __future__ import annotations

import pytest
from frames_sample import FakeFeed, FakePlayer, StillClock, busy, halted

from console.app import AlphaTradeApp
from console.feed import ReplayFeed


async def settle(pilot):
    pilot.app.tick()
    await pilot.pause()


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)], ids=["80x24", "120x40", "200x60"])
def test_live(snap_compare, size):
    assert snap_compare(AlphaTradeApp(FakeFeed(busy()), clock=StillClock()), terminal_size=size, run_before=settle)


def test_halted(snap_compare):
    app = AlphaTradeApp(FakeFeed(halted()), clock=StillClock())
    assert snap_compare(app, terminal_size=(120, 40), run_before=settle)


def test_replay(snap_compare):
    app = AlphaTradeApp(ReplayFeed(FakePlayer(), threaded=False), clock=StillClock())
    assert snap_compare(app, terminal_size=(120, 40), run_before=settle)


def test_help(snap_compare):
    app = AlphaTradeApp(FakeFeed(busy()), clock=StillClock())
    assert snap_compare(app, press=["question_mark"], terminal_size=(160, 48))


def test_charts(snap_compare):
    app = AlphaTradeApp(FakeFeed(busy()), clock=StillClock())
    assert snap_compare(app, press=["c"], terminal_size=(120, 40))


def test_light(snap_compare):
    app = AlphaTradeApp(FakeFeed(busy()), clock=StillClock(), theme="light")
    assert snap_compare(app, terminal_size=(120, 40), run_before=settle)
