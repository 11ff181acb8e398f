"""The rule ``held_stops``: a stop beside its target is shown as Alpaca shows it, and triggers as ever."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import QueryOrderStatus
from alpaca.trading.requests import GetOrdersRequest
from exchange_markets import FREE, panel_of, walk_panel
from exchange_serving import serving
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.exchange.errors import VenueError
from trader.exchange.http import Request
from trader.exchange.persist import VenueStore
from trader.exchange.routes import TRADING_ROUTES, find_route
from trader.exchange.server import ExchangeServer
from trader.exchange.types import OrderRequest, VenueOrder, VenueRules
from trader.exchange.venue import Venue
from trader.exchange.wire import trade_update_json

Market = Callable[..., Venue]
CALM = (100.0, 100.5, 99.5, 100.0)
TO_STOP = (95.0, 95.5, 85.0, 88.0)
TO_TARGET = (105.0, 115.0, 104.0, 112.0)
HELD = VenueRules(held_stops=True)
THIN = RealisticFillSimulator(slippage_model="none", commission_per_share=0, max_participation=0.1)
ROLES = {"market": "entry", "limit": "target", "stop": "stop", "stop_limit": "stop"}


def bracket(**fields: Any) -> OrderRequest:
    shape = {"symbol": "AAPL", "side": "buy", "qty": D(10), "order_class": "bracket", "time_in_force": "gtc",
             "take_profit": D(110), "stop_loss": D(90)}
    return OrderRequest(**{**shape, **fields})


def told(venue: Venue) -> list[tuple[str, str, str]]:
    """Whom the news is of, what it says, and the order's status in it."""
    updates = [trade_update_json(event)["data"] for event in venue.drain()]
    return [(ROLES[update["order"].type], update["event"], update["order"].status) for update in updates]


def ask(venue: Venue, path: str, **query: str) -> Any:
    handler, argument = find_route(TRADING_ROUTES, "GET", path)
    return msgspec.json.decode(handler(venue, Request("GET", path, query, {}), argument).body)


def listed(venue: Venue, **query: str) -> list[tuple[str, str]]:
    return [(ROLES[order["type"]], order["status"]) for order in ask(venue, "/v2/orders", direction="asc", **query)]


def shown(venue: Venue, entry: VenueOrder) -> list[str]:
    """The statuses of an order's legs."""
    return [leg["status"] for leg in ask(venue, f"/v2/orders/{entry.id}")["legs"]]


def filled(market: Market, *bars: tuple[float, ...], rules: VenueRules = HELD, **fields: Any) -> tuple[Venue, Any]:
    """A venue behind the bar that filled a bracket's entry, and the entry."""
    settings = {name: fields.pop(name) for name in ("model", "per_day") if name in fields}
    venue = market([CALM, CALM, *bars], rules=rules, **settings)
    entry = venue.submit(bracket(**fields))
    venue.step()
    return venue, entry


def test_the_stop_is_held_beside_its_working_target(market: Market) -> None:
    venue, entry = filled(market, CALM)
    assert told(venue) == [("entry", "new", "new"), ("entry", "fill", "filled"), ("target", "new", "new")]
    assert shown(venue, entry) == ["new", "held"]
    assert listed(venue) == listed(venue, nested="true") == [("target", "new")]
    assert listed(venue, status="closed") == [("entry", "filled")]
    assert listed(venue, status="all") == [("entry", "filled"), ("target", "new"), ("stop", "held")]
    parent, = ask(venue, "/v2/orders", status="all", nested="true")
    assert [leg["status"] for leg in parent["legs"]] == ["new", "held"]
    assert venue.position("AAPL").available == 0


def test_without_the_rule_both_exits_work(market: Market) -> None:
    venue, entry = filled(market, CALM, rules=VenueRules())
    assert [event for role, event, _ in told(venue) if role == "stop"] == ["new"]
    assert shown(venue, entry) == ["new", "new"]
    assert listed(venue) == [("target", "new"), ("stop", "new")]


def test_a_touched_stop_takes_its_targets_place(market: Market) -> None:
    venue, entry = filled(market, TO_STOP)
    venue.drain()
    venue.step()
    assert told(venue) == [("target", "replaced", "replaced"), ("stop", "fill", "filled")]
    target, stop = ask(venue, f"/v2/orders/{entry.id}")["legs"]
    assert (target["status"], target["replaced_by"]) == ("replaced", stop["id"])
    assert target["replaced_at"] == stop["filled_at"]
    assert venue.accounts_book.holdings == {}
    assert listed(venue) == []


def test_a_filled_target_cancels_its_stop(market: Market) -> None:
    venue, entry = filled(market, TO_TARGET)
    venue.drain()
    venue.step()
    assert told(venue) == [("target", "fill", "filled"), ("stop", "canceled", "canceled")]
    assert shown(venue, entry) == ["filled", "canceled"]


