"""A halted symbol stands still: what its market's data hold of that time is a gap, to everybody and for ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchange_markets import FREE, daily_panel, panel_of, walk_panel
from exchange_raw import Raw, json_of, stream

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core.clock import MINUTE_NS
from trader.core.panel import BarPanel
from trader.exchange.data_stream import CHANNELS
from trader.exchange.errors import VenueError
from trader.exchange.halts import VALUES, Standstill
from trader.exchange.market_events import MarketEvents
from trader.exchange.persist import VenueStore
from trader.exchange.portfolio import intraday_points
from trader.exchange.server import ExchangeServer
from trader.exchange.types import OrderRequest, VenueRules
from trader.exchange.venue import Venue

SYMBOLS = ("AAPL", "MSFT")
COSTLY = RealisticFillSimulator()
# Before which bars AAPL is halted and trades again: over a day's end, and for one bar alone.
HALTS = {"halt": (30, 57), "resume": (55, 58)}
BARS = 80
QUESTIONS = [
    *(f"/v2/stocks/bars?symbols=AAPL,MSFT&start=2024-01-01&limit=10000&timeframe={size}"
      for size in ("15Min", "30Min", "45Min", "1Hour", "1Day", "1Week", "1Month")),
    *(f"/v2/stocks/{kind}?symbols=AAPL,MSFT&start=2024-01-01&limit=10000" for kind in ("trades", "quotes")),
    *(f"/v2/stocks/{kind}/latest?symbols=AAPL,MSFT" for kind in ("bars", "trades", "quotes")),
    "/v2/stocks/snapshots?symbols=AAPL,MSFT", "/v2/account", "/v2/positions",
    "/v2/account/portfolio/history?timeframe=15Min&period=1M", "/v2/account/portfolio/history?timeframe=1D",
]


def full(panel: BarPanel) -> BarPanel:
    """A panel that knows volume-weighted prices and numbers of trades."""
    return replace(panel, vwap=(panel.high + panel.low) / 2, trade_count=np.full_like(panel.close, 9.0))


def without(panel: BarPanel, gaps: list[tuple[str, int, int]]) -> BarPanel:
    """A copy of a panel that misses some bars of symbols."""
    copy = replace(panel, **{name: getattr(panel, name).copy() for name in VALUES})
    for symbol, first, stop in gaps:
        for name in VALUES:
            getattr(copy, name)[first:stop, panel.column(symbol)] = np.nan
    return copy


async def heard(panel: BarPanel, halts: dict[str, tuple[int, ...]]) -> tuple[list[Any], list[Any], list[list[str]]]:
    """What a listener to every channel and whoever asks at each bar learn of a market, and the answers of steps."""
    server = ExchangeServer(Venue(panel, start_index=26, fill_model=COSTLY))
    await server.start()
    socket = await stream(server, "/v2/sip")
    wishes = {channel: ["*"] for channel in CHANNELS}
    for message in ({"action": "auth", "key": "a", "secret": "b"}, {"action": "subscribe", **wishes}):
        await socket.recv()
        await socket.send(json.dumps(message))
    await socket.recv()
    client, control = await Raw.to(server.port), await Raw.to(server.control_port)
    for symbol in SYMBOLS:
        await client.ask("POST", "/v2/orders", {"symbol": symbol, "side": "buy", "qty": 50})
    said: list[Any] = []
    answers: list[Any] = []
    stepped: list[list[str]] = []
    while server.venue.index < BARS:
        for event, moments in halts.items():
            if server.venue.index in moments:
                await control.ask("POST", f"/v1/market/{event}", {"symbol": "AAPL", **(
                    {"reason": "T1"} if event == "halt" else {})})
        status, answer = await control.ask("POST", "/v1/step", {})
        assert status == 200
        stepped.append(answer["symbols"])
        if server.venue.index % 3:
            answers.append([await client.ask("GET", question) for question in QUESTIONS])
    await client.ask("POST", "/v2/orders", {"symbol": "AAPL", "side": "sell", "qty": 50})   # costs know the past
    await control.ask("POST", "/v1/step", {})
    answers.append(await client.ask("GET", "/v2/account/activities"))
    while not any(message["T"] == "b" and message["i"] == BARS for message in said[-40:]):
        said += [message for message in await json_of(socket) if message["T"] != "s"]
    for end in (client, control):
        end.writer.close()
    await socket.close()
    await server.stop()
    return said, answers, stepped


async def test_a_halt_is_a_gap_in_the_data() -> None:
    """On every stream, in every answer, at every moment: as if those bars had never been."""
    panel = full(walk_panel(SYMBOLS, BARS + 1))
    shared = {name: getattr(panel, name).copy() for name in VALUES}
    halted = await heard(panel, HALTS)
    gone = await heard(without(panel, [("AAPL", *ends) for ends in zip(*HALTS.values(), strict=True)]), {})
    assert halted[2][:4] + halted[2][4:29] == [list(SYMBOLS)] * 4 + [["MSFT"]] * 25
    assert halted[2] == gone[2]
    assert halted[0] == gone[0]
    for at, (one, other) in enumerate(zip(halted[1], gone[1], strict=True)):
        assert one == other, at
    assert all(np.array_equal(getattr(panel, name), values) for name, values in shared.items())     # nobody else's


@pytest.mark.parametrize("luld", [False, True])
async def test_killed_at_any_bar_it_finds_the_same_gap(tmp_path: Path, luld: bool) -> None:
    """Halts, bars changed meanwhile, a split, and what costs are reckoned from, in as many lives as there are bars."""
    panel = full(walk_panel(SYMBOLS, 200))
    if luld:                                        # jumps that pause a symbol, also in the day's last minutes
        for i in (40, 77, 120):
            for name in ("open", "high", "low", "close"):
                getattr(panel, name)[i:, 0] *= 1.12

    deeds: dict[int, tuple[str, dict[str, object]]] = {
        20: ("halt", {"symbol": "AAPL", "reason": "T1"}), 24: ("gap", {"symbol": "AAPL", "percent": 9.0}),
        31: ("resume", {"symbol": "AAPL"}), 50: ("halt", {"symbol": "MSFT"}),
        52: ("split", {"symbol": "MSFT", "ratio": 2}), 79: ("resume", {"symbol": "MSFT"}),
        90: ("correct", {"symbol": "AAPL", "close": 99.5}), 100: ("cancel_trade", {"symbol": "MSFT"}),
        130: ("gap", {"symbol": "MSFT", "percent": -9.0}),
    }

    async def lived(name: str, kills: set[int]) -> tuple[list[Any], list[Any]]:
        found: list[Any] = []

        async def born() -> ExchangeServer:
            venue = Venue(panel, start_index=5, fill_model=COSTLY, rules=VenueRules(luld=luld))
            server = ExchangeServer(venue, persist=VenueStore(tmp_path / name))
            await server.start()
            return server

        server = await born()
        for index in range(5, 195):
            venue = server.venue
            if index in deeds:
                event, arguments = deeds[index]
                server.market.take(event, dict(arguments))
            if index % 26 in (4, 18):
                for symbol in SYMBOLS:
                    venue.submit(OrderRequest(symbol=symbol, side="buy", qty=Decimal(3)))
            server.advance()
            found.append((venue.equity(), venue.account().fees, sorted(venue.halted), len(venue.orders("open"))))
            if index in kills:
                server._store.close()
                await server.stop()
                server = await born()
        fills = [(fill.symbol, fill.ts_ns, fill.price, fill.qty) for fill in server.venue.activities]
        assert (set(server.venue.corrected), server.venue.canceled) == ({(89, 0)}, {(99, 1)})
        server._store.close()
        await server.stop()
        return [fills, *found], [getattr(server.venue.panel, name) for name in VALUES]

    whole, bars = await lived("whole", set())
    killed, others = await lived("killed", set(range(7, 195, 9)) | {20, 21, 30, 31, 50, 51, 52, 78, 79, 90, 91})
    assert len(whole[0]) > 20
    assert killed == whole
    assert all(np.array_equal(one, other, equal_nan=True) for one, other in zip(bars, others, strict=True))
    assert np.isnan(bars[0]).any(axis=0).all()


def test_a_split_during_a_halt_does_not_double_what_a_position_was_worth() -> None:
    """The account's history marks a position at the last price in the shares of each moment."""
    venue = Venue(panel_of({"AAPL": [(100.0, 100.5, 99.5, 100.0)] * 16}, per_day=4), start_index=1, fill_model=FREE)
    market = MarketEvents(venue, lambda batch: None)
    venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=Decimal(10)))
    while not venue.done:
        for at, event, arguments in ((6, "halt", {"reason": "T1"}), (8, "split", {"ratio": 2}), (11, "resume", {})):
            if venue.index == at:
                market.take(event, {"symbol": "AAPL", **arguments})
        venue.step()
    assert set(intraday_points(venue, 15, extended=False)[1]) == {100_000.0}


