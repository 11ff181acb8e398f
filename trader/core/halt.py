"""The emergency halt as a procedure: latch, cancel all, close all, report; idempotent, resumable at any step."""

from __future__ import annotations

from trader.core import events as ev
from trader.core.book import Order
from trader.core.commands import CancelAll, Command
from trader.core.desk import Desk
from trader.core.orders import AT_BROKER

ROLE = "halt"


class HaltProcedure:
    """Driven by events and slices until all is cancelled and flat, or what could not be is told.

    Parameters
    ----------
    flatten : bool
        Close all positions at market. False cancels what would open or enlarge a position and leaves stops alone.
    attempts : int
        Closing orders for a position, one a slice, before it counts as a failure.
    """

    def __init__(self, desk: Desk, *, flatten: bool, attempts: int) -> None:
        self._desk = desk
        self._flatten = flatten
        self._limit = attempts
        self._attempts: dict[str, int] = {}
        self._tried_at: dict[str, int] = {}     # slice of the last attempt
        self.running = False
        self.cancelled = 0
        self.closed = 0

    def begin(self) -> list[Command]:
        """Start cancelling; a procedure that is under way goes on."""
        if self.running:
            return self.go_on(insist=True)
        self.running = True
        self._attempts.clear()
        self._tried_at.clear()
        self.cancelled = len(self._to_cancel())
        self.closed = 0
        self._desk.record(ev.HaltProgress(
            ts=self._desk.now_ns(), step="cancelling", detail=f"{self.cancelled} orders"))
        return [*self._cancel(), *self.go_on()]

    def go_on(self, *, insist: bool = False, order: Order | None = None) -> list[Command]:
        """The next step. ``insist`` asks for cancels again; ``order`` is one that there was news about."""
        waiting = self._to_cancel()
        if waiting:
            if insist:
                return self._cancel()
            landed_late = order in waiting and order is not None and order.state in AT_BROKER
            return self._desk.cancel(order, "halt") if landed_late and order is not None else []
        commands, failures, later = self._close() if self._flatten else ([], [], False)
        closing = any(o.role == ROLE for o in self._desk.book.open_orders.values())
        if not commands and not closing and not later:
            self.running = False
            self._desk.record(ev.HaltFinished(
                ts=self._desk.now_ns(), orders_cancelled=self.cancelled, positions_closed=self.closed,
                failures=tuple(failures)))
        return commands

    def _to_cancel(self) -> list[Order]:
        return [o for o in self._desk.book.open_orders.values()
                if o.role != ROLE and (self._flatten or o.role in ("entry", "external"))]

    def _cancel(self) -> list[Command]:
        if self._flatten:
            return [CancelAll()]
        return [command for order in self._to_cancel() for command in self._desk.cancel(order, "halt")]

    def _close(self) -> tuple[list[Command], list[str], bool]:
        """Closing orders, what could not be closed, and whether something waits for the next slice's attempt."""
        book = self._desk.book
        commands: list[Command] = []
        failures: list[str] = []
        later = False
        for symbol, position in list(book.positions.items()):
            if book.open_orders_of(symbol):
                continue
            attempts = self._attempts.get(symbol, 0)
            if attempts >= self._limit:
                failures.append(f"{symbol}: {position.quantity} still held after {attempts} closing orders")
                continue
            if self._tried_at.get(symbol) == book.slices:
                later = True                    # what was just refused is not asked again at once
                continue
            self._attempts[symbol], self._tried_at[symbol] = attempts + 1, book.slices
            self.closed += attempts == 0
            commands += self._desk.close(symbol, ROLE, "emergency halt", "halt")
        return commands, failures, later
