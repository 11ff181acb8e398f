"""Pages of trades, quotes and bars: together they are the whole, and each costs what it holds."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest
from exchange_markets import FREE, MONDAY_OPEN, QUARTER, daily_panel, walk_panel

from trader.core.panel import BarPanel
from trader.exchange import data_routes
from trader.exchange.data_routes import DATA_ROUTES
from trader.exchange.errors import VenueError
from trader.exchange.http import Request
from trader.exchange.venue import Venue

BARS = 120


def venue(played: int = BARS) -> Venue:
    """Two symbols; one has gaps, and bars with a few shares or none."""
    panel = walk_panel(("AAPL", "MSFT"), BARS)
    fields = {name: getattr(panel, name).copy() for name in ("open", "high", "low", "close", "volume")}
    for values in fields.values():
        values[40:60, 1] = np.nan
    fields["volume"][::7, 1] = 2
    fields["volume"][1::7, 1] = 0
    return Venue(dataclasses.replace(panel, **fields), start_index=played, fill_model=FREE)


def page(market: Venue, kind: str, **query: str) -> dict[str, Any]:
    wanted = {"symbols": "MSFT,AAPL", "start": "2024-01-08", "timeframe": "15Min", **query}
    answer = DATA_ROUTES[f"/v2/stocks/{kind}"]["GET"](market, Request("GET", f"/v2/stocks/{kind}", wanted, {}), "")
    found: dict[str, Any] = msgspec.json.decode(answer.body)
    return found


def rows(found: dict[str, Any], kind: str) -> list[tuple[str, dict[str, Any]]]:
    return [(symbol, row) for symbol, shown in found[kind].items() for row in shown]


@pytest.mark.parametrize("kind", ["trades", "quotes", "bars"])
@pytest.mark.parametrize("limit", [1, 7, 48, 200])
def test_pages_add_up_in_both_directions(kind: str, limit: int) -> None:
    market = venue()
    whole = {sort: rows(page(market, kind, sort=sort, limit="10000"), kind) for sort in ("asc", "desc")}
    for symbol in ("AAPL", "MSFT"):
        there, back = ([row for name, row in whole[sort] if name == symbol] for sort in ("asc", "desc"))
        assert there == back[::-1]
    for sort, expected in whole.items():
        seen: list[tuple[str, dict[str, Any]]] = []
        found = page(market, kind, sort=sort, limit=str(limit))
        while found["next_page_token"]:
            assert len(rows(found, kind)) == limit
            seen += rows(found, kind)
            found = page(market, kind, sort=sort, limit=str(limit), page_token=found["next_page_token"])
        assert seen + rows(found, kind) == expected


def test_what_is_played_meanwhile_does_not_move_the_pages() -> None:
    market = venue(played=100)
    whole = rows(page(market, "trades", sort="desc", limit="10000"), "trades")
    first = page(market, "trades", sort="desc", limit="9")
    market.step()
    second = page(market, "trades", sort="desc", limit="9", page_token=first["next_page_token"])
    assert rows(first, "trades") + rows(second, "trades") == whole[:18]


def test_a_page_makes_the_ticks_that_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    plain = data_routes.bar_ticks

    def counted(panel: BarPanel, i: int, *given: Any, **more: Any) -> list[dict[str, Any]]:
        made.append(i)
        return plain(panel, i, *given, **more)

    monkeypatch.setattr(data_routes, "bar_ticks", counted)
    market = venue()
    found = page(market, "quotes", limit="12")
    page(market, "quotes", limit="12", page_token=found["next_page_token"])
    assert made == [0, 1, 2, 3, 3, 4, 5, 6]             # the fourth says that there is more
    made.clear()
    page(market, "quotes", limit="12", sort="desc")
    assert made == [119, 118, 117, 116]


def shown(market: Venue, kind: str, **query: str) -> list[dict[str, Any]]:
    return page(market, kind, symbols="AAPL", **query)[kind].get("AAPL", [])


def test_both_ends_of_a_window_count_to_the_nanosecond() -> None:
    market = venue()
    trades = shown(market, "trades", limit="40")
    for trade in trades[:8]:
        at = trade["t"]
        assert [found["i"] for found in shown(market, "trades", start=at, end=at)] == [trade["i"]]
    last = trades[3]["t"]                                       # the end of the first bar, less a nanosecond
    assert last.endswith(".999999999Z")
    before = last.replace("9Z", "8Z")
    assert shown(market, "trades", end=before)[-1]["i"] == trades[2]["i"]
    assert shown(market, "trades", start=last)[0]["i"] == trades[3]["i"]


def test_a_day_ends_before_midnight() -> None:
    """A window to a date ends with it: what begins at the next midnight is the next day's."""
    starts = MONDAY_OPEN + np.arange(BARS) * QUARTER            # through the night
    panel = dataclasses.replace(venue().panel, ts_ns=starts, available_ns=starts + QUARTER)
    market = Venue(panel, start_index=BARS, fill_model=FREE)
    for kind in ("bars", "trades", "quotes"):
        first = shown(market, kind, start="2024-01-08", end="2024-01-08", limit="10000")
        second = shown(market, kind, start="2024-01-09", end="2024-01-09", limit="10000")
        assert {row["t"][:10] for row in first} == {"2024-01-08"}
        assert second[0]["t"] == "2024-01-09T00:00:00Z"
        assert first + second == shown(market, kind, start="2024-01-08", end="2024-01-09", limit="10000")


