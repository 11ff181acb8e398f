"""What positions require an account to keep, by Alpaca's table of maintenance margins."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal as D

import pytest

from trader.exchange.types import OrderRequest
from trader.exchange.venue import Venue
from trader.exchange.wire import account_json


@pytest.mark.parametrize(
    ("side", "price", "required"),
    [
        ("buy", "2.49", "249"), ("buy", "2.50", "75"), ("buy", "100", "3000"),
        ("sell", "1.00", "250"), ("sell", "4.00", "400"), ("sell", "5.00", "500"), ("sell", "10", "500"),
        ("sell", "16.66", "500"), ("sell", "100", "3000"),
    ],
)
def test_maintenance_by_side_and_price(market: Callable[..., Venue], side: str, price: str, required: str) -> None:
    at = float(price)
    venue = market([(at, at, at, at)] * 6, per_day=3)
    venue.submit(OrderRequest(symbol="AAPL", side=side, qty=D(100)))
    venue.step()
    assert account_json(venue, venue.account())["maintenance_margin"] == required
    while not venue.done:
        venue.step()
    account = account_json(venue, venue.account())
    assert account["last_maintenance_margin"] == required
    assert D(account["initial_margin"]) == 50 * D(price)
