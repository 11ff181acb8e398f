"""Unmodified alpaca-py over real sockets: the calls beyond orders, and every filter and page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from alpaca.common.enums import Sort
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockBarsRequest, StockQuotesRequest, StockTradesRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import (
    AssetClass,
    AssetExchange,
    AssetStatus,
    CorporateActionType,
    OrderClass,
    OrderSide,
    OrderStatus,
    OrderType,
    QueryOrderStatus,
    TimeInForce,
)
from alpaca.trading.models import NonTradeActivity, TradeAccount, TradeActivity
from alpaca.trading.requests import (
    CreateWatchlistRequest,
    GetAssetsRequest,
    GetCorporateAnnouncementsRequest,
    GetOrdersRequest,
    GetPortfolioHistoryRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
    TrailingStopOrderRequest,
    UpdateWatchlistRequest,
)
from exchange_markets import FREE, MONDAY_OPEN, QUARTER, panel_of, walk_panel
from exchange_serving import Control, serving

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue

CALM = (100.0, 100.5, 99.5, 100.0)
BUY, SELL, DAY, GTC = OrderSide.BUY, OrderSide.SELL, TimeInForce.DAY, TimeInForce.GTC
FIFTEEN = TimeFrame(15, TimeFrameUnit.Minute)


class Exchange(NamedTuple):
    """A venue, its control API and alpaca-py's clients."""

    venue: Venue
    control: Control
    port: int
    trading: TradingClient
    data: StockHistoricalDataClient

    def step(self, count: int = 1) -> None:
        self.control.post("step", count=count)


@contextmanager
def exchange_of(venue: Venue) -> Iterator[Exchange]:
    server = ExchangeServer(venue)
    with serving(server) as control:
        base = f"http://127.0.0.1:{server.port}"
        trading = TradingClient("key", "secret", url_override=base)
        trading._retry = 0
        data = StockHistoricalDataClient("key", "secret", url_override=base)
        yield Exchange(venue, control, server.port, trading, data)


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    """Two calm symbols over two days of three bars; AAPL is split two for one before the second."""
    half = tuple(price / 2 for price in CALM)
    panel = panel_of({"AAPL": [*[CALM] * 3, *[half] * 3], "MSFT": [CALM] * 6}, per_day=3)
    with exchange_of(Venue(panel, start_index=1, fill_model=FREE)) as running:
        yield running


def market(symbol: str = "AAPL", qty: float = 10, side: OrderSide = BUY, **fields: Any) -> MarketOrderRequest:
    return MarketOrderRequest(**{"symbol": symbol, "qty": qty, "side": side, "time_in_force": DAY, **fields})


def limit(price: float, symbol: str = "AAPL", qty: float = 10, **fields: Any) -> LimitOrderRequest:
    return LimitOrderRequest(
        **{"symbol": symbol, "qty": qty, "side": BUY, "time_in_force": GTC, "limit_price": price, **fields})


def test_the_account_has_every_field_that_is_still_sent(exchange: Exchange) -> None:
    account = exchange.trading.get_account()
    gone = {"pattern_day_trader", "daytrade_count", "daytrading_buying_power"}
    missing = {name for name in TradeAccount.model_fields if getattr(account, name) is None}
    assert missing == gone
    raw = exchange.trading.get("/account")
    assert not gone & set(raw)


def test_configurations_are_kept_and_obeyed(exchange: Exchange) -> None:
    wanted = exchange.trading.get_account_configurations()
    assert (wanted.fractional_trading, wanted.suspend_trade, wanted.max_margin_multiplier) == (True, False, "4")
    wanted.suspend_trade = True
    wanted.max_margin_multiplier = "1"
    assert exchange.trading.set_account_configurations(wanted).suspend_trade
    assert exchange.trading.get_account().trade_suspended_by_user
    assert exchange.trading.get_account().buying_power == "100000"
    with pytest.raises(APIError) as refused:
        exchange.trading.submit_order(market())
    assert (refused.value.status_code, refused.value.code) == (403, 40310000)
    for odd in ({"max_margin_multiplier": "3"}, {"max_options_trading_level": 4}):
        with pytest.raises(APIError) as unknown:
            exchange.trading.patch("/account/configurations", odd)
        assert unknown.value.status_code == 422