def test_a_touched_stop_limit_that_rests_is_new(market: Market) -> None:
    venue, entry = filled(market, TO_STOP, CALM, stop_loss=D(90), stop_loss_limit=D(99))
    venue.drain()
    venue.step()
    assert told(venue) == [("target", "replaced", "replaced"), ("stop", "new", "new")]
    assert shown(venue, entry) == ["replaced", "new"]
    assert listed(venue) == [("stop", "new")]
    venue.step()
    assert told(venue) == [("stop", "fill", "filled")]
    assert venue.accounts_book.holdings == {}


def test_a_stop_that_fills_in_parts_has_no_target_beside_it(market: Market) -> None:
    venue, entry = filled(market, (*TO_STOP, 40), (88, 120, 80, 88, 40), (88, 89, 87, 88, 4000), model=THIN)
    venue.drain()
    venue.step()
    assert told(venue) == [("target", "replaced", "replaced"), ("stop", "partial_fill", "partially_filled")]
    assert shown(venue, entry) == ["replaced", "partially_filled"]
    venue.step()
    venue.step()
    assert [news[:2] for news in told(venue)] == [("stop", "partial_fill"), ("stop", "fill")]
    assert venue.accounts_book.holdings == {}


def test_a_partial_take_profit_shrinks_the_held_stop(market: Market) -> None:
    venue, entry = filled(market, (*TO_TARGET, 40), TO_STOP, model=THIN)
    venue.drain()
    venue.step()
    assert told(venue) == [("target", "partial_fill", "partially_filled"), ("stop", "restated", "held")]
    stop = ask(venue, f"/v2/orders/{entry.id}")["legs"][1]
    assert (stop["qty"], stop["status"]) == ("6", "held")
    venue.step()
    assert told(venue) == [("target", "replaced", "replaced"), ("stop", "fill", "filled")]
    assert venue.accounts_book.holdings == {}


def test_an_oco_keeps_its_stop_below_it(market: Market) -> None:
    venue = market([CALM, CALM, CALM, TO_STOP], rules=HELD)
    venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(10)))
    venue.step()
    venue.drain()
    pair = OrderRequest(symbol="AAPL", side="sell", type="limit", qty=D(10), order_class="oco", take_profit=D(110),
                        stop_loss=D(90), time_in_force="gtc")
    parent = venue.submit(pair)
    assert told(venue) == [("target", "new", "new")]
    assert listed(venue) == [("target", "new")]
    above, = ask(venue, "/v2/orders", nested="true")
    assert [leg["status"] for leg in above["legs"]] == ["held"]
    venue.step()
    venue.step()
    assert told(venue) == [("target", "replaced", "replaced"), ("stop", "fill", "filled")]
    assert (parent.status, parent.replaced_by) == ("replaced", parent.legs[0])


def test_a_stop_without_a_target_works(market: Market) -> None:
    venue, entry = filled(market, CALM, order_class="oto", take_profit=None)
    assert told(venue)[-1] == ("stop", "new", "new")
    assert shown(venue, entry) == ["new"]
    assert listed(venue) == [("stop", "new")]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("slow", [False, True])
def test_cancelling_either_exit_ends_both(market: Market, number: int, slow: bool) -> None:
    venue, entry = filled(market, CALM, CALM, rules=VenueRules(held_stops=True, slow_changes=slow))
    venue.drain()
    venue.cancel(entry.legs[number])
    if slow:
        assert [event for _, event, _ in told(venue)] == ["pending_cancel"]
        venue.step()
    assert sorted(news[:2] for news in told(venue)) == [("stop", "canceled"), ("target", "canceled")]
    assert shown(venue, entry) == ["canceled", "canceled"]
    assert venue.close_position("AAPL").qty == 10


@pytest.mark.parametrize("slow", [False, True])
def test_a_replaced_stop_stays_in_the_shadow(market: Market, slow: bool) -> None:
    venue, entry = filled(market, CALM, TO_STOP, rules=VenueRules(held_stops=True, slow_changes=slow))
    venue.drain()
    fresh = venue.replace(entry.legs[1], stop_price=D(92))
    venue.step()
    events = [news[:2] for news in told(venue)]
    assert events[-1] == ("stop", "replaced")
    assert events[:-1] == ([("stop", "pending_replace"), ("stop", "pending_new")] if slow else [])
    assert shown(venue, entry) == ["new", "held"]
    assert listed(venue) == [("target", "new")]
    venue.step()
    assert told(venue) == [("target", "replaced", "replaced"), ("stop", "fill", "filled")]
    assert venue.order(entry.legs[0]).replaced_by == fresh.id


def test_a_replaced_target_is_the_one_that_goes(market: Market) -> None:
    venue, entry = filled(market, TO_STOP)
    venue.drain()
    fresh = venue.replace(entry.legs[0], limit_price=D(120))
    assert told(venue) == [("target", "replaced", "replaced"), ("target", "new", "new")]
    venue.step()
    assert told(venue) == [("target", "replaced", "replaced"), ("stop", "fill", "filled")]
    assert (fresh.status, fresh.replaced_by) == ("replaced", entry.legs[1])


