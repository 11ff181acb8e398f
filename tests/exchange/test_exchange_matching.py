"""How orders meet bars: touches, gaps, legs, partial fills, expiry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from decimal import Decimal as D

import pytest

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.exchange.errors import VenueError
from trader.exchange.types import OrderRequest, VenueRules
from trader.exchange.venue import Venue

Market = Callable[..., Venue]
CALM = (100.0, 100.5, 99.5, 100.0)


def buy(qty: int = 10, **fields: object) -> OrderRequest:
    return OrderRequest(symbol="AAPL", side="buy", qty=D(qty), **fields)


def sell(qty: int = 10, **fields: object) -> OrderRequest:
    return OrderRequest(symbol="AAPL", side="sell", qty=D(qty), **fields)


def news(venue: Venue) -> list[tuple[str, str, str | None]]:
    """Event, what kind of order, and at what price."""
    return [
        (event.event, event.order.type, None if event.price is None else f"{event.price:.2f}")
        for event in venue.drain()
    ]


def test_a_market_order_fills_at_the_next_open_with_its_costs(market: Market) -> None:
    venue = market([CALM, (101, 102, 100, 101)], model=RealisticFillSimulator())
    order = venue.submit(buy(100))
    assert order.status == "new"
    venue.step()
    fill = venue.drain()[-1]
    assert fill.event == "fill"
    assert fill.ts_ns == venue.panel.ts_ns[1]
    assert fill.costs is not None
    exact = 101 * (1 + fill.costs.total_bps / 1e4)
    assert fill.costs.spread_bps == 1.5
    assert float(fill.price) == pytest.approx(exact, abs=5e-5)
    assert fill.position_qty == 100
    assert fill.commission == D("0.5")
    assert venue.account().cash == 100_000 - 100 * fill.price - D("0.5")


@pytest.mark.parametrize(
    ("request_", "bar", "price"),
    [
        (buy(type="limit", limit_price=D(99)), (100, 101, 98, 100), "99.00"),
        (buy(type="limit", limit_price=D(99)), (97, 101, 96, 100), "97.00"),        # opens through: better
        (buy(type="limit", limit_price=D(99)), (100, 101, 99.01, 100), None),
        (sell(type="limit", limit_price=D(101)), (100, 102, 99, 100), "101.00"),
        (sell(type="limit", limit_price=D(101)), (103, 104, 99, 100), "103.00"),
        (buy(type="stop", stop_price=D(101)), (100, 102, 99, 100), "101.00"),
        (buy(type="stop", stop_price=D(101)), (103, 104, 99, 100), "103.00"),       # gap: at the open
        (sell(type="stop", stop_price=D(99)), (97, 104, 96, 100), "97.00"),
        (sell(type="stop", stop_price=D(99)), (100, 101, 99.5, 100), None),
        # the stop at 101 is touched on the way up; the limit at 101 can be had there
        (buy(type="stop_limit", stop_price=D(101), limit_price=D(101)), (100, 103, 99.5, 102), "101.00"),
        # gap above the limit; the path comes back to it
        (buy(type="stop_limit", stop_price=D(101), limit_price=D(102)), (103, 104, 100, 103), "102.00"),
        (buy(type="stop_limit", stop_price=D(101), limit_price=D(102)), (103, 104, 102.5, 103), None),
        # touched inside the bar with a limit beyond the stop: what trades there, not the limit
        (buy(type="stop_limit", stop_price=D(101), limit_price=D(102)), (100, 103, 99.5, 102), "101.00"),
        (sell(type="stop_limit", stop_price=D(99), limit_price=D(95)), (100, 100.5, 98.9, 99.5), "99.00"),
    ],
)
def test_prices_of_touches(
    market: Market, request_: OrderRequest, bar: tuple[float, ...], price: str | None
) -> None:
    venue = market([CALM, bar])
    order = venue.submit(request_)
    venue.step()
    got = None if order.filled_avg_price is None else f"{order.filled_avg_price:.2f}"
    assert got == price


def test_a_marketable_limit_never_pays_more_than_its_limit(market: Market) -> None:
    venue = market([CALM, (100, 101, 99, 100)], model=RealisticFillSimulator(half_spread_bps=50))
    venue.submit(buy(type="limit", limit_price=D("100.10")))
    venue.step()
    fill = venue.drain()[-1]
    assert fill.price == D("100.10")
    assert fill.costs is not None
    assert fill.costs.total_bps == pytest.approx(10.0)


def test_a_touched_stop_limit_and_a_collared_stop_take_liquidity_at_the_stop(market: Market) -> None:
    model, bar = RealisticFillSimulator(slippage_model="fixed", fixed_slippage_bps=10), (100, 103, 99.5, 102)
    for collars, fields in ((False, {"type": "stop_limit", "limit_price": D(102)}), (True, {"type": "stop"})):
        venue = market([CALM, bar], model=model, rules=VenueRules(stop_collars=collars))
        venue.submit(buy(stop_price=D(101), **fields))
        venue.step()
        fill = venue.drain()[-1]
        assert (fill.price, fill.costs.total_bps) == (D("101.101"), 10.0)


BRACKET = buy(order_class="bracket", take_profit=D(105), stop_loss=D(95))


def test_bracket_to_take_profit(market: Market) -> None:
    venue = market([CALM, CALM, (101, 106, 100, 105)])
    entry = venue.submit(BRACKET)
    profit, stop = (venue.order(leg) for leg in entry.legs)
    assert (profit.status, stop.status) == ("held", "held")
    venue.step()
    assert (entry.status, profit.status, stop.status) == ("filled", "new", "new")
    venue.step()
    assert news(venue) == [
        ("new", "market", None), ("fill", "market", "100.00"), ("new", "limit", None), ("new", "stop", None),
        ("fill", "limit", "105.00"), ("canceled", "stop", None),
    ]
    assert not venue.positions()
    assert venue.account().cash == 100_050


def test_a_stop_is_first_when_a_bar_touches_both_exits(market: Market) -> None:
    # the path reaches 106 first (the nearer extreme); caution says the stop was hit
    venue = market([CALM, CALM, (104, 106, 94, 100)])
    venue.submit(BRACKET)
    venue.step()
    venue.step()
    assert news(venue)[-2:] == [("fill", "stop", "95.00"), ("canceled", "limit", None)]


def test_a_gap_over_the_take_profit_is_not_taken_for_a_stop(market: Market) -> None:
    venue = market([CALM, CALM, (107, 108, 94, 100)])
    venue.submit(BRACKET)
    venue.step()
    venue.step()
    assert news(venue)[-2:] == [("fill", "limit", "107.00"), ("canceled", "stop", None)]


def test_legs_see_only_the_path_after_their_entry(market: Market) -> None:
    # up to 106 first, then down to the entry at 98: the take-profit at 105 had its chance before it existed
    venue = market([CALM, (103, 106, 97.9, 99), CALM])
    venue.submit(OrderRequest(
        symbol="AAPL", side="buy", qty=D(10), type="limit", limit_price=D(98), order_class="bracket",
        take_profit=D(105), stop_loss=D(95),
    ))
    venue.step()
    assert [event for event, _, _ in news(venue)] == ["new", "fill", "new", "new"]


def test_an_entry_and_its_stop_can_fill_in_one_bar(market: Market) -> None:
    venue = market([CALM, (100, 101, 94, 96)])
    venue.submit(BRACKET)
    venue.step()
    assert news(venue)[-2:] == [("fill", "stop", "95.00"), ("canceled", "limit", None)]


def test_fills_are_capped_by_volume_and_work_on(market: Market) -> None:
    model = RealisticFillSimulator(slippage_model="none", commission_per_share=0, max_participation=0.1)
    thin = (100.0, 100.5, 99.5, 100.0, 1000.0)
    venue = market([thin] * 5, model=model)
    entry = venue.submit(buy(250, order_class="bracket", take_profit=D(105), stop_loss=D(95)))
    venue.step()
    assert (entry.status, entry.filled_qty) == ("partially_filled", 100)
    assert venue.order(entry.legs[0]).status == "held"
    venue.step()
    assert entry.filled_qty == 200
    venue.step()
    assert entry.status == "filled"
    assert [venue.order(leg).qty for leg in entry.legs] == [250, 250]
    events = [event for event, _, _ in news(venue)]
    assert events == ["new", "partial_fill", "partial_fill", "fill", "new", "new"]


def test_orders_share_a_bars_volume_in_order_of_arrival(market: Market) -> None:
    model = RealisticFillSimulator(slippage_model="none", commission_per_share=0, max_participation=0.1)
    thin = (100.0, 100.5, 99.5, 100.0, 1000.0)
    venue = market([thin, thin], model=model)
    first, second, third = (venue.submit(buy(60)) for _ in range(3))
    venue.step()
    assert [first.filled_qty, second.filled_qty, third.filled_qty] == [60, 40, 0]


def test_a_partial_take_profit_shrinks_the_stop(market: Market) -> None:
    model = RealisticFillSimulator(slippage_model="none", commission_per_share=0, max_participation=0.1)
    venue = market([CALM, CALM, (104, 106, 104, 105, 400.0), CALM], model=model)
    entry = venue.submit(buy(100, order_class="bracket", take_profit=D(105), stop_loss=D(95)))
    venue.step()
    venue.step()
    profit, stop = (venue.order(leg) for leg in entry.legs)
    assert (profit.filled_qty, stop.qty) == (40, 60)
    assert news(venue)[-2:] == [("partial_fill", "limit", "105.00"), ("restated", "stop", None)]
    assert venue.position("AAPL").available == 0


def test_cancelling_one_order_of_a_bracket_cancels_the_group(market: Market) -> None:
    venue = market([CALM, CALM, CALM])
    entry = venue.submit(buy(type="limit", limit_price=D(90), order_class="bracket",
                             take_profit=D(105), stop_loss=D(80)))
    venue.cancel(entry.id)
    assert [venue.order(leg).status for leg in entry.legs] == ["canceled", "canceled"]
    entry = venue.submit(BRACKET)
    venue.step()
    venue.cancel(entry.legs[0])
    assert venue.order(entry.legs[1]).status == "canceled"
    assert venue.position("AAPL").available == 10


def test_an_oco_guards_a_position(market: Market) -> None:
    venue = market([CALM, CALM, CALM, (100, 101, 94, 96)])
    venue.submit(buy())
    venue.step()
    pair = venue.submit(sell(type="limit", order_class="oco", take_profit=D(105), stop_loss=D(95)))
    venue.step()
    assert venue.position("AAPL").available == 0
    venue.step()
    assert pair.status == "canceled"
    assert venue.order(pair.legs[0]).status == "filled"


def test_an_oto_has_one_leg(market: Market) -> None:
    venue = market([CALM, CALM, (100, 101, 94, 96)])
    entry = venue.submit(buy(order_class="oto", stop_loss=D(95)))
    venue.step()
    venue.step()
    assert [venue.order(leg).status for leg in entry.legs] == ["filled"]


def test_day_orders_expire_at_the_close_and_gtc_orders_live(market: Market) -> None:
    venue = market([CALM] * 6, per_day=3)
    day = venue.submit(buy(type="limit", limit_price=D(90)))
    good = venue.submit(buy(type="limit", limit_price=D(91), time_in_force="gtc"))
    venue.step()
    assert day.status == "new"
    venue.step()
    assert (day.status, day.expired_ns, good.status) == ("expired", venue.now_ns, "new")


def test_orders_entered_after_the_close_wait_for_the_next_session(market: Market) -> None:
    venue = market([CALM] * 4, per_day=2, start_index=2)
    order = venue.submit(buy(type="limit", limit_price=D(90)))
    assert order.status == "accepted"
    venue.step()
    assert order.status == "new"
    venue.step()
    assert order.status == "expired"
    assert [event for event, _, _ in news(venue)] == ["accepted", "new", "expired"]


def test_every_daily_bar_is_a_session(market: Market) -> None:
    intraday = market([CALM] * 4, per_day=1).panel
    daily = dataclasses.replace(intraday, timeframe="1Day")
    venue = Venue(daily, start_index=1, fill_model=RealisticFillSimulator())
    day = venue.submit(buy(type="limit", limit_price=D(1)))
    good = venue.submit(buy(type="limit", limit_price=D(2), time_in_force="gtc"))
    venue.step()
    assert (day.status, good.status) == ("expired", "new")
    venue.step()
    assert good.status == "new"
    assert [point.equity for point in venue.equity_history] == [100_000, 100_000]


def test_a_missing_bar_leaves_orders_alone(market: Market) -> None:
    nan = float("nan")
    venue = market({"AAPL": [CALM, (nan,) * 5, CALM], "MSFT": [CALM] * 3})
    order = venue.submit(buy())
    venue.step()
    assert order.status == "new"
    assert venue.last_price(0) == 100
    venue.step()
    assert order.status == "filled"


def test_notional_orders_become_shares_at_their_price(market: Market) -> None:
    venue = market([CALM, (125, 126, 124, 125)], model=RealisticFillSimulator(commission_per_share=0))
    order = venue.submit(OrderRequest(symbol="AAPL", side="buy", notional=D(1000)))
    venue.step()
    assert order.status == "filled"
    spent = 100_000 - venue.account().cash
    assert abs(spent - 1000) < D("0.01")


def test_a_notional_order_holds_the_shares_that_it_comes_to(market: Market) -> None:
    venue = market([CALM] * 14, per_day=6)
    venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(17)))
    while venue.index < 6:
        venue.step()
    wish = OrderRequest(symbol="AAPL", side="sell", notional=D(600), type="limit", limit_price=D(90))
    order = venue.submit(wish)
    assert (order.status, order.qty, venue.position("AAPL").available) == ("accepted", None, 11)
    with pytest.raises(VenueError, match="requested: 17, available: 11") as refused:
        venue.close_position("AAPL")
    assert refused.value.body()["held_for_orders"] == "6"
    venue.submit(OrderRequest(symbol="AAPL", side="sell", qty=D(11)))
    venue.step()
    assert order.status == "filled"
    assert order.qty == order.filled_qty == 6
    assert not venue.positions()
    assert not venue.orders()


def test_dollars_that_come_to_more_shares_than_they_held_leave_other_orders_theirs(market: Market) -> None:
    venue = market([CALM, CALM, (80, 80, 80, 80), (80, 80, 80, 80)])
    venue.submit(buy(10))
    venue.step()
    resting = venue.submit(sell(9, type="limit", limit_price=D(120)))
    dollars = venue.submit(OrderRequest(symbol="AAPL", side="sell", notional=D(100)))
    venue.step()
    assert (dollars.status, dollars.qty, dollars.filled_qty) == ("filled", 1, 1)
    assert venue.position("AAPL").qty == resting.remaining == 9
    assert venue.position("AAPL").available == 0


def test_a_notional_order_has_no_shares_before_some_are_filled(market: Market) -> None:
    """The quantity is that of the price at which it fills, not of one that the market only touched."""
    dry, wet = (100.0, 100.5, 99.5, 100.0, 0.0), (50.0, 50.5, 49.5, 50.0, 1e6)
    venue = market([CALM, dry, wet], model=RealisticFillSimulator(commission_per_share=0))
    order = venue.submit(OrderRequest(symbol="AAPL", side="buy", notional=D(1000)))
    venue.step()
    assert order.qty is None
    venue.step()
    assert order.status == "filled"
    assert 19.9 < order.filled_qty < 20


def test_refused_replacements_say_what_there_is(market: Market) -> None:
    venue = market([CALM] * 4)
    venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(10)))
    venue.step()
    first, second = (
        venue.submit(OrderRequest(symbol="AAPL", side="sell", qty=D(n), type="limit", limit_price=D(120)))
        for n in (4, 5)
    )
    with pytest.raises(VenueError, match="requested: 7, available: 6") as refused:
        venue.replace(second.id, qty=D(7))
    facts = {"available": "6", "existing_qty": "10", "held_for_orders": "4", "related_orders": [first.id, second.id]}
    assert facts.items() <= refused.value.body().items()
    entry = venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(1), type="limit", limit_price=D(95)))
    with pytest.raises(VenueError) as refused:
        venue.replace(entry.id, qty=D(10_000))
    assert refused.value.body()["cost_basis"] == "950000"


def test_a_replaced_order_keeps_its_fills_and_its_group(market: Market) -> None:
    venue = market([CALM, CALM, CALM])
    entry = venue.submit(BRACKET)
    venue.step()
    old = venue.order(entry.legs[1])
    new = venue.replace(old.id, stop_price=D(97))
    assert (old.status, old.replaced_by, new.replaces) == ("replaced", new.id, old.id)
    assert new.exits == (entry.legs[0], new.id)
    assert entry.legs == (entry.legs[0], new.id)
    venue.cancel(entry.legs[0])
    assert new.status == "canceled"


def test_fractions_stay_orders_for_the_day(market: Market) -> None:
    venue = market([CALM, CALM])
    order = venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=D("1.5"), type="limit", limit_price=D(90)))
    with pytest.raises(VenueError, match="must be DAY"):
        venue.replace(order.id, time_in_force="gtc")


def test_step_after_the_last_bar_is_an_error(market: Market) -> None:
    venue = market([CALM, CALM])
    venue.step()
    assert venue.done
    with pytest.raises(IndexError, match="2 bars"):
        venue.step()


@pytest.mark.parametrize(("wish", "sign"), [(buy, 1), (sell, -1)])
def test_at_a_gap_volume_goes_to_market_orders_then_to_the_best_price_then_to_arrival(
    market: Market, wish: Callable[..., OrderRequest], sign: int,
) -> None:
    model = RealisticFillSimulator(slippage_model="none", commission_per_share=0, max_participation=0.1)
    gap = 100.0 - 10 * sign
    venue = market([CALM, (gap, gap, gap, gap, 1000.0)] + [(gap, gap, gap, gap, 300.0)] * 3, model=model)
    kinds: list[dict[str, object]] = [
        {"type": "limit", "limit_price": D(100 - 5 * sign)}, {"type": "limit", "limit_price": D(100 - 2 * sign)},
        {"type": "limit", "limit_price": D(100 - 2 * sign)}, {"type": "market"},
    ]
    orders = [venue.submit(wish(40, **fields)) for fields in kinds]
    venue.step()
    assert [placed.filled_qty for placed in orders] == [0, 40, 20, 40]
    venue.step()
    venue.step()
    assert [placed.filled_qty for placed in orders] == [40, 40, 40, 40]
    assert {placed.filled_avg_price for placed in orders} == {D(str(gap))}


def test_a_stop_that_a_gap_sets_off_comes_after_those_who_were_there(market: Market) -> None:
    model = RealisticFillSimulator(slippage_model="none", commission_per_share=0, max_participation=0.1)
    venue = market([CALM, CALM, (90, 90, 90, 90, 400.0), (90, 90, 90, 90, 400.0)], model=model)
    venue.submit(buy(80))
    venue.step()
    stop = venue.submit(sell(40, type="stop", stop_price=D(95)))
    leaving = venue.submit(sell(40))
    venue.step()
    assert (stop.filled_qty, leaving.filled_qty) == (0, 40)
    venue.step()
    assert (stop.status, stop.filled_avg_price) == ("filled", 90)