def test_every_time_in_force_and_trailing_stops(exchange: Exchange) -> None:
    trading = exchange.trading
    for kind in (TimeInForce.IOC, TimeInForce.FOK, TimeInForce.CLS):
        order = trading.submit_order(market(time_in_force=kind))
        assert (order.time_in_force, order.status) == (kind, OrderStatus.NEW)
    exchange.step(2)                                            # the first day's close
    assert trading.get_open_position("AAPL").qty == "30"
    opening = trading.submit_order(market("MSFT", time_in_force=TimeInForce.OPG))
    assert opening.status == OrderStatus.ACCEPTED
    trail = trading.submit_order(TrailingStopOrderRequest(
        symbol="AAPL", qty=10, side=SELL, time_in_force=GTC, trail_percent=5,
    ))
    assert (trail.type, trail.trail_percent, trail.hwm, trail.stop_price) == (OrderType.TRAILING_STOP, "5", "100", "95")
    exchange.venue.apply_split("AAPL", Decimal(2))
    exchange.step()
    assert trading.get_order_by_id(opening.id).filled_avg_price == "100"
    trail = trading.get_order_by_id(trail.id)
    assert (trail.qty, trail.hwm, trail.stop_price) == ("20", "50.25", "47.74")
    new = trading.replace_order_by_id(trail.id, ReplaceOrderRequest(trail=2))
    assert (new.trail_percent, new.replaces) == ("2", trail.id)


def test_listing_orders_by_everything(exchange: Exchange) -> None:
    trading = exchange.trading
    first = trading.submit_order(limit(90, client_order_id="first"))
    second = trading.submit_order(limit(91, "MSFT"))
    bracket = trading.submit_order(market(
        "MSFT", order_class=OrderClass.BRACKET, take_profit=TakeProfitRequest(limit_price=110),
        stop_loss=StopLossRequest(stop_price=90, limit_price=89),
    ))
    exchange.step()
    third = trading.submit_order(limit(92))
    trading.cancel_order_by_id(second.id)
    legs = [leg.id for leg in bracket.legs]

    def ids(**filters: Any) -> list[object]:
        return [order.id for order in trading.get_orders(GetOrdersRequest(**filters))]

    everything = [first.id, second.id, bracket.id, *legs, third.id]
    assert ids(status=QueryOrderStatus.ALL, direction=Sort.ASC) == everything
    assert ids(status=QueryOrderStatus.ALL) == everything[::-1]
    assert ids() == [third.id, *legs[::-1], first.id]
    assert ids(status=QueryOrderStatus.CLOSED) == [bracket.id, second.id]
    assert ids(status=QueryOrderStatus.ALL, nested=True) == [third.id, bracket.id, second.id, first.id]
    assert ids(symbols=["AAPL"]) == [third.id, first.id]
    assert ids(side=SELL) == legs[::-1]
    assert ids(limit=1) == [third.id]
    moment = third.submitted_at
    assert ids(after=moment - timedelta(seconds=1)) == [third.id]
    assert third.id not in ids(until=moment)
    raw = trading.get("/orders", {"status": "all", "after_order_id": str(bracket.id), "direction": "asc"})
    assert [order["id"] for order in raw] == [str(leg) for leg in [*legs, third.id]]
    assert trading.get("/orders", {"asset_class": "crypto"}) == []
    for classes in ("all", "us_equity", "crypto,us_equity"):
        assert len(trading.get("/orders", {"asset_class": classes})) == len(ids())
    assert trading.get_order_by_client_id("first").id == first.id
    with pytest.raises(APIError) as odd:
        trading.get("/orders", {"side": "up"})
    assert (odd.value.status_code, odd.value.code) == (400, 40010000)


