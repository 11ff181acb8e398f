"""One intent together with everything that a rule may look at; computed once, read by all rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import NamedTuple, Protocol

import msgspec

from trader.core.book import Book, Order
from trader.core.events import OrderIntent
from trader.core.history import History
from trader.core.money import ZERO
from trader.core.orders import OrderState
from trader.risk.breakers import Breaker
from trader.risk.facts import MarketFacts
from trader.risk.params import RiskParams
from trader.risk.state import SystemState
from trader.risk.tail import TailRisk
from trader.risk.verdicts import Ruling

ENTRY = "entry"


class ImpactModel(Protocol):
    """The part of the pre-trade cost model that the rules use."""

    def total_bps(self, quantity: float, adv: float, volatility: float, spread_bps: float = 0.0) -> float:
        """Expected cost in basis points."""
        ...

    def quantity_within(self, limit_bps: float, adv: float, volatility: float, spread_bps: float = 0.0) -> float:
        """Shares whose expected cost stays within a limit."""
        ...


class Case(msgspec.Struct, gc=False):
    """What one verdict is made from. Money in dollars; ``sign`` is +1 for a buy."""

    intent: OrderIntent
    book: Book
    history: History
    params: RiskParams
    state: SystemState
    facts: MarketFacts
    impact: ImpactModel
    breakers: Mapping[str, Breaker]
    tail: TailRisk
    orders_last_minute: int
    sign: int
    price: float
    equity: float
    held: Decimal                               # signed shares
    held_value: float                           # signed dollars
    values: dict[str, float]                    # signed dollars held by symbol; none for an exit
    pending: dict[str, float]                   # signed dollars of other open entries by symbol; none for an exit
    pending_gross: float                        # dollars of them
    gross: float                                # dollars held and pending
    working: list[Order]                        # open orders of the symbol, this one left out
    day_loss: float                             # share of the day's starting equity, 0 or more
    drawdown: float                             # share of the peak, 0 or more


class Rule(NamedTuple):
    """A rule: its place in the journal's table, and what it says to a case and the quantity left of it."""

    layer: int
    name: str
    unit: str                                   # of its readings: $ | % | bps | /min | s | x | level
    judge: Callable[[Case, Decimal], Ruling]


def build_case(
    intent: OrderIntent, book: Book, history: History, params: RiskParams, state: SystemState, facts: MarketFacts,
    impact: ImpactModel, breakers: Mapping[str, Breaker], tail: TailRisk, orders_last_minute: int,
    day_loss: float, drawdown: float,
) -> Case:
    """Gather the numbers of an intent from the books."""
    symbol, own = intent.symbol, intent.client_order_id
    pending: dict[str, float] = {}
    values: dict[str, float] = {}
    if intent.role == ENTRY:
        values = book.values()
        for order in book.open_entries.values():
            if order.client_order_id != own:
                pending[order.symbol] = pending.get(order.symbol, 0.0) + order_value(order, book)
    pending_gross = sum(map(abs, pending.values()))
    working = [order for order in book.open_orders_of(symbol) if order.client_order_id != own]
    mark = book.marks.get(symbol, intent.signal_price)
    stated = intent.limit_price or intent.stop_price
    price = float(stated) if stated else mark
    position = book.positions.get(symbol)
    held = position.quantity if position else ZERO
    return Case(
        intent, book, history, params, state, facts, impact, breakers, tail, orders_last_minute,
        1 if intent.side == "buy" else -1, price, book.equity, held, float(held) * mark, values, pending,
        pending_gross, book.gross + pending_gross, working, day_loss, drawdown,
    )


def order_value(order: Order, book: Book) -> float:
    """Signed dollars that an open order may still trade."""
    stated = order.limit_price or order.stop_price
    price = float(stated) if stated else book.marks.get(order.symbol, order.signal_price)
    value = float(order.remaining) * price
    return value if order.side == "buy" else -value


def covering(case: Case, roles: frozenset[str]) -> Decimal:
    """Shares that open orders of these roles on the intent's side will already trade away."""
    side = case.intent.side
    return sum((order.remaining for order in case.working
                if order.role in roles and order.side == side and order.state is not OrderState.PENDING_CANCEL), ZERO)
