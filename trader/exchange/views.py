"""What the venue answers about positions and the account: values of one moment."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import msgspec


class PositionView(NamedTuple):
    """One position at the market's last price. ``qty`` is signed, ``available`` what no order holds."""

    symbol: str
    qty: Decimal
    available: Decimal
    avg_entry_price: Decimal
    cost_basis: Decimal
    current_price: Decimal
    lastday_price: Decimal
    day_cost: Decimal

    @property
    def market_value(self) -> Decimal:
        """Signed value at the current price."""
        return self.qty * self.current_price

    @property
    def intraday_pl(self) -> Decimal:
        """Market value less what it was at the last session's close, or what it cost since."""
        return self.market_value - self.day_cost

    @property
    def unrealized_pl(self) -> Decimal:
        """Market value less cost."""
        return self.market_value - self.cost_basis


class EquityPoint(msgspec.Struct, frozen=True):
    """The account's worth and its maintenance margin at a session's close."""

    ts_ns: int
    equity: Decimal
    maintenance: Decimal = Decimal(0)


class AccountView(NamedTuple):
    """The account at the market's last prices, in dollars, and at the ``last`` day's close."""

    cash: Decimal
    equity: Decimal
    last: EquityPoint
    long_market_value: Decimal
    short_market_value: Decimal
    buying_power: Decimal
    multiplier: Decimal
    reserved: Decimal
    fees: Decimal