def test_oto_and_oco_orders(exchange: Exchange) -> None:
    trading = exchange.trading
    oto = trading.submit_order(market(order_class=OrderClass.OTO, stop_loss=StopLossRequest(stop_price=90)))
    assert [(leg.type, leg.status) for leg in oto.legs] == [(OrderType.STOP, OrderStatus.HELD)]
    trading.submit_order(market("MSFT"))
    exchange.step()
    oco = trading.submit_order(limit(
        110, "MSFT", side=SELL, order_class=OrderClass.OCO, take_profit=TakeProfitRequest(limit_price=110),
        stop_loss=StopLossRequest(stop_price=90),
    ))
    assert (oco.order_class, len(oco.legs)) == (OrderClass.OCO, 1)
    assert trading.get_open_position("MSFT").qty_available == "0"
    trading.cancel_order_by_id(oco.legs[0].id)
    assert trading.get_order_by_id(oco.id).status == OrderStatus.CANCELED


def test_activities_page_and_filter(exchange: Exchange) -> None:
    trading = exchange.trading
    for _ in range(3):
        trading.submit_order(market())
    exchange.step(2)
    exchange.venue.apply_split("AAPL", Decimal(2))
    trading.submit_order(market("MSFT"))
    exchange.step()
    every = trading.get("/account/activities", {"direction": "asc"})
    assert [found["activity_type"] for found in every] == ["JNLC", "FILL", "FILL", "FILL", "SPLIT", "FILL"]
    trades = [TradeActivity(**found) for found in every if found["activity_type"] == "FILL"]
    assert [trade.symbol for trade in trades] == ["AAPL", "AAPL", "AAPL", "MSFT"]
    others = [NonTradeActivity(**found) for found in every if found["activity_type"] != "FILL"]
    assert [(other.net_amount, other.qty) for other in others] == [(100_000, 0), (0, 30)]
    fills = trading.get("/account/activities/FILL")
    assert [fill["id"] for fill in fills] == [found["id"] for found in every if found["activity_type"] == "FILL"][::-1]
    pages, token = [], ""
    while True:
        page = trading.get("/account/activities", {"page_size": 2, **({"page_token": token} if token else {})})
        if not page:
            break
        assert len(page) <= 2
        pages += page
        token = page[-1]["id"]
    assert pages == every[::-1]
    one = fills[0]["order_id"]
    assert [fill["order_id"] for fill in trading.get("/account/activities", {"order_id": one})] == [one]
    assert len(trading.get("/account/activities", {"date": "2024-01-09"})) == 1
    for types, count in (("SPLIT,CIL", 1), ("TRANS", 0), ("MISC", 2), ("MISC,FILL", 6), ("DIVFT,PTR,JNL", 0)):
        assert len(trading.get("/account/activities", {"activity_types": types})) == count
    before = trading.get("/account/activities", {"until": "2024-01-09"})           # the day itself is not before it
    assert {found.get("transaction_time", "2024-01-08")[:10] for found in before} == {"2024-01-08"}
    assert len(trading.get("/account/activities", {"category": "non_trade_activity"})) == 2
    assert len(trading.get("/account/activities/FILL", {"after": "2024-01-09T00:00:00Z"})) == 1
    for odd in ({"activity_types": "LUNCH"}, {"category": "trade_activity", "activity_types": "FILL"}):
        with pytest.raises(APIError) as refused:
            trading.get("/account/activities", odd)
        assert refused.value.status_code == 422
    with pytest.raises(APIError) as no_day:
        trading.get("/account/activities", {"date": "today"})
    assert (no_day.value.status_code, no_day.value.code) == (400, 40010000)


