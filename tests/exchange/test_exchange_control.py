"""The control API: stepping, paces, faults by HTTP, events of the market, and a venue that keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from exchange_markets import FREE, MONDAY_OPEN, QUARTER, panel_of
from exchange_raw import Raw, stream

from trader.exchange.persist import VenueStore
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue

CALM = (100.0, 101.0, 99.0, 100.0, 1_000.0)
BUY = {"symbol": "AAPL", "side": "buy", "qty": 10}


def venue_of(bars: int = 60) -> Venue:
    return Venue(panel_of({"AAPL": [CALM] * bars, "MSFT": [CALM] * bars}), start_index=1, fill_model=FREE)


@pytest.fixture
async def server() -> AsyncIterator[ExchangeServer]:
    running = ExchangeServer(venue_of())
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def control(server: ExchangeServer) -> AsyncIterator[Raw]:
    raw = await Raw.to(server.control_port)
    yield raw
    raw.writer.close()


@pytest.fixture
async def client(server: ExchangeServer) -> AsyncIterator[Raw]:
    raw = await Raw.to(server.port)
    yield raw
    raw.writer.close()


async def done(control: Raw, path: str, **body: Any) -> dict[str, Any]:
    status, answer = await control.ask("POST", f"/v1/{path}", body)
    assert status == 200, answer
    return answer


# --- time ---------------------------------------------------------------------------------------------------------

async def test_steps_by_count_and_up_to_a_moment(control: Raw) -> None:
    assert (await done(control, "step"))["index"] == 2
    assert (await done(control, "step", count=3))["index"] == 5
    answer = await done(control, "step", until_ns=MONDAY_OPEN + 10 * QUARTER)
    assert (answer["index"], answer["now_ns"]) == (10, MONDAY_OPEN + 10 * QUARTER)
    assert (await done(control, "step", until_ns=0))["index"] == 10
    for body in ({"count": True}, {"count": "2"}, {"until_ns": 1.5}, {"until_ns": True}):
        assert (await control.ask("POST", "/v1/step", body))[0] == 400


async def test_the_pace_changes_while_it_runs(server: ExchangeServer, control: Raw) -> None:
    await done(control, "speed", speed=18_000)              # a bar every 50 ms, a second's worth at once at the most
    await until(server, 4)
    answer = await done(control, "speed", speed="lockstep")
    await asyncio.sleep(0.05)
    assert (await control.ask("GET", "/v1/state"))[1]["index"] == answer["index"]
    assert (await done(control, "step"))["index"] == answer["index"] + 1
    await done(control, "speed", speed=1e-3)                # a bar in ten days
    await done(control, "speed", speed=9_000_000)           # takes effect at once
    await asyncio.wait_for(server.finished.wait(), 60)
    assert (await control.ask("GET", "/v1/state"))[1]["done"] is True


async def until(server: ExchangeServer, index: int) -> None:
    """Wait for a bar."""
    async with asyncio.timeout(60):
        while server.venue.index < index:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


# --- faults -------------------------------------------------------------------------------------------------------

async def test_faults_come_and_go(control: Raw, client: Raw) -> None:
    fault = {"kind": "server_error", "path": "/v2/clock", "count": 0}
    assert (await control.ask("POST", "/v1/faults", fault))[1] == {"ids": [1]}
    assert await done(control, "faults", faults=[
        {"kind": "server_error", "status": 503, "path": "/v2/account", "skip": 1}, {"kind": "omit"},
    ]) == {"ids": [2, 3]}
    assert (await control.ask("POST", "/v1/faults", [{"kind": "restart", "from_bar": 999}]))[1] == {"ids": [4]}
    assert [(await client.ask("GET", "/v2/clock"))[0] for _ in range(3)] == [500, 500, 500]
    assert [(await client.ask("GET", "/v2/account"))[0] for _ in range(3)] == [200, 503, 200]
    _, told = await control.ask("GET", "/v1/faults")
    shown = ("id", "kind", "matched", "hits", "spent")
    assert [tuple(fault[name] for name in shown) for fault in told["faults"]] == [
        (1, "server_error", 3, 3, False), (2, "server_error", 2, 1, True), (3, "omit", 0, 0, False),
        (4, "restart", 0, 0, False),
    ]
    assert [hit["what"]["path"] for hit in told["log"]] == ["/v2/clock"] * 3 + ["/v2/account"]
    assert told["total"] == 4
    assert (await control.ask("DELETE", "/v1/faults/1"))[1] == {"removed": 1}
    assert (await control.ask("DELETE", "/v1/faults/1"))[0] == 400
    assert (await client.ask("GET", "/v2/clock"))[0] == 200
    assert (await control.ask("DELETE", "/v1/faults"))[1] == {"removed": 3}
    assert (await control.ask("GET", "/v1/faults"))[1]["faults"] == []


@pytest.mark.parametrize(("path", "body", "what"), [
    ("faults", {"kind": "boom"}, "the kinds are"), ("faults", {"kind": "hang", "seconds": 3}, "seconds"),
    ("faults", {}, "kind"), ("faults", {"faults": 5}, "array"), ("streams", {"kind": "hang"}, "kill_stream"),
    ("streams", {"kind": "half_open", "stream": "x"}, "stream"), ("restart", {"seconds": -1}, "seconds"),
    ("market/flood", {"symbol": "AAPL"}, "halt"), ("market/gap", {"symbol": "AAPL"}, "percent"),
    ("market/gap", {"symbol": "AAPL", "percent": -100}, "-99"), ("market/halt", {"symbol": "NOPE"}, "NOPE"),
    ("faults", {"faults": [], "rules": {"lulled": True}}, "the rules are"), ("rules", {"luld": "maybe"}, "bool"),
    ("rules", {"nothing": 1}, "the rules are"), ("market/halt", {}, "symbol"),
    ("market/split", {"symbol": "AAPL", "ratio": 2}, "between two sessions"), ("step", {"cuont": 5}, "count, until_ns"),
    ("speed", {"speed": True}, "positive number"), ("pause", {"for": 3}, "none"), ("restart", {"secs": 1}, "seconds"),
    ("faults", {"seed": 10**30}, "$.seed"), ("faults", {"kind": "hang", "from_bar": 10**30}, "from_bar"),
    ("faults", {"kind": "hang", "symbol": "NOPE"}, "the symbols are AAPL"), ("rules", {"gtc_days": -1}, "from 0"),
    ("market/correct", {"symbol": "AAPL", "close": 1e300}, "close"),
])
async def test_mistakes_are_named(control: Raw, path: str, body: dict[str, Any], what: str) -> None:
    status, answer = await control.ask("POST", f"/v1/{path}", body)
    assert status in (400, 422)
    assert what in answer["message"]


async def test_rules_and_seeds_come_over_the_wire(server: ExchangeServer, control: Raw, client: Raw) -> None:
    assert await done(control, "faults", seed=4, rules={"gtc_days": 30}) == {"ids": []}
    assert (server.faults.seed, server.venue.rules.gtc_days) == (4, 30)
    _, rules = await control.ask("GET", "/v1/rules")
    assert (rules["slow_changes"], rules["luld"], rules["hard_to_borrow"]) == (False, False, [])
    _, short = await client.ask("POST", "/v2/orders", {
        "symbol": "AAPL", "side": "sell", "qty": 1, "type": "limit", "limit_price": 120,
    })
    _, rules = await control.ask("POST", "/v1/rules", {"hard_to_borrow": ["AAPL"], "margin_multiplier": 1})
    assert (rules["hard_to_borrow"], rules["margin_multiplier"]) == (["AAPL"], "1")
    assert (await client.ask("GET", f"/v2/orders/{short['id']}"))[1]["status"] == "canceled"
    assert (await client.ask("GET", "/v2/account"))[1]["buying_power"] == "100000"
    script = {"seed": 5, "rules": {"slow_changes": True}, "faults": [{"kind": "omit", "probability": 0.5, "count": 0}]}
    assert (await control.ask("POST", "/v1/faults", script))[1] == {"ids": [1]}
    assert (await control.ask("GET", "/v1/faults"))[1]["seed"] == 5
    assert server.venue.rules.slow_changes
    assert server.venue.rules.hard_to_borrow == {"AAPL"}            # what the script does not name stays


async def test_streams_break_and_the_port_goes_away_on_demand(server: ExchangeServer, control: Raw) -> None:
    first = await stream(server, "/stream")
    second = await stream(server, "/v2/iex")
    await done(control, "streams", kind="kill_stream", stream="data")
    await asyncio.wait_for(second.wait_closed(), 60)
    await asyncio.wait_for(await first.ping(), 60)
    await done(control, "restart", seconds=0.05)
    await asyncio.wait_for(first.wait_closed(), 60)
    assert (await control.ask("GET", "/v1/state"))[0] == 200                 # the control port stays


async def test_pages_in_a_browser_are_kept_out(control: Raw) -> None:
    assert (await control.ask("POST", "/v1/step", {}, keys="Origin: http://evil.example\r\n"))[0] == 403
    assert (await control.ask("GET", "/v1/state"))[1]["index"] == 1


# --- the market ---------------------------------------------------------------------------------------------------

async def test_a_halted_symbol_does_not_fill(control: Raw, client: Raw) -> None:
    await done(control, "market/halt", symbol="AAPL")
    assert (await control.ask("GET", "/v1/state"))[1]["halted"] == ["AAPL"]
    assert (await client.ask("POST", "/v2/orders", BUY))[0] == 200
    await done(control, "step", count=2)
    assert (await client.ask("GET", "/v2/positions"))[1] == []
    await done(control, "market/resume", symbol="AAPL")
    await done(control, "step")
    assert (await client.ask("GET", "/v2/positions/AAPL"))[1]["qty"] == "10"


async def test_a_gap_jumps_over_a_stop(control: Raw, client: Raw) -> None:
    await client.ask("POST", "/v2/orders", {**BUY, "order_class": "oto", "stop_loss": {"stop_price": "95"}})
    await done(control, "step")
    await done(control, "market/gap", symbol="AAPL", percent=-20)
    await done(control, "step")
    _, fills = await client.ask("GET", "/v2/account/activities/FILL")
    assert [(fill["side"], fill["price"]) for fill in fills] == [("sell", "80"), ("buy", "100")]
    assert (await client.ask("GET", "/v2/stocks/bars/latest?symbols=AAPL,MSFT"))[1]["bars"]["MSFT"]["c"] == 100


async def test_a_split_changes_prices_and_shares_together(control: Raw, client: Raw) -> None:
    await client.ask("POST", "/v2/orders", BUY)
    await done(control, "step", count=25)                   # to the end of the first session
    _, before = await client.ask("GET", "/v2/account")
    await done(control, "market/split", symbol="AAPL", ratio=2)
    assert (await client.ask("GET", "/v2/account"))[1]["equity"] == before["equity"]
    await done(control, "step")
    _, position = await client.ask("GET", "/v2/positions/AAPL")
    assert (position["qty"], position["avg_entry_price"], position["current_price"]) == ("20", "50", "50")
    _, latest = await client.ask("GET", "/v2/stocks/bars/latest?symbols=AAPL")
    assert (latest["bars"]["AAPL"]["h"], latest["bars"]["AAPL"]["v"]) == (50.5, 2_000)


async def test_the_markets_events_outlive_the_server(tmp_path: Path) -> None:
    async def session(act: Any) -> tuple[dict[str, Any], list[Any]]:
        with VenueStore(tmp_path / "venue.db") as store:
            server = ExchangeServer(venue_of(), persist=store)
            await server.start()
            control, client = await Raw.to(server.control_port), await Raw.to(server.port)
            await act(control, client)
            _, account = await client.ask("GET", "/v2/account")
            _, bars = await client.ask("GET", "/v2/stocks/bars?symbols=AAPL&timeframe=15Min&start=2024-01-01")
            for raw in (control, client):
                raw.writer.close()
            await server.stop()
            return account, bars

    async def events(control: Raw, client: Raw) -> None:
        await client.ask("POST", "/v2/orders", BUY)
        await done(control, "step", count=2)
        await done(control, "market/gap", symbol="AAPL", percent=10)
        await done(control, "market/correct", symbol="AAPL", close=104)
        await done(control, "step", count=23)
        await done(control, "market/split", symbol="AAPL", ratio=2)
        await done(control, "step")

    async def nothing(control: Raw, client: Raw) -> None:
        assert (await client.ask("GET", "/v2/positions/AAPL"))[1]["qty"] == "20"

    first = await session(events)
    assert [bar["c"] for bar in first[1]["bars"]["AAPL"][1:4]] == [100, 104, 110]
    assert await session(nothing) == first
