"""Where wishes become orders: intent, verdict and submission recorded, then a command; and asking for cancels."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol

from trader.core import events as ev
from trader.core.book import ENTRY_ROLES, Book, Order
from trader.core.commands import Cancel, Command, Submit
from trader.core.history import History
from trader.core.ids import ClientIds
from trader.core.orders import AT_BROKER

ASK_AGAIN_SLICES = 2                    # a cancel without an effect is asked for again after so many slices


class Vetting(Protocol):
    """The risk layers' word on an intent."""

    def vet(self, intent: ev.OrderIntent, book: Book, history: History) -> ev.RiskVerdict: ...


class Desk:
    """The one way from the engine to an order."""

    def __init__(self, book: Book, history: History, ids: ClientIds, risk: Vetting,
                 record: Callable[[ev.AnyEvent], None], now_ns: Callable[[], int]) -> None:
        self.book = book
        self._history = history
        self._ids = ids
        self._risk = risk
        self.record = record
        self.now_ns = now_ns
        self._asked: dict[str, int] = {}

    def submit(self, *, symbol: str, side: str, quantity: Decimal, role: str, **fields: Any) -> list[Command]:
        """Record an intent and the layers' verdict; the command for what is left of it. ``fields``: OrderIntent's."""
        intent = ev.OrderIntent(
            ts=self.now_ns(), client_order_id=self._ids.next(role), symbol=symbol, side=side, quantity=quantity,
            role=role, **fields)
        self.record(intent)
        verdict = self._vet(intent)
        self.record(verdict)
        if verdict.action == "veto":
            return []
        self.record(ev.OrderSubmitting(ts=self.now_ns(), client_order_id=intent.client_order_id))
        return [Submit(
            client_order_id=intent.client_order_id, symbol=symbol, side=side, quantity=verdict.quantity,
            order_type=intent.order_type, time_in_force=intent.time_in_force, limit_price=intent.limit_price,
            stop_price=intent.stop_price, take_profit=intent.take_profit, stop_loss=intent.stop_loss,
        )]

    def _vet(self, intent: ev.OrderIntent) -> ev.RiskVerdict:
        """The layers' verdict; where they fail themselves nothing new is opened, and every way out stays open."""
        try:
            return self._risk.vet(intent, self.book, self._history)
        except Exception as error:
            action = "veto" if intent.role in ENTRY_ROLES else "allow"
            check = ev.RuleCheck(layer=4, rule="risk", action=action, code="RISK_FAILED", used=0.0, limit=0.0,
                                 message=f"the risk layers failed: {type(error).__name__}: {error}")
            return ev.RiskVerdict(
                ts=intent.ts, client_order_id=intent.client_order_id, symbol=intent.symbol, action=action,
                quantity_asked=intent.quantity, quantity=intent.quantity, checks=(check,))

    def close(self, symbol: str, role: str, reason: str, strategy: str) -> list[Command]:
        """A market order for all that is held; nothing when flat."""
        held = self.book.quantity(symbol)
        if held == 0:
            return []
        return self.submit(
            symbol=symbol, side="sell" if held > 0 else "buy", quantity=abs(held), role=role, strategy=strategy,
            signal_price=self.book.marks.get(symbol, 0.0), reason=reason)

    def cancel(self, order: Order, reason: str) -> list[Command]:
        """Ask the broker to cancel; silent while an earlier request may still work."""
        asked = self._asked.get(order.client_order_id, -1_000)
        waiting = self.book.slices - asked < ASK_AGAIN_SLICES
        if order.state not in AT_BROKER or not order.broker_order_id or waiting:
            return []
        self._asked[order.client_order_id] = self.book.slices
        self.record(ev.OrderCancelRequested(
            ts=self.now_ns(), client_order_id=order.client_order_id, reason=reason))
        return [Cancel(client_order_id=order.client_order_id, broker_order_id=order.broker_order_id)]

    def cancel_symbol(self, symbol: str, reason: str) -> list[Command]:
        """Ask to cancel a symbol's open orders; of a bracket's two legs one, which takes the other with it."""
        groups: set[str] = set()
        commands: list[Command] = []
        for order in self.book.open_orders_of(symbol):
            if order.parent and order.parent in groups:
                continue
            if order.parent:
                groups.add(order.parent)
            commands += self.cancel(order, reason)
        return commands