def test_a_change_that_pends_while_the_stop_is_touched_comes_too_late(market: Market) -> None:
    venue, entry = filled(market, TO_STOP, rules=VenueRules(held_stops=True, slow_changes=True))
    target = venue.replace(entry.legs[0], limit_price=D(120))
    venue.drain()
    venue.step()
    assert [(role, event) for role, event, _ in told(venue)] == [
        ("target", "replaced"), ("stop", "fill"), ("target", "rejected"), ("target", "order_replace_rejected")]
    assert target.status == "rejected"
    assert listed(venue) == []


def test_halts_nights_and_expiry_are_not_told_of_it(market: Market) -> None:
    rules = VenueRules(held_stops=True, done_for_day=True)
    venue, entry = filled(market, CALM, CALM, CALM, CALM, CALM, rules=rules, per_day=3)
    venue.drain()
    venue.halt("AAPL")
    assert told(venue) == [("target", "suspended", "suspended")]
    assert shown(venue, entry) == ["suspended", "held"]
    venue.resume("AAPL")
    venue.step()
    assert told(venue) == [("target", "new", "new"), ("target", "done_for_day", "done_for_day")]
    assert shown(venue, entry) == ["done_for_day", "held"]
    venue.step()
    assert told(venue) == [("target", "new", "new")]
    assert listed(venue) == [("target", "new")]
    venue, entry = filled(market, CALM, CALM, rules=rules, per_day=3, time_in_force="day")
    venue.drain()
    venue.step()
    assert sorted(told(venue)) == [("stop", "expired", "expired"), ("target", "expired", "expired")]


def test_it_is_in_the_shadow_after_a_restart(market: Market, tmp_path: Path) -> None:
    venue, entry = filled(market, TO_STOP)
    with VenueStore(tmp_path / "venue.db") as store:
        store.save(venue)
    again = market([CALM, CALM, TO_STOP])               # the rule holds for orders that come under it
    with VenueStore(tmp_path / "venue.db") as store:
        store.load(again)
    assert shown(again, entry) == ["new", "held"]
    again.step()
    assert told(again) == [("target", "replaced", "replaced"), ("stop", "fill", "filled")]


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_what_is_executed_is_the_same_with_and_without(seed: int) -> None:
    panel = walk_panel(("AAPL", "MSFT"), 80, seed=seed % 5, volume=1e6)
    venues = [Venue(panel, start_index=1, fill_model=FREE, seed=seed, rules=VenueRules(held_stops=held))
              for held in (False, True)]
    rng = random.Random(seed)
    while not venues[0].done:
        for venue in venues:
            venue.step()
        symbol = rng.choice(("AAPL", "MSFT"))
        last = venues[0].last_price(venues[0].column(symbol) or 0)
        change = rng.choice((D("0.4"), D("0.9"), D(2)))
        number, deed = rng.randrange(len(venues[0].desk.orders) or 1), rng.random()
        for venue in venues:
            try:
                if deed < 0.6:
                    venue.submit(bracket(symbol=symbol, take_profit=last + change, stop_loss=last - change,
                                         client_order_id=str(venue.index)))
                elif deed < 0.8 and venue.desk.orders:
                    venue.cancel(list(venue.desk.orders)[number])
                else:
                    venue.close_position(symbol)
            except VenueError:
                pass
        for order in venues[1].orders("all"):
            if order.unseen:                            # nobody is in the shadow of what is gone
                assert [other.type for other in venues[1].desk.siblings(order)] == ["limit"]
    traded = [[(a.symbol, a.side, a.qty, a.price, a.ts_ns) for a in venue.activities] for venue in venues]
    assert traded[0] == traded[1]
    assert traded[0]
    assert venues[0].accounts_book.cash == venues[1].accounts_book.cash


def test_alpacas_own_client_and_the_control_api(tmp_path: Path) -> None:
    venue = Venue(panel_of({"AAPL": [CALM, CALM, TO_STOP]}), start_index=1, fill_model=FREE)
    server = ExchangeServer(venue)
    with serving(server) as control:
        assert control.get("rules")["held_stops"] is False
        assert control.post("rules", held_stops=True)["held_stops"] is True
        client = TradingClient("key", "secret", url_override=f"http://127.0.0.1:{server.port}")
        entry = venue.submit(bracket())
        control.post("step")
        wanted = GetOrdersRequest(status=QueryOrderStatus.OPEN, nested=True)
        target, = client.get_orders(wanted)
        assert (target.order_type.value, target.status.value, target.legs) == ("limit", "new", None)
        assert [leg.status.value for leg in client.get_order_by_id(entry.id).legs] == ["new", "held"]
        control.post("step")
        assert client.get_orders(wanted) == []
        gone, stop = client.get_order_by_id(entry.id).legs
        assert (gone.status.value, str(gone.replaced_by)) == ("replaced", str(stop.id))
        assert stop.status.value == "filled"
