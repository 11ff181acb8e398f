"""Trailing stops, auctions, immediate and extended orders, changes that pend, halts, borrow and splits."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal as D
from pathlib import Path

import msgspec
import numpy as np
import pytest
from exchange_markets import FREE, MONDAY_OPEN, QUARTER, extended_panel

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core.panel import BarPanel
from trader.exchange.errors import VenueError
from trader.exchange.persist import VenueStore
from trader.exchange.snapshot import take_state
from trader.exchange.types import OrderRequest, VenueRules
from trader.exchange.venue import Venue

Market = Callable[..., Venue]
CALM = (100.0, 100.5, 99.5, 100.0)
THIN = RealisticFillSimulator(slippage_model="none", commission_per_share=0, max_participation=0.1)


def wish(side: str = "buy", qty: str | None = "10", symbol: str = "AAPL", **fields: object) -> OrderRequest:
    return OrderRequest(symbol=symbol, side=side, qty=None if qty is None else D(qty), **fields)


def told(venue: Venue) -> list[tuple[str, str]]:
    return [(event.event, event.order.status) for event in venue.drain()]


def holding(market: Market, *bars: tuple[float, ...], **settings: object) -> Venue:
    """A venue that holds 10 shares bought at 100 before the given bars."""
    venue = market([CALM, CALM, *bars], **settings)
    venue.submit(wish())
    venue.step()
    venue.drain()
    return venue


# --- trailing stops -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trail", "bars", "hwm", "stop", "price"),
    [
        # up to 104 within the bar, then 2 down
        ({"trail_price": D(2)}, [(100, 104, 99, 101)], "104", "102", "102.00"),
        ({"trail_price": D(2)}, [(100, 104, 99, 102.5)], "104", "102", None),
        ({"trail_price": D(2)}, [(103, 104, 101, 101.5)], "104", "102", "102.00"),
        ({"trail_percent": D(10)}, [(100, 110, 99.5, 108), (104, 105, 98, 99)], "110", "99", "99.00"),
        # a gap over the stop: at the open; the best price is the old one
        ({"trail_price": D(2)}, [(95, 99, 94, 98)], "100", "98", "95.00"),
        # the low comes first, the high after it
        ({"trail_price": D(3)}, [(100, 105, 98, 104.9)], "105", "102", None),
        ({"trail_price": D("1.5")}, [(100, 104, 98, 104)], "100", "98.5", "98.50"),
    ],
)
def test_a_trailing_sell_follows_the_best_price(
    market: Market, trail: dict[str, D], bars: list[tuple[float, ...]], hwm: str, stop: str, price: str | None
) -> None:
    venue = holding(market, *bars)
    order = venue.submit(wish("sell", type="trailing_stop", time_in_force="gtc", **trail))
    assert (order.hwm, order.status) == (D(100), "new")
    for _ in bars:
        venue.step()
    assert (order.hwm, order.stop_price) == (D(hwm), D(stop))
    got = None if order.filled_avg_price is None else f"{order.filled_avg_price:.2f}"
    assert got == price


def test_a_trailing_buy_follows_from_above(market: Market) -> None:
    venue = market([CALM, (100, 100, 96, 96.5), (96.5, 99, 96, 98)])
    order = venue.submit(wish(type="trailing_stop", trail_price=D(2)))
    assert order.stop_price == 102
    venue.step()
    assert (order.hwm, order.stop_price) == (96, 98)
    venue.step()
    assert (order.status, order.filled_avg_price) == ("filled", 98)


def test_a_trailing_stop_is_replaced_by_its_trail_alone(market: Market) -> None:
    venue = holding(market, CALM, (100, 100, 98.5, 98.5))
    order = venue.submit(wish("sell", type="trailing_stop", trail_price=D(2)))
    new = venue.replace(order.id, trail=D(1))
    assert (new.trail_price, new.stop_price, new.replaces) == (1, 99, order.id)
    with pytest.raises(VenueError, match="no stop_price"):
        venue.replace(new.id, stop_price=D(95))
    venue.step()
    venue.step()
    assert (new.hwm, new.filled_avg_price) == (D("100.5"), D("99.5"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "either trail_price or trail_percent"),
        ({"trail_price": D(1), "trail_percent": D(1)}, "either trail_price or trail_percent"),
        ({"trail_percent": D("0.05")}, "trail_percent must be"),
        ({"trail_percent": D(100)}, "trail_percent must be"),
        ({"trail_price": D("1.001")}, "sub-penny"),
        ({"trail_price": D(1), "stop_price": D(90)}, "no stop price"),
        ({"trail_price": D(1), "extended_hours": True}, "extended hours"),
        ({"trail_price": D(1), "time_in_force": "ioc"}, "DAY or GTC"),
        ({"trail_price": D(1), "qty": "1.5"}, "cannot be trailing_stop"),
    ],
)
def test_trails_that_are_refused(market: Market, fields: dict[str, object], words: str) -> None:
    venue = market([CALM] * 3)
    with pytest.raises(VenueError, match=words) as refused:
        venue.submit(wish(type="trailing_stop", **fields))
    assert refused.value.http_status == 422


# --- times in force -----------------------------------------------------------------------------------------


def two_days(market: Market, first: tuple[float, ...] = CALM, last: tuple[float, ...] = CALM, **settings) -> Venue:
    """Three bars a day; the clock stands at the end of the first day."""
    venue = market([CALM, CALM, CALM, first, CALM, last, CALM, CALM, CALM], per_day=3, **settings)
    venue.step()
    venue.step()
    return venue


def test_opening_orders_fill_at_the_first_open_or_never(market: Market) -> None:
    venue = two_days(market, first=(101, 102, 95, 96))
    on_open = venue.submit(wish(time_in_force="opg"))
    too_low = venue.submit(wish(type="limit", limit_price=D(100), time_in_force="opg"))
    assert (on_open.status, too_low.status) == ("accepted", "accepted")
    venue.step()
    assert (on_open.filled_avg_price, on_open.filled_ns) == (101, venue.panel.ts_ns[3])
    assert (too_low.status, too_low.canceled_ns) == ("canceled", venue.panel.ts_ns[3])
    assert venue.desk.reserved == 0


def test_closing_orders_fill_at_the_last_close_or_never(market: Market) -> None:
    venue = two_days(market, last=(100, 108, 90, 103))
    on_close = venue.submit(wish(time_in_force="cls"))
    reachable = venue.submit(wish(type="limit", limit_price=D(104), time_in_force="cls"))
    too_low = venue.submit(wish(type="limit", limit_price=D(95), time_in_force="cls"))
    venue.step()
    venue.step()
    assert on_close.status == "new"
    venue.step()
    assert (on_close.filled_avg_price, reachable.filled_avg_price) == (103, 103)
    assert on_close.filled_ns == venue.now_ns
    assert (too_low.status, too_low.canceled_ns) == ("canceled", venue.now_ns)


def test_auction_orders_have_their_hours(market: Market) -> None:
    venue = market([CALM] * 53)                 # 09:45 on a Monday
    with pytest.raises(VenueError, match="opg orders are not accepted"):
        venue.submit(wish(time_in_force="opg"))
    venue.submit(wish(time_in_force="cls"))
    while venue.index < 25:
        venue.step()                            # 15:45
    venue.submit(wish(time_in_force="cls"))
    bars = [CALM] * 390
    panel = market(bars).panel
    minute = QUARTER // 15
    starts = MONDAY_OPEN + np.arange(390) * minute
    fine = BarPanel(("AAPL",), "1Min", starts, starts + minute, panel.open, panel.high, panel.low, panel.close,
                    panel.volume)
    late = Venue(fine, start_index=380, fill_model=FREE)           # 15:50
    with pytest.raises(VenueError, match="cls orders are not accepted") as refused:
        late.submit(wish(time_in_force="cls"))
    assert (refused.value.http_status, refused.value.code) == (422, 42210000)


@pytest.mark.parametrize(
    ("time_in_force", "qty", "fields", "status", "filled"),
    [
        ("ioc", "60", {}, "filled", 60),
        ("ioc", "250", {}, "canceled", 100),
        ("fok", "60", {}, "filled", 60),
        ("fok", "250", {}, "canceled", 0),
        ("ioc", "60", {"type": "limit", "limit_price": D("99.90")}, "canceled", 0),    # touched later in the bar
        ("ioc", "60", {"type": "limit", "limit_price": D(100)}, "filled", 60),
    ],
)
def test_immediate_orders_take_what_is_there_at_once(
    market: Market, time_in_force: str, qty: str, fields: dict[str, object], status: str, filled: int
) -> None:
    venue = market([(*CALM, 1000.0)] * 3, model=THIN)
    order = venue.submit(wish(qty=qty, time_in_force=time_in_force, **fields))
    venue.step()
    assert (order.status, order.filled_qty) == (status, filled)
    assert venue.desk.reserved == 0
    assert not venue.desk.fleeting


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "stop", "stop_price": D(105)},
        {"order_class": "bracket", "take_profit": D(110), "stop_loss": D(90)},
    ],
)
@pytest.mark.parametrize("time_in_force", ["opg", "cls", "ioc", "fok"])
def test_only_simple_market_and_limit_orders_are_for_a_moment(
    market: Market, fields: dict[str, object], time_in_force: str
) -> None:
    with pytest.raises(VenueError, match="DAY or GTC"):
        market([CALM] * 3).submit(wish(time_in_force=time_in_force, **fields))


def test_good_till_cancelled_ends_after_ninety_days(market: Market) -> None:
    venue = market([CALM] * 100, per_day=1)
    order = venue.submit(wish(type="limit", limit_price=D(50), time_in_force="gtc"))
    while venue.now_ns < order.expires_ns:
        assert order.status in ("accepted", "new")
        venue.step()
    assert order.status == "canceled"


# --- extended hours -----------------------------------------------------------------------------------------


def extended_venue() -> Venue:
    """Two days with trades outside regular hours; 09:30 of the first is next."""
    bars = [CALM] * 8
    bars[3] = (97, 97.5, 96, 97)        # Monday after hours
    bars[4] = (103, 104, 102, 103)      # Tuesday before the open
    return Venue(extended_panel(bars), start_index=1, fill_model=FREE)


def test_extended_orders_trade_outside_regular_hours_and_others_wait() -> None:
    venue = extended_venue()
    assert venue.in_session                     # 09:30
    extended = venue.submit(wish(type="limit", limit_price=D("97.50"), extended_hours=True))
    plain = venue.submit(wish(type="limit", limit_price=D("97.50")))
    venue.step()
    venue.step()                                # 16:00
    assert not venue.in_session
    assert (extended.status, plain.status) == ("new", "expired")
    queued = venue.submit(wish())
    assert (queued.status, queued.session) == ("accepted", 1)
    assert len(venue.equity_history) == 1
    venue.step()                                # after hours
    assert (extended.status, extended.filled_avg_price) == ("filled", 97)
    assert queued.status == "accepted"
    early = venue.submit(wish(type="limit", limit_price=D("103.50"), extended_hours=True))
    assert early.status == "accepted"
    venue.step()                                # before Tuesday's open
    assert early.filled_avg_price == 103
    assert queued.status == "accepted"
    venue.step()
    assert (queued.status, queued.filled_avg_price) == ("filled", 100)


def test_auction_windows_by_the_clock_of_an_extended_day() -> None:
    venue = extended_venue()
    venue.step()
    venue.step()
    assert venue.now_ns == venue.panel.available_ns[2]          # 16:00, after hours follow
    for kind in ("opg", "cls"):
        with pytest.raises(VenueError, match="not accepted"):
            venue.submit(wish(time_in_force=kind))
    assert venue.hours.phase_end(venue.index) == 3
    assert venue.next_open_close() == (venue.panel.ts_ns[5], venue.panel.available_ns[6])


# --- changes that pend --------------------------------------------------------------------------------------

SLOW = VenueRules(slow_changes=True)


def test_a_slow_cancel_may_come_too_late(market: Market) -> None:
    venue = market([CALM, (100, 101, 98, 100), CALM, CALM], rules=SLOW)
    early, late = (venue.submit(wish(type="limit", limit_price=D(price))) for price in (90, 99))
    venue.drain()
    venue.cancel(early.id)
    venue.cancel(late.id)
    assert told(venue) == [("pending_cancel", "pending_cancel")] * 2
    with pytest.raises(VenueError, match="pending_cancel"):
        venue.cancel(late.id)
    with pytest.raises(VenueError, match="cannot replace order in pending_cancel"):
        venue.replace(late.id, qty=D(5))
    assert venue.cancel_all() == [(early.id, False), (late.id, False)]
    venue.step()
    assert told(venue) == [("fill", "filled"), ("canceled", "canceled"), ("order_cancel_rejected", "filled")]


def test_a_slow_replacement_may_come_too_late(market: Market) -> None:
    venue = market([CALM, (100, 101, 98, 100), CALM, CALM], rules=SLOW)
    early, late = (venue.submit(wish(type="limit", limit_price=D(price))) for price in (90, 99))
    venue.drain()
    first = venue.replace(early.id, limit_price=D(91))
    second = venue.replace(late.id, qty=D(20))
    assert first.status == second.status == "pending_new"
    assert told(venue) == [("pending_replace", "pending_replace"), ("pending_new", "pending_new")] * 2
    assert venue.account().buying_power == 200_000 - 910 - 1980
    venue.step()
    assert told(venue) == [
        ("fill", "filled"), ("replaced", "replaced"), ("new", "new"), ("rejected", "rejected"),
        ("order_replace_rejected", "filled"),
    ]
    assert (early.replaced_by, first.replaces, second.failed_ns) == (first.id, early.id, venue.now_ns)
    assert venue.desk.reserved == 910


def test_queued_orders_cannot_be_replaced(market: Market) -> None:
    venue = two_days(market)
    queued = venue.submit(wish(type="limit", limit_price=D(90)))
    with pytest.raises(VenueError, match="cannot replace order in accepted") as refused:
        venue.replace(queued.id, qty=D(5))
    assert (refused.value.http_status, refused.value.code) == (422, 42210000)


def test_orders_sleep_at_night_when_asked_to_say_so(market: Market) -> None:
    venue = market([CALM] * 6, per_day=3, rules=VenueRules(done_for_day=True))
    order = venue.submit(wish(type="limit", limit_price=D(50), time_in_force="gtc"))
    for _ in range(3):
        venue.step()
    assert told(venue) == [("new", "new"), ("done_for_day", "done_for_day"), ("new", "new")]
    venue.reject(order.id)
    assert told(venue) == [("rejected", "rejected")]


# --- the market's ways --------------------------------------------------------------------------------------


def test_nothing_fills_while_a_symbol_is_halted(market: Market) -> None:
    venue = market([CALM, CALM, (90, 91, 89, 90), CALM])
    venue.halt("AAPL")
    resting, immediate = venue.submit(wish()), venue.submit(wish(time_in_force="ioc"))
    venue.step()
    assert (resting.status, immediate.status) == ("suspended", "canceled")
    venue.resume("AAPL")
    assert resting.status == "new"
    venue.step()
    assert resting.filled_avg_price == 90
    assert [event for event, _ in told(venue)] == [
        "new", "suspended", "new", "suspended", "canceled", "new", "fill",
    ]
    with pytest.raises(VenueError, match="not found"):
        venue.halt("NOPE")


def test_a_halt_suspends_what_works_and_a_resumption_lets_it_work_again(market: Market) -> None:
    venue = market([CALM] * 2 + [(*CALM, 4)] + [CALM] * 4)
    plain, held = venue.submit(wish(qty="10")), venue.submit(wish(
        type="limit", limit_price=D(50), order_class="bracket", take_profit=D(110), stop_loss=D(40)))
    resting = venue.submit(wish(type="limit", limit_price=D(80)))
    venue.step()
    venue.submit(wish(qty="10", type="limit", limit_price=D("100.2")))
    part = venue.orders("open")[-1]
    venue.step()
    assert (plain.status, part.status, part.filled_qty) == ("filled", "partially_filled", 4)
    power = venue.account().buying_power
    venue.halt("AAPL")
    assert [order.status for order in (held, resting, part)] == ["suspended"] * 3
    assert {venue.order(leg).status for leg in held.legs} == {"held"}
    assert venue.account().buying_power == power                 # what waits is still set aside
    changed = venue.replace(resting.id, limit_price=D(81))
    assert (resting.status, changed.status) == ("replaced", "suspended")
    venue.cancel(held.id)
    venue.step()
    assert (changed.status, part.filled_qty) == ("suspended", 4)
    venue.resume("AAPL")
    assert (changed.status, part.status) == ("new", "partially_filled")
    venue.step()
    assert part.status == "filled"


def test_a_stock_that_becomes_hard_to_borrow_loses_its_short_orders(market: Market) -> None:
    venue = market([CALM] * 4)
    order = venue.submit(wish("sell", type="limit", limit_price=D(110), time_in_force="gtc"))
    venue.set_borrow("AAPL", easy=False)
    assert order.status == "canceled"
    with pytest.raises(VenueError, match="cannot be sold short"):
        venue.submit(wish("sell"))
    venue.set_borrow("AAPL", easy=True)
    assert venue.submit(wish("sell")).status == "new"


def test_a_collar_bounds_what_a_buy_stop_pays(market: Market) -> None:
    venue = market([CALM, (110, 111, 109, 110), (103, 104, 102, 103)], rules=VenueRules(stop_collars=True))
    order = venue.submit(wish(type="stop", stop_price=D(101)))
    assert order.collar_price == D("103.52")
    venue.step()
    assert order.status == "new"                # 110 is beyond the collar
    venue.step()
    assert (order.filled_avg_price, order.type) == (103, "stop")


def test_a_forward_split_multiplies_positions_and_adjusts_orders(market: Market) -> None:
    half = (50.0, 50.25, 49.75, 50.0)
    venue = market([CALM, CALM, CALM, half, half, half], per_day=3)
    venue.submit(wish())
    venue.step()
    guard = venue.submit(wish("sell", type="stop", stop_price=D("90.01"), time_in_force="gtc"))
    with pytest.raises(ValueError, match="inside a session"):
        venue.apply_split("AAPL", D(2))
    venue.step()
    before = venue.account()
    venue.drain()
    venue.apply_split("AAPL", D(2))
    assert told(venue) == [("restated", "new")]
    assert (guard.qty, guard.stop_price) == (20, D("45.00"))
    position = venue.position("AAPL")
    assert (position.qty, position.avg_entry_price, position.current_price, position.available) == (20, 50, 50, 0)
    assert venue.account().equity == before.equity
    assert [entry.type for entry in venue.entries] == ["JNLC", "SPLIT"]
    venue.step()
    assert venue.account().equity == before.equity
    assert guard.status == "new"


def test_what_is_left_of_a_half_filled_order_stays_whole_in_a_split(market: Market) -> None:
    two, calm = (102.0, 105.0, 101.5, 104.0, 20.0), (66.6, 66.7, 66.5, 66.6)
    venue = market([CALM, CALM, two, calm, (69.5, 70.5, 69.0, 70.2), CALM], per_day=3, model=THIN)
    venue.submit(wish(qty="7"))
    venue.step()
    oco = venue.submit(wish("sell", "7", type="limit", order_class="oco", time_in_force="gtc", take_profit=D("104.99"),
                            stop_loss=D(95)))
    guard = venue.order(oco.legs[0])
    venue.step()
    assert (oco.filled_qty, guard.remaining, venue.position("AAPL").qty) == (2, 5, 5)
    venue.apply_split("AAPL", D("1.5"))
    assert (oco.qty, oco.filled_qty, oco.filled_avg_price) == (10, 3, D("69.993333"))
    assert oco.remaining == guard.remaining == venue.position("AAPL").qty == 7
    venue.step()
    venue.step()
    assert (oco.status, guard.status) == ("filled", "canceled")
    assert oco.filled_avg_price == D("69.998")          # seven more at 70.00


def test_a_trailing_stop_follows_a_price_of_few_digits_after_a_split(market: Market) -> None:
    flat = (100.0, 100.0, 99.5, 100.0)
    venue = market([flat] * 3 + [(33.3, 33.4, 33.2, 33.3)] * 3, per_day=3)
    venue.submit(wish())
    venue.step()
    stop = venue.submit(wish("sell", type="trailing_stop", trail_percent=D(10), time_in_force="gtc"))
    venue.step()
    venue.apply_split("AAPL", D(3))
    assert (stop.hwm, stop.stop_price) == (D("33.333333"), D("30.00"))


def test_a_reverse_split_cancels_orders_and_pays_fractions(market: Market) -> None:
    venue = market([CALM, CALM, CALM, (400.0, 401.0, 399.0, 400.0), CALM, CALM], per_day=3)
    venue.submit(wish(qty="10"))
    venue.step()
    venue.step()
    order = venue.submit(wish("sell", type="limit", limit_price=D(150), time_in_force="gtc"))
    equity = venue.account().equity
    venue.apply_split("AAPL", D("0.25"))
    assert order.status == "canceled"
    assert venue.position("AAPL").qty == 2                      # two and a half
    assert [(entry.type, entry.qty, entry.net_amount) for entry in venue.entries[1:]] == [
        ("SPLIT", -8, 0), ("CIL", 0, 200),
    ]
    assert venue.account().equity == equity
    book = venue.accounts_book
    assert book.cash + sum(held.cost for held in book.holdings.values()) == book.deposited + book.realized - book.fees


def test_volatility_does_not_see_a_split(market: Market) -> None:
    days = [(100.0 + n % 2, 102.0, 99.0, 100.0 + n % 2) for n in range(12)]
    halved = [tuple(price / 2 for price in bar) for bar in days]
    venue = market([*days, *halved], per_day=1, start_index=12)
    known = venue.statistics.volatility[12, 0]
    venue.apply_split("AAPL", D(2))
    assert venue.statistics.volatility[14, 0] == pytest.approx(known, rel=0.2)
    assert venue.statistics.adv[13, 0] == pytest.approx(2e6, rel=0.1)


# --- sizes --------------------------------------------------------------------------------------------------


def test_dollars_buy_at_limits_too(market: Market) -> None:
    venue = market([CALM, (100, 101, 98, 100)])
    order = venue.submit(wish(qty=None, notional=D("250.50"), type="limit", limit_price=D(99)))
    assert venue.account().buying_power == D("199749.50")
    venue.step()
    assert (order.filled_avg_price, order.qty) == (99, D("2.530303030"))
    with pytest.raises(VenueError, match="2 decimals"):
        venue.submit(wish(qty=None, notional=D("1.234")))


def test_out_of_proportion_accounts_may_only_close(market: Market) -> None:
    venue = market([CALM, CALM, (51.0, 51.0, 51.0, 51.0), CALM], cash=100_000)
    venue.submit(wish(qty="1990"))
    venue.step()
    venue.step()                                # 101,490 of stock on 2,490 of equity
    with pytest.raises(VenueError, match="liquidation only") as refused:
        venue.submit(wish(qty="1"))
    assert (refused.value.http_status, refused.value.code) == (403, 40310000)
    assert venue.submit(wish("sell", qty="1990")).status == "new"


def test_both_sides_cannot_wait_to_open(market: Market) -> None:
    venue = market([CALM] * 3)
    venue.submit(wish(type="limit", limit_price=D(90)))
    with pytest.raises(VenueError, match="cannot open a short sell while a long buy order is open"):
        venue.submit(wish("sell", type="limit", limit_price=D(110)))


@pytest.mark.parametrize(
    ("resting", "fields", "refused"),
    [
        ({"type": "limit", "limit_price": D(105)}, {"type": "limit", "limit_price": D(104)}, False),
        ({"type": "limit", "limit_price": D(105)}, {"type": "limit", "limit_price": D(105)}, True),
        ({"type": "limit", "limit_price": D(105)}, {"type": "stop", "stop_price": D(110)}, True),
        ({"type": "limit", "limit_price": D(105)},
         {"type": "stop_limit", "stop_price": D(101), "limit_price": D(102)}, False),
        ({"type": "stop", "stop_price": D(95)}, {"type": "limit", "limit_price": D(90)}, True),
        ({"type": "stop_limit", "stop_price": D(95), "limit_price": D(94)}, {}, True),
        ({"type": "trailing_stop", "trail_price": D(3)}, {}, False),
        ({"type": "stop", "stop_price": D(95)}, {"type": "trailing_stop", "trail_price": D(3)}, False),
    ],
)
def test_wash_trades_by_type(
    market: Market, resting: dict[str, object], fields: dict[str, object], refused: bool
) -> None:
    venue = holding(market, CALM)
    venue.submit(wish("sell", **resting))
    if not refused:
        venue.submit(wish(**fields))
        return
    with pytest.raises(VenueError, match="wash trade") as error:
        venue.submit(wish(**fields))
    assert (error.value.http_status, error.value.code) == (403, 40310000)
    assert "opposite side" in error.value.details["reject_reason"]


def test_a_suspended_account_takes_no_orders(market: Market) -> None:
    venue = market([CALM] * 3)
    venue.configure(msgspec.structs.replace(venue.configurations, suspend_trade=True))
    with pytest.raises(VenueError, match="rejected by user request"):
        venue.submit(wish())
    venue.configure(msgspec.structs.replace(venue.configurations, suspend_trade=False, no_shorting=True))
    with pytest.raises(VenueError, match="not allowed to short"):
        venue.submit(wish("sell"))
    venue.configure(msgspec.structs.replace(venue.configurations, max_margin_multiplier="1"))
    assert venue.account().buying_power == 100_000


def test_a_stored_venue_keeps_settings_changes_halts_splits_and_lists(market: Market, tmp_path: Path) -> None:
    bars = [CALM] * 9

    def fresh() -> Venue:
        return market({"AAPL": bars, "MSFT": bars}, per_day=3, rules=SLOW)

    venue = fresh()
    venue.submit(wish())
    while venue.hours.inside_day(venue.index):
        venue.step()
    venue.apply_split("AAPL", D(2))
    venue.step()
    trail = venue.submit(wish("sell", type="trailing_stop", trail_percent=D(5), time_in_force="gtc"))
    venue.step()
    other = venue.submit(wish(symbol="MSFT", type="limit", limit_price=D(90)))
    venue.replace(other.id, qty=D(20))
    venue.halt("MSFT")
    venue.set_borrow("MSFT", easy=False)
    venue.configure(msgspec.structs.replace(venue.configurations, no_shorting=True))
    with VenueStore(tmp_path / "venue.sqlite") as store:
        store.save(venue)
    back = fresh()
    with VenueStore(tmp_path / "venue.sqlite") as store:
        assert store.load(back)
    assert take_state(back) == take_state(venue)
    assert back.order(trail.id) == venue.order(trail.id)
    assert back.account() == venue.account()
    for each in (venue, back):
        each.drain()
        each.resume("MSFT")
        each.step()
        each.step()
    assert [msgspec.structs.asdict(event) for event in back.drain()] == [
        msgspec.structs.asdict(event) for event in venue.drain()
    ]


def test_the_days_profit_counts_from_yesterdays_close_or_todays_price(market: Market) -> None:
    venue = market([CALM, CALM, (100, 104, 99, 104), (106, 108, 105, 108), (108, 110, 107, 110), CALM], per_day=3)
    venue.submit(wish(qty="10"))
    venue.step()
    venue.step()
    assert (venue.position("AAPL").intraday_pl, venue.position("AAPL").unrealized_pl) == (40, 40)
    venue.submit(wish(qty="10"))
    venue.step()                                # ten of yesterday from 104, ten of today at 106; now 108
    position = venue.position("AAPL")
    assert (position.intraday_pl, position.unrealized_pl, position.lastday_price) == (60, 100, 104)
    venue.submit(wish("sell", qty="10"))
    venue.step()                                # the rest cost 103 on average, 105 as of today; now 110
    assert (venue.position("AAPL").intraday_pl, venue.position("AAPL").unrealized_pl) == (50, 70)
