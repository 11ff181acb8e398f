from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader.core.clock import SECOND_NS, VirtualClock
from trader.core.graceful_degradation import (
    ComponentType,
    DegradationLadder,
    FallbackAction,
    FallbackConfig,
    GracefulDegradationManager,
    Level,
)
from trader.core.ladder import MULTIPLIER, RUNGS, SESSION_COMPONENTS
from trader.core.probe import ask, understand

S = SECOND_NS


def test_cached_data_halves_then_stops_entries_and_recovers_rung_by_rung() -> None:
    ladder = DegradationLadder()
    assert ladder.report("data_feed", True, 0) is None
    change = ladder.report("data_feed", False, 10 * S, "socket closed")
    assert change is not None
    assert (change.level, change.multiplier, change.component, change.reason, change.ts) == (
        "CAUTIOUS", 0.5, "data_feed", "socket closed", 10 * S)
    assert ladder.advance(310 * S) is None                      # exactly 300 s: still allowed
    assert ladder.advance(310 * S + 1).level == "EXIT_ONLY"     # type: ignore[union-attr]
    assert ladder.multiplier == 0
    assert ladder.report("data_feed", True, 400 * S) is None
    assert ladder.advance(459 * S) is None
    assert ladder.advance(460 * S).level == "CAUTIOUS"          # type: ignore[union-attr]
    assert ladder.advance(519 * S) is None
    assert ladder.advance(520 * S).level == "NORMAL"            # type: ignore[union-attr]


def test_a_relapse_starts_the_wait_again() -> None:
    ladder = DegradationLadder()
    ladder.report("broker", False, 0, "down")
    assert ladder.level is Level.EXIT_ONLY
    ladder.report("broker", True, 10 * S)
    ladder.report("broker", False, 65 * S, "down again")
    ladder.report("broker", True, 66 * S)
    assert ladder.advance(125 * S) is None
    assert ladder.advance(126 * S) is not None


def test_the_worst_component_decides_and_is_named() -> None:
    ladder = DegradationLadder()
    ladder.report("model", False, 0, "no file")
    ladder.report("broker", False, 1, "refused")
    assert (ladder.level, ladder.component) == (Level.EXIT_ONLY, "broker")
    ladder.report("broker", True, 2)
    change = ladder.advance(2 + 60 * S)
    assert change is not None
    assert (change.level, change.component, change.reason) == ("CAUTIOUS", "model", "no file")


def test_parts_that_have_a_stand_in_change_nothing_and_the_journal_halts() -> None:
    ladder = DegradationLadder()
    assert ladder.report("redis", False, 0) is None
    assert ladder.report("journal", False, 0, "disk full").level == "HALTED"    # type: ignore[union-attr]


def test_thresholds_and_lasting_failures() -> None:
    ladder = DegradationLadder({"x": FallbackConfig(
        FallbackAction.REDUCE_SIZE, failure_threshold=3, halt_after_seconds=100)})
    assert ladder.report("x", False, 0) is None
    assert ladder.report("x", False, S) is None
    assert ladder.report("x", False, 2 * S) is not None
    assert ladder.advance(99 * S) is None
    assert ladder.advance(100 * S).level == "HALTED"            # type: ignore[union-attr]


NEWS = st.lists(st.tuples(
    st.sampled_from([*SESSION_COMPONENTS, "something new"]), st.booleans(), st.integers(0, 400)), max_size=60)


@given(NEWS)
def test_climbs_at_once_falls_one_rung_and_only_after_the_wait(news: list[tuple[str, bool, int]]) -> None:
    ladder = DegradationLadder()
    now = 0
    changes = []
    for component, ok, seconds in news:
        now += seconds * S
        change = ladder.report(component, ok, now, "why")
        needed, _, _ = ladder._needed(now)
        assert RUNGS.index(ladder.level) >= RUNGS.index(needed)         # never below what a failure asks for
        assert ladder.multiplier == MULTIPLIER[ladder.level]
        if change is not None:
            assert change.level == ladder.level
            changes.append(change)
    for before, after in itertools.pairwise(changes):
        step = RUNGS.index(Level(after.level)) - RUNGS.index(Level(before.level))
        assert step > 0 or (step == -1 and after.ts - before.ts >= 60 * S)
        if step == -1 and not ladder.failing:
            assert after.component


