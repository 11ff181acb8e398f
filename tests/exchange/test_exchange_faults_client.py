"""Every fault, armed over the control API, as an unmodified alpaca-py meets it; and what is true at the venue then."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import LimitOrderRequest, MarketOrderRequest
from exchange_markets import FREE, panel_of
from exchange_serving import Control, serving
from requests.adapters import HTTPAdapter
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

from trader.exchange.fault_rules import FAULTS
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue

CALM = (100.0, 100.5, 99.5, 100.0)


class Limited(HTTPAdapter):
    """What a careful user mounts: the client itself would wait for ever."""

    seconds = 60.0

    def send(self, request: Any, **options: Any) -> Any:
        return super().send(request, **{**options, "timeout": self.seconds})


class At:
    """A venue, alpaca-py and a plain listener on the trading stream."""

    def __init__(self, server: ExchangeServer, control: Control, stack: ExitStack) -> None:
        self.server, self.control, self._stack = server, control, stack
        base = f"http://127.0.0.1:{server.port}"
        self.trading = TradingClient("key", "secret", url_override=base)
        self.trading._retry = 0
        self.limit = Limited()
        self.trading._session.mount("http://", self.limit)
        self.other = TradingClient("key", "secret", url_override=base)     # whom no fault is meant for

    def arm(self, kind: str, **fields: object) -> None:
        self.control.post("faults", kind=kind, **fields)

    def buy(self, qty: int = 10, **fields: Any) -> Any:
        wish = {"symbol": "AAPL", "qty": qty, "side": OrderSide.BUY, "time_in_force": TimeInForce.DAY, **fields}
        kind = LimitOrderRequest if "limit_price" in fields else MarketOrderRequest
        return self.trading.submit_order(kind(**wish))

    def listen(self, path: str = "/stream") -> ClientConnection:
        address = f"ws://127.0.0.1:{self.server.port}{path}"
        socket = self._stack.enter_context(connect(address, proxy=None, compression=None, close_timeout=0.2))
        if path == "/stream":
            for message in ({"action": "authenticate", "data": {"key_id": "a", "secret_key": "b"}},
                            {"action": "listen", "data": {"streams": ["trade_updates"]}}):
                socket.send(json.dumps(message))
                socket.recv(60)
        else:
            for message in ({"action": "auth", "key": "a", "secret": "b"}, {"action": "subscribe", "bars": ["*"]}):
                socket.recv(60)
                socket.send(json.dumps(message))
            socket.recv(60)
        return socket


@pytest.fixture
def at() -> Iterator[At]:
    server = ExchangeServer(Venue(panel_of({"AAPL": [CALM] * 12}), start_index=1, fill_model=FREE))
    with serving(server) as control, ExitStack() as stack:
        yield At(server, control, stack)


def events(socket: ClientConnection, count: int) -> list[str]:
    return [json.loads(socket.recv(60))["data"]["event"] for _ in range(count)]


# --- requests: what the client raises, whether the order lives ------------------------------------------------------

@pytest.mark.parametrize(
    ("kind", "fields", "raised", "status", "lives"),
    [
        ("drop_request", {}, requests.exceptions.ConnectionError, None, False),
        ("drop_response", {}, requests.exceptions.ConnectionError, None, True),
        ("hang", {}, requests.exceptions.Timeout, None, False),
        ("hang", {"when": "after"}, requests.exceptions.Timeout, None, True),
        ("delay", {"seconds": 60, "when": "before"}, requests.exceptions.Timeout, None, False),
        ("delay", {"seconds": 60}, requests.exceptions.Timeout, None, True),
        ("rate_limit", {}, APIError, 429, False),
        ("server_error", {}, APIError, 500, False), ("server_error", {"when": "after"}, APIError, 500, True),
        ("server_error", {"status": 502}, APIError, 502, False),
        ("server_error", {"status": 502, "when": "after"}, APIError, 502, True),
        ("server_error", {"status": 503}, APIError, 503, False),
        ("server_error", {"status": 503, "when": "after"}, APIError, 503, True),
        ("server_error", {"status": 504}, APIError, 504, False),
        ("server_error", {"status": 504, "when": "after"}, APIError, 504, True),
        ("unknown_value", {}, ValueError, None, True), ("missing_field", {}, ValueError, None, True),
    ],
)
def test_an_order_whose_answer_is_no_answer(
    at: At, kind: str, fields: dict[str, object], raised: type[Exception], status: int | None, lives: bool
) -> None:
    at.arm(kind, method="POST", path="/v2/orders", symbol="AAPL", **fields)
    at.limit.seconds = 0.5 if raised is requests.exceptions.Timeout else Limited.seconds
    with pytest.raises(raised) as met:
        at.buy(client_order_id="mine")
    at.limit.seconds = Limited.seconds
    if status is not None:
        assert isinstance(met.value, APIError)
        assert met.value.status_code == status
        if status == 502:
            with pytest.raises(json.JSONDecodeError):
                _ = met.value.code
        else:
            assert met.value.code // 100_000 == status
    found = at.other.get_orders()
    assert [order.client_order_id for order in found] == (["mine"] if lives else [])
    assert at.buy(client_order_id="later").client_order_id == "later"               # the fault is spent
    (hit,) = at.control.get("faults")["log"]
    assert (hit["kind"], hit["match"], hit["what"]["symbols"]) == (kind, 1, "AAPL")


def test_a_retry_after_a_lost_504_doubles_the_order_or_finds_its_id_taken(at: At) -> None:
    """The trap of the client itself: it sends a POST again after a 504."""
    eager = TradingClient("key", "secret", url_override=f"http://127.0.0.1:{at.server.port}")
    eager._retry, eager._retry_wait = 1, 0
    wish = {"symbol": "AAPL", "qty": 1, "side": OrderSide.BUY, "time_in_force": TimeInForce.DAY}
    at.arm("server_error", status=504, when="after", method="POST", count=2, skip=0)
    with pytest.raises(APIError):
        eager.submit_order(MarketOrderRequest(**wish))
    assert len(at.other.get_orders()) == 2
    at.arm("server_error", status=504, when="after", method="POST")
    with pytest.raises(APIError) as taken:
        eager.submit_order(MarketOrderRequest(**wish, client_order_id="mine"))
    assert (taken.value.status_code, taken.value.code) == (422, 40010001)
    assert at.other.get_order_by_client_id("mine").qty == "1"


def test_a_burst_of_429(at: At) -> None:
    at.arm("rate_limit", count=3, seconds=2)
    for _ in range(3):
        with pytest.raises(APIError) as limited:
            at.trading.get_account()
        assert (limited.value.status_code, limited.value.code) == (429, 42910000)
        headers = limited.value.response.headers
        assert (headers["X-RateLimit-Remaining"], headers["Retry-After"]) == ("0", "2")
    assert at.trading.get_account().cash == "100000"


def test_a_skewed_clock(at: At) -> None:
    right = at.other.get_clock().timestamp
    at.arm("clock_skew", path="/v2/clock", seconds=-3600)
    assert (at.trading.get_clock().timestamp - right).total_seconds() == -3600


@pytest.mark.parametrize(("when", "told"), [("after", ["new", "canceled", "fill"]), ("before", ["new", "fill"])])
def test_a_late_fill(at: At, when: str, told: list[str]) -> None:
    socket = at.listen()
    at.arm("late_fill", when=when)
    order = at.buy(limit_price=90)
    at.trading.cancel_order_by_id(order.id)                         # 204 in both cases
    assert events(socket, len(told)) == told
    after = at.trading.get_order_by_id(order.id)
    assert (after.status.value, after.filled_qty) == ("filled", "10")
    assert at.trading.get_open_position("AAPL").qty == "10"
    account = at.trading.get_account()
    assert (account.cash, account.long_market_value, account.equity) == ("99100", "1000", "100100")


# --- streams --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(
    ("kind", "fields", "told"),
    [
        ("duplicate", {"event": "fill"}, ["new", "fill", "fill"]), ("omit", {"event": "new"}, ["fill"]),
        ("reorder", {"event": "new"}, ["fill", "new"]), ("delay_update", {"event": "new"}, ["fill", "new"]),
        ("unknown_in_update", {"event": "new", "field": "event", "value": "odd"}, ["odd", "fill"]),
        ("partial_fill", {}, ["new", "partial_fill", "fill"]),
        ("status", {"status": "suspended"}, ["new", "suspended", "new", "fill"]),
    ],
)
def test_what_the_stream_says(at: At, kind: str, fields: dict[str, object], told: list[str]) -> None:
    socket = at.listen()
    at.arm(kind, **fields)
    at.buy()
    at.control.post("step", count=2)
    assert events(socket, len(told)) == told
    assert at.trading.get_open_position("AAPL").qty == "10"         # REST knows, whatever was said


def test_fields_and_moments_of_updates(at: At) -> None:
    socket = at.listen()
    at.arm("missing_in_update", field="order.symbol")
    at.arm("skew_in_update", seconds=60, skip=1)
    at.buy()
    at.control.post("step")
    first, second = (json.loads(socket.recv(60))["data"] for _ in range(2))
    assert "symbol" not in first["order"]
    assert second["timestamp"] == "2024-01-08T14:46:00Z"


@pytest.mark.parametrize("kind", ["kill_stream", "half_open", "mute"])
def test_streams_that_fail(at: At, kind: str) -> None:
    socket = at.listen()
    at.arm(kind, event="fill")
    at.buy()
    at.control.post("step")
    assert events(socket, 1) == ["new"]
    if kind == "kill_stream":
        with pytest.raises(ConnectionClosedError, match="no close frame"):
            socket.recv(60)
    else:
        with pytest.raises(TimeoutError):
            socket.recv(0.1)
        assert socket.ping().wait(60 if kind == "mute" else 0.3) == (kind == "mute")
        socket.socket.close()
    again = at.listen()
    at.buy()
    assert events(again, 1) == ["new"]


def test_an_error_of_the_market_data_stream(at: At) -> None:
    socket = at.listen("/v2/iex")
    at.arm("stream_error", code=406)
    at.control.post("step")
    assert json.loads(socket.recv(60)) == [{"T": "error", "code": 406, "msg": "connection limit exceeded"}]


# --- the venue ------------------------------------------------------------------------------------------------------

def test_a_stop_leg_under_a_new_id(at: At) -> None:
    at.arm("leg_replaced")
    entry = at.buy(order_class="bracket", take_profit={"limit_price": 110}, stop_loss={"stop_price": 90})
    at.control.post("step")
    old = next(leg for leg in entry.legs if leg.stop_price)
    gone = at.trading.get_order_by_id(old.id)
    new = at.trading.get_order_by_id(gone.replaced_by)
    assert (gone.status.value, new.status.value, new.replaces) == ("replaced", "new", old.id)
    assert new.id in {leg.id for leg in at.trading.get_order_by_id(entry.id).legs}


def test_a_restart(at: At) -> None:
    order = at.buy(limit_price=90)
    at.arm("restart", seconds=0.1)
    at.control.post("step")
    for _ in range(1_000):
        try:
            assert at.trading.get_order_by_id(order.id).status.value == "new"
            break
        except requests.exceptions.ConnectionError:
            time.sleep(0.05)
    else:
        pytest.fail("it did not come back")


def test_an_event_of_the_market(at: At) -> None:
    at.arm("market_event", event="halt", arguments={"symbol": "AAPL"})
    order = at.buy(limit_price=90)
    at.control.post("step")
    assert at.trading.get_order_by_id(order.id).status.value == "suspended"


def test_every_kind_is_met_here() -> None:
    text = Path(__file__).read_text()
    assert {kind for kind in FAULTS if f'"{kind}"' not in text} == set()