def test_the_latest_trade_is_the_last_of_all_also_after_bars_without_any() -> None:
    for played in range(1, 40):
        market = venue(played)
        last = page(market, "trades", symbols="MSFT", limit="1", sort="desc")["trades"].get("MSFT", [None])[0]
        request = Request("GET", "/v2/stocks/trades/latest", {"symbols": "MSFT"}, {})
        latest = msgspec.json.decode(DATA_ROUTES["/v2/stocks/trades/latest"]["GET"](market, request, "").body)
        assert latest["trades"].get("MSFT") == last


@pytest.mark.parametrize(
    "moment", ["0001-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31", "9999-12-31T23:59:59-14:00"],
)
def test_moments_beyond_all_bars(moment: str) -> None:
    market = venue()
    for kind in ("bars", "trades", "quotes"):
        everything = shown(market, kind, start="0001-01-01", end="9999-12-31")
        assert shown(market, kind, start=moment) == (everything if moment[0] == "0" else [])
        assert shown(market, kind, start="0001-01-01", end=moment) == ([] if moment[0] == "0" else everything)


def test_one_size_by_each_of_its_names() -> None:
    market = venue()
    for names in (("15Min", "15T"), ("1Hour", "1H"), ("1Day", "1D"), ("1Week", "1W"), ("3Month", "3M")):
        one, other = (shown(market, "bars", timeframe=name, start="2023-12-01") for name in names)
        assert one == other
        assert one
    daily = Venue(daily_panel(("AAPL",), "2024-01-08", "2024-02-20"), start_index=20, fill_model=FREE)
    assert shown(daily, "bars", timeframe="1Day") == shown(daily, "bars", timeframe="1D")


def test_adjustments_may_be_joined() -> None:
    market = venue()
    for given in ("raw", "split", "dividend,split", "spin-off", "split,spin-off"):
        assert len(shown(market, "bars", adjustment=given)) == BARS
    for given in ("odd", "split,odd"):
        with pytest.raises(VenueError, match="adjustment must be one of"):
            shown(market, "bars", adjustment=given)


def test_what_has_not_traded_yet_has_no_quote() -> None:
    panel = walk_panel(("AAPL", "MSFT"), 10)
    fields = {name: getattr(panel, name).copy() for name in ("open", "high", "low", "close", "volume")}
    for values in fields.values():
        values[:6, 1] = np.nan
    market = Venue(dataclasses.replace(panel, **fields), start_index=3, fill_model=FREE)
    for kind in ("quotes", "trades", "bars"):
        assert set(page(market, f"{kind}/latest")[kind]) == {"AAPL"}
    assert page(market, "snapshots")["MSFT"]["latestQuote"] is None
    for _ in range(4):
        market.step()
    assert set(page(market, "quotes/latest")["quotes"]) == {"AAPL", "MSFT"}