def test_portfolio_history_in_every_size() -> None:
    panel = walk_panel(("AAPL", "MSFT"), 26 * 5, volume=1e6)
    with exchange_of(Venue(panel, start_index=1, fill_model=RealisticFillSimulator())) as running:
        trading = running.trading
        for n in range(5):
            trading.submit_order(market("AAPL", 100 + n))
            trading.submit_order(market("MSFT", 50 + n, SELL))
            running.step(20)
        worth = float(trading.get_account().equity)
        days = trading.get_portfolio_history()
        assert (days.timeframe, len(days.equity), days.equity[-1]) == ("1D", 4, worth)
        noted = [float(point.equity) for point in running.venue.equity_history]
        assert days.equity[:3] == noted
        assert days.profit_loss[-1] == pytest.approx(worth - 100_000, abs=1e-6)
        fine = trading.get_portfolio_history(GetPortfolioHistoryRequest(period="2W"))
        assert (fine.timeframe, len(fine.equity)) == ("15Min", 104)
        assert fine.equity[-1] == pytest.approx(worth, abs=1e-6)
        assert fine.equity[24:26] == pytest.approx([noted[0]] * 2, abs=1e-6)
        assert fine.profit_loss[26] == pytest.approx(fine.equity[26] - noted[0], abs=1e-6)
        whole = trading.get_portfolio_history(GetPortfolioHistoryRequest(period="2W", pnl_reset="no_reset"))
        assert whole.profit_loss[26] == pytest.approx(fine.equity[26] - 100_000, abs=1e-6)
        hours = trading.get_portfolio_history(GetPortfolioHistoryRequest(timeframe="1H", period="1W"))
        assert set(hours.equity) < set(fine.equity)
        start = datetime.fromtimestamp((MONDAY_OPEN + 86_400 * 10**9) / 1e9, UTC)
        window = trading.get_portfolio_history(GetPortfolioHistoryRequest(
            start=start, end=start + timedelta(hours=1), timeframe="15Min"))
        assert window.timestamp == [int(start.timestamp()) + 900 * n for n in range(5)]
        assert window.equity == fine.equity[26:31]
        raw = trading.get("/account/portfolio/history", {"start": start.isoformat()})
        assert (window.base_value, raw["base_value"], raw["base_value_asof"]) == (noted[0], noted[0], "2024-01-08")
        assert "base_value_asof" not in trading.get("/account/portfolio/history")
        day = trading.get_portfolio_history(GetPortfolioHistoryRequest(
            start=start, end=start + timedelta(hours=7), timeframe="15Min"))
        opening = int(start.timestamp())
        assert day.timestamp == list(range(opening, opening + 27 * 900, 900))      # as Alpaca's own example has it
        assert day.equity[-2:] == pytest.approx([noted[1]] * 2, abs=1e-6)
        long = trading.get("/account/portfolio/history", {"period": "9999A"})
        assert long == trading.get("/account/portfolio/history", {"start": "0001-01-01"})
        for odd in ({"period": "5X"}, {"timeframe": "2H"}, {"timeframe": "15Min", "period": "31D"}):
            with pytest.raises(APIError):
                trading.get("/account/portfolio/history", odd)


def test_assets_by_every_filter(exchange: Exchange) -> None:
    trading = exchange.trading

    def names(**filters: Any) -> list[str]:
        return [asset.symbol for asset in trading.get_all_assets(GetAssetsRequest(**filters))]

    assert names(status=AssetStatus.ACTIVE, asset_class=AssetClass.US_EQUITY) == ["AAPL", "MSFT"]
    assert names(exchange=AssetExchange.NASDAQ, attributes="fractional_eh_enabled") == ["AAPL", "MSFT"]
    assert names(status=AssetStatus.INACTIVE) == names(exchange=AssetExchange.NYSE) == names(attributes="ipo") == []
    assert names(asset_class=AssetClass.CRYPTO) == []
    exchange.venue.set_borrow("MSFT", easy=False)
    raw = trading.get("/assets/MSFT")
    assert (raw["easy_to_borrow"], raw["borrow_status"], raw["shortable"]) == (False, "hard_to_borrow", False)