def test_a_standstill_is_kept_as_one(market: Callable[..., Venue]) -> None:
    venue = market([(100.0, 100.5, 99.5, 100.0)] * 20)
    for index in range(1, 20):
        if index in (3, 8):
            venue.halt("AAPL")
        if index in (6, 9):
            venue.resume("AAPL")
        venue.step()
    assert venue.standstills == [Standstill("AAPL", 3, 6), Standstill("AAPL", 8, 9)]


def test_a_pause_does_not_end_a_halt(market: Callable[..., Venue]) -> None:
    """News come while a symbol pauses: it stands still until they are out."""
    venue = market([(100.0, 100.5, 99.5, 100.0)] * 4 + [(110.0, 110.5, 109.5, 110.0)] * 8, rules=VenueRules(luld=True))
    for _ in range(3):
        venue.step()
    venue.paused["AAPL"] = 0                        # it would end with the next bar
    venue.halt("AAPL")
    for _ in range(3):
        venue.step()
    assert venue.halted == {"AAPL"}
    venue.resume("AAPL")
    order = venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=Decimal(1)))
    venue.step()                                    # the first bar after a halt sets new bands
    assert (order.filled_avg_price, venue.halted) == (110, set())


def test_a_late_pause_ends_with_the_session() -> None:
    """The closing auction ends it: the next day's first minute trades."""
    start = 1_704_747_300_000_000_000               # 2024-01-08, 15:55 in New York
    ts = np.concatenate([start + np.arange(5) * MINUTE_NS, start + 1_055 * MINUTE_NS + np.arange(5) * MINUTE_NS])
    price = np.array([100.0] * 3 + [120.0] * 7)[:, None]
    panel = BarPanel(
        ("AAPL",), "1Min", ts, ts + MINUTE_NS, price.copy(), price.copy(), price.copy(), price.copy(),
        np.full_like(price, 1e6),
    )
    venue = Venue(panel, start_index=1, fill_model=FREE, rules=VenueRules(luld=True))
    for _ in range(4):
        venue.step()
    assert not venue.in_session
    assert [pause.band is None for pause in venue.pauses] == [False, True]
    order = venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=Decimal(1)))
    venue.step()
    assert order.filled_avg_price == 120
    assert np.isnan(venue.panel.close[:, 0]).tolist() == [False] * 3 + [True] * 2 + [False] * 5


def test_a_pause_of_what_has_no_price_is_refused_whole() -> None:
    panel = without(full(walk_panel(SYMBOLS, 10)), [("AAPL", 0, 10)])
    venue = Venue(panel, start_index=1, fill_model=FREE)
    with pytest.raises(VenueError, match="AAPL has no price"):
        MarketEvents(venue, lambda batch: None).take("halt", {"symbol": "AAPL"})
    assert venue.halted == set()


def test_days_that_a_halt_spans_are_missing() -> None:
    venue = Venue(daily_panel(SYMBOLS, "2024-01-02", "2024-02-10"), start_index=3, fill_model=FREE)
    venue.halt("MSFT")
    venue.step()
    venue.resume("MSFT")
    venue.step()
    assert np.isnan(venue.panel.close[:6, 1]).tolist() == [False] * 3 + [True] + [False] * 2
