"""One session's parts around a book, against the embedded exchange over its real wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fault_broker import until

from trader.core import events as ev
from trader.core.book import Book
from trader.core.clock import SystemClock
from trader.core.commands import Submit
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue
from trader.execution.broker_api import AlpacaBroker
from trader.execution.order_manager import OrderManager
from trader.execution.reconciliation import ReconciliationEngine
from trader.execution.trade_stream import TradeUpdateStream, stream_url
from trader.utils.tasks import end

SYMBOLS = ("AAPL", "MSFT")


@dataclass
class Desk:
    """One session's parts around a book."""

    server: ExchangeServer
    book: Book
    broker: AlpacaBroker
    orders: OrderManager
    stream: TradeUpdateStream
    reconciler: ReconciliationEngine
    states: list[str] = field(default_factory=list)
    told: int = 0               # updates before the stream was there

    async def carry_out(self, *commands: Any) -> None:
        for command in commands:
            for event in await self.orders.execute(command):
                self.book.apply(event)  # type: ignore[arg-type]

    async def heard(self) -> None:
        """Until every trade update of the venue has come through."""
        await asyncio.wait_for(self.stream.wait_processed(self.server.venue.desk.event_count - self.told), 60)

    async def enter(self, name: str, symbol: str, quantity: int, side: str = "buy", **fields: Any) -> None:
        self.book.apply(ev.OrderIntent(
            ts=1, client_order_id=name, symbol=symbol, side=side, quantity=Decimal(quantity),
            role="entry" if side == "buy" else "exit", strategy="t", signal_price=100.0))
        self.book.apply(ev.RiskVerdict(ts=1, client_order_id=name, symbol=symbol, action="allow", checks=(),
                                       quantity_asked=Decimal(quantity), quantity=Decimal(quantity)))
        self.book.apply(ev.OrderSubmitting(ts=1, client_order_id=name))
        await self.carry_out(
            Submit(client_order_id=name, symbol=symbol, side=side, quantity=Decimal(quantity), **fields))

    def agree(self) -> None:
        """Cash and positions are equal on both sides, to the last digit."""
        accounts = self.server.venue.accounts_book
        held = {symbol: position.quantity for symbol, position in self.book.positions.items()}
        assert held == {symbol: holding.qty for symbol, holding in accounts.holdings.items() if holding.qty}
        assert self.book.cash == accounts.cash


@asynccontextmanager
async def at_desk(server: ExchangeServer, book: Book | None = None) -> AsyncIterator[Desk]:
    """A desk at a server that runs; ``book`` is what an earlier one has left."""
    url = f"http://127.0.0.1:{server.port}"
    book = book or Book(SYMBOLS, Decimal(100_000))
    broker = AlpacaBroker("key", "secret", url)
    orders = OrderManager(broker, SystemClock(), deliver=book.apply)  # type: ignore[arg-type]
    states: list[str] = []

    def on_update(raw: dict[str, Any]) -> None:
        for event in orders.on_trade_update(raw):
            book.apply(event)  # type: ignore[arg-type]

    stream = TradeUpdateStream(
        "key", "secret", stream_url(url), on_update, lambda state, detail: states.append(state), backoff_s=(0.02, 0.1))
    reconciler = ReconciliationEngine(broker, book, booked=orders.booked, confirm_after=0)
    told = server.venue.desk.event_count
    running = asyncio.create_task(stream.run())
    await until(lambda: "up" in states)
    try:
        yield Desk(server, book, broker, orders, stream, reconciler, states, told)
    finally:
        await end(running)
        await orders.close()
        await broker.close()


@asynccontextmanager
async def lockstep(venue: Venue) -> AsyncIterator[Desk]:
    """A desk at a server of its own."""
    server = ExchangeServer(venue)
    await server.start()
    try:
        async with at_desk(server) as desk:
            yield desk
    finally:
        await server.stop()