def test_watchlists(exchange: Exchange) -> None:
    trading = exchange.trading
    made = trading.create_watchlist(CreateWatchlistRequest(name="mine", symbols=["AAPL"]))
    assert [asset.symbol for asset in made.assets] == ["AAPL"]
    assert len(trading.add_asset_to_watchlist_by_id(made.id, "MSFT").assets) == 2
    assert [found.name for found in trading.get_watchlists()] == ["mine"]
    left = trading.remove_asset_from_watchlist_by_id(made.id, "AAPL")
    assert [asset.symbol for asset in left.assets] == ["MSFT"]
    renamed = trading.update_watchlist_by_id(made.id, UpdateWatchlistRequest(name="yours"))
    assert (renamed.name, trading.get_watchlist_by_id(made.id).name) == ("yours", "yours")
    with pytest.raises(APIError) as unknown:
        trading.add_asset_to_watchlist_by_id(made.id, "NOPE")
    assert unknown.value.status_code == 422
    named = {"name": "yours"}
    assert trading.get("/watchlists:by_name", named)["id"] == str(made.id)
    base = "/watchlists:by_name?name=yours"
    assert len(trading.post(base, {"symbol": "AAPL"})["assets"]) == 2
    assert trading.put(base, {"name": "theirs", "symbols": ["AAPL"]})["assets"][0]["symbol"] == "AAPL"
    other = trading.post("/watchlists", {"name": "short lived"})
    trading.delete("/watchlists:by_name?name=short+lived")
    with pytest.raises(APIError) as nameless:
        trading.get("/watchlists:by_name", {"name": other["name"]})
    assert (nameless.value.status_code, nameless.value.code) == (404, 40410000)
    trading.delete_watchlist_by_id(made.id)
    with pytest.raises(APIError) as gone:
        trading.get_watchlist_by_id(made.id)
    assert (gone.value.status_code, gone.value.code) == (404, 40410000)


def test_splits_are_announced_and_bars_adjusted(exchange: Exchange) -> None:
    exchange.step(2)
    exchange.venue.apply_split("AAPL", Decimal(2))
    exchange.step()
    wanted = GetCorporateAnnouncementsRequest(
        ca_types=[CorporateActionType.SPLIT], since=date(2024, 1, 1), until=date(2024, 2, 1))
    (announced,) = exchange.trading.get_corporate_announcements(wanted)
    assert (announced.initiating_symbol, announced.old_rate, announced.new_rate) == ("AAPL", 1, 2)
    assert announced.ex_date == date(2024, 1, 9)
    assert exchange.trading.get_corporate_announcement_by_id(announced.id).id == announced.id
    wanted.ca_types = [CorporateActionType.DIVIDEND, CorporateActionType.SPLIT]
    assert len(exchange.trading.get_corporate_announcements(wanted)) == 1
    for odd, status in (({"ca_types": "PARTY"}, 422), ({}, 422), ({"ca_types": "SPLIT", "since": "yesterday"}, 400)):
        with pytest.raises(APIError) as refused:
            exchange.trading.get("/corporate_actions/announcements", odd)
        assert refused.value.status_code == status

    def closes(adjustment: Adjustment) -> list[float]:
        bars = exchange.data.get_stock_bars(StockBarsRequest(
            symbol_or_symbols="AAPL", timeframe=FIFTEEN, adjustment=adjustment, start=datetime(2024, 1, 8)))
        return [bar.close for bar in bars["AAPL"]]

    assert closes(Adjustment.RAW) == [100, 100, 100, 50]
    assert closes(Adjustment.SPLIT) == closes(Adjustment.ALL) == [50, 50, 50, 50]


