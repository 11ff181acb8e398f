"""The fold: what a screen shows is a function of the events, whatever else has been seen before."""

from __future__ import annotations

from decimal import Decimal

import pytest
from engine_world import EngineWorld, long, round_trip_and_refusal, submits

from trader.core import events as ev
from trader.core.candles import CANDLES_KEPT
from trader.core.fold import EQUITY_POINTS, FILLS_KEPT, LOG_LINES, Fold

D = Decimal


def folded(events: list[ev.AnyEvent]) -> Fold:
    fold = Fold()
    for event in events:
        fold.apply(event)
    return fold


@pytest.fixture
def story() -> EngineWorld:
    """A round trip with a profit, a refusal, and a position that is still held."""
    world = round_trip_and_refusal()
    world.hold("AAPL", price=50.0)
    return world


def test_a_fold_of_the_journal_holds_the_engines_own_accounts(story: EngineWorld) -> None:
    book = folded(story.events).book
    assert book.cash == story.book.cash
    assert book.equity == story.book.equity
    assert book.positions == story.book.positions
    assert book.orders == story.book.orders
    assert list(book.open_orders) == list(story.book.open_orders)
    assert book.closed_trades == story.book.closed_trades


def test_it_counts_and_tells(story: EngineWorld) -> None:
    fold = folded(story.events)
    assert fold.counts["orders"] == 4
    assert fold.counts["fills"] == 3
    texts = [text for *_, text in fold.log]
    assert any("sell 10 AAPL at 103" in text for text in texts)
    assert any("rejected" in text for text in texts)
    assert fold.strategy == "script"
    assert fold.bars == story.index


def test_slippage_is_measured_against_the_decision_and_the_legs_own_price(story: EngineWorld) -> None:
    fold = folded(story.events)
    assert [fill.slippage_bps for fill in fold.fills][:2] == [pytest.approx(0.0), pytest.approx(0.0)]
    world = EngineWorld()
    command, = submits(world.play(long()))
    world.accept(command)
    world.fill(command.client_order_id, price="100.10")
    assert folded(world.events).fills[0].slippage_bps == pytest.approx(10.0)


def test_the_halt_is_told_from_latch_to_lift() -> None:
    world = EngineWorld()
    world.hold(stop=None)
    close, = submits(world.engine.halt("key", "f12", world.now))
    fold = folded(world.events)
    assert (fold.halt.latched, fold.halt.source, fold.halt.step) == (True, "key", "cancelling")
    world.accept(close)
    world.fill(close.client_order_id)
    fold = folded(world.events)
    assert (fold.halt.step, fold.halt.positions_closed) == ("flat", 1)
    world.engine.resume("tester", "fine", world.now)
    assert not folded(world.events).halt.latched


def test_what_is_kept_has_bounds() -> None:
    fold = Fold()
    symbols = ("AAPL",)
    fold.apply(ev.SessionStarted(ts=0, run_id="r", mode="sim", account="a", symbols=symbols, timeframe="15Min",
                                 source="real", cash=D(1000), strategy="s"))
    for i in range(3 * EQUITY_POINTS):
        fold.apply(ev.SliceClosed(ts=i, index=i, bar_ts=i, day=1, open=[1.0], high=[1.0], low=[1.0], close=[1.0],
                                  volume=[1.0]))
        fold.apply(ev.OrderFilled(ts=i, client_order_id="x", execution_id=f"x{i}", symbol="AAPL", side="buy",
                                  quantity=D(1), price=D(1)))
    assert len(fold.equity) <= EQUITY_POINTS
    assert fold.equity[0][0] < EQUITY_POINTS / 10           # thinned over all of the run, not cut off
    assert fold.equity[-1][0] > 2.9 * EQUITY_POINTS
    assert len(fold.candles["AAPL"].rows) == CANDLES_KEPT
    assert len(fold.fills) == FILLS_KEPT
    assert len(fold.log) == LOG_LINES
    assert fold.log_count > LOG_LINES


def test_a_resumed_session_starts_with_what_was_carried() -> None:
    carried = ev.SessionStarted(
        ts=5, run_id="two", mode="sim", account="a", symbols=("AAPL", "MSFT"), timeframe="15Min", source="real",
        cash=D(500), strategy="s", previous_run_id="one",
        positions=(ev.CarriedPosition(symbol="AAPL", quantity=D(3), average_price=D(100)),),
        orders=(ev.CarriedOrder(client_order_id="one-e1", symbol="AAPL", side="buy", quantity=D(5),
                                order_type="market", state="filled", role="entry", filled_quantity=D(5),
                                average_price=D(100), executions=("x1",)),
                ev.CarriedOrder(client_order_id="leg", symbol="AAPL", side="sell", quantity=D(3), order_type="stop",
                                state="working", role="stop_loss", parent_client_order_id="one-e1",
                                stop_price=D(95))),
        peak_equity=900.0, day_start_equity=850.0, day=20240108)
    fold = folded([carried])
    assert fold.book.equity == pytest.approx(800.0)
    assert (fold.book.peak_equity, fold.book.day_start_equity) == (900.0, 850.0)
    assert list(fold.book.open_orders) == ["leg"]
    fold.apply(ev.OrderFilled(ts=6, client_order_id="leg", execution_id="x2", symbol="AAPL", side="sell",
                              quantity=D(3), price=D(95)))
    fold.apply(ev.OrderFilled(ts=6, client_order_id="one-e1", execution_id="x1", symbol="AAPL", side="buy",
                              quantity=D(5), price=D(100)))            # counted before the restart
    assert fold.book.positions == {}
    assert fold.book.cash == D(785)
