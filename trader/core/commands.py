"""What the engine asks the outside to do; the answers come back as events."""

from __future__ import annotations

from decimal import Decimal

import msgspec


class Submit(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Send an order under this client id; journaled before."""

    client_order_id: str
    symbol: str
    side: str
    quantity: Decimal
    order_type: str = "market"
    time_in_force: str = "day"
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Cancel one order at the broker."""

    client_order_id: str
    broker_order_id: str


class CancelAll(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Cancel every open order of the account, known to us or not."""


Command = Submit | Cancel | CancelAll
