"""Cash and positions, exact to the last digit; the identity cash + cost of positions = deposits + realised − fees."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal

import msgspec

from trader.core.money import CENT, MICRO_SHARE, SHARE
from trader.exchange.types import ZERO

_COST_QUANTUM = Decimal("0.000000001")


class Holding(msgspec.Struct, gc=False):
    """A position: signed ``qty`` and signed ``cost`` (what the open shares cost, or brought when short).

    ``day_cost`` is the same with the shares of earlier days at the price of the last session's close.
    """

    qty: Decimal = ZERO
    cost: Decimal = ZERO
    day_cost: Decimal = ZERO

    @property
    def average_price(self) -> Decimal:
        """Cost of one share."""
        return self.cost / self.qty


class Account:
    """The books of one account, by average cost.

    ``cash + Σ cost == deposited + realized − fees`` after every fill, exactly.
    """

    def __init__(self, cash: Decimal) -> None:
        self.deposited = cash
        self.cash = cash
        self.realized = ZERO
        self.fees = ZERO
        self.holdings: dict[str, Holding] = {}
        self.fills = 0              # booked so far; whoever keeps figures of the books compares it

    def quantity(self, symbol: str) -> Decimal:
        """Signed shares held; zero without a position."""
        holding = self.holdings.get(symbol)
        return ZERO if holding is None else holding.qty

    def book_fill(self, symbol: str, signed_qty: Decimal, price: Decimal, fee: Decimal) -> Decimal:
        """Take a fill into the books; returns the position afterwards. A fill may pass through zero."""
        self.fills += 1
        value = signed_qty * price
        self.cash -= value + fee
        self.fees += fee
        holding = self.holdings.get(symbol)
        if holding is None:
            self.holdings[symbol] = Holding(signed_qty, value, value)
            return signed_qty
        left = holding.qty + signed_qty
        if not left:
            self.realized -= value + holding.cost
            del self.holdings[symbol]
            return left
        if (holding.qty > ZERO) is (signed_qty > ZERO):
            holding.cost += value
            holding.day_cost += value
        elif (holding.qty > ZERO) is (left > ZERO):
            self._reduce(holding, signed_qty, price)
        else:                                   # through zero: the other side opens at this price
            self.realized += holding.qty * price - holding.cost
            holding.cost = holding.day_cost = left * price
        holding.qty = left
        return left

    def begin_day(self, price_of: Callable[[str], Decimal]) -> None:
        """Measure the day's profit from here: ``price_of`` a symbol is the last session's close."""
        for symbol, holding in self.holdings.items():
            holding.day_cost = holding.qty * price_of(symbol)

    def split(self, symbol: str, ratio: Decimal, price: Decimal) -> tuple[Decimal, Decimal]:
        """Multiply a position by ``ratio``; the change in shares and what was paid for a fraction at ``price``.

        The cost stays; a position of whole shares sells the fraction that it cannot keep.
        """
        holding = self.holdings.get(symbol)
        if holding is None:
            return ZERO, ZERO
        before, exact = holding.qty, holding.qty * ratio
        quantum = SHARE if before % SHARE == 0 else MICRO_SHARE
        kept = exact.quantize(quantum, rounding=ROUND_DOWN)
        lieu = ((exact - kept) * price).quantize(CENT)
        released = (holding.cost * (exact - kept) / exact).quantize(_COST_QUANTUM)
        self.cash += lieu
        self.realized += lieu - released
        holding.day_cost -= (holding.day_cost * (exact - kept) / exact).quantize(_COST_QUANTUM)
        holding.qty, holding.cost = kept, holding.cost - released
        if not kept:
            self.realized -= holding.cost
            del self.holdings[symbol]
        return kept - before, lieu

    def _reduce(self, holding: Holding, signed_qty: Decimal, price: Decimal) -> None:
        """Realise a part of a position: its share of the cost goes."""
        released = (holding.cost * -signed_qty / holding.qty).quantize(_COST_QUANTUM)
        self.realized += -signed_qty * price - released
        holding.day_cost -= (holding.day_cost * -signed_qty / holding.qty).quantize(_COST_QUANTUM)
        holding.cost -= released
