"""No position without a stop of its own size at the broker; entries that stay partly filled are cut."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal

from trader.core.commands import Command
from trader.core.desk import Desk
from trader.core.money import ZERO, to_tick

CLOSING_ROLES = frozenset({"exit", "flatten", "halt"})


class Guardian:
    """Looks at all positions once a slice.

    Parameters
    ----------
    default_stop_pct : float
        Distance of a stop where the entry named none that still lies beyond the market.
    patience_slices : int
        How long an entry may stay partly filled: its exits work only once it is completely filled or cut.
    """

    def __init__(self, desk: Desk, default_stop_pct: float, patience_slices: int) -> None:
        self._desk = desk
        self._away = default_stop_pct
        self._patience = patience_slices
        self._partial_since: dict[str, int] = {}
        self._whole_at = -1                             # the book's changes when no entry was partly filled
        self._safe_at: tuple[int, frozenset[str]] = (-1, frozenset())   # and when no position lacked a stop

    def cut_partial_entries(self) -> list[Command]:
        """Cancel the rest of entries that have been partly filled for too long."""
        book = self._desk.book
        if book.changes == self._whole_at:
            return []
        commands: list[Command] = []
        partial = {key: order for key, order in book.open_entries.items() if order.filled_quantity}
        for key in [key for key in self._partial_since if key not in partial]:
            del self._partial_since[key]
        for key, order in partial.items():
            since = self._partial_since.setdefault(key, book.slices)
            if book.slices - since >= self._patience:
                commands += self._desk.cancel(order, "partly filled for too long")
        if not partial:
            self._whole_at = book.changes
        return commands

    def protect(self, leaving: Collection[str]) -> list[Command]:
        """A stop for every position that lacks one; symbols in ``leaving`` are being closed anyway."""
        book = self._desk.book
        if book.changes == self._safe_at[0] and not leaving and not self._safe_at[1]:
            return []
        state = (book.changes, frozenset(leaving))
        if state == self._safe_at:
            return []
        commands: list[Command] = []
        safe = True
        for symbol, position in list(book.positions.items()):
            opened = book.open_orders_of(symbol)
            if symbol in state[1] or any(o.role == "entry" or o.role in CLOSING_ROLES for o in opened):
                continue
            closing = "sell" if position.quantity > 0 else "buy"
            exits = [order for order in opened if order.side == closing]
            stops = [order for order in exits if order.stop_price is not None]
            missing = abs(position.quantity) - sum((order.remaining for order in stops), ZERO)
            if missing <= 0:
                continue
            safe = False
            holders = [order for order in exits if order.stop_price is None]
            if holders:
                for order in holders:
                    commands += self._desk.cancel(order, "holds shares that need a stop")
                continue
            commands += self._desk.submit(
                symbol=symbol, side=closing, quantity=missing, role="protect", strategy=position.strategy,
                order_type="stop", time_in_force="gtc", stop_price=self._stop_price(symbol),
                signal_price=book.marks.get(symbol, 0.0), reason="position without a stop")
        if safe:
            self._safe_at = state
        return commands

    def _stop_price(self, symbol: str) -> Decimal:
        """The stop that the entry named while it still lies beyond the market, else the default distance."""
        book = self._desk.book
        position = book.positions[symbol]
        long = position.quantity > 0
        mark = book.marks.get(symbol, float(position.average_price))
        fallback = to_tick(mark * (1 - self._away if long else 1 + self._away), toward="down" if long else "up")
        entry = book.stopped_entries.get(symbol)
        if entry is None or entry.stop_loss is None:
            return fallback
        beyond = float(entry.stop_loss) < mark if long else float(entry.stop_loss) > mark
        return entry.stop_loss if beyond else fallback
