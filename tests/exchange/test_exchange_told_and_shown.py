"""What the streams have told, corrections applied, is what REST shows afterwards, whatever happened to the market."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from exchange_markets import FREE, walk_panel

from trader.exchange.data_messages import Outgoing
from trader.exchange.data_routes import DATA_ROUTES
from trader.exchange.data_stream import CHANNELS, DataStream
from trader.exchange.errors import VenueError
from trader.exchange.http import Request
from trader.exchange.market_events import MarketEvents
from trader.exchange.server import session_starts
from trader.exchange.types import VenueRules
from trader.exchange.venue import Venue
from trader.exchange.wire import rfc3339

SYMBOLS = ("AAPL", "MSFT", "IBM")
BARS = 90
DEEDS: list[tuple[str, dict[str, Any]]] = [
    ("halt", {"symbol": "AAPL", "reason": "T1"}), ("halt", {"symbol": "MSFT"}), ("resume", {"symbol": "AAPL"}),
    ("resume", {"symbol": "MSFT"}), ("gap", {"symbol": "IBM", "percent": 3.0}), ("cancel_trade", {"symbol": "MSFT"}),
    ("split", {"symbol": "IBM", "ratio": 2}), ("split", {"symbol": "IBM", "ratio": 0.5}),
    *(("correct", {"symbol": symbol, "close": close}) for symbol in SYMBOLS for close in (91.5, 108.25)),
]


class Listener:
    """Stands for a connection: it hears every message, before it is written in any format."""

    def __init__(self) -> None:
        self.told: list[Outgoing] = []

    def send(self, ready: bytes) -> None:
        """The conversation's own frames are of no interest here."""


def lived(seed: int) -> tuple[Venue, list[dict[str, Any]]]:
    """A market with gaps, bars without trades and events at any time; the venue at its end, and all that was told."""
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    panel = walk_panel(SYMBOLS, BARS, seed)
    panel.volume[noise.random(panel.volume.shape) < 0.2] = rng.choice((0, 1, 3))
    missing = noise.random(panel.close.shape) < 0.1
    for name in ("open", "high", "low", "close"):
        for i in (20, 47, 60) if seed % 2 else ():
            getattr(panel, name)[i:, 0] *= 1.13                     # beyond its bands
        getattr(panel, name)[missing] = np.nan
    panel.volume[missing] = np.nan
    venue = Venue(panel, fill_model=FREE, rules=VenueRules(luld=bool(seed % 2)))
    stream, listener = DataStream(lambda key, secret: True), Listener()
    stream.opened(listener, binary=False, feed="iex", keys=("a", "b"))      # type: ignore[arg-type]
    stream.received(listener, msgspec.json.encode({                         # type: ignore[arg-type]
        "action": "subscribe", **{channel: ["*"] for channel in CHANNELS}}))
    stream.tamper = listener.told.extend
    market, starts = MarketEvents(venue, stream.publish), session_starts(panel)
    while not venue.done:
        if rng.random() < 0.25:
            with contextlib.suppress(VenueError):                   # a split by day, a correction before any trade
                market.take(*rng.choice(DEEDS))
        i = venue.step()
        if venue.pauses:
            market.tell_pauses()
        stream.publish_slice(venue.panel, i, half_spread_bps=1.0, session_start=starts[i])
    stream.closed(listener)                                         # type: ignore[arg-type]
    return venue, [{**told.message, "t": rfc3339(told.message["t"])} for told in listener.told]


def shown(venue: Venue, kind: str, symbol: str) -> list[dict[str, Any]]:
    query = {"symbols": symbol, "start": "2024-01-01", "limit": "10000", "timeframe": "15Min"}
    answer = DATA_ROUTES[f"/v2/stocks/{kind}"]["GET"](venue, Request("GET", f"/v2/stocks/{kind}", query, {}), "")
    return list(msgspec.json.decode(answer.body)[kind].get(symbol, []))


@pytest.mark.parametrize("seed", range(8))
async def test_what_was_told_is_what_is_shown(seed: int) -> None:
    venue, told = lived(seed)
    trades: dict[str, dict[int, dict[str, Any]]] = {symbol: {} for symbol in SYMBOLS}
    bars: dict[str, dict[str, dict[str, Any]]] = {symbol: {} for symbol in SYMBOLS}
    quotes: dict[str, list[str]] = {symbol: [] for symbol in SYMBOLS}
    halted: set[str] = set()
    for message in told:
        kind, symbol = message["T"], message["S"]
        assert kind not in "tqbd" or symbol not in halted, message
        if kind == "s":
            (halted.discard if message["sc"] == "T" else halted.add)(symbol)
        elif kind == "t":
            trades[symbol][message["i"]] = message
        elif kind == "c":
            before = trades[symbol][message["oi"]]
            assert (before["p"], before["s"]) == (message["op"], message["os"])
            trades[symbol][message["ci"]] = {"u": "corrected", **before, "p": message["cp"], "s": message["cs"]}
        elif kind == "x":
            assert trades[symbol][message["i"]]["p"] == message["p"]
            trades[symbol][message["i"]]["u"] = "canceled"
        elif kind in "bu":
            bars[symbol][message["t"]] = message
        elif kind == "q":
            quotes[symbol].append(message["t"])
    for symbol in SYMBOLS:
        for kind, fields, found in (("trades", "ipstu", trades), ("bars", "tohlcv", bars)):
            assert [[row.get(name) for name in fields] for row in found[symbol].values()] == [
                [row.get(name) for name in fields] for row in shown(venue, kind, symbol)
            ], (symbol, kind)
        assert quotes[symbol] == [row["t"] for row in shown(venue, "quotes", symbol)]
    assert {message["T"] for message in told} >= set("tqbudslc")
