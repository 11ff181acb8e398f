"""One table of keys feeds bindings, key bar, help and palette."""

from __future__ import annotations

import pytest
from frames_sample import FakeFeed, FakePlayer, StillClock
from textual.markup import escape

from console.app import AlphaTradeApp
from console.feed import ReplayFeed
from console.keymap import KEYS, KINDS, SCOPES, TOGETHER, display, index, remap
from console.screens.help import HelpScreen, help_content
from console.screens.leave import LeaveScreen
from console.widgets.key_bar import KeyBar
from trader.utils.errors import UserError


def test_ids_are_unique_and_scopes_and_kinds_known():
    assert len(index()) == len(KEYS)
    assert {key.scope for key in KEYS} == set(SCOPES)
    assert {key.kind for key in KEYS} == set(KINDS)


@pytest.mark.parametrize("group", TOGETHER)
def test_no_key_does_two_things_at_once(group):
    pressed = [name for key in KEYS if key.scope in group for name in key.keys.split(",")]
    assert len(pressed) == len(set(pressed))


def test_the_key_that_asks_to_quit_is_not_the_one_that_confirms():
    asks = set(index()["quit"].keys.split(","))
    confirms = {name for key in KEYS if key.scope == "quit" for name in key.keys.split(",")}
    assert not asks & confirms


def test_halt_keeps_its_keys_whatever_is_asked():
    assert index(remap({"halt": "f9"}))["halt"].keys == "f12,ctrl+backslash,f9"


@pytest.mark.parametrize(("overrides", "named"), [
    ({"halted": "f9"}, "no action is called 'halted'"),
    ({"halt": ""}, "console.keys.halt"),
    ({"sort": 5}, "console.keys.sort"),
    ({"sort": "f12"}, "'f12' would do both"),
    ({"sort": "slash"}, "'slash' would do both"),
])
def test_mistakes_in_the_users_keys_are_named(overrides, named):
    with pytest.raises(UserError) as error:
        remap(overrides)
    assert named in str(error.value)


def test_keys_are_written_for_people():
    assert display("f12,ctrl+backslash", every=True) == "f12 ^\\"
    assert display("question_mark") == "?"


async def test_every_binding_comes_from_the_table_and_every_action_exists():
    replay = ReplayFeed(FakePlayer(), threaded=False)
    for feed in (FakeFeed(), replay):
        app = AlphaTradeApp(feed, clock=StillClock())
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause()
            table = index()
            scopes = {"app": app, "monitor": app.screen, "table": app.screen.focused}
            scopes["replay" if feed is replay else "live"] = app.screen
            for key in KEYS:
                if key.scope in scopes:
                    node = scopes[key.scope]
                    assert hasattr(node, f"action_{key.action.split('(')[0]}"), key.id
            bound = {(binding.id, binding.action) for *_, binding in (
                (name, each) for node in (app, app.screen, app.screen.focused)
                for name, bindings in node._bindings.key_to_bindings.items() for each in bindings) if binding.id}
            assert bound <= {(key.id, key.action) for key in table.values()}
            assert {"halt", "quit", "filter", "up"} <= {name for name, _ in bound}


async def test_help_palette_and_key_bar_show_the_same_table():
    app = AlphaTradeApp(FakeFeed(), clock=StillClock())
    async with app.run_test(size=(200, 60)) as pilot:
        await pilot.pause()
        keys = app.screen.usable_keys()
        helped = help_content(keys).plain
        assert all(key.about in helped for key in keys)
        offered = {command.help for command in app.get_system_commands(app.screen)}
        assert all(escape(f"{key.about} ({display(key.keys)})") in offered for key in keys if key.palette)
        bar = app.screen.query_one(KeyBar).render().plain
        assert bar.startswith("f12 HALT")
        assert "Freeze" in bar
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)


async def test_keys_a_feed_does_not_allow_are_absent():
    app = AlphaTradeApp(ReplayFeed(FakePlayer(), threaded=False), clock=StillClock())
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.pause()
        ids = {key.id for key in app.screen.usable_keys()}
        assert not ids & {"halt", "resume", "sim_faster"}
    attached = FakeFeed(live=True)
    app = AlphaTradeApp(attached, clock=StillClock())
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.pause()
        ids = {key.id for key in app.screen.usable_keys()}
        assert "halt" in ids
        assert not ids & {"resume", "sim_faster"}
        await pilot.press("right_square_bracket", "p")
        await pilot.pause()
        assert attached.commands == []


async def test_a_users_key_works_and_the_old_one_no_longer():
    app = AlphaTradeApp(FakeFeed(), clock=StillClock(), keys={"help": "f1"})
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        assert not isinstance(app.screen, HelpScreen)
        await pilot.press("f1")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)


async def test_leave_dialog_lists_its_keys():
    app = AlphaTradeApp(FakeFeed(), clock=StillClock())
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("q")
        await pilot.pause()
        assert isinstance(app.screen, LeaveScreen)
        await pilot.press("q")                      # the key that asked confirms nothing
        await pilot.pause()
        assert isinstance(app.screen, LeaveScreen)
