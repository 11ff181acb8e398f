"""A replacement is held to what a new order is: its life, its reserve, its collar, the market, one's other orders."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal as D

import pytest

from trader.core.clock import DAY_NS
from trader.exchange.errors import VenueError
from trader.exchange.types import OrderRequest, VenueRules
from trader.exchange.venue import Venue

Market = Callable[..., Venue]
CALM = (100.0, 100.5, 99.5, 100.0)
EXITS = {"order_class": "bracket", "take_profit": D(110), "stop_loss": D(80)}


def wish(side: str = "buy", qty: str = "10", **fields: object) -> OrderRequest:
    return OrderRequest(symbol="AAPL", side=side, qty=D(qty), **fields)


@pytest.mark.parametrize("fields", [{}, EXITS])
def test_a_day_order_that_becomes_lasting_outlives_the_day_and_so_do_its_legs(
    market: Market, fields: dict[str, object],
) -> None:
    venue = market([CALM] * 6 + [(89, 90, 88, 89)], per_day=3)
    old = venue.submit(wish(type="limit", limit_price=D(90), **fields))
    venue.step()
    new = venue.replace(old.id, time_in_force="gtc")
    moment = new.created_ns - new.created_ns % 10**9
    assert {venue.order(key).expires_ns for key in (new.id, *new.legs)} == {moment + 90 * DAY_NS}
    while not venue.done:
        venue.step()
    assert new.status == "filled"
    assert all(venue.order(leg).is_open for leg in new.legs)


def test_a_lasting_order_that_becomes_one_for_the_day_ends_with_it(market: Market) -> None:
    venue = market([CALM] * 9, per_day=3)
    old = venue.submit(wish(type="limit", limit_price=D(90), time_in_force="gtc"))
    while venue.index < 6:
        venue.step()
    new = venue.replace(old.id, time_in_force="day")            # in the evening: for tomorrow
    assert new.expires_ns == venue.hours.closes_ns[2]
    while not venue.done:
        venue.step()
    assert (new.status, new.expired_ns) == ("expired", new.expires_ns)


def test_the_collar_moves_with_its_stop(market: Market) -> None:
    venue = market([CALM, (120, 121, 119, 121)], rules=VenueRules(stop_collars=True))
    old = venue.submit(wish(type="stop", stop_price=D(105)))
    new = venue.replace(old.id, stop_price=D(120))
    assert (old.collar_price, new.collar_price) == (D("107.62"), D(123))
    venue.step()
    assert (new.status, new.filled_avg_price) == ("filled", 120)


def test_the_reserve_is_that_of_a_new_order(market: Market) -> None:
    venue = market([CALM] * 4)
    old = venue.submit(wish(type="stop_limit", stop_price=D(105), limit_price=D(130)))
    assert old.reserved == 1_300
    new = venue.replace(old.id, stop_price=D(106))
    assert (new.reserved, venue.account().reserved) == (1_300, 1_300)       # it may still pay its limit
    venue.cancel(new.id)
    old = venue.submit(wish("sell", type="limit", limit_price=D(200)))
    new = venue.replace(old.id, limit_price=D(150))
    assert (old.reserved, new.reserved, venue.account().reserved) == (0, 1_500, 1_500)
    assert venue.replace(new.id, limit_price=D(90)).reserved == D("1030.206")     # 3 % above the ask


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_plain_stop_stays_on_its_side_of_the_market(market: Market, side: str) -> None:
    venue, away = market([CALM] * 4), 1 if side == "buy" else -1
    stop = venue.submit(wish(side, type="stop", stop_price=D(100 + 5 * away)))
    for price in (100, 100 - away):
        with pytest.raises(VenueError, match="than current price") as refused:
            venue.replace(stop.id, stop_price=D(price))
        assert (refused.value.http_status, refused.value.code) == (422, 42210000)
        assert refused.value.details == {"market_price": "100", "stop_price": str(price)}
    assert venue.order(stop.id).status == "new"
    assert venue.replace(stop.id, stop_price=D(100 + away)).status == "new"


def test_the_stop_of_a_group_stays_a_cent_from_the_market(market: Market) -> None:
    venue = market([CALM] * 5)
    bracket = venue.submit(wish(type="limit", limit_price=D(102), order_class="bracket", take_profit=D(110),
                                stop_loss=D(80)))
    with pytest.raises(VenueError, match=r"must be <= base_price - 0\.01"):
        venue.replace(bracket.legs[1], stop_price=D(101))       # held, below its entry's limit, above the market
    venue.step()
    for price in ("100", "105"):
        with pytest.raises(VenueError, match=r"must be <= base_price - 0\.01") as refused:
            venue.replace(bracket.legs[1], stop_price=D(price))
        assert refused.value.details == {"base_price": "100"}
    assert venue.replace(bracket.legs[1], stop_price=D("99.99")).status == "new"


def test_a_change_crosses_no_order_of_the_other_side(market: Market) -> None:
    venue = market([CALM] * 4)
    venue.submit(wish())
    venue.step()
    target = venue.submit(wish("sell", type="limit", limit_price=D(105)))
    entry = venue.submit(wish(type="limit", limit_price=D(95)))
    for order, price in ((entry, 105), (target, 95)):
        with pytest.raises(VenueError, match="wash trade") as refused:
            venue.replace(order.id, limit_price=D(price))
        assert refused.value.details["existing_order_id"] in (entry.id, target.id)
    assert venue.replace(entry.id, limit_price=D("104.99")).status == "new"
    venue.set_rules(VenueRules(wash_trades=False))
    assert venue.replace(target.id, limit_price=D(95)).status == "new"
