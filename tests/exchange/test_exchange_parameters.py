"""Every parameter of alpaca-py's request models has its effect, or Alpaca's error; every answer fits its model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from alpaca.common.enums import Sort, SupportedCurrencies
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import (
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockQuotesRequest,
    StockSnapshotRequest,
    StockTradesRequest,
)
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import AssetClass, AssetExchange, AssetStatus, PositionIntent
from alpaca.trading.requests import (
    ClosePositionRequest,
    CreateWatchlistRequest,
    GetAssetsRequest,
    GetCalendarRequest,
    GetOrderByIdRequest,
    GetPortfolioHistoryRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    TrailingStopOrderRequest,
    UpdateWatchlistRequest,
)
from exchange_markets import FREE, MONDAY_OPEN, walk_panel
from exchange_serving import Control, serving

from trader.exchange.server import ExchangeServer
from trader.exchange.types import VenueRules
from trader.exchange.venue import Venue

DAYS, PER_DAY = 30, 26
PANEL = walk_panel(("AAPL", "MSFT"), DAYS * PER_DAY)
PLAYED = 28 * PER_DAY + 5           # 2024-02-05, 10:45 in New York
BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)
NOW = datetime.fromtimestamp(int(PANEL.available_ns[PLAYED - 1]) / 1e9, UTC)
MINUTES = {unit: TimeFrame(unit, TimeFrameUnit.Minute) for unit in (15, 45)}


class Clients:
    """Both clients and the control API of one venue."""

    def __init__(self, server: ExchangeServer, control: Control) -> None:
        base = f"http://127.0.0.1:{server.port}"
        self.trading = TradingClient("key", "secret", url_override=base)
        self.data = StockHistoricalDataClient("key", "secret", url_override=base)
        self.server, self.control = server, control


@pytest.fixture
def at() -> Iterator[Clients]:
    server = ExchangeServer(Venue(PANEL, start_index=PLAYED, fill_model=FREE))
    with serving(server) as control:
        yield Clients(server, control)


@pytest.fixture(scope="module")
def quiet() -> Iterator[Clients]:
    """One venue for questions that change nothing; its plan has no recent SIP data."""
    rules = VenueRules(recent_sip=False)
    server = ExchangeServer(Venue(PANEL, start_index=PLAYED, fill_model=FREE, rules=rules))
    with serving(server) as control:
        yield Clients(server, control)


def code_of(call: Callable[[], object]) -> tuple[int | None, int]:
    with pytest.raises(APIError) as refused:
        call()
    return refused.value.status_code, refused.value.code


def bars(at: Clients, timeframe: TimeFrame = MINUTES[15], **fields: Any) -> list[Any]:
    wanted = StockBarsRequest(symbol_or_symbols="AAPL", timeframe=timeframe, **{"start": BEGINNING, **fields})
    return at.data.get_stock_bars(wanted).data.get("AAPL", [])


# --- bars ---------------------------------------------------------------------------------------------------------

def test_bars_by_window_limit_and_order(quiet: Clients) -> None:
    everything = bars(quiet)
    assert len(everything) == PLAYED
    start, end = everything[10].timestamp, everything[19].timestamp
    assert [bar.timestamp for bar in bars(quiet, start=start, end=end)] == [bar.timestamp for bar in everything[10:20]]
    assert [bar.timestamp for bar in bars(quiet, start=start, limit=4)] == [bar.timestamp for bar in everything[10:14]]
    newest = bars(quiet, limit=4, sort=Sort.DESC)
    assert [bar.timestamp for bar in newest] == [bar.timestamp for bar in everything[:-5:-1]]
    assert bars(quiet, start=NOW + timedelta(days=1)) == []
    assert code_of(lambda: bars(quiet, start=end, end=start)) == (400, 40010000)


def test_without_a_start_it_is_the_current_day(quiet: Clients) -> None:
    today = bars(quiet)[-5:]
    assert bars(quiet, start=None) == today                     # New York's, up to 10:45
    assert bars(quiet, start=None, end=today[2].timestamp) == today[:3]
    assert bars(quiet, start=None, end=NOW - timedelta(days=1)) == []
    assert [bar.open for bar in bars(quiet, TimeFrame.Day, start=None)] == [today[0].open]
    data = quiet.data
    for kind, ask in ((StockTradesRequest, data.get_stock_trades), (StockQuotesRequest, data.get_stock_quotes)):
        assert len(ask(kind(symbol_or_symbols="AAPL")).data["AAPL"]) == 4 * len(today)


@pytest.mark.parametrize("unit", ["Minute", "Hour", "Day", "Week", "Month"])
def test_bars_of_every_size_add_up(quiet: Clients, unit: str) -> None:
    amounts = {"Minute": (15, 30, 45), "Hour": (1, 2, 4), "Day": (1,), "Week": (1,), "Month": (1, 2, 3, 6, 12)}[unit]
    for amount in amounts:
        found = bars(quiet, TimeFrame(amount, TimeFrameUnit[unit]))
        assert sum(bar.volume for bar in found) == PANEL.volume[:PLAYED, 0].sum()
        assert (found[0].open, found[-1].close) == (PANEL.open[0, 0], PANEL.close[PLAYED - 1, 0])
        assert max(bar.high for bar in found) == PANEL.high[:PLAYED, 0].max()
        starts = [bar.timestamp for bar in found]
        assert starts == sorted(set(starts))
        if unit == "Month":
            assert starts[0] == datetime(2024, 1, 1, 5, tzinfo=UTC)
            assert len(found) == (2 if amount == 1 else 1)


@pytest.mark.parametrize("timeframe", ["1Min", "10Min", "60Min", "24Hour", "2Day", "2Week", "5Month", "0Day", "soon"])
def test_sizes_that_there_are_not(quiet: Clients, timeframe: str) -> None:
    query = {"symbols": "AAPL", "timeframe": timeframe}
    assert code_of(lambda: quiet.data.get("/stocks/bars", query)) == (400, 40010000)


def test_feeds_symbols_currencies_and_names(quiet: Clients) -> None:
    assert len(bars(quiet, feed=DataFeed.IEX)) == PLAYED
    assert len(bars(quiet, feed=DataFeed.DELAYED_SIP)) == PLAYED - 1             # a quarter of an hour behind
    assert len(bars(quiet, asof="2024-02-01")) == len(bars(quiet, currency=SupportedCurrencies.USD)) == PLAYED
    assert code_of(lambda: bars(quiet, asof="once")) == (400, 40010000)
    assert code_of(lambda: bars(quiet, currency=SupportedCurrencies.GBP)) == (400, 40010000)
    both = quiet.data.get_stock_bars(StockBarsRequest(
        symbol_or_symbols=["MSFT", "AAPL", "ZZZZ"], timeframe=TimeFrame.Day, limit=3, start=BEGINNING,
    ))
    assert {symbol: len(found) for symbol, found in both.data.items()} == {"AAPL": 3}
    assert code_of(lambda: quiet.data.get("/stocks/bars", {"timeframe": "1Day"})) == (400, 40010000)
    for parameter in ("feed", "adjustment", "sort", "limit", "start", "page_token"):
        query = {"symbols": "AAPL", "timeframe": "1Day", parameter: "odd"}
        assert code_of(lambda query=query: quiet.data.get("/stocks/bars", query)) == (400, 40010000), parameter


def test_a_plan_without_recent_sip_data(quiet: Clients) -> None:
    recent, older = NOW - timedelta(minutes=5), NOW - timedelta(minutes=15)
    assert len(bars(quiet, feed=DataFeed.SIP)) == PLAYED - 1
    assert len(bars(quiet, feed=DataFeed.SIP, end=older)) == PLAYED - 1
    assert code_of(lambda: bars(quiet, feed=DataFeed.SIP, end=recent)) == (403, 42210000)
    latest = StockLatestBarRequest(symbol_or_symbols="AAPL", feed=DataFeed.SIP)
    assert code_of(lambda: quiet.data.get_stock_latest_bar(latest)) == (403, 42210000)


def test_adjustments_after_a_split(at: Clients) -> None:
    at.control.post("step", count=PER_DAY - 5)
    at.control.post("market/split", symbol="AAPL", ratio=2)
    at.control.post("step")
    day = {kind: bars(at, TimeFrame.Day, adjustment=kind) for kind in Adjustment}
    raw, split = day[Adjustment.RAW][0], day[Adjustment.SPLIT][0]
    assert (split.open, split.volume) == (raw.open / 2, raw.volume * 2)
    assert [day[kind][0].open for kind in (Adjustment.ALL, Adjustment.DIVIDEND)] == [split.open, raw.open]
    assert day[Adjustment.RAW][-1].open == day[Adjustment.ALL][-1].open          # in new shares already


# --- trades, quotes, the latest -----------------------------------------------------------------------------------

def test_trades_and_quotes_by_everything(quiet: Clients) -> None:
    data = quiet.data
    for kind, ask in ((StockTradesRequest, data.get_stock_trades), (StockQuotesRequest, data.get_stock_quotes)):
        start = NOW - timedelta(hours=1)

        def found(kind: Any = kind, ask: Any = ask, start: Any = start, **fields: Any) -> list[Any]:
            return ask(kind(symbol_or_symbols="AAPL", **{"start": start, **fields})).data.get("AAPL", [])

        everything = found()
        assert len(everything) == 16                 # four corners of four bars
        moments = [tick.timestamp for tick in everything]
        assert moments == sorted(moments)
        assert [tick.timestamp for tick in found(limit=3)] == moments[:3]
        assert [tick.timestamp for tick in found(limit=3, sort=Sort.DESC)] == moments[:-4:-1]
        assert [tick.timestamp for tick in found(end=moments[4])] == moments[:5]
        assert len(found(feed=DataFeed.DELAYED_SIP)) == 12
        assert code_of(lambda found=found: found(currency=SupportedCurrencies.EUR)) == (400, 40010000)


def test_the_latest_is_the_last(quiet: Clients) -> None:
    data, symbols = quiet.data, ["AAPL", "MSFT"]
    trades = data.get_stock_trades(StockTradesRequest(symbol_or_symbols=symbols, start=NOW - timedelta(hours=1)))
    quotes = data.get_stock_quotes(StockQuotesRequest(symbol_or_symbols=symbols, start=NOW - timedelta(hours=1)))
    for symbol in symbols:
        for fields in ({}, {"feed": DataFeed.IEX}, {"currency": SupportedCurrencies.USD}):
            wanted = {"symbol_or_symbols": symbol, **fields}
            trade = data.get_stock_latest_trade(StockLatestTradeRequest(**wanted))[symbol]
            quote = data.get_stock_latest_quote(StockLatestQuoteRequest(**wanted))[symbol]
            bar = data.get_stock_latest_bar(StockLatestBarRequest(**wanted))[symbol]
            snapshot = data.get_stock_snapshot(StockSnapshotRequest(**wanted))[symbol]
            assert trade == trades.data[symbol][-1] == snapshot.latest_trade
            assert quote == quotes.data[symbol][-1] == snapshot.latest_quote
            assert bar == snapshot.minute_bar
            assert snapshot.daily_bar.timestamp > snapshot.previous_daily_bar.timestamp
    late = data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols="AAPL", feed=DataFeed.DELAYED_SIP))
    assert late["AAPL"].timestamp == bar.timestamp - timedelta(minutes=15)
    assert data.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols="ZZZZ")) == {}


# --- trading ------------------------------------------------------------------------------------------------------

def test_assets_and_calendar(quiet: Clients) -> None:
    def symbols(**fields: Any) -> list[str]:
        return [asset.symbol for asset in quiet.trading.get_all_assets(GetAssetsRequest(**fields))]

    assert symbols(status=AssetStatus.ACTIVE) == symbols(asset_class=AssetClass.US_EQUITY) == ["AAPL", "MSFT"]
    assert symbols(status=AssetStatus.INACTIVE) == symbols(asset_class=AssetClass.CRYPTO) == []
    assert symbols(exchange=AssetExchange.NASDAQ, attributes="fractional_eh_enabled,ptp_no_exception") == [
        "AAPL", "MSFT",
    ]
    assert symbols(exchange=AssetExchange.NYSE) == symbols(attributes="ptp_no_exception") == []
    days = quiet.trading.get_calendar(GetCalendarRequest(start=date(2024, 11, 27), end=date(2024, 12, 2)))
    assert [(day.date.day, day.open.hour, day.close.hour) for day in days] == [(27, 9, 16), (29, 9, 13), (2, 9, 16)]
    assert quiet.trading.get_calendar(GetCalendarRequest(start=date(2024, 12, 2), end=date(2024, 11, 27))) == []


def test_portfolio_history_by_everything(at: Clients) -> None:
    trading = at.trading

    def history(**fields: Any) -> Any:
        return trading.get_portfolio_history(GetPortfolioHistoryRequest(**fields))

    trading.submit_order(MarketOrderRequest(symbol="AAPL", qty=10, side="buy", time_in_force="day"))
    at.control.post("step", count=PER_DAY)
    now = datetime.fromtimestamp(trading.get_clock().timestamp.timestamp(), UTC)
    assert [history(period=period).timeframe for period in ("1D", "2W", "1M", "1A")] == ["1Min", "15Min", "1D", "1D"]
    assert [history(period="2D", timeframe=size).timeframe for size in ("1Min", "5Min", "15Min", "1H", "1D")] == [
        "1Min", "5Min", "15Min", "1H", "1D",
    ]
    fine = history(period="2D", timeframe="15Min")
    assert len(fine.timestamp) == PER_DAY + 2          # each of the two sessions ends with one point more
    today = [at for at in fine.timestamp if datetime.fromtimestamp(at, UTC).date() == now.date()]
    for hours in (0, 1, 12, 17):        # from any moment after yesterday's close on: from today's opening on
        part = history(start=now - timedelta(hours=hours), timeframe="15Min")
        assert part.timestamp == today
        assert part.base_value == fine.equity[-len(today) - 1]
    assert history(start=now - timedelta(hours=1), end=now - timedelta(minutes=30), timeframe="15Min").timestamp == (
        today[:-2]
    )
    assert history(date_end=now.date() - timedelta(days=1), period="1D", timeframe="15Min").timestamp == (
        fine.timestamp[:PER_DAY - 5 + 1]
    )
    kept, reset = (history(period="2D", timeframe="1H", pnl_reset=word) for word in ("no_reset", "per_day"))
    assert kept.equity == reset.equity
    assert kept.profit_loss != reset.profit_loss
    assert history(period="2D", timeframe="15Min", extended_hours=True, intraday_reporting="continuous").equity
    raw = trading.get("/account/portfolio/history", {"period": "1A", "cashflow_types": "ALL"})
    assert raw["cashflow"] == {"JNLC": [100_000.0, *[0.0] * (len(raw["timestamp"]) - 1)]}
    assert trading.get("/account/portfolio/history", {"cashflow_types": "DIV"})["cashflow"]["DIV"][0] == 0.0
    for fields in (
        {"period": "1X"}, {"cashflow_types": "GIFTS"}, {"start": now, "end": now, "period": "1D"},
    ):
        assert code_of(lambda fields=fields: history(**fields)) == (422, 40010001)
    for fields in ({"timeframe": "2Min"}, {"pnl_reset": "never"}, {"intraday_reporting": "loud"}):
        assert code_of(lambda fields=fields: history(**fields)) == (400, 40010000)


def test_orders_with_and_without_legs_and_intents(at: Clients) -> None:
    trading = at.trading
    entry = trading.submit_order(MarketOrderRequest(
        symbol="AAPL", qty=10, side="buy", time_in_force="day", order_class="bracket",
        take_profit={"limit_price": 900}, stop_loss={"stop_price": 1, "limit_price": 0.9},
        position_intent=PositionIntent.BUY_TO_OPEN,
    ))
    assert entry.position_intent == PositionIntent.BUY_TO_OPEN
    assert {leg.position_intent for leg in entry.legs} == {PositionIntent.SELL_TO_CLOSE}
    assert trading.get_order_by_id(entry.id, GetOrderByIdRequest(nested=False)).legs is None
    assert len(trading.get_order_by_id(entry.id, GetOrderByIdRequest(nested=True)).legs) == 2


def test_an_order_may_name_its_asset_by_id(at: Clients) -> None:
    asset = at.trading.get_asset("MSFT")
    order = at.trading.submit_order(MarketOrderRequest(symbol=str(asset.id), qty=1, side="buy", time_in_force="day"))
    assert (order.symbol, order.asset_id) == ("MSFT", asset.id)


def test_replacing_every_field(at: Clients) -> None:
    trading = at.trading
    order = trading.submit_order(TrailingStopOrderRequest(
        symbol="AAPL", qty=4, side="sell", time_in_force="day", trail_percent=2,
    ))
    wishes: list[tuple[dict[str, Any], tuple[str, str]]] = [
        ({"trail": 3}, ("trail_percent", "3")), ({"qty": 5}, ("qty", "5")),
        ({"client_order_id": "renamed", "qty": 6}, ("client_order_id", "renamed")),
        ({"time_in_force": "gtc"}, ("time_in_force", "gtc")),
    ]
    for wish, (field, value) in wishes:
        new = trading.replace_order_by_id(order.id, ReplaceOrderRequest(**wish))
        assert str(getattr(getattr(new, field), "value", getattr(new, field))) == value
        assert new.replaces == order.id
        order = new
    limit = ReplaceOrderRequest(limit_price=90)
    assert code_of(lambda: trading.replace_order_by_id(order.id, limit)) == (422, 42210000)


def test_closing_by_quantity_and_percentage(at: Clients) -> None:
    trading = at.trading
    trading.submit_order(MarketOrderRequest(symbol="AAPL", qty=10, side="buy", time_in_force="day"))
    at.control.post("step")
    assert trading.close_position("AAPL", ClosePositionRequest(qty="3.5")).qty == "3.5"
    assert trading.close_position("AAPL", ClosePositionRequest(percentage="25")).qty == "2"
    with pytest.raises(APIError, match="requested: 1000,"):
        trading.close_position("AAPL", ClosePositionRequest(qty="1e3"))
    assert code_of(lambda: trading.close_position("AAPL", ClosePositionRequest(qty="9"))) == (403, 40310000)
    for fields in ({"percentage": "101"}, {"qty": "-1"}, {"qty": "some"}):
        assert code_of(lambda fields=fields: trading.close_position("AAPL", ClosePositionRequest(**fields))) == (
            422, 40010001,
        )


def test_watchlists_keep_their_names_and_symbols(at: Clients) -> None:
    trading = at.trading
    made = trading.create_watchlist(CreateWatchlistRequest(name="mine", symbols=["AAPL"]))
    trading.update_watchlist_by_id(made.id, UpdateWatchlistRequest(name="yours"))
    trading.update_watchlist_by_id(made.id, UpdateWatchlistRequest(symbols=["MSFT"]))
    trading.add_asset_to_watchlist_by_id(made.id, "AAPL")
    trading.remove_asset_from_watchlist_by_id(made.id, "MSFT")
    held = trading.get_watchlist_by_id(made.id)
    assert (held.name, [asset.symbol for asset in held.assets]) == ("yours", ["AAPL"])
    trading.delete_watchlist_by_id(made.id)
    assert trading.get_watchlists() == []


def test_the_clock_of_these_tests() -> None:
    assert int(PANEL.ts_ns[0]) == MONDAY_OPEN
    assert NOW.isoformat() == "2024-02-05T15:45:00+00:00"
    assert not np.isnan(PANEL.close).any()
