"""Unmodified alpaca-py against the server over real sockets."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.live import StockDataStream
from alpaca.data.requests import (
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockSnapshotRequest,
)
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderClass, OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetCalendarRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLimitOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
)
from alpaca.trading.stream import TradingStream
from exchange_markets import FREE, MONDAY_OPEN, QUARTER, panel_of, walk_panel
from exchange_serving import Control, serving

from trader.exchange.server import ExchangeServer
from trader.exchange.types import OrderRequest
from trader.exchange.venue import Venue
from trader.utils.tasks import end

CALM = (100.0, 100.5, 99.5, 100.0)
BUY, SELL, DAY, GTC = OrderSide.BUY, OrderSide.SELL, TimeInForce.DAY, TimeInForce.GTC
FIFTEEN = TimeFrame(15, TimeFrameUnit.Minute)
FIRST_DAY = datetime(2024, 1, 8)


class Exchange:
    """One server with its clients."""

    def __init__(self, server: ExchangeServer, control: Control) -> None:
        base = f"http://127.0.0.1:{server.port}"
        self.server, self.control, self.base = server, control, base
        self.trading = TradingClient("key", "secret", url_override=base)
        self.trading._retry = 0
        self.data = StockHistoricalDataClient("key", "secret", url_override=base)

    def step(self, count: int = 1) -> dict[str, Any]:
        return self.control.post("step", count=count)


@contextmanager
def exchange_of(venue: Venue, **settings: Any) -> Iterator[Exchange]:
    server = ExchangeServer(venue, **settings)
    with serving(server) as control:
        yield Exchange(server, control)


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    """Two calm symbols; the take-profit of a bracket is reached in the fourth bar."""
    up = (101.0, 106.0, 100.5, 105.0)
    panel = panel_of({"AAPL": [CALM, CALM, CALM, up, up, up], "MSFT": [CALM] * 6})
    with exchange_of(Venue(panel, start_index=1, fill_model=FREE)) as running:
        yield running


def market(symbol: str = "AAPL", qty: float = 10, side: OrderSide = BUY, **fields: Any) -> MarketOrderRequest:
    return MarketOrderRequest(symbol=symbol, qty=qty, side=side, time_in_force=DAY, **fields)


def status_of(error: pytest.ExceptionInfo[APIError]) -> tuple[int | None, int]:
    return error.value.status_code, error.value.code


def test_account_clock_calendar_and_assets(exchange: Exchange) -> None:
    account = exchange.trading.get_account()
    assert (account.cash, account.buying_power, account.multiplier) == ("100000", "200000", "2")
    clock = exchange.trading.get_clock()
    assert clock.is_open
    assert clock.timestamp.timestamp() == (MONDAY_OPEN + QUARTER) / 1e9
    assert clock.next_close.timestamp() == (MONDAY_OPEN + 6 * QUARTER) / 1e9
    days = exchange.trading.get_calendar(GetCalendarRequest(start=date(2024, 7, 2), end=date(2024, 7, 5)))
    assert [(str(day.date), day.close.hour) for day in days] == [
        ("2024-07-02", 16), ("2024-07-03", 13), ("2024-07-05", 16),
    ]
    assert [asset.symbol for asset in exchange.trading.get_all_assets()] == ["AAPL", "MSFT"]
    asset = exchange.trading.get_asset("AAPL")
    assert exchange.trading.get_asset(asset.id).symbol == "AAPL"
    assert exchange.trading.get_account_configurations().no_shorting is False
    assert exchange.trading.get_portfolio_history().equity == [100_000.0]


def test_every_type_of_order(exchange: Exchange) -> None:
    trading = exchange.trading
    wishes = [
        market(),
        LimitOrderRequest(symbol="AAPL", qty=10, side=BUY, time_in_force=GTC, limit_price=99.12),
        StopOrderRequest(symbol="AAPL", qty=10, side=BUY, time_in_force=GTC, stop_price=103.0),
        StopLimitOrderRequest(
            symbol="AAPL", qty=10, side=BUY, time_in_force=DAY, stop_price=103.0, limit_price=104.5
        ),
        MarketOrderRequest(symbol="AAPL", notional=250.5, side=BUY, time_in_force=DAY),
        market(qty=1.5),
    ]
    orders = [trading.submit_order(wish) for wish in wishes]
    assert [order.status for order in orders] == [OrderStatus.NEW] * len(wishes)
    assert [order.limit_price for order in orders[1:4]] == ["99.12", None, "104.5"]
    assert {order.id for order in trading.get_orders()} == {order.id for order in orders}
    exchange.step()
    first = trading.get_order_by_id(orders[0].id)
    assert (first.status, first.filled_qty, first.filled_avg_price) == (OrderStatus.FILLED, "10", "100")
    opening = datetime.fromtimestamp((MONDAY_OPEN + QUARTER) / 1e9, UTC)
    moments = [order.submitted_at for order in orders]
    assert moments[0] == opening
    assert moments == sorted(set(moments))
    assert moments[-1] == first.filled_at < opening + timedelta(milliseconds=1)
    position = trading.get_open_position("AAPL")
    assert (position.qty, position.qty_available) == ("14.005", "14.005")
    fills = trading.get("/account/activities/FILL", {"direction": "asc", "page_size": 2})
    rest = trading.get("/account/activities/FILL", {"direction": "asc", "page_token": fills[-1]["id"]})
    assert [fill["qty"] for fill in fills + rest] == ["10", "2.505", "1.5"]


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_orders_of_one_moment_are_listed_completely_page_by_page(exchange: Exchange, direction: str) -> None:
    venue = exchange.server.venue
    entered = [
        venue.submit(OrderRequest(
            symbol="AAPL", side="buy", qty=Decimal(1), type="limit", limit_price=Decimal(1 + k % 50),
            time_in_force="gtc",
        )).id
        for k in range(1_100)
    ]
    found: list[str] = []
    edge: dict[str, Any] = {}
    while page := exchange.trading.get_orders(GetOrdersRequest(limit=500, direction=direction, **edge)):
        found += [str(order.id) for order in page]
        edge = {"after" if direction == "asc" else "until": page[-1].submitted_at}
    assert found == (entered if direction == "asc" else entered[::-1])


def test_a_brackets_life(exchange: Exchange) -> None:
    trading = exchange.trading
    entry = trading.submit_order(market(
        order_class=OrderClass.BRACKET, take_profit=TakeProfitRequest(limit_price=105),
        stop_loss=StopLossRequest(stop_price=95), client_order_id="entry",
    ))
    assert [leg.status for leg in entry.legs] == [OrderStatus.HELD, OrderStatus.HELD]
    exchange.step()
    nested = trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL, nested=True))
    assert [order.client_order_id for order in nested] == ["entry"]
    assert [leg.status for leg in nested[0].legs] == [OrderStatus.NEW, OrderStatus.NEW]
    assert len(trading.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN, nested=True))) == 2
    assert trading.get_open_position("AAPL").qty_available == "0"
    exchange.step(2)
    closed = trading.get_order_by_client_id("entry")
    assert [leg.status for leg in closed.legs] == [OrderStatus.FILLED, OrderStatus.CANCELED]
    assert trading.get_all_positions() == []
    assert trading.get_account().cash == "100050"


def test_cancel_and_replace(exchange: Exchange) -> None:
    trading = exchange.trading
    limit = LimitOrderRequest(symbol="AAPL", qty=10, side=BUY, time_in_force=DAY, limit_price=90)
    old = trading.submit_order(limit)
    new = trading.replace_order_by_id(old.id, ReplaceOrderRequest(qty=20, limit_price=91.5))
    assert (new.replaces, new.qty, new.limit_price) == (old.id, "20", "91.5")
    assert trading.get_order_by_id(old.id).replaced_by == new.id
    trading.cancel_order_by_id(new.id)
    with pytest.raises(APIError) as ended:
        trading.cancel_order_by_id(new.id)
    assert status_of(ended) == (422, 42210000)
    pair = [trading.submit_order(limit).id for _ in range(2)]
    answers = trading.cancel_orders()
    assert [(answer.id, answer.status) for answer in answers] == [(order_id, 200) for order_id in pair]


def test_refusals_have_status_and_code(exchange: Exchange) -> None:
    trading = exchange.trading
    trading.submit_order(market(client_order_id="once"))
    cases: list[tuple[Callable[[], object], tuple[int, int]]] = [
        (lambda: trading.submit_order(market(client_order_id="once")), (422, 40010001)),
        (lambda: trading.submit_order(market(qty=10_000)), (403, 40310000)),
        (lambda: trading.submit_order(market(symbol="NOPE")), (422, 42210000)),
        (lambda: trading.submit_order(LimitOrderRequest(
            symbol="AAPL", qty=1, side=BUY, time_in_force=DAY, limit_price=0.1 + 0.2)), (422, 42210000)),
        (lambda: trading.submit_order(market(side=SELL)), (403, 40310000)),          # a wash trade
        (lambda: trading.get_order_by_id(uuid4()), (404, 40410000)),
        (lambda: trading.get_order_by_client_id("never"), (404, 40410000)),
        (lambda: trading.get_open_position("MSFT"), (404, 40410000)),
        (lambda: trading.close_position("MSFT"), (404, 40410000)),
        (lambda: trading.get_asset("NOPE"), (404, 40410000)),
        (lambda: trading.get("/no/such/thing"), (404, 40410000)),
        (lambda: trading.post("/orders", {"symbol": "AAPL", "side": "buy", "qty": "ten"}), (422, 40010001)),
        (lambda: trading.get("/orders", {"limit": "many"}), (400, 40010000)),
    ]
    for call, expected in cases:
        with pytest.raises(APIError) as refused:
            call()
        assert status_of(refused) == expected


def test_keys() -> None:
    panel = panel_of({"AAPL": [CALM] * 3})
    with exchange_of(Venue(panel, fill_model=FREE), api_keys={"me": "right"}) as running:
        assert TradingClient("me", "right", url_override=running.base).get_account().cash == "100000"
        with pytest.raises(APIError) as refused:
            running.trading.get_account()
        assert status_of(refused) == (401, 40110000)


def test_closing(exchange: Exchange) -> None:
    trading = exchange.trading
    trading.submit_order(market())
    trading.submit_order(market("MSFT", 20, SELL))
    exchange.step()
    part = trading.close_position("AAPL", ClosePositionRequest(percentage="50"))
    assert (part.qty, part.side) == ("5", SELL)
    answers = trading.close_all_positions(cancel_orders=True)
    assert [(answer.symbol, answer.status) for answer in answers] == [("AAPL", 200), ("MSFT", 200)]
    exchange.step()
    assert trading.get_all_positions() == []


def test_closing_what_is_held_reports_each_failure(exchange: Exchange) -> None:
    trading = exchange.trading
    trading.submit_order(market(
        order_class=OrderClass.OTO, stop_loss=StopLossRequest(stop_price=95)
    ))
    exchange.step()
    (answer,) = trading.close_all_positions()
    assert (answer.status, answer.body.code, answer.body.held_for_orders) == (403, 40310000, 10.0)


def test_bars_page_and_aggregate() -> None:
    panel = walk_panel(("AAPL", "MSFT"), 60)
    with exchange_of(Venue(panel, start_index=57, fill_model=FREE)) as running:
        raw = running.data.get_stock_bars(StockBarsRequest(
            symbol_or_symbols=["AAPL", "MSFT"], timeframe=FIFTEEN, start=FIRST_DAY))
        assert [len(raw[symbol]) for symbol in ("AAPL", "MSFT")] == [57, 57]        # nothing of the future
        assert raw["AAPL"][5].close == panel.close[5, 0]
        wanted = {"symbols": "MSFT,AAPL", "timeframe": "15Min", "start": "2024-01-08"}
        first = running.data.get("/stocks/bars", {**wanted, "limit": 40})
        seen, token = len(first["bars"]["AAPL"]), first["next_page_token"]
        while token:
            page = running.data.get("/stocks/bars", {**wanted, "limit": 40, "page_token": token})
            seen += sum(len(bars) for bars in page["bars"].values())
            token = page["next_page_token"]
        assert seen == 114
        hours = running.data.get_stock_bars(StockBarsRequest(
            symbol_or_symbols="AAPL", timeframe=TimeFrame.Hour, start=FIRST_DAY))
        assert hours["AAPL"][0].timestamp.minute == 0
        assert hours["AAPL"][1].high == panel.high[2:6, 0].max()
        days = running.data.get_stock_bars(StockBarsRequest(
            symbol_or_symbols="AAPL", timeframe=TimeFrame.Day, start=FIRST_DAY))
        assert [bar.open for bar in days["AAPL"]] == [panel.open[0, 0], panel.open[26, 0], panel.open[52, 0]]
        assert days["AAPL"][0].volume == panel.volume[:26, 0].sum()
        window = running.data.get_stock_bars(StockBarsRequest(
            symbol_or_symbols="AAPL", timeframe=FIFTEEN, start=raw["AAPL"][3].timestamp, end=raw["AAPL"][6].timestamp,
        ))
        assert len(window["AAPL"]) == 4


def test_latest_data_and_snapshots(exchange: Exchange) -> None:
    data = exchange.data
    assert data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols="AAPL"))["AAPL"].close == 100
    quote = data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="AAPL"))["AAPL"]
    assert quote.bid_price < 100 < quote.ask_price
    assert data.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols="AAPL"))["AAPL"].price == 100
    exchange.step(3)
    snapshot = data.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols=["AAPL", "MSFT"]))["AAPL"]
    assert snapshot.daily_bar.high == 106
    assert snapshot.previous_daily_bar is None


class Listener:
    """alpaca-py's streams in a thread; keeps what arrives."""

    def __init__(self, base: str, *symbols: str) -> None:
        socket = base.replace("http", "ws")
        self.updates: list[Any] = []
        self.bars: list[Any] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._trading = TradingStream("key", "secret", url_override=f"{socket}/stream")
        self._data = StockDataStream("key", "secret", url_override=f"{socket}/v2/iex")
        self._trading.subscribe_trade_updates(self._update)
        self._data.subscribe_bars(self._bar, *symbols)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        for stream in (self._trading, self._data):
            self._tasks.append(self._loop.create_task(stream._run_forever()))
        self._loop.run_forever()
        self._loop.run_until_complete(end(*self._tasks))
        self._loop.run_until_complete(asyncio.gather(self._trading.close(), self._data.close()))

    async def _update(self, update: Any) -> None:
        self.updates.append(update)

    async def _bar(self, bar: Any) -> None:
        self.bars.append(bar)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "nothing arrived in 60 s"
        time.sleep(0.01)


