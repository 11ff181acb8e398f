"""With a broker that holds the stop while its target works, as Alpaca does: protected, closed at once, reconciled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal as D

import numpy as np
import pytest
from fault_broker import until
from lockstep_desk import SYMBOLS, Desk, at_desk, lockstep

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core import events as ev
from trader.core.book import Book, Order
from trader.core.clock import MINUTE_NS
from trader.core.commands import CancelAll
from trader.core.orders import OrderState
from trader.core.panel import BarPanel
from trader.core.sessions import bar_grid
from trader.exchange.types import VenueRules
from trader.exchange.venue import Venue
from trader.execution.protected_positions import ProtectedPositionManager

CALM = (100.0, 100.5, 99.5, 100.0)
TO_STOP = (95.0, 95.5, 85.0, 88.0)
TO_TARGET = (105.0, 115.0, 104.0, 112.0)
FREE = RealisticFillSimulator(slippage_model="none", commission_per_share=0.0, max_participation=1.0)


@asynccontextmanager
async def trading(*bars: tuple[float, ...]) -> AsyncIterator[Desk]:
    """A desk at a venue that holds stops; both symbols see the bars (with a volume or plenty) after two calm ones."""
    rows = np.array([(*row, 1e6)[:5] for row in (CALM, CALM, *bars)])
    ts = bar_grid(1_704_724_200_000_000_000, 1_705_600_000_000_000_000)[: len(rows)]
    columns = [np.column_stack([rows[:, k]] * 2) for k in range(5)]
    panel = BarPanel(SYMBOLS, "15Min", ts, ts + 15 * MINUTE_NS, *columns)
    async with lockstep(Venue(panel, start_index=1, fill_model=FREE, rules=VenueRules(held_stops=True))) as desk:
        yield desk


async def protected(desk: Desk) -> tuple[Order, Order]:
    """A position of 10 with its exits: target and stop."""
    await desk.enter("run-e1", "AAPL", 10, time_in_force="gtc", take_profit=D(110), stop_loss=D(90))
    await bar(desk)
    return exits(desk.book)


async def bar(desk: Desk) -> None:
    desk.server.advance()
    await desk.heard()


def exits(book: Book) -> tuple[Order, Order]:
    target, = (order for order in book.open_orders.values() if order.order_type == "limit")
    stop, = (order for order in book.open_orders.values() if order.order_type == "stop")
    return target, stop


async def green(desk: Desk) -> bool:
    report = await desk.reconciler.reconcile()
    await desk.reconciler.resolve_discrepancies(report)
    return not report.has_discrepancies


async def test_a_held_stop_is_protection_and_no_difference() -> None:
    async with trading(CALM) as desk:
        target, stop = await protected(desk)
        assert (target.state, target.role) == (OrderState.WORKING, "take_profit")
        assert (stop.state, stop.role, stop.remaining) == (OrderState.HELD, "stop_loss", 10)
        assert await desk.broker.get_orders("open") != []
        assert stop.client_order_id not in {order.client_order_id for order in await desk.broker.get_orders("open")}
        assert await green(desk)
        desk.agree()


async def test_a_touched_stop_closes_the_books_at_once() -> None:
    async with trading(TO_STOP) as desk:
        target, stop = await protected(desk)
        await bar(desk)
        assert (target.state, stop.state) == (OrderState.REPLACED, OrderState.FILLED)
        assert desk.book.open_orders == {}
        assert desk.orders.active_orders() == []
        assert [trade.exit_role for trade in desk.book.closed_trades] == ["stop_loss"]
        assert await green(desk)
        desk.agree()


async def test_a_filled_target_ends_its_stop() -> None:
    async with trading(TO_TARGET) as desk:
        target, stop = await protected(desk)
        await bar(desk)
        assert (target.state, stop.state) == (OrderState.FILLED, OrderState.CANCELED)
        assert await green(desk)
        desk.agree()


@pytest.mark.parametrize("ending", [TO_STOP, TO_TARGET])
async def test_what_a_dead_stream_missed_is_found(ending: tuple[float, ...]) -> None:
    async with trading(ending) as desk:
        target, stop = await protected(desk)
        assert desk.stream._ws is not None
        desk.stream._ws.transport.abort()
        desk.server.advance()
        assert not await green(desk)
        assert (target.state, stop.state) == (
            (OrderState.REPLACED, OrderState.FILLED) if ending is TO_STOP else
            (OrderState.FILLED, OrderState.CANCELED))
        assert await green(desk)
        desk.agree()


@pytest.mark.parametrize("ending", [TO_STOP, TO_TARGET])
async def test_the_next_session_goes_on_with_the_position(ending: tuple[float, ...]) -> None:
    """Its books know the exits from the journal, its order manager from the first comparison alone."""
    async with trading(ending) as desk:
        target, stop = await protected(desk)
        async with at_desk(desk.server, desk.book) as again:
            assert await green(again)
            await bar(again)
            assert (target.state, stop.state) == (
                (OrderState.REPLACED, OrderState.FILLED) if ending is TO_STOP else
                (OrderState.FILLED, OrderState.CANCELED))
            assert again.book.open_orders == {}
            assert await green(again)
            again.agree()


async def test_books_without_a_journal_find_the_stop_that_no_list_of_open_orders_has() -> None:
    async with trading(TO_STOP) as desk:
        await protected(desk)
        async with at_desk(desk.server, Book(SYMBOLS, D(100_000))) as stranger:
            assert not await green(stranger)
            target, stop = exits(stranger.book)
            assert (target.role, stop.role, stop.state) == ("take_profit", "stop_loss", OrderState.HELD)
            assert (target.parent, stop.parent) == ("run-e1", "run-e1")
            assert stranger.book.quantity("AAPL") == 10
            assert await green(stranger)
            await bar(stranger)
            assert stranger.book.open_orders == {}
            assert await green(stranger)
            stranger.agree()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("touched", [False, True])
async def test_a_replaced_stop_is_followed(times: int, touched: bool) -> None:
    """Its successor is held as well: no message introduces it, no list of open orders has it."""
    async with trading(TO_STOP, CALM) as desk:
        target, stop = await protected(desk)
        broker_id = stop.broker_order_id
        for price in range(times):
            broker_id = (await desk.broker.replace(broker_id, stop_price=D(91 + price))).id
        await desk.heard()
        if touched:                                     # before anybody has looked
            await bar(desk)
            assert await desk.reconciler.run_until_green()
        else:
            assert not await green(desk)
            assert stop.state is OrderState.REPLACED
            _, fresh = exits(desk.book)
            assert (fresh.broker_order_id, fresh.role, fresh.stop_price) == (broker_id, "stop_loss", 90 + times)
            assert await green(desk)
            await bar(desk)
        assert desk.book.open_orders == {}
        assert target.state is OrderState.REPLACED
        assert await green(desk)
        desk.agree()


async def test_a_replaced_target_hands_over_to_its_successor_and_that_to_the_stop() -> None:
    async with trading(TO_STOP) as desk:
        target, stop = await protected(desk)
        await desk.broker.replace(target.broker_order_id, limit_price=D(112))
        await desk.heard()
        fresh, _ = exits(desk.book)
        assert (target.state, fresh.limit_price) == (OrderState.REPLACED, 112)
        await bar(desk)
        assert (fresh.state, stop.state) == (OrderState.REPLACED, OrderState.FILLED)
        assert desk.book.open_orders == {}
        assert await green(desk)


async def test_a_partial_take_profit_shrinks_the_stop_and_stays_green() -> None:
    async with trading((*TO_TARGET, 4.0), TO_STOP) as desk:
        target, stop = await protected(desk)
        await bar(desk)
        assert (target.state, target.remaining, stop.remaining) == (OrderState.PARTIAL, 6, 6)
        assert await green(desk)
        await bar(desk)
        assert (target.state, stop.state, stop.filled_quantity) == (OrderState.REPLACED, OrderState.FILLED, 6)
        assert await green(desk)
        desk.agree()


async def test_cancel_all_ends_both() -> None:
    async with trading(CALM) as desk:
        target, stop = await protected(desk)
        await desk.carry_out(CancelAll())
        await desk.heard()
        assert (target.state, stop.state) == (OrderState.CANCELED, OrderState.CANCELED)
        assert await green(desk)
        closing = await desk.broker.close_position("AAPL")
        assert closing.quantity == 10


@pytest.mark.parametrize("at_once", [True, False])
async def test_positions_opened_with_protection(at_once: bool) -> None:
    """A bracket, or an entry and then a one-cancels-other pair: the stop is at the broker either way."""
    async with trading(CALM, TO_STOP) as desk:
        manager = ProtectedPositionManager(desk.broker, poll_s=0.02)
        opening = asyncio.create_task(manager.open_position_with_protection(
            "AAPL", "buy", 10, stop_loss_pct=0.02, take_profit_pct=0.04, use_bracket_order=at_once))
        await until(lambda: bool(desk.server.venue.orders("open")))
        desk.server.advance()
        position, success = await opening
        assert success, position.error
        stop = await desk.broker.get_order(position.stop_loss_order_id)
        assert stop is not None
        assert (stop.status, stop.stop_price) == ("held", position.stop_loss_price)
        desk.server.advance()
        desk.server.advance()
        gone = await desk.broker.get_order(position.take_profit_order_id)
        assert gone is not None
        assert (gone.status, gone.replaced_by) == ("replaced", position.stop_loss_order_id)
        assert await desk.broker.get_positions() == []


async def test_news_of_a_stop_are_no_anomalies() -> None:
    async with trading(TO_STOP) as desk:
        refused: list[ev.Event] = []
        real = desk.book.apply

        def apply(event: ev.AnyEvent) -> None:
            if not desk.book.accepts(event):
                refused.append(event)
            real(event)

        desk.book.apply = apply  # type: ignore[method-assign]
        await protected(desk)
        await bar(desk)
        assert refused == []
