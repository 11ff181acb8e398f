"""What is known to trip clients up on Alpaca's streams, word for word, with raw sockets and with unmodified clients."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from alpaca.data.enums import DataFeed
from alpaca.data.live import StockDataStream
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import MarketOrderRequest
from alpaca.trading.stream import TradingStream
from exchange_markets import FREE, panel_of
from exchange_raw import Raw, json_of, stream
from exchange_serving import Control, serving

from trader.exchange.data_stream import CHANNELS, DATA_PLANS, ERRORS, DataPlan
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue
from trader.utils.tasks import end

CALM = (100.0, 100.5, 99.5, 100.0)
AUTH = {"action": "auth", "key": "a", "secret": "b"}
AUTHENTICATE = {"action": "authenticate", "data": {"key_id": "a", "secret_key": "b"}}
LISTEN = {"action": "listen", "data": {"streams": ["trade_updates"]}}


def venue() -> Venue:
    return Venue(panel_of({"AAPL": [CALM] * 20, "MSFT": [CALM] * 20}), start_index=1, fill_model=FREE)


@pytest.fixture
async def server() -> AsyncIterator[ExchangeServer]:
    running = ExchangeServer(venue())
    await running.start()
    yield running
    await running.stop()


# --- raw: the trading stream --------------------------------------------------------------------------------------
async def test_the_trading_stream_speaks_binary_json_and_hears_both(server: ExchangeServer) -> None:
    for packed in (False, True):
        async with stream(server, "/stream") as socket:
            for message in (AUTHENTICATE, LISTEN):
                said = json.dumps(message)
                await socket.send(said.encode() if packed else said)
                answer = await socket.recv()
                assert isinstance(answer, bytes)                        # as Alpaca's own; clients must take it
                assert isinstance(json.loads(answer)["data"], dict)


@pytest.mark.parametrize("message", [
    AUTHENTICATE, LISTEN, {"action": "listen"}, {"action": "dance"}, {"action": "authenticate"}, {}, [], 5, "x",
    {"action": "listen", "data": {"streams": []}}, {"action": "listen", "data": {"streams": "trade_updates"}},
])
async def test_every_frame_of_the_trading_stream_has_a_data_object(server: ExchangeServer, message: object) -> None:
    """The npm client asks for ``"error" in message.data`` whatever came."""
    async with stream(server, "/stream") as socket:
        await socket.send(json.dumps(message))
        answer = await json_of(socket)
        assert isinstance(answer["data"], dict)
        assert isinstance(answer["stream"], str)


async def test_listening_to_nothing_ends_the_updates(server: ExchangeServer) -> None:
    client = await Raw.to(server.port)
    async with stream(server, "/stream") as socket:
        for message in (AUTHENTICATE, LISTEN):
            await socket.send(json.dumps(message))
            await socket.recv()
        await client.ask("POST", "/v2/orders", {"symbol": "AAPL", "side": "buy", "qty": 1})
        assert (await json_of(socket))["data"]["event"] == "new"
        await socket.send(json.dumps({"action": "listen", "data": {"streams": []}}))
        assert (await json_of(socket))["data"] == {"streams": []}
        server.advance()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.1)
    client.writer.close()


# --- raw: market data ---------------------------------------------------------------------------------------------
def frames(parts: list[bytes], first: int) -> bytes:
    """One message in several frames, masked with zeros."""
    sent = b""
    for i, part in enumerate(parts):
        opcode = (first if not i else 0) | (0x80 if i == len(parts) - 1 else 0)
        assert len(part) < 126
        sent += bytes((opcode, 0x80 | len(part))) + b"\0\0\0\0" + part
    return sent


@pytest.mark.parametrize("pieces", [2, 3, 60])
async def test_a_subscription_in_fragments_with_a_ping_between(server: ExchangeServer, pieces: int) -> None:
    """alpaca-py sends its subscription as a first frame and a continuation."""
    async with stream(server, "/v2/iex", **{"Content-Type": "application/msgpack"}) as socket:
        await socket.recv()
        await socket.send(msgspec.msgpack.encode(AUTH))
        await socket.recv()
        body = msgspec.msgpack.encode({"action": "subscribe", "bars": ["AAPL"], "quotes": ["*"]})
        cut = [body[i * len(body) // pieces : (i + 1) * len(body) // pieces] for i in range(pieces)]
        sent = frames(cut, 2)
        head = 6 + len(cut[0])
        socket.transport.write(sent[:head] + bytes((0x89, 0x80)) + b"\0\0\0\0" + sent[head:])
        (echo,) = msgspec.msgpack.decode(await asyncio.wait_for(socket.recv(), 60))
        assert (echo["bars"], echo["quotes"]) == (["AAPL"], ["*"])


@pytest.mark.parametrize("packed", [False, True])
async def test_every_control_frame_is_an_array_of_one_and_every_echo_has_all_channels(
    server: ExchangeServer, packed: bool
) -> None:
    headers = {"Content-Type": "application/msgpack"} if packed else {}
    write, read = (msgspec.msgpack.encode, msgspec.msgpack.decode) if packed else (json.dumps, json.loads)
    async with stream(server, "/v2/sip", **headers) as socket:
        said = [read(await socket.recv())]
        for body in (
            {"action": "subscribe", "bars": ["AAPL"]}, {**AUTH, "secret": ""}, AUTH, AUTH,
            {"action": "subscribe", "bars": ["AAPL"]}, {"action": "subscribe", "quotes": ["*"]},
            {"action": "unsubscribe", "bars": ["AAPL", "NOPE"]}, {"action": "dance"},
        ):
            await socket.send(write(body))
            said.append(read(await asyncio.wait_for(socket.recv(), 60)))
        assert all(len(message) == 1 for message in said)
        assert [message[0].get("msg", "") for message in said] == [
            "connected", ERRORS[401], ERRORS[402], "authenticated", ERRORS[403], "", "", "", ERRORS[400],
        ]
        for (echo,) in said[5:8]:
            assert set(echo) == {"T", *CHANNELS} - {"imbalances"}
            assert echo["T"] == "subscription"
        assert [(echo["bars"], echo["quotes"]) for (echo,) in said[5:8]] == [
            (["AAPL"], []), (["AAPL"], ["*"]), ([], ["*"]),
        ]


async def test_msgpack_moments_are_extensions_of_type_minus_one(server: ExchangeServer) -> None:
    async with stream(server, "/v2/iex", **{"Content-Type": "application/msgpack"}) as socket:
        await socket.recv()
        for body in (AUTH, {"action": "subscribe", "bars": ["AAPL"], "trades": ["AAPL"]}):
            await socket.send(msgspec.msgpack.encode(body))
            await socket.recv()
        server.advance()
        data = await socket.recv()
        assert isinstance(data, bytes)
        moments = [message["t"] for message in msgspec.msgpack.decode(data)]
        assert all(isinstance(moment, datetime) for moment in moments)          # what a type of -1 decodes to
        assert moments[-1] == datetime(2024, 1, 8, 14, 45, tzinfo=UTC)
        assert b"\xd7\xff" in data                                              # fixext 8, type -1


async def test_auctions_have_imbalances() -> None:
    panel = panel_of({"AAPL": [CALM] * 3 + [(101.0, 102.0, 100.0, 101.5)] * 3, "MSFT": [CALM] * 6}, per_day=3)
    running_ = ExchangeServer(Venue(panel, start_index=1, fill_model=FREE))
    await running_.start()
    async with stream(running_, "/v2/sip") as socket:
        for body in (AUTH, {"action": "subscribe", "imbalances": ["AAPL"]}):
            await socket.recv()
            await socket.send(json.dumps(body))
        assert (await json_of(socket))[0]["imbalances"] == ["AAPL"]
        for _ in range(5):
            running_.advance()
        told = [message for _ in range(3) for message in await json_of(socket)]
    assert [(message["T"], message["p"], message["t"][8:16]) for message in told] == [
        ("i", 100.0, "08T15:15"), ("i", 101.0, "09T14:30"), ("i", 101.5, "09T15:15"),
    ]
    await running_.stop()


async def test_limits_leave_the_set_as_it_was_and_free_the_place() -> None:
    running = ExchangeServer(venue(), data_plan=DataPlan(symbol_limit=2, connection_limit=1))
    await running.start()
    first = await stream(running, "/v2/iex")
    for body in (AUTH, {"action": "subscribe", "trades": ["AAPL"]}):
        await first.recv()
        await first.send(json.dumps(body))
    await first.recv()
    await first.send(json.dumps({"action": "subscribe", "trades": ["A", "B"]}))
    assert (await json_of(first))[0]["code"] == 405
    await first.send(json.dumps({"action": "subscribe", "quotes": ["AAPL", "MSFT"], "bars": ["*", "A", "B", "C"]}))
    (echo,) = await json_of(first)
    assert (echo["trades"], echo["quotes"]) == (["AAPL"], ["AAPL", "MSFT"])     # bars are not counted
    second = await stream(running, "/v2/iex")
    await second.recv()
    await second.send(json.dumps(AUTH))
    assert (await json_of(second))[0] == {"T": "error", "code": 406, "msg": ERRORS[406]}
    await asyncio.wait_for(second.wait_closed(), 60)
    await first.close()
    await running.stop()


def test_the_free_plan_is_alpacas() -> None:
    assert DATA_PLANS["basic"] == DataPlan(feeds=("iex",), symbol_limit=30, connection_limit=1)


async def test_streams_and_rest_share_one_port_and_strangers_are_told(server: ExchangeServer) -> None:
    client = await Raw.to(server.port)
    assert (await client.ask("GET", "/v2/clock"))[0] == 200
    client.writer.close()
    for path in ("/stream", "/v2/iex", "/v2/sip"):
        async with stream(server, path) as socket:
            assert socket.response is not None
            assert socket.response.status_code == 101


# --- unmodified alpaca-py -----------------------------------------------------------------------------------------
@contextmanager
def running(*streams: Any) -> Iterator[None]:
    """Streams of alpaca-py in a loop of their own."""
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(each._run_forever()) for each in streams]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        async def finish() -> None:
            await end(*tasks)
            await asyncio.gather(*(each.close() for each in streams), return_exceptions=True)

        asyncio.run_coroutine_threadsafe(finish(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def wait_until(condition: Callable[[], bool]) -> None:
    latest = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < latest, "nothing arrived in 60 s"
        time.sleep(0.01)


class Kept(list[Any]):
    """A handler that keeps what it is given."""

    async def take(self, message: Any) -> None:
        self.append(message)


@pytest.mark.parametrize("raw", [False, True])
def test_every_handler_of_the_data_stream_gets_its_kind(raw: bool) -> None:
    server = ExchangeServer(venue())
    with serving(server) as control:
        data = StockDataStream(
            "key", "secret", raw_data=raw, feed=DataFeed.IEX, url_override=f"ws://127.0.0.1:{server.port}/v2/iex",
        )
        kinds = ("trades", "quotes", "bars", "updated_bars", "daily_bars", "trading_statuses")
        kept = {kind: Kept() for kind in (*kinds, "corrections", "cancels")}
        for kind in kinds:
            getattr(data, f"subscribe_{kind}")(kept[kind].take, "AAPL")
        data.register_trade_corrections(kept["corrections"].take)
        data.register_trade_cancels(kept["cancels"].take)
        with running(data):
            wait_until(lambda: control.get("state")["listeners"]["bars"] == 1)
            control.post("step", count=2)
            for event, body in (("correct", {"close": 99.75}), ("cancel_trade", {}), ("halt", {}), ("resume", {})):
                control.post(f"market/{event}", symbol="AAPL", **body)
            wait_until(lambda: len(kept["trading_statuses"]) == 2)
        assert {kind: len(messages) for kind, messages in kept.items()} == {
            "trades": 8, "quotes": 8, "bars": 2, "updated_bars": 1, "daily_bars": 2, "trading_statuses": 2,
            "corrections": 1, "cancels": 1,
        }
        bar = kept["bars"][0]
        moment = bar["t"].to_datetime() if raw else bar.timestamp
        assert moment == datetime(2024, 1, 8, 14, 45, tzinfo=UTC)


def order(client: TradingClient) -> Any:
    return client.submit_order(MarketOrderRequest(symbol="AAPL", qty=1, side="buy", time_in_force="day"))


def trading_of(server: ExchangeServer, **settings: Any) -> tuple[TradingClient, TradingStream, Kept]:
    client = TradingClient("key", "secret", url_override=f"http://127.0.0.1:{server.port}")
    told, kept = TradingStream("key", "secret", url_override=f"ws://127.0.0.1:{server.port}/stream", **settings), Kept()
    told.subscribe_trade_updates(kept.take)
    return client, told, kept


def names(kept: Kept) -> list[str]:
    return [update.get("data", update)["event"] if isinstance(update, dict)
            else str(getattr(update.event, "value", update.event)) for update in kept]


def listeners(control: Control) -> int:
    return int(control.get("state")["listeners"]["trade_updates"])


@pytest.mark.parametrize(("raw", "heard"), [(False, ["fill"]), (True, ["new", "fill"])])
def test_an_unknown_status_costs_the_model_an_event(raw: bool, heard: list[str]) -> None:
    """Alpaca may add statuses; the client's model drops the whole update, its raw form does not."""
    server = ExchangeServer(venue())
    with serving(server) as control:
        client, told, kept = trading_of(server, raw_data=raw)
        with running(told):
            wait_until(lambda: listeners(control) == 1)
            control.post("faults", kind="unknown_in_update", event="new")
            order(client)
            control.post("step")
            wait_until(lambda: len(kept) == len(heard))
        assert names(kept) == heard


