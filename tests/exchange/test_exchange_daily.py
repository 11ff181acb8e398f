"""Whole days: New York's midnight stands on their bars wherever they are told, also where the panel's own are days."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgpack
import msgspec
import pytest
from exchange_markets import FREE, daily_panel
from exchange_raw import stream
from websockets.asyncio.client import ClientConnection

from trader.core.clock import to_ns
from trader.core.days import NEW_YORK
from trader.core.sessions import session_index, session_table
from trader.exchange.data_routes import DATA_ROUTES
from trader.exchange.http import Request
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue
from trader.exchange.wire import rfc3339

PANEL = daily_panel(("AAPL", "MSFT"), "2024-02-12", "2024-04-20")       # a holiday, and the clocks change in March
DAYS = [date(1970, 1, 1) + timedelta(days=int(day)) for day in session_table().days[session_index(PANEL.ts_ns)]]


def midnight(day: date) -> str:
    return rfc3339(to_ns(datetime(day.year, day.month, day.day, tzinfo=NEW_YORK)))


LABELS = [midnight(day) for day in DAYS]


def ask(venue: Venue, kind: str, **query: str) -> Any:
    wanted = {"symbols": "AAPL", **query}
    return msgspec.json.decode(
        DATA_ROUTES[f"/v2/stocks/{kind}"]["GET"](venue, Request("GET", f"/v2/stocks/{kind}", wanted, {}), "").body)


def bars(venue: Venue, timeframe: str = "1Day", **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(venue, "bars", timeframe=timeframe, **query)["bars"].get("AAPL", [])
    return found


@pytest.fixture
def venue() -> Venue:
    return Venue(PANEL, start_index=len(PANEL), fill_model=FREE)


def test_labels_change_with_the_clocks() -> None:
    assert {label[11:] for label in LABELS} == {"05:00:00Z", "04:00:00Z"}
    assert LABELS[0] == "2024-02-12T05:00:00Z"
    assert LABELS[-1] == "2024-04-19T04:00:00Z"


def test_days_are_told_as_they_are_stored_under_new_yorks_midnight(venue: Venue) -> None:
    shown = bars(venue, start="2024-01-01")
    assert [bar["t"] for bar in shown] == LABELS
    for name, field in (("o", "open"), ("h", "high"), ("l", "low"), ("c", "close"), ("v", "volume")):
        assert [bar[name] for bar in shown] == getattr(PANEL, field)[:, 0].tolist()
    assert ask(venue, "bars/latest")["bars"]["AAPL"] == shown[-1]
    snapshot = ask(venue, "snapshots")["AAPL"]
    assert (snapshot["dailyBar"], snapshot["prevDailyBar"]) == (shown[-1], shown[-2])
    assert bars(venue) == shown[-1:]                        # without a start: New York's current day


def test_windows_are_of_labels(venue: Venue) -> None:
    for i in (3, 18, 19, 30):
        day, opening = DAYS[i].isoformat(), rfc3339(int(PANEL.ts_ns[i]))
        assert [bar["t"] for bar in bars(venue, start=LABELS[i], end=LABELS[i])] == [LABELS[i]]
        assert [bar["t"] for bar in bars(venue, start=day, end=day)] == [LABELS[i]]
        assert [bar["t"] for bar in bars(venue, start=LABELS[i], end=opening)] == [LABELS[i]]
        assert [bar["t"] for bar in bars(venue, start=opening, end=LABELS[i + 1])] == [LABELS[i + 1]]
        assert [bar["t"] for bar in bars(venue, start=opening, sort="desc")] == LABELS[:i:-1]


def test_weeks_and_months_of_days(venue: Venue) -> None:
    for timeframe, first_of in (
        ("1Week", lambda day: day - timedelta(days=day.weekday())), ("1Month", lambda day: day.replace(day=1)),
    ):
        groups: dict[str, list[int]] = {}
        for i, day in enumerate(DAYS):
            groups.setdefault(midnight(first_of(day)), []).append(i)
        shown = bars(venue, timeframe, start="2024-01-01")
        assert [bar["t"] for bar in shown] == list(groups)
        for bar, rows in zip(shown, groups.values(), strict=True):
            assert (bar["o"], bar["c"]) == (PANEL.open[rows[0], 0], PANEL.close[rows[-1], 0])
            assert (bar["h"], bar["l"]) == (PANEL.high[rows, 0].max(), PANEL.low[rows, 0].min())
            assert bar["v"] == PANEL.volume[rows, 0].sum()
    assert midnight(date(2024, 2, 19)) in [bar["t"] for bar in bars(venue, "1Week", start="2024-01-01")]    # a holiday


def test_a_split_adjusts_the_days_before_it() -> None:
    market = Venue(PANEL, start_index=10, fill_model=FREE)
    market.apply_split("AAPL", Decimal(2))
    for _ in range(3):
        market.step()
    raw, adjusted = (bars(market, start="2024-01-01", adjustment=how) for how in ("raw", "split"))
    assert [bar["t"] for bar in adjusted] == LABELS[:13]
    assert [a["c"] / b["c"] for a, b in zip(raw, adjusted, strict=True)] == [2.0] * 10 + [1.0] * 3


def test_a_split_after_the_last_bar_adjusts_them_all() -> None:
    market = Venue(PANEL.rows(0, 12), start_index=12, fill_model=FREE)
    market.apply_split("AAPL", Decimal(2))
    raw, adjusted = (bars(market, start="2024-01-01", adjustment=how) for how in ("raw", "split"))
    assert [a["c"] / b["c"] for a, b in zip(raw, adjusted, strict=True)] == [2.0] * 12


async def subscribed(server: ExchangeServer, **headers: str) -> ClientConnection:
    pack = msgpack.packb if headers else json.dumps
    socket = await stream(server, "/v2/iex", **headers)
    for message in ({"action": "auth", "key": "a", "secret": "b"},
                    {"action": "subscribe", "bars": ["*"], "dailyBars": ["*"], "updatedBars": ["*"], "trades": ["*"]}):
        await socket.recv()
        await socket.send(pack(message))
    assert (await heard(socket))[0]["T"] == "subscription"
    return socket


async def heard(socket: ClientConnection) -> list[dict[str, Any]]:
    message = await socket.recv()
    if isinstance(message, bytes):
        said = msgpack.unpackb(message)
        return [{**one, "t": rfc3339(one["t"].to_unix_nano())} if "t" in one else one for one in said]
    found: list[dict[str, Any]] = json.loads(message)
    return found


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/msgpack"}])
async def test_streams_say_what_rest_says(headers: dict[str, str]) -> None:
    server = ExchangeServer(Venue(PANEL, start_index=15, fill_model=FREE))
    await server.start()
    socket = await subscribed(server, **headers)
    for row in range(15, 25):
        server.advance()
        said = await heard(socket)
        for kind in "bd":
            told = {message["S"]: message for message in said if message["T"] == kind}
            assert [message["t"] for message in told.values()] == [LABELS[row]] * 2
            (rest,) = bars(server.venue)
            assert {name: told["AAPL"][name] for name in rest} == rest
        trades = [message["t"] for message in said if message["T"] == "t"]
        assert min(trades) == rfc3339(int(PANEL.ts_ns[row]))            # moments, not labels
    server.market.take("correct", {"symbol": "AAPL", "close": float(PANEL.low[24, 0])})
    update = (await heard(socket))[-1]
    assert (update["T"], update["t"]) == ("u", LABELS[24])
    await socket.close()
    await server.stop()