def test_trades_and_quotes_of_the_past() -> None:
    panel = walk_panel(("AAPL", "MSFT"), 30)
    with exchange_of(Venue(panel, start_index=20, fill_model=RealisticFillSimulator())) as running:
        trades = running.data.get_stock_trades(StockTradesRequest(symbol_or_symbols=["AAPL", "MSFT"]))
        assert [len(trades[symbol]) for symbol in ("AAPL", "MSFT")] == [80, 80]
        first = trades["AAPL"][:4]
        assert (first[0].price, first[3].price) == (panel.open[0, 0], panel.close[0, 0])
        assert {max(trade.price for trade in first), min(trade.price for trade in first)} == {
            panel.high[0, 0], panel.low[0, 0],
        }
        assert sum(trade.size for trade in first) == panel.volume[0, 0]
        start = datetime.fromtimestamp((MONDAY_OPEN + 2 * QUARTER) / 1e9, UTC)
        quotes = running.data.get_stock_quotes(StockQuotesRequest(
            symbol_or_symbols="AAPL", start=start, end=start + timedelta(minutes=15), limit=3))["AAPL"]
        assert [quote.bid_price < trade.price < quote.ask_price for quote, trade in zip(
            quotes, trades["AAPL"][8:11], strict=True)] == [True] * 3
        page = running.data.get("/stocks/trades", {"symbols": "AAPL", "limit": 30, "sort": "desc"})
        more = running.data.get("/stocks/trades", {
            "symbols": "AAPL", "limit": 30, "sort": "desc", "page_token": page["next_page_token"]})
        moments = [trade["t"] for trade in page["trades"]["AAPL"] + more["trades"]["AAPL"]]
        assert moments == sorted(moments, reverse=True)
        assert len(set(moments)) == 60


@pytest.mark.parametrize(
    "query",
    [
        {"timeframe": "7Foo"}, {"timeframe": "7Min"}, {"limit": "0"}, {"limit": "10001"}, {"feed": "radio"},
        {"sort": "up"}, {"adjustment": "some"}, {"start": "soon"}, {"page_token": "?"}, {"asof": "when"},
        {"currency": "CHF"},
    ],
)
def test_bars_say_what_is_wrong_with_a_query(exchange: Exchange, query: dict[str, str]) -> None:
    with pytest.raises(APIError) as refused:
        exchange.data.get("/stocks/bars", {"symbols": "AAPL", "timeframe": "15Min", **query})
    assert (refused.value.status_code, refused.value.code) == (400, 40010000)


def test_longer_bars_from_base_bars() -> None:
    panel = walk_panel(("AAPL",), 26 * 12)
    with exchange_of(Venue(panel, start_index=26 * 12, fill_model=FREE)) as running:
        def bars(amount: int, unit: TimeFrameUnit, **fields: Any) -> list[Any]:
            found = running.data.get_stock_bars(StockBarsRequest(
                symbol_or_symbols="AAPL", timeframe=TimeFrame(amount, unit), asof="2024-01-01",
                start=datetime(2024, 1, 1), **fields))
            return found["AAPL"]

        halves = bars(30, TimeFrameUnit.Minute)
        assert len(halves) == 13 * 12
        assert (halves[1].open, halves[1].close) == (panel.open[2, 0], panel.close[3, 0])
        assert len(bars(2, TimeFrameUnit.Hour)) == 4 * 12
        days = bars(1, TimeFrameUnit.Day)
        weeks = bars(1, TimeFrameUnit.Week)
        assert (len(days), len(weeks)) == (12, 2)
        assert weeks[0].volume == sum(day.volume for day in days[:7])
        assert bars(1, TimeFrameUnit.Month)[0].high == panel.high.max()
        assert bars(1, TimeFrameUnit.Day, sort=Sort.DESC, limit=2) == days[:-3:-1]


def test_closing_everything_over_and_under_the_halfway_line(exchange: Exchange) -> None:
    trading = exchange.trading
    trading.submit_order(market())
    trading.submit_order(market("MSFT", 5.5))
    exchange.step()
    guard = trading.submit_order(StopOrderRequest(symbol="AAPL", qty=10, side=SELL, time_in_force=GTC, stop_price=90))
    answers = trading.close_all_positions(cancel_orders=False)
    assert [(answer.symbol, answer.status) for answer in answers] == [("AAPL", 403), ("MSFT", 200)]
    trading.cancel_orders()
    assert trading.get_order_by_id(guard.id).status == OrderStatus.CANCELED
    answers = trading.close_all_positions(cancel_orders=True)
    assert [answer.status for answer in answers] == [200, 200]
    exchange.step()
    assert trading.get_all_positions() == []