def test_what_happens_while_the_stream_is_away_is_never_told() -> None:
    server = ExchangeServer(venue())
    with serving(server) as control:
        client, told, kept = trading_of(server)
        with running(told):
            wait_until(lambda: listeners(control) == 1)
            order(client)
            wait_until(lambda: len(kept) == 1)
            control.post("streams", kind="kill_stream")
            control.post("step")                                    # fills while nobody listens
            wait_until(lambda: listeners(control) == 1)
            order(client)
            wait_until(lambda: len(kept) == 2)
        assert names(kept) == ["new", "new"]
        assert client.get_open_position("AAPL").qty == "1"          # only REST knows


def test_half_open_streams_are_found_by_pings() -> None:
    server = ExchangeServer(venue())
    with serving(server) as control:
        wishes = {"ping_interval": 0.3, "ping_timeout": 0.3, "close_timeout": 0.1, "max_queue": 1024}
        client, told, kept = trading_of(server, websocket_params=wishes)
        with running(told):
            wait_until(lambda: listeners(control) == 1)
            dead = set(server.trading_stream.listeners)
            control.post("streams", kind="half_open")
            order(client)                                           # told to nobody
            wait_until(lambda: bool(set(server.trading_stream.listeners) - dead))
            told_later = []
            while not kept:                                         # a busy machine may cut a sound stream as well
                told_later.append(str(order(client).id))
                time.sleep(0.1)
        assert str(kept[0].order.id) in told_later
        assert set(names(kept)) == {"new"}


def test_words_of_python_are_understood_in_queries() -> None:
    server = ExchangeServer(venue())
    with serving(server):
        client = TradingClient("key", "secret", url_override=f"http://127.0.0.1:{server.port}")
        order(client)
        for word in (True, "True", "true", "TRUE"):
            assert client.get("/orders", {"nested": word, "status": "all"})[0]["legs"] is None