@given(NEWS)
def test_everything_well_for_long_enough_ends_at_normal(news: list[tuple[str, bool, int]]) -> None:
    ladder = DegradationLadder()
    now = 0
    for component, ok, seconds in news:
        now += seconds * S
        ladder.report(component, ok, now)
    for component in [*SESSION_COMPONENTS, "something new"]:
        ladder.report(component, True, now)
    for _ in range(4):
        now += 61 * S
        ladder.advance(now)
    assert ladder.level is Level.NORMAL


class Feed:
    def __init__(self) -> None:
        self.well = True

    async def health_check(self) -> dict[str, object]:
        return {"healthy": self.well, "detail": "" if self.well else "half-open socket"}


def managed() -> tuple[GracefulDegradationManager, Feed, VirtualClock]:
    feed, clock = Feed(), VirtualClock(0)
    manager = GracefulDegradationManager(clock=clock)
    manager.register_component(
        name="data_feed", component_type=ComponentType.DATA, health_check=feed.health_check,
        fallback_config=FallbackConfig(fallback_action=FallbackAction.USE_CACHED, max_cache_age_seconds=300))
    return manager, feed, clock


async def test_health_checks_move_the_ladder() -> None:
    manager, feed, clock = managed()
    feed.well = False
    await manager.check_all()
    assert manager.get_status() == {
        "level": "CAUTIOUS", "position_multiplier": 0.5, "component": "data_feed", "reason": "half-open socket",
        "failing": {"data_feed": "half-open socket"}}
    feed.well = True
    await manager.check_all()
    clock.advance_to(61 * S)
    await manager.check_all()
    assert manager.level is Level.NORMAL


async def test_cached_values_serve_while_they_are_fresh() -> None:
    manager, _, clock = managed()

    async def bars() -> str:
        return "bars"

    def broken() -> str:
        raise ConnectionError("gone")

    assert await manager.call("data_feed", bars) == "bars"
    clock.advance_to(300 * S)
    assert await manager.call("data_feed", broken) == "bars"
    assert manager.level is Level.CAUTIOUS
    clock.advance_to(300 * S + 1)
    with pytest.raises(ConnectionError):
        await manager.call("data_feed", broken)


async def test_nothing_is_cached_for_a_component_that_must_not() -> None:
    manager, _, _ = managed()
    manager.register_component("broker", ComponentType.BROKER)
    await manager.call("broker", lambda: "account")
    assert manager.cached("broker") is None


async def test_errors_find_their_component() -> None:
    manager, feed, clock = managed()
    assert await manager.handle_error(RuntimeError("?")) is Level.CAUTIOUS      # nobody's fault: the loop's
    assert manager.ladder.component == "main_loop"
    await manager.check_all()                                                   # everything is well again
    clock.advance_to(60 * S)
    await manager.check_all()
    assert manager.level is Level.NORMAL
    feed.well = False
    await manager.handle_error(RuntimeError("?"))
    assert manager.ladder.component == "data_feed"
    error = RuntimeError("rejected")
    error.component = "broker"                                                  # type: ignore[attr-defined]
    assert await manager.handle_error(error) is Level.EXIT_ONLY
    assert await manager.handle_error(OSError("disk full"), component="journal") is Level.HALTED


async def test_a_check_that_hangs_or_raises_is_unhealthy() -> None:
    async def hangs() -> None:
        await asyncio.sleep(30)

    assert await ask(hangs, timeout_s=0.01) == (False, "no answer within 0.01 s")

    def raises() -> None:
        raise ValueError("bad")

    assert await ask(raises) == (False, "bad")


@pytest.mark.parametrize(("answer", "healthy"), [
    (None, True), (True, True), (False, False), ("ok", True), ("FAILED", False), ((True, "x"), True),
    ({"healthy": False}, False), ({"ok": True}, True), ({"status": "up"}, True), ({"status": "down"}, False),
    (Feed(), False), ({}, False), (3, False),
])
def test_answers_of_health_checks(answer: object, healthy: bool) -> None:
    assert understand(answer).healthy is healthy
