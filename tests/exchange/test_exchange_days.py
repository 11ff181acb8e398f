"""What a day is to an account that also trades before the open and after the close: yesterday's figures, expiries."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
from exchange_markets import FREE, extended_panel

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core.clock import to_ns
from trader.exchange.portfolio import history_json, intraday_points, session_start
from trader.exchange.types import OrderRequest
from trader.exchange.venue import Venue
from trader.exchange.wire import account_json, activity_id, order_json, position_json

# Pre-market, morning, afternoon, after hours: each bar stands still at its price.
PRICES = [100, 100, 102, 107, 110, 104, 105, 95, 90, 91, 92, 93]


@pytest.fixture
def venue() -> Venue:
    return Venue(extended_panel([(price,) * 4 for price in PRICES]), start_index=1, fill_model=FREE)


def figures(venue: Venue) -> tuple[dict[str, Any], dict[str, Any]]:
    return account_json(venue, venue.account()), position_json(venue.position("AAPL"))


def test_yesterday_is_its_close_before_the_open_too_and_is_the_same_for_account_and_position(venue: Venue) -> None:
    venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(10)))
    shown = []
    while not venue.done:
        venue.step()
        account, position = figures(venue)
        shown.append((account["balance_asof"], account["last_equity"], position["lastday_price"]))
        if len(shown) > 3:          # nothing has been traded since that close
            profit = D(account["equity"]) - D(account["last_equity"])
            assert profit == D(position["unrealized_intraday_pl"])
            assert D(account["last_maintenance_margin"]) == 3 * D(position["lastday_price"])
    monday, tuesday = ("2024-01-08", "100020", "102"), ("2024-01-09", "100050", "105")
    assert shown[3:] == [monday] * 4 + [tuesday] * 4
    assert {last_equity for _, last_equity, _ in shown[:3]} == {"100000"}


@pytest.mark.parametrize(("extended", "hour"), [(False, 21), (True, 23)])
def test_an_order_says_when_it_expires_and_does_then(venue: Venue, extended: bool, hour: int) -> None:
    wish = OrderRequest(symbol="AAPL", side="buy", type="limit", qty=D(1), limit_price=D(50), extended_hours=extended)
    morning = venue.submit(wish)
    venue.step()
    venue.step()                                            # 16:00 in New York
    evening = venue.submit(msgspec.structs.replace(wish, limit_price=D(51)))
    while not venue.done:
        venue.step()
    day = 8 if extended else 9                              # in the evening only an extended order is for today
    for order, of in ((morning, 8), (evening, day)):
        shown = msgspec.to_builtins(order_json(order))
        assert shown["status"] == "expired"
        assert shown["expires_at"] == shown["expired_at"] == f"2024-01-{of:02d}T{hour}:00:00Z"
        assert shown["created_at"] < shown["expires_at"]


def test_what_the_closing_auction_fills_belongs_to_the_bar_that_it_ends() -> None:
    dear = RealisticFillSimulator(slippage_model="fixed", fixed_slippage_bps=100)
    venue = Venue(extended_panel([(price,) * 4 for price in PRICES]), start_index=1, fill_model=dear)
    venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(10), time_in_force="cls"))
    worth = []
    while not venue.done:
        venue.step()
        worth.append(float(venue.equity()))
    moments, told = intraday_points(venue, 15, extended=True)
    bars = [told[moments.tolist().index(start)] for start in venue.panel.ts_ns[1:].tolist()]
    assert worth[1] < 100_000
    assert bars == pytest.approx(worth)


def test_a_days_profit_counts_from_yesterdays_close_also_after_todays(venue: Venue) -> None:
    venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(10)))
    while not venue.done:
        venue.step()
    start, end = venue.panel.ts_ns.item(1), venue.now_ns
    told = history_json(venue, start, end, "15Min", extended=True, reset_daily=True, kinds=[])
    profit = dict(zip(told["timestamp"], told["profit_loss"], strict=True))
    bars = [profit[moment // 10**9] for moment in venue.panel.ts_ns.tolist()[1:]]
    closes = [100.0] * 3 + [102.0] * 4 + [105.0] * 4            # yesterday's
    assert bars == pytest.approx([10 * (price - close) for price, close in zip(PRICES[1:], closes, strict=True)])


@pytest.mark.parametrize(
    ("day", "hour", "extended", "first"),
    [
        (9, 5, False, (9, 14, 30)), (9, 16, False, (9, 14, 30)), (9, 21, False, (9, 14, 30)),
        (9, 22, False, (10, 14, 30)), (9, 22, True, (9, 9, 0)), (9, 23, True, (9, 9, 0)), (6, 12, True, (8, 9, 0)),
    ],
)
def test_a_window_within_days_begins_with_a_session(
    venue: Venue, day: int, hour: int, extended: bool, first: tuple[int, int, int],
) -> None:
    asked, told = (to_ns(datetime(2024, 1, *parts, tzinfo=UTC)) for parts in ((day, hour), first))
    assert session_start(venue, asked, extended=extended) == told


def test_activities_are_named_by_new_yorks_clock() -> None:
    moment = to_ns(datetime(2019, 5, 24, 15, 34, 6, 977_000, tzinfo=UTC))
    assert activity_id(moment, "8efc7b9a") == "20190524113406977::8efc7b9a"         # Alpaca's own example
