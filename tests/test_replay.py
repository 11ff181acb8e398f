"""Replay: forward, back, to a place, at a speed; and following a journal that is being written."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from trader.backtest.engine import BacktestEngine
from trader.core import events as ev
from trader.core.fold import Fold
from trader.core.journal import Journal, read_events
from trader.core.snapshots import Snapshots, Waypoints
from trader.data.catalog import load_panel
from trader.frames import Frame
from trader.replay import Follower, Player, find_run, mark_kind
from trader.strategy.registry import make_strategy
from trader.utils.errors import UserError


@pytest.fixture(scope="module")
def runs_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one backtest's run."""
    folder = tmp_path_factory.mktemp("home")
    panel = load_panel(folder, ["AAPL", "MSFT"], "15Min", "2012-05-01", "2012-07-06", synth_seed=7)
    BacktestEngine().run(make_strategy("trend"), panel, "2012-06-15",
                         journal=folder / "runs" / "backtest-1" / "journal.sqlite")
    return folder


@pytest.fixture
def player(runs_home: Path) -> Player:
    return Player("latest", runs_home)


def picture(frame: Frame) -> Frame:
    """What a person sees: all but the running number."""
    return replace(frame, seq=0)


def test_forward_and_back_shows_the_same_pictures(player: Player) -> None:
    pictures = {}
    for number in range(0, len(player.slices), 37):
        player._run_to_slice(number)
        pictures[number] = picture(player.frame())
    for number in sorted(pictures, reverse=True):
        player._run_to_slice(number)
        assert picture(player.frame()) == pictures[number]


def test_waypoints_shorten_the_way_back_and_change_no_picture(
        runs_home: Path, player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    folded = 0

    class Counting(Fold):
        def apply(self, event: ev.AnyEvent) -> None:
            nonlocal folded
            folded += 1
            super().apply(event)

    monkeypatch.setattr("trader.core.snapshots.Fold", Counting)
    monkeypatch.setattr("trader.core.fold_state.Fold", Counting)
    monkeypatch.setattr("trader.replay.Fold", Counting)
    monkeypatch.setattr("trader.replay.Waypoints", lambda: Waypoints(80))
    monkeypatch.setattr("trader.replay.WAYPOINT_LOOK", 20)
    quick = Player("latest", runs_home)
    assert len(quick.events) > 600
    quick.seek_fraction(1.0)
    for fraction in (0.9, 0.31, 0.6, 0.05, 1.0, 0.42, 0.0):
        folded, before = 0, quick.position
        quick.seek_fraction(fraction)
        assert folded <= max(100, quick.position - before + 1)
        player.seek_fraction(fraction)
        assert picture(quick.frame()) == picture(player.frame())


def test_steps_move_by_slices(player: Player) -> None:
    bars = player.frame().status.bars
    player.step(5)
    assert player.frame().status.bars == bars + 5
    player.step(-2)
    assert player.frame().status.bars == bars + 3
    player.step(-100)
    assert player.frame().status.bars == 0
    player.step(10**6)
    assert player.frame().playback.at_end
    assert player.frame().status.ended == "all bars played"


def test_seeking_by_fraction_and_time_meets_the_same_state(player: Player) -> None:
    player.seek_fraction(0.5)
    middle = player.frame()
    player.seek_fraction(0.0)
    assert player.position == 0
    player.seek_time(middle.playback.ts_ns)
    assert abs(player.position - middle.playback.position) < 200
    assert player.frame().playback.ts_ns == middle.playback.ts_ns
    player.seek_time(player.end_ns + 1)
    assert player.frame().playback.at_end
    player.seek_fraction(7.0)
    assert player.position == len(player.events)


@pytest.mark.parametrize("kind", ["fill", "veto"])
def test_run_to_stops_right_behind_every_event_of_a_kind(player: Player, kind: str) -> None:
    player.seek_fraction(0.0)
    found = 0
    while player.run_to(kind):
        assert mark_kind(player.events[player.position - 1]) == kind
        found += 1
    assert found == sum(mark_kind(event) == kind for event in player.events) > 0
    assert not player.run_to("halt")


def test_time_moves_it_only_while_it_plays_and_at_its_speed(player: Player) -> None:
    bars = player.frame().status.bars
    player.tick(10.0)
    assert player.frame().status.bars == bars
    player.play()
    player.set_speed(4.0)
    for _ in range(10):
        player.tick(0.1)
    assert player.frame().status.bars == bars + 4
    player.pause()
    player.tick(10.0)
    assert player.frame().status.bars == bars + 4
    player.play()
    player.set_speed(math.inf)
    player.tick(0.1)
    assert player.frame().playback.at_end
    assert not player.playing
    player.play()                                       # from the end it starts over
    assert player.frame().status.bars == 0
    with pytest.raises(ValueError, match="speed"):
        player.set_speed(0)


def test_a_run_is_found_by_name_folder_and_file_and_missed_with_words(runs_home: Path, tmp_path: Path) -> None:
    journal = runs_home / "runs" / "backtest-1" / "journal.sqlite"
    for name in ("latest", "backtest-1", str(journal.parent), str(journal)):
        assert find_run(name, runs_home) == journal
    with pytest.raises(UserError, match="backtest-1"):
        find_run("backtest-2", runs_home)
    with pytest.raises(UserError, match="there is no run"):
        find_run("latest", tmp_path)


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_text("not a database at all, but long enough to be one " * 40)
    with pytest.raises(UserError, match="not a readable journal"):
        Player(str(path), tmp_path)
    empty = tmp_path / "empty.sqlite"
    Journal(empty).close()
    with pytest.raises(UserError, match="holds no events"):
        Player(str(empty), tmp_path)


def test_a_follower_keeps_up_with_a_journal_that_is_being_written(runs_home: Path, tmp_path: Path) -> None:
    source = [event for _, event in read_events(runs_home / "runs" / "backtest-1" / "journal.sqlite")]
    path = tmp_path / "runs" / "sim-1" / "journal.sqlite"
    journal = Journal(path)
    fold, snapshots = Fold(), Snapshots(journal, 100)
    follower = None
    for i, event in enumerate(source):
        journal.append(event)
        fold.apply(event)
        if i % 250 == 249:
            seen = sum(isinstance(e, ev.SliceClosed) for e in source[:i + 1])
            if follower is not None:
                assert follower.poll().status.bars < seen       # not committed: not to be seen
            journal.commit()
            snapshots.offer(fold)
            follower = follower or Follower("sim-1", tmp_path)
            assert follower.poll().status.bars == seen
    journal.close()
    assert follower is not None
    player = Player(str(path), tmp_path)
    player.seek_fraction(1.0)
    whole = replace(picture(player.frame()), playback=None)
    late = Follower("sim-1", tmp_path)
    assert late._seq > len(source) // 2                 # it begins at a snapshot
    for watcher in (follower, late):
        assert replace(picture(watcher.poll()), playback=None) == whole
    assert "does not run any more" in (follower.halt("too late") or "")
