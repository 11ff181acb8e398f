"""What the venue refuses, with which status and code."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal as D

import pytest

from trader.exchange.errors import VenueError
from trader.exchange.types import OrderRequest, VenueRules
from trader.exchange.venue import Venue

Market = Callable[..., Venue]
CALM = (100.0, 100.5, 99.5, 100.0)


def order(side: str = "buy", qty: str | None = "10", **fields: object) -> OrderRequest:
    return OrderRequest(symbol="AAPL", side=side, qty=None if qty is None else D(qty), **fields)


@pytest.mark.parametrize(
    ("request_", "status", "code", "words"),
    [
        (order(side="hold"), 422, 40010001, "invalid side"),
        (order(type="iceberg"), 422, 40010001, "invalid type"),
        (order(time_in_force="gtd"), 422, 40010001, "invalid time_in_force"),
        (order(qty="0"), 422, 40010001, "qty must be > 0"),
        (order(qty="-5"), 422, 40010001, "qty must be > 0"),
        (order(qty="NaN"), 422, 40010001, "qty must be > 0"),
        (order(qty=None), 422, 40010001, "qty or notional"),
        (order(notional=D(5)), 422, 40010001, "qty or notional"),
        (order(qty=None, notional=D("0.5")), 422, 42210000, "at least 1.00"),
        (order(qty="1.5", time_in_force="gtc"), 422, 42210000, "DAY orders"),
        (order(qty="1.5", order_class="bracket", take_profit=D(110), stop_loss=D(90)), 422, 42210000, "simple"),
        (order(qty="0.0000000001"), 422, 42210000, "9 decimals"),
        (order(type="limit"), 422, 40010001, "require limit price"),
        (order(type="stop"), 422, 40010001, "require stop price"),
        (order(limit_price=D(99)), 422, 40010001, "require no limit price"),
        (order(type="limit", limit_price=D("99.001")), 422, 42210000, "sub-penny"),
        (order(type="limit", limit_price=D("0.99991")), 422, 42210000, "sub-penny"),
        (order(type="limit", limit_price=D(-1)), 422, 40010001, "must be > 0"),
        (order(type="stop", stop_price=D(99)), 422, 42210000, "greater than current price"),
        (order(order_class="bracket", take_profit=D(110)), 422, 42210000, "require stop_loss"),
        (order(order_class="bracket", take_profit=D(100), stop_loss=D(95)), 422, 42210000, "take_profit"),
        (order(order_class="bracket", take_profit=D(110), stop_loss=D(100)), 422, 42210000, "stop_loss"),
        (order(order_class="bracket", type="stop", stop_price=D(101), take_profit=D(110), stop_loss=D(90)),
         422, 40010001, "must be market or limit"),
        (order(order_class="oto"), 422, 42210000, "either take_profit or stop_loss"),
        (order(order_class="oco", type="limit", take_profit=D(110), stop_loss=D(90)), 422, 42210000, "exit orders"),
        (order(extended_hours=True), 422, 42210000, "DAY limit orders"),
        (order(qty="2001"), 403, 40310000, "insufficient buying power"),
        (order(side="sell", qty="1.5"), 422, 42210000, "sold short"),
        (OrderRequest(symbol="NOPE", side="buy", qty=D(1)), 422, 42210000, 'asset "NOPE" not found'),
    ],
)
def test_refusals(market: Market, request_: OrderRequest, status: int, code: int, words: str) -> None:
    venue = market([CALM] * 3)
    with pytest.raises(VenueError, match=words) as refused:
        venue.submit(request_)
    assert (refused.value.http_status, refused.value.code) == (status, code)
    assert not venue.orders("all")
    assert not venue.drain()


def test_a_client_order_id_is_taken_for_ever(market: Market) -> None:
    venue = market([CALM] * 3)
    first = venue.submit(order(client_order_id="mine"))
    venue.cancel(first.id)
    with pytest.raises(VenueError, match="must be unique") as refused:
        venue.submit(order(client_order_id="mine"))
    assert (refused.value.http_status, refused.value.code) == (422, 40010001)


def test_open_orders_reserve_buying_power_and_give_it_back(market: Market) -> None:
    venue = market([CALM] * 4)
    assert venue.account().buying_power == 200_000
    resting = venue.submit(order(qty="1000", type="limit", limit_price=D(99)))
    assert venue.account().buying_power == 101_000
    venue.submit(order(qty="1000"))
    assert venue.account().buying_power == 980          # at the ask of 100.02
    venue.step()
    assert venue.account().buying_power == 1_000
    venue.cancel(resting.id)
    assert venue.account().buying_power == 100_000
    assert venue.desk.reserved == 0


def test_market_buys_reserve_the_ask_in_session_and_the_last_price_outside(market: Market) -> None:
    venue = market([CALM] * 3, start_index=0)
    assert not venue.in_session
    assert venue.submit(order(qty="10")).reserve_price == 100
    venue.step()
    assert venue.in_session
    inside = venue.submit(order(qty="10"))
    assert inside.reserve_price == D("100.02")          # half a spread of 1.5 bps, outward on the cent
    assert venue.desk.reserved == 10 * inside.reserve_price
    venue.step()
    room = venue.account().buying_power
    with pytest.raises(VenueError, match="insufficient buying power"):
        venue.submit(order(qty=str(room // 100)))       # enough at the last price alone


def test_small_accounts_have_no_margin_and_no_shorts(market: Market) -> None:
    venue = market([CALM] * 3, cash=1_999)
    assert venue.account().buying_power == 1_999
    with pytest.raises(VenueError, match="not allowed to short"):
        venue.submit(order(side="sell", qty="1"))


def test_shorts_reserve_three_percent_above_the_market(market: Market) -> None:
    venue = market([CALM] * 3)
    venue.submit(order(side="sell", qty="1000"))
    assert venue.account().buying_power == 200_000 - D("103.0206") * 1000
    venue.step()
    assert venue.position("AAPL").qty == -1000
    assert venue.account().buying_power == 100_000


def test_hard_to_borrow_stocks_cannot_be_shorted(market: Market) -> None:
    venue = market([CALM] * 3, rules=VenueRules(hard_to_borrow=frozenset({"AAPL"})))
    with pytest.raises(VenueError, match="cannot be sold short"):
        venue.submit(order(side="sell"))


def test_closing_orders_hold_their_shares(market: Market) -> None:
    venue = market([CALM] * 4)
    venue.submit(order(qty="100"))
    venue.step()
    stop = venue.submit(order(side="sell", qty="60", type="stop", stop_price=D(90)))
    with pytest.raises(VenueError, match=r"requested: 50, available: 40") as refused:
        venue.submit(order(side="sell", qty="50"))
    assert refused.value.http_status == 403
    assert refused.value.details["held_for_orders"] == "60"
    assert refused.value.details["related_orders"] == [stop.id]
    with pytest.raises(VenueError, match="insufficient qty"):
        venue.submit(order(side="sell", qty="101"))


def test_wash_trades_are_refused_and_brackets_exempt(market: Market) -> None:
    venue = market([CALM] * 4)
    venue.submit(order(qty="100"))
    venue.step()
    resting = venue.submit(order(side="sell", qty="50", type="limit", limit_price=D(105)))
    with pytest.raises(VenueError, match="wash trade") as refused:
        venue.submit(order())
    assert refused.value.details["existing_order_id"] == resting.id
    with pytest.raises(VenueError, match="wash trade"):
        venue.submit(order(type="limit", limit_price=D(105)))
    venue.submit(order(type="limit", limit_price=D(104)))
    venue.submit(order(order_class="bracket", take_profit=D(110), stop_loss=D(90)))


def test_brackets_must_open(market: Market) -> None:
    venue = market([CALM] * 4)
    venue.submit(order())
    venue.step()
    with pytest.raises(VenueError, match="must be entry orders"):
        venue.submit(order(side="sell", order_class="bracket", take_profit=D(90), stop_loss=D(110)))


def test_replacing_follows_the_rules(market: Market) -> None:
    venue = market([CALM] * 4)
    resting = venue.submit(order(type="limit", limit_price=D(90)))
    for fields, words in (
        ({}, "not changed"), ({"limit_price": D(90)}, "not changed"), ({"qty": D(0)}, "filled_qty"),
        ({"limit_price": D("90.001")}, "sub-penny"), ({"stop_price": D(80)}, "no stop_price"),
        ({"qty": D(5000)}, "buying power"), ({"time_in_force": "cls"}, "time_in_force"),
        ({"qty": D("10.5")}, "fraction"), ({"qty": D(20), "client_order_id": "x" * 129}, "128"),
    ):
        with pytest.raises(VenueError, match=words):
            venue.replace(resting.id, **fields)
    new = venue.replace(resting.id, qty=D(20), client_order_id="second")
    assert venue.account().buying_power == 200_000 - 1_800
    with pytest.raises(VenueError, match="cannot replace order in replaced"):
        venue.replace(resting.id, qty=D(30))
    with pytest.raises(VenueError, match="must be unique"):
        venue.replace(new.id, qty=D(30), client_order_id="second")


def test_fractions_and_extended_hours_stay_for_the_day(market: Market) -> None:
    venue = market([CALM] * 4)
    part = venue.submit(order(type="limit", limit_price=D(90), qty="1.5"))
    for fields in ({"time_in_force": "gtc"}, {"qty": D(2)}):
        with pytest.raises(VenueError, match="fraction") as refused:
            venue.replace(part.id, **fields)
        assert (refused.value.http_status, refused.value.code) == (422, 42210000)
    assert venue.replace(part.id, limit_price=D(89)).qty == D("1.5")
    evening = venue.submit(order(type="limit", limit_price=D(90), extended_hours=True))
    with pytest.raises(VenueError, match="extended hours"):
        venue.replace(evening.id, time_in_force="gtc")


@pytest.mark.parametrize(("side", "entry", "profit", "loss"), [("buy", 95, 105, 90), ("sell", 105, 95, 110)])
def test_a_group_keeps_its_order_of_prices_when_one_of_it_is_replaced(
    market: Market, side: str, entry: int, profit: int, loss: int,
) -> None:
    up = 1 if side == "buy" else -1
    venue = market([CALM, (100, 106, 94, 100), CALM, CALM])
    bracket = venue.submit(order(
        side=side, type="limit", limit_price=D(entry), order_class="bracket", take_profit=D(profit), stop_loss=D(loss),
    ))
    target, guard = bracket.legs
    for order_id, fields in (
        (target, {"limit_price": D(entry)}), (guard, {"stop_price": D(entry)}),
        (guard, {"stop_price": D(profit + up)}), (bracket.id, {"limit_price": D(profit)}),
        (bracket.id, {"limit_price": D(loss)}),
    ):
        with pytest.raises(VenueError, match="base_price") as refused:
            venue.replace(order_id, **fields)
        assert (refused.value.http_status, refused.value.code) == (422, 42210000)
    target = venue.replace(target, limit_price=D(profit + 3 * up)).id
    venue.step()
    guard = venue.replace(guard, stop_price=D(entry + up)).id          # the entry is filled: its price binds no more
    with pytest.raises(VenueError, match="base_price"):
        venue.replace(guard, stop_price=D(profit + 3 * up))
    with pytest.raises(VenueError, match="base_price"):
        venue.replace(target, limit_price=D(entry + up))
    assert venue.order(guard).status == venue.order(target).status == "new"


def test_the_two_of_an_oco_stay_apart(market: Market) -> None:
    venue = market([CALM] * 4)
    venue.submit(order())
    venue.step()
    oco = venue.submit(order(side="sell", type="limit", order_class="oco", take_profit=D(105), stop_loss=D(95)))
    for order_id, fields in ((oco.id, {"limit_price": D(95)}), (oco.legs[0], {"stop_price": D(105)})):
        with pytest.raises(VenueError, match="base_price"):
            venue.replace(order_id, **fields)
    assert venue.replace(oco.id, limit_price=D("95.01")).legs == oco.legs


def test_cancelling_what_is_not_there(market: Market) -> None:
    venue = market([CALM] * 3)
    with pytest.raises(VenueError) as missing:
        venue.cancel("nothing")
    assert missing.value.http_status == 404
    done = venue.submit(order())
    venue.step()
    with pytest.raises(VenueError, match='already in "filled"') as ended:
        venue.cancel(done.id)
    assert (ended.value.http_status, ended.value.code) == (422, 42210000)


def test_closing_positions(market: Market) -> None:
    venue = market({"AAPL": [CALM] * 5, "MSFT": [CALM] * 5})
    with pytest.raises(VenueError, match="position does not exist"):
        venue.close_position("AAPL")
    venue.submit(order(qty="100"))
    venue.submit(OrderRequest(symbol="MSFT", side="sell", qty=D(40)))
    venue.step()
    assert venue.close_position("AAPL", percentage=D("33.5")).qty == 33
    results = venue.close_all()
    assert isinstance(results[0][1], VenueError)
    assert not isinstance(results[1][1], VenueError)
    assert [symbol for symbol, _ in venue.close_all(cancel_orders=True)] == ["AAPL", "MSFT"]
    venue.step()
    assert not venue.positions()
