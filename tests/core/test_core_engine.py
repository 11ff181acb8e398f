"""The engine among fakes: brackets, exits, the guardian, failing parts, news in any order."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from engine_world import CASH, EngineWorld, cancels, leave, long, short, submits
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.core import events as ev
from trader.core.ladder import Level
from trader.core.money import tick_size
from trader.core.orders import OrderState

D = Decimal


# --- entries ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("signal", "side", "stop", "target"), [
    (long(), "buy", D("98.00"), D("104.00")), (short(), "sell", D("102.00"), D("96.00"))])
def test_a_bracket_lies_around_the_entry(signal: Any, side: str, stop: Decimal, target: Decimal) -> None:
    world = EngineWorld()
    command, = submits(world.play(signal))
    assert (command.side, command.quantity, command.stop_loss, command.take_profit) == (side, D(10), stop, target)
    assert command.time_in_force == "gtc"
    assert [type(e) for e in world.events[-3:]] == [ev.OrderIntent, ev.RiskVerdict, ev.OrderSubmitting]


@given(st.floats(0.5, 5_000.0), st.floats(0.001, 0.2), st.floats(0.001, 0.5), st.booleans())
def test_brackets_are_on_the_tick_and_on_the_right_sides(price: float, stop: float, profit: float, up: bool) -> None:
    from trader.core.engine import _bracket
    from trader.core.signals import Signal

    target, loss = _bracket(Signal("A", 1 if up else -1, 1.0, price, take_profit_pct=profit, stop_loss_pct=stop))
    assert target is not None
    assert loss is not None
    assert target % tick_size(target) == 0
    assert loss % tick_size(loss) == 0
    low, high = (loss, target) if up else (target, loss)
    assert low < D(repr(price)) < high


def test_one_symbol_gets_one_entry_at_a_time() -> None:
    world = EngineWorld()
    command, = submits(world.play(long()))
    assert submits(world.play(long())) == []                # the first is still being sent
    world.accept(command)
    assert submits(world.play(long())) == []                # works
    world.fill(command.client_order_id)
    assert submits(world.play(long())) == []                # held
    assert len(submits(world.play(long("MSFT")))) == 1


def test_a_veto_sends_nothing_and_is_recorded() -> None:
    world = EngineWorld()
    world.risk.vet = lambda intent, book, history: ev.RiskVerdict(
        ts=intent.ts, client_order_id=intent.client_order_id, symbol=intent.symbol, action="veto",
        quantity_asked=intent.quantity, quantity=D(0), checks=())
    assert world.play(long()) == []
    assert world.book.orders["t-e1"].state is OrderState.DENIED
    assert not world.of(ev.OrderSubmitting)


# --- exits --------------------------------------------------------------------------------------------------

def test_an_exit_waits_until_the_legs_that_hold_the_shares_are_cancelled() -> None:
    world = EngineWorld()
    entry = world.hold()
    commands = world.play(leave())
    assert submits(commands) == []
    assert len(cancels(commands)) == 1                      # one leg takes the other with it
    legs = world.book.orders[entry.client_order_id].legs
    assert submits(world.cancelled(legs[0])) == []          # the other still holds shares
    command, = submits(world.cancelled(legs[1]))
    assert (command.side, command.quantity, command.order_type) == ("sell", D(10), "market")
    world.accept(command)
    world.fill(command.client_order_id, price="101")
    assert world.book.positions == {}
    assert world.book.cash == CASH + 10


def test_an_exit_sells_only_what_is_left_when_a_leg_filled_meanwhile() -> None:
    world = EngineWorld()
    entry = world.hold()
    world.play(leave())
    profit, stop = world.book.orders[entry.client_order_id].legs
    world.fill(profit, 4, "104")
    world.cancelled(profit)
    command, = submits(world.cancelled(stop))
    assert command.quantity == D(6)


def test_an_exit_that_comes_too_late_sends_nothing() -> None:
    world = EngineWorld()
    entry = world.hold()
    world.play(leave())
    profit, stop = world.book.orders[entry.client_order_id].legs
    world.fill(stop, price="98")
    assert submits(world.cancelled(profit)) == []
    assert world.book.positions == {}


def test_an_opposite_signal_closes_before_it_turns() -> None:
    world = EngineWorld()
    world.hold(stop=None)
    command = next(c for c in submits(world.play(short())) if c.side == "sell")
    assert command.quantity == D(10)
    assert command.stop_loss is None


# --- the guardian -------------------------------------------------------------------------------------------

def test_a_position_without_a_stop_gets_one_of_its_size() -> None:
    world = EngineWorld()
    world.hold(stop=None)
    command, = submits(world.play())
    assert (command.order_type, command.side, command.quantity, command.stop_price) == ("stop", "sell", D(10), D("98"))
    world.accept(command)
    assert world.play() == []                               # one is enough


def test_the_guardian_prefers_the_entrys_own_stop_while_it_lies_beyond_the_market() -> None:
    world = EngineWorld()
    entry = world.hold(stop=0.05)
    for leg in world.book.orders[entry.client_order_id].legs:
        world.cancelled(leg)
    assert submits(world.play(price=99.0))[0].stop_price == D("95.00")
    other = EngineWorld()
    entry = other.hold(stop=0.05)
    for leg in other.book.orders[entry.client_order_id].legs:
        other.cancelled(leg)
    assert submits(other.play(price=90.0))[0].stop_price == D("88.20")


def test_a_partly_filled_entry_is_cut_and_what_it_bought_is_protected() -> None:
    world = EngineWorld(partial_patience_slices=2)
    command, = submits(world.play(long()))
    world.accept(command, legs=False)
    world.fill(command.client_order_id, 3)
    assert world.play() == []
    assert world.play() == []
    cut, = cancels(world.play())
    assert cut.client_order_id == command.client_order_id
    world.cancelled(command.client_order_id)
    stop, = submits(world.play())
    assert (stop.quantity, stop.stop_price) == (D(3), D("98.00"))


def test_a_stop_for_too_few_shares_is_completed() -> None:
    world = EngineWorld()
    world.hold(stop=None)
    stop, = submits(world.play())
    world.accept(stop)
    world.tell(ev.PositionAdjusted(ts=world.now, symbol="AAPL", quantity=D(15), average_price=D(100), reason="t"))
    more, = submits(world.play())
    assert more.quantity == D(5)


# --- failing parts ------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("part", "level"), [
    ("strategy", Level.EXIT_ONLY), ("model", Level.CAUTIOUS), ("risk", Level.EXIT_ONLY), ("validator", Level.CAUTIOUS),
    ("monitor", Level.NORMAL), ("sizer", Level.EXIT_ONLY)])
def test_a_failing_part_degrades_and_the_session_goes_on(part: str, level: Level) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError("out of order")

    world = EngineWorld()
    world.hold(stop=None)
    targets: dict[str, tuple[Any, str]] = {
        "strategy": (world.strategy, "on_slice"), "risk": (world.risk, "on_slice"),
        "validator": (world.validator, "check_slice"), "sizer": (world.sizer, "shares")}
    if part in ("model", "monitor"):
        broken = SimpleNamespace(model_id="m", opinion=None, predict=fail, on_slice=fail)
        setattr(world.engine, "predictor" if part == "model" else "monitor", broken)
    else:
        setattr(*targets[part], fail)
    commands = world.play(long("MSFT"))
    assert any(c.symbol == "AAPL" and c.order_type == "stop" for c in submits(commands))   # protection does not wait
    assert world.engine.ladder.level is level
    assert any(e.level == "error" and "out of order" in e.text for e in world.of(ev.Note))
    assert world.play() is not None


def test_the_way_out_stays_open_when_the_risk_layers_fail() -> None:
    def fail(*_: object) -> ev.RiskVerdict:
        raise ZeroDivisionError("limits")

    world = EngineWorld()
    world.hold(stop=None)
    world.risk.vet = fail
    commands = submits(world.play(leave(), long("MSFT")))
    assert [(c.symbol, c.side) for c in commands] == [("AAPL", "sell")]
    codes = {(v.symbol, v.action, v.checks[0].code) for v in world.of(ev.RiskVerdict)[-2:]}
    assert codes == {("AAPL", "allow", "RISK_FAILED"), ("MSFT", "veto", "RISK_FAILED")}


def test_a_model_that_comes_back_is_trusted_again_after_a_while() -> None:
    world = EngineWorld()
    world.engine.predictor = SimpleNamespace(model_id="m", opinion=None, predict=lambda bar: 1 / 0)
    world.play()
    assert world.engine.ladder.level is Level.CAUTIOUS
    world.engine.predictor = SimpleNamespace(model_id="m", opinion=None, predict=lambda bar: np.full((2, 3), 1 / 3))
    world.play()
    world.play()
    assert world.engine.ladder.level is Level.NORMAL
    assert world.of(ev.Predictions)


# --- news ---------------------------------------------------------------------------------------------------

def test_what_is_already_known_is_not_written_again() -> None:
    world = EngineWorld()
    command, = submits(world.play(long()))
    world.accept(command)
    world.fill(command.client_order_id)
    written = len(world.events)
    world.tell(ev.OrderAccepted(ts=world.now, client_order_id="t-e1", broker_order_id="b-t-e1"))
    fill = world.of(ev.OrderFilled)[0]
    world.tell(fill)
    world.tell(world.of(ev.LegKnown)[0])
    assert len(world.events) == written
    assert world.book.quantity("AAPL") == 10


def test_news_without_a_place_is_an_anomaly_and_a_fill_counts_all_the_same() -> None:
    world = EngineWorld()
    world.tell(ev.OrderCanceled(ts=world.now, client_order_id="stranger"))
    anomaly, = world.of(ev.OrderAnomaly)
    assert (anomaly.client_order_id, anomaly.news) == ("stranger", "OrderCanceled")
    world.tell(ev.OrderFilled(ts=world.now, client_order_id="other", execution_id="z", symbol="MSFT", side="buy",
                              quantity=D(5), price=D(30)))
    assert world.book.quantity("MSFT") == 5
    assert world.book.cash == CASH - 150
    assert world.book.orders["other"].role == "external"
    assert len(world.of(ev.OrderAnomaly)) == 2


def test_a_rejected_entry_is_told_to_the_risk_layers() -> None:
    world = EngineWorld()
    command, = submits(world.play(long()))
    world.reject(command.client_order_id)
    assert world.risk.rejections == 1
    assert len(submits(world.play(long()))) == 1            # and the symbol is free again


NEWS = st.sampled_from(["accept", "hold", "fill", "fill_part", "again", "cancel", "expire", "reject", "unknown",
                        "working", "replace", "slice", "signal", "leave", "halt", "resume", "adopt"])


@settings(max_examples=150)
@given(st.lists(st.tuples(NEWS, st.integers(0, 6), st.integers(1, 12), st.integers(90, 110)), max_size=60))
def test_no_order_of_news_raises_or_loses_money(story: list[tuple[str, int, int, int]]) -> None:
    """Whatever the broker says in whatever order: no exception, and cash and shares are the fills' sums."""
    world = EngineWorld()
    world.play(long(), long("MSFT"))
    for count, (word, which, quantity, price) in enumerate(story):
        names = list(world.book.orders) or ["nobody"]
        name = names[which % len(names)]
        ts, order = world.now, world.book.orders.get(name)
        symbol, side = (order.symbol, order.side) if order else ("AAPL", "buy")
        stories: dict[str, Any] = {
            "accept": ev.OrderAccepted(ts=ts, client_order_id=name, broker_order_id=f"b-{name}"),
            "hold": ev.OrderAccepted(ts=ts, client_order_id=name, broker_order_id=f"b-{name}", working=False),
            "fill": ev.OrderFilled(ts=ts, client_order_id=name, execution_id=f"f{count}", symbol=symbol, side=side,
                                   quantity=D(quantity), price=D(price), commission=D("0.01")),
            "cancel": ev.OrderCanceled(ts=ts, client_order_id=name),
            "expire": ev.OrderExpired(ts=ts, client_order_id=name),
            "reject": ev.OrderRejected(ts=ts, client_order_id=name, code="403", message="no"),
            "unknown": ev.OrderUnknown(ts=ts, client_order_id=name, message="time-out"),
            "working": ev.OrderWorking(ts=ts, client_order_id=name, quantity=D(quantity)),
            "replace": ev.OrderReplaced(ts=ts, client_order_id=name, new_client_order_id=f"{name}r",
                                        new_broker_order_id=f"b-{name}r", quantity=D(quantity)),
            "adopt": ev.OrderAdopted(ts=ts, client_order_id=f"a{which}", broker_order_id=f"ba{which}", symbol=symbol,
                                     side="sell", quantity=D(quantity), order_type="limit", limit_price=D(price)),
        }
        if word in stories:
            world.tell(stories[word])
        elif word == "fill_part" and order is not None and order.remaining > 1:
            world.fill(name, 1, str(price))
        elif word == "again" and (fills := world.of(ev.OrderFilled)):
            world.tell(fills[which % len(fills)])
        elif word in ("slice", "signal", "leave"):
            world.play(*{"signal": [long(), short("MSFT")], "leave": [leave(), leave("MSFT")]}.get(word, []),
                       price=float(price))
        elif word == "halt":
            world.sent += world.engine.halt("key", "t", world.now)
        elif word == "resume" and world.engine.halted:
            world.engine.resume("t", "t", world.now)
    fills = {e.execution_id: e for e in world.of(ev.OrderFilled)}
    assert len(fills) == len(world.of(ev.OrderFilled))
    sign = {"buy": 1, "sell": -1}
    assert world.book.cash == CASH - sum((sign[f.side] * f.quantity * f.price + f.commission for f in fills.values()),
                                         D(0))
    for symbol in ("AAPL", "MSFT"):
        held = sum((sign[f.side] * f.quantity for f in fills.values() if f.symbol == symbol), D(0))
        assert world.book.quantity(symbol) == held
    assert world.book.equity == pytest.approx(
        float(world.book.cash) + sum(float(p.quantity) * world.book.marks[s] for s, p in world.book.positions.items()))
    assert all(order.is_open for order in world.book.open_orders.values())
