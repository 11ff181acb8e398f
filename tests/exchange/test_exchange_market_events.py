"""Events that change bars: for one venue alone, and for everything that it is asked afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
from exchange_markets import FREE, panel_of
from exchange_raw import Raw, json_of, stream

from trader.core.panel import FIELDS, BarPanel
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue

CALM = (100.0, 100.5, 99.5, 100.0)


@pytest.fixture
def panel() -> BarPanel:
    """Two days of bars that nobody may write to."""
    shared = panel_of({"AAPL": [CALM] * 8, "MSFT": [CALM] * 8}, per_day=4)
    for name in FIELDS:
        getattr(shared, name).flags.writeable = False
    return shared


@pytest.fixture
async def pair(panel: BarPanel) -> AsyncIterator[tuple[ExchangeServer, ExchangeServer]]:
    """Two servers over one panel."""
    servers = [ExchangeServer(Venue(panel, start_index=1, fill_model=FREE)) for _ in range(2)]
    for server in servers:
        await server.start()
    yield servers[0], servers[1]
    for server in servers:
        await server.stop()


@pytest.mark.parametrize(
    ("event", "body", "opens"),
    [("gap", {"percent": 10}, 110.0), ("split", {"ratio": 2}, 50.0), ("correct", {"close": 99.0}, 100.0)],
)
async def test_no_venue_sees_anothers_events(
    pair: tuple[ExchangeServer, ExchangeServer], panel: BarPanel, event: str, body: dict[str, float], opens: float
) -> None:
    before = [getattr(panel, name).copy() for name in FIELDS]
    changed, calm = pair
    for server in pair:
        for _ in range(3):
            server.advance()
    control = await Raw.to(changed.control_port)
    status, answer = await control.ask("POST", f"/v1/market/{event}", {"symbol": "AAPL", **body})
    assert status == 200, answer
    assert changed.venue.panel.open[4, 0] == opens
    assert calm.venue.panel.open[4, 0] == 100.0
    for name, held in zip(FIELDS, before, strict=True):
        assert np.array_equal(getattr(panel, name), held)
        assert getattr(calm.venue.panel, name) is getattr(panel, name)          # still shared
    control.writer.close()


async def test_a_correction_is_what_rest_tells_afterwards(pair: tuple[ExchangeServer, ExchangeServer]) -> None:
    server, _ = pair
    client, control = await Raw.to(server.port), await Raw.to(server.control_port)
    await client.ask("POST", "/v2/orders", {"symbol": "AAPL", "side": "buy", "qty": 10})
    server.advance()
    socket = await stream(server, "/v2/iex")
    for message in ('{"action":"auth","key":"a","secret":"b"}',
                    '{"action":"subscribe","updatedBars":["*"],"trades":["*"]}'):
        await socket.recv()
        await socket.send(message)
    await socket.recv()
    assert (await client.ask("GET", "/v2/positions/AAPL"))[1]["current_price"] == "100"
    _, before = await client.ask("GET", "/v2/stocks/AAPL/trades")
    await control.ask("POST", "/v1/market/correct", {"symbol": "AAPL", "close": 98.5})
    said = await json_of(socket)
    while said[-1]["T"] != "u":
        said += await json_of(socket)
    assert [message["T"] for message in said] == ["c", "u"]
    assert (said[0]["op"], said[0]["cp"]) == (100.0, 98.5)
    bar = {key: said[1][key] for key in "tohlcv"}
    assert (bar["c"], bar["l"]) == (98.5, 98.5)
    _, bars = await client.ask("GET", "/v2/stocks/bars?symbols=AAPL&timeframe=15Min")
    assert {key: bars["bars"]["AAPL"][-1][key] for key in "tohlcv"} == bar
    _, latest = await client.ask("GET", "/v2/stocks/AAPL/bars/latest")
    assert {key: latest["bar"][key] for key in "tohlcv"} == bar
    _, snapshot = await client.ask("GET", "/v2/stocks/AAPL/snapshot")
    assert (snapshot["latestTrade"]["p"], snapshot["dailyBar"]["l"]) == (98.5, 98.5)
    assert snapshot["latestQuote"]["bp"] <= 98.5 <= snapshot["latestQuote"]["ap"]
    _, trades = await client.ask("GET", "/v2/stocks/AAPL/trades")
    *others, last = before["trades"]                # that one alone
    assert trades["trades"] == [*others, {**last, "p": 98.5, "u": "corrected"}]
    assert (await client.ask("GET", "/v2/positions/AAPL"))[1]["current_price"] == "98.5"
    assert (await client.ask("GET", "/v2/account"))[1]["equity"] == "99985"
    client.writer.close()
    control.writer.close()
    await socket.close()


async def test_a_split_that_is_refused_changes_nothing() -> None:
    """A symbol without any bar has no price to split."""
    never = (float("nan"),) * 5
    bars = panel_of({"AAPL": [CALM] * 8, "NONE": [never] * 8}, per_day=4)
    server = ExchangeServer(Venue(bars, start_index=4, fill_model=FREE))
    await server.start()
    control = await Raw.to(server.control_port)
    status, answer = await control.ask("POST", "/v1/market/split", {"symbol": "NONE", "ratio": 2})
    assert (status, answer["message"]) == (422, "NONE has no price")
    assert (server.market.entries, server.venue.splits) == ([], [])
    control.writer.close()
    await server.stop()
