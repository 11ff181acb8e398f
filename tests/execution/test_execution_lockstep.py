"""Adapter, streams, manager and reconciler against the embedded exchange over its real wire, bar by bar."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from decimal import Decimal

import numpy as np
import pytest
from fault_broker import until
from lockstep_desk import SYMBOLS, Desk, lockstep

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core.book import Book
from trader.core.clock import MINUTE_NS
from trader.core.commands import Cancel, CancelAll, Submit
from trader.core.orders import OrderState
from trader.core.panel import BarPanel
from trader.core.sessions import bar_grid
from trader.exchange.venue import Venue
from trader.execution.outcomes import SubmitOutcome
from trader.execution.protected_positions import ProtectedPositionManager
from trader.execution.reconciliation import ReconciliationEngine


def walk(count: int = 78, seed: int = 3) -> BarPanel:
    rng = np.random.default_rng(seed)
    ts = bar_grid(1_704_724_200_000_000_000, 1_705_600_000_000_000_000)[:count]
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.004, (count, 2)), axis=0)), 2)
    open_ = np.vstack([[100.0, 100.0], close[:-1]])
    high = np.round(np.maximum(open_, close) + 0.2, 2)
    low = np.round(np.minimum(open_, close) - 0.2, 2)
    return BarPanel(SYMBOLS, "15Min", ts, ts + 15 * MINUTE_NS, open_, high, low, close, np.full((count, 2), 4000.0))


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    model = RealisticFillSimulator(commission_per_share=0.005, max_participation=0.05)
    async with lockstep(Venue(walk(), start_index=1, cash=Decimal(100_000), fill_model=model)) as there:
        yield there


async def test_books_agree_after_every_bar(desk: Desk) -> None:
    source = random.Random(5)
    names = 0
    while not desk.server.venue.done:
        desk.server.advance()
        await desk.heard()
        desk.agree()
        last = desk.server.venue.panel.close[desk.server.venue.index - 1].tolist()
        for symbol, close in zip(SYMBOLS, last, strict=True):
            if desk.book.open_orders_of(symbol):
                continue
            names += 1
            held = desk.book.quantity(symbol)
            if held:                                            # a cancelled entry left shares without exits
                await desk.enter(f"run-x{names}", symbol, int(held), side="sell")
                continue
            price = Decimal(repr(close))
            await desk.enter(f"run-e{names}", symbol, source.choice((40, 350)), time_in_force="gtc",
                             take_profit=price + 1, stop_loss=price - 1)
        for order in list(desk.book.open_orders.values()):
            if order.state is OrderState.PARTIAL and source.random() < 0.5:
                await desk.carry_out(
                    Cancel(client_order_id=order.client_order_id, broker_order_id=order.broker_order_id))
        await desk.heard()
    assert len(desk.book.closed_trades) > 3
    partial = [o for o in desk.book.orders.values() if len(o.executions) > 1]
    assert partial
    report = await desk.reconciler.reconcile()
    assert not report.has_discrepancies, report.discrepancies
    await desk.carry_out(CancelAll())
    await desk.heard()
    assert not desk.book.open_orders
    assert desk.orders.active_orders() == []
    desk.agree()


async def test_what_a_dead_stream_missed_is_reconciled_with_the_real_executions(desk: Desk) -> None:
    desk.server.advance()
    await desk.enter("run-e1", "AAPL", 350, time_in_force="gtc", take_profit=Decimal(150), stop_loss=Decimal(50))
    await desk.heard()
    ws = desk.stream._ws
    assert ws is not None
    ws.transport.abort()                                        # the wire is cut, nobody says goodbye
    for _ in range(3):
        desk.server.advance()
    report = await desk.reconciler.reconcile()
    assert {d.type for d in report.discrepancies} >= {"quantity", "cash", "unknown"}
    assert await desk.reconciler.run_until_green()
    desk.agree()
    executions = {fill.execution_id for fill in await desk.broker.get_fill_activities()}
    assert desk.book.orders["run-e1"].executions == executions
    await until(lambda: len(desk.states) >= 3)
    assert desk.states[:3] == ["up", "reconnecting", "up"]
    # And the stream goes on where the reconciliation left off.
    seen = desk.stream.processed
    before = desk.server.venue.desk.event_count
    while desk.server.venue.desk.event_count == before:
        desk.server.advance()
        await desk.carry_out(CancelAll())
    await asyncio.wait_for(desk.stream.wait_processed(seen + 1), 60)


async def test_a_restarted_session_takes_over_bracket_and_position(desk: Desk) -> None:
    desk.server.advance()
    await desk.enter("run-e1", "AAPL", 40, time_in_force="gtc", take_profit=Decimal(150), stop_loss=Decimal(50))
    desk.server.advance()
    await desk.heard()
    fresh = Book(SYMBOLS, Decimal(100_000))
    reconciler = ReconciliationEngine(desk.broker, fresh, confirm_after=0)
    assert await reconciler.run_until_green()
    assert fresh.quantity("AAPL") == 40
    assert fresh.cash == desk.server.venue.accounts_book.cash
    assert sorted(o.order_type for o in fresh.open_orders.values()) == ["limit", "stop"]


async def test_the_guides_protected_position(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.server.advance()
    position_manager = ProtectedPositionManager(desk.broker, poll_s=0.02)
    position, success = await position_manager.open_position_with_protection(
        symbol="AAPL", side="buy", quantity=100, stop_loss_pct=0.02, take_profit_pct=0.04, use_bracket_order=True)
    if success:
        print(f"Position opened: {position.position_id}")
        print(f"Stop Loss Order: {position.stop_loss_order_id}")
        print(f"Take Profit Order: {position.take_profit_order_id}")
    else:
        print(f"Failed to open position: {position.error}")
    assert success, position.error
    assert capsys.readouterr().out.count("\n") == 3
    stop = await desk.broker.get_order(position.stop_loss_order_id)
    assert stop is not None
    assert stop.stop_price == position.stop_loss_price
    nothing, success = await position_manager.open_position_with_protection("AAPL", "buy", 10_000_000)
    assert not success
    assert nothing.error


async def test_entry_first_then_exits_for_what_was_filled(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.server.advance()
    submit = desk.broker.submit

    async def trading(order: Submit, **how: bool) -> SubmitOutcome:
        outcome = await submit(order, **how)
        if not desk.server.venue.accounts_book.holdings:
            desk.server.advance()                               # a part of the entry fills, and no more
        return outcome

    monkeypatch.setattr(desk.broker, "submit", trading)
    manager = ProtectedPositionManager(desk.broker, fill_timeout_s=0.3, poll_s=0.02)
    position, success = await manager.open_position_with_protection("AAPL", "buy", 1500, use_bracket_order=False)
    assert success, position.error
    assert 0 < position.filled_quantity < 1500
    stop = await desk.broker.get_order(position.stop_loss_order_id)
    assert stop is not None
    assert stop.quantity == position.filled_quantity == desk.server.venue.accounts_book.holdings["AAPL"].qty
