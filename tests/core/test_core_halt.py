"""The halt as a procedure: cancel, close, report; twice, refused, partly filled, with orders of unknown fate."""

from __future__ import annotations

from decimal import Decimal

from engine_world import EngineWorld, cancels, long, submits

from trader.core import events as ev
from trader.core.commands import CancelAll

D = Decimal


def halt(world: EngineWorld, reason: str = "t") -> list:
    commands = world.engine.halt("key", reason, world.now)
    world.sent += commands
    return commands


def test_it_cancels_everything_and_closes_when_nothing_holds_the_shares_any_more() -> None:
    world = EngineWorld()
    entry = world.hold()
    other, = submits(world.play(long("MSFT")))
    world.accept(other, legs=False)
    assert halt(world) == [CancelAll()]
    assert world.of(ev.HaltLatched)[0].source == "key"
    first, second = world.book.orders[entry.client_order_id].legs
    assert world.cancelled(first) == []
    assert world.cancelled(second) == []                    # MSFT's entry still works
    close, = submits(world.cancelled(other.client_order_id))
    assert (close.symbol, close.side, close.quantity) == ("AAPL", "sell", D(10))
    world.accept(close)
    assert not world.of(ev.HaltFinished)
    world.fill(close.client_order_id)
    finished, = world.of(ev.HaltFinished)
    assert (finished.orders_cancelled, finished.positions_closed, finished.failures) == (3, 1, ())
    assert world.book.positions == {}


def test_nothing_to_do_finishes_at_once() -> None:
    world = EngineWorld()
    world.play()
    halt(world)
    assert world.of(ev.HaltFinished)[0].failures == ()
    assert not world.engine.halting.running


def test_no_entry_leaves_while_it_is_halted_and_trading_goes_on_after_the_resume() -> None:
    world = EngineWorld()
    world.play()
    halt(world)
    assert world.play(long()) == []
    assert not world.of(ev.OrderIntent)
    world.engine.resume("tester", "fine", world.now)
    assert len(submits(world.play(long()))) == 1


def test_twice_closes_once() -> None:
    world = EngineWorld()
    world.hold(stop=None)
    close, = submits(halt(world))
    assert halt(world) == []
    assert submits(world.play()) == []
    world.accept(close)
    assert submits(halt(world)) == []
    world.fill(close.client_order_id)
    assert submits(halt(world)) == []
    assert len(world.of(ev.HaltLatched)) == 1
    assert world.book.quantity("AAPL") == 0


def test_an_order_of_unknown_fate_is_waited_for_and_what_it_bought_is_closed() -> None:
    world = EngineWorld()
    entry, = submits(world.play(long(stop=None)))
    world.tell(ev.OrderUnknown(ts=world.now, client_order_id=entry.client_order_id, message="time-out"))
    halt(world)
    assert not world.of(ev.HaltFinished)
    world.play()
    assert not world.of(ev.HaltFinished)
    landed = world.accept(entry)                            # it had landed: cancel it
    assert [c.client_order_id for c in cancels(landed)] == [entry.client_order_id]
    close, = submits(world.fill(entry.client_order_id))     # but it was faster
    assert (close.side, close.quantity) == ("sell", D(10))


def test_a_submit_in_flight_that_fills_before_its_answer_is_closed() -> None:
    world = EngineWorld()
    entry, = submits(world.play(long(stop=None)))
    halt(world)
    close, = submits(world.fill(entry.client_order_id))
    assert close.quantity == D(10)
    assert world.accept(entry) == []                        # the late answer changes nothing


def test_a_close_that_is_refused_is_tried_once_a_slice_then_told() -> None:
    world = EngineWorld(halt_close_attempts=3)
    world.hold(stop=None)
    close, = submits(halt(world))
    assert world.reject(close.client_order_id) == []        # not at once
    for _ in range(2):
        assert not world.of(ev.HaltFinished)
        close, = submits(world.play())
        world.reject(close.client_order_id)
    finished, = world.of(ev.HaltFinished)
    assert "AAPL" in finished.failures[0]
    assert "3 closing orders" in finished.failures[0]
    stop, = submits(world.play())                           # and what is still held keeps a stop
    assert stop.order_type == "stop"


def test_a_partial_close_is_followed_by_one_for_the_rest() -> None:
    world = EngineWorld()
    world.hold(stop=None)
    close, = submits(halt(world))
    world.accept(close)
    world.fill(close.client_order_id, 4)
    assert submits(world.play()) == []
    rest, = submits(world.tell(ev.OrderExpired(ts=world.now, client_order_id=close.client_order_id)))
    assert rest.quantity == D(6)
    world.accept(rest)
    world.fill(rest.client_order_id)
    assert world.of(ev.HaltFinished)[0].positions_closed == 1


def test_cancels_without_effect_are_asked_for_again() -> None:
    world = EngineWorld()
    world.hold()
    assert halt(world) == [CancelAll()]
    assert world.play() == [CancelAll()]


def test_a_halt_that_keeps_positions_cancels_entries_only() -> None:
    world = EngineWorld(flatten_on_halt=False)
    entry = world.hold()
    other, = submits(world.play(long("MSFT")))
    world.accept(other, legs=False)
    cancel, = cancels(halt(world))
    assert cancel.client_order_id == other.client_order_id
    world.cancelled(other.client_order_id)
    finished, = world.of(ev.HaltFinished)
    assert finished.positions_closed == 0
    assert world.book.quantity("AAPL") == 10
    assert all(world.book.orders[leg].is_open for leg in world.book.orders[entry.client_order_id].legs)


def test_a_breaker_asks_for_the_halt_once_and_the_slice_sends_nothing_else() -> None:
    world = EngineWorld()
    world.risk.halt_reason = "intraday loss"
    assert world.play(long()) == []
    assert world.engine.halt_requests == ["intraday loss"]
    halt(world, world.engine.halt_requests.pop())
    world.play(long())
    assert world.engine.halt_requests == []