def test_the_newer_clock_and_calendar(exchange: Exchange) -> None:
    clock = _v3(exchange, "/v3/clock?markets=NYSE,IEX")
    assert [found["market"]["mic"] for found in clock["clocks"]] == ["XNYS", "IEXG"]
    first = clock["clocks"][0]
    assert (first["phase"], first["is_market_day"]) == ("core", True)
    assert first["phase_until"] == first["next_market_close"]
    exchange.step(2)
    assert _v3(exchange, "/v3/clock")["clocks"][0]["phase"] == "closed"
    days = _v3(exchange, "/v3/calendar/NYSE?start=2024-07-02&end=2024-07-05")["calendar"]
    assert [(day["date"], day["core_end"]) for day in days] == [
        ("2024-07-02", "2024-07-02T16:00:00-04:00"), ("2024-07-03", "2024-07-03T13:00:00-04:00"),
        ("2024-07-05", "2024-07-05T16:00:00-04:00"),
    ]
    utc = _v3(exchange, "/v3/calendar/NYSE?start=2024-07-02&end=2024-07-02&timezone=UTC")["calendar"]
    assert utc[0]["core_start"] == "2024-07-02T13:30:00+00:00"


@pytest.mark.parametrize(("time", "phase", "until", "opens"), [
    ("2024-11-29T08:59:59Z", "closed", "2024-11-29T04:00:00-05:00", "2024-11-29T09:30:00-05:00"),
    ("2024-11-29T14:00:00Z", "pre", "2024-11-29T09:30:00-05:00", "2024-11-29T09:30:00-05:00"),
    ("2024-11-29T14:30:00Z", "core", "2024-11-29T13:00:00-05:00", "2024-12-02T09:30:00-05:00"),
    ("2024-11-29T18:00:00Z", "post", "2024-11-29T17:00:00-05:00", "2024-12-02T09:30:00-05:00"),
    ("2024-11-29T22:00:00Z", "closed", "2024-12-02T04:00:00-05:00", "2024-12-02T09:30:00-05:00"),
    ("2024-12-01T12:00:00Z", "closed", "2024-12-02T04:00:00-05:00", "2024-12-02T09:30:00-05:00"),
])
def test_the_newer_clock_at_any_time(exchange: Exchange, time: str, phase: str, until: str, opens: str) -> None:
    [clock] = _v3(exchange, f"/v3/clock?markets=XNYS&time={time}")["clocks"]
    assert (clock["phase"], clock["phase_until"], clock["next_market_open"]) == (phase, until, opens)
    assert clock["is_market_day"] is (not time.startswith("2024-12-01"))


def test_the_calendar_has_sixty_years_and_settlement_days(exchange: Exchange) -> None:
    def days(**filters: str) -> list[dict[str, str]]:
        return exchange.trading.get("/calendar", filters)

    every = exchange.trading.get_calendar()
    assert (str(every[0].date), str(every[-1].date)) == ("1970-01-02", "2029-12-31")
    assert days(start="0001-01-01", end="9999-12-31") == days()
    assert days(start="2040-01-01") == days(end="1969-12-31") == []
    assert [(day["date"], day["session_close"]) for day in days(start="2024-11-28", end="2024-12-02")] == [
        ("2024-11-29", "1700"), ("2024-12-02", "2000"),         # the evening of a half day ends early too
    ]
    settled = days(start="2024-12-02", end="2024-12-03", date_type="SETTLEMENT")
    assert [(day["date"], day["settlement_date"]) for day in settled] == [
        ("2024-11-29", "2024-12-02"), ("2024-12-02", "2024-12-03"),
    ]
    assert len(_v3(exchange, "/v3/calendar/NYSE?start=9999-12-30")["calendar"]) == 0


def _v3(exchange: Exchange, path: str) -> Any:
    response = exchange.trading._session.get(
        f"http://127.0.0.1:{exchange.port}{path}", timeout=60,
        headers={"APCA-API-KEY-ID": "k", "APCA-API-SECRET-KEY": "s"},
    )
    assert response.status_code == 200
    return response.json()