def test_both_streams_tell_what_happens(exchange: Exchange) -> None:
    listener = Listener(exchange.base, "AAPL")
    try:
        wait_until(lambda: exchange.control.get("state")["listeners"] == {"trade_updates": 1, "bars": 1})
        exchange.trading.submit_order(market(
            order_class=OrderClass.BRACKET, take_profit=TakeProfitRequest(limit_price=105),
            stop_loss=StopLossRequest(stop_price=95),
        ))
        answer = exchange.step(3)
        wait_until(lambda: len(listener.updates) == answer["trade_updates"] and len(listener.bars) == 3)
        # the client gives a plain string for events that its enumeration lacks
        names = [str(getattr(update.event, "value", update.event)) for update in listener.updates]
        numbers = [(update.price, update.position_qty) for update in listener.updates]
        events = [(name, *rest) for name, rest in zip(names, numbers, strict=True)]
        assert events == [
            ("new", None, None), ("fill", 100.0, 10.0), ("new", None, None), ("new", None, None),
            ("fill", 105.0, 0.0), ("canceled", None, None),
        ]
        assert answer["bars"] == 6
        assert answer["symbols"] == ["AAPL", "MSFT"]
        assert [bar.timestamp.timestamp() for bar in listener.bars] == [
            (MONDAY_OPEN + i * QUARTER) / 1e9 for i in (1, 2, 3)
        ]
        assert listener.bars[-1].close == 105.0
    finally:
        listener.stop()


def test_time_runs_at_its_speed_and_stands_still() -> None:
    panel = walk_panel(("AAPL",), 300)
    with exchange_of(Venue(panel, fill_model=FREE), speed=18_000) as running:      # a bar every 50 ms
        wait_until(lambda: running.control.get("state")["index"] > 2)
        paused = running.control.post("pause")
        assert running.control.get("state")["index"] == paused["index"]
        stepped = running.control.post("step")
        assert stepped["index"] == paused["index"] + 1
        running.control.post("speed", speed=9_000_000)
        running.control.post("resume")
        wait_until(lambda: running.control.get("state")["done"])
