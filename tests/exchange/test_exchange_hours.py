"""Which bars are regular hours: half days, stray bars of the night, days that the calendar does not know."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from exchange_markets import FREE, QUARTER

from trader.core.clock import to_ns
from trader.core.days import NEW_YORK
from trader.core.panel import BarPanel
from trader.exchange.hours import Hours
from trader.exchange.types import OrderRequest
from trader.exchange.venue import Venue


def quarters(day: str, first: str, last: str) -> list[int]:
    """Starts of 15-minute bars of a day in New York, the last one included."""
    moment, stop = (datetime.fromisoformat(f"{day}T{at}").replace(tzinfo=NEW_YORK) for at in (first, last))
    starts = []
    while moment <= stop:
        starts.append(to_ns(moment))
        moment += timedelta(minutes=15)
    return starts


def panel(*days: list[int]) -> BarPanel:
    ts = np.array([start for day in days for start in day], dtype=np.int64)
    prices = [np.full((len(ts), 1), price) for price in (100.0, 100.5, 99.5, 100.0, 1e6)]
    return BarPanel(("SPY",), "15Min", ts, ts + QUARTER, *prices)


def regular(*days: list[int]) -> list[str]:
    """First and last regular bar of each day, in New York's time."""
    market = panel(*days)
    hours = Hours(market)
    edges = [i for i in range(len(market)) if hours.opens[i] or hours.closes[i]]
    return [datetime.fromtimestamp(int(market.ts_ns[i]) // 10**9, NEW_YORK).strftime("%H:%M") for i in edges]


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        # one bar at 20:00, as real data have it, makes no night of a day
        ([quarters("2025-02-25", "04:00", "20:00"), quarters("2025-02-26", "04:00", "19:45")], ["09:30", "15:45"] * 2),
        ([quarters("2025-02-25", "00:00", "23:45")], ["09:30", "15:45"]),
        # a half day ends at 13:00, also in data that hold nothing but 09:30 to 16:00
        ([quarters("2024-11-27", "09:30", "15:45"), quarters("2024-11-29", "09:30", "15:45")],
         ["09:30", "15:45", "09:30", "12:45"]),
        ([quarters("2024-12-24", "08:00", "16:45")], ["09:30", "12:45"]),
        # a day of which the calendar knows nothing is regular from end to end
        ([quarters("2024-01-13", "10:00", "18:00")], ["10:00", "18:00"]),
        ([quarters("2024-01-16", "07:00", "08:45")], ["07:00", "08:45"]),
    ],
)
def test_regular_hours_are_the_calendars(days: list[list[int]], expected: list[str]) -> None:
    assert regular(*days) == expected


def test_a_day_order_ends_at_one_on_a_half_day() -> None:
    venue = Venue(panel(quarters("2024-11-29", "12:00", "15:45")), start_index=1, fill_model=FREE)
    order = venue.submit(OrderRequest(symbol="SPY", side="buy", type="limit", qty=Decimal(1), limit_price=Decimal(50)))
    while order.is_open:
        venue.step()
    assert (order.status, order.expired_ns) == ("expired", to_ns(datetime(2024, 11, 29, 13, tzinfo=NEW_YORK)))
