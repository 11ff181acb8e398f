"""The market data endpoints: bars, trades and quotes with pages, the latest of each, snapshots."""

from __future__ import annotations

import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np

from trader.core.clock import MINUTE_NS
from trader.core.panel import IntArray
from trader.exchange.bars import BarColumns, played_bars
from trader.exchange.data_messages import SliceMessages, number_json
from trader.exchange.errors import VenueError, refusal
from trader.exchange.http import Request, Response, json_response
from trader.exchange.params import choice, day, moment, symbols, whole
from trader.exchange.routes import Handler
from trader.exchange.venue import Venue
from trader.exchange.wire import rfc3339

DELAY_NS = 15 * MINUTE_NS
FEEDS = ("iex", "sip", "delayed_sip", "otc", "boats", "overnight")
ADJUSTMENTS = ("raw", "split", "dividend", "all")


def bar_json(bars: BarColumns, row: int) -> dict[str, Any]:
    """One bar; ``n`` and ``vw`` are null where the market's data does not know them."""
    count, vwap = float(bars.trades[row]), float(bars.vwap[row])
    return {
        "t": rfc3339(int(bars.ts_ns[row])), "o": float(bars.open[row]), "h": float(bars.high[row]),
        "l": float(bars.low[row]), "c": float(bars.close[row]), "v": number_json(float(bars.volume[row])),
        "n": None if math.isnan(count) else int(count), "vw": None if math.isnan(vwap) else vwap,
    }


def _played(venue: Venue, request: Request, *, latest: bool = False) -> int:
    """How many bars a request may look at; VenueError 403 for SIP data of the last minutes where the plan has none.

    The delayed feed is a quarter of an hour behind, as are past SIP data, unless told otherwise, on such a plan.
    """
    feed = request.query.get("feed")
    late = int(np.searchsorted(venue.panel.available_ns[: venue.index], venue.now_ns - DELAY_NS, side="right"))
    if feed == "delayed_sip":
        return late
    if feed != "sip" or venue.rules.recent_sip:
        return venue.index
    end = moment(request.query, "end", end_of_day=True)
    if latest or (end is not None and end > venue.now_ns - DELAY_NS):
        raise refusal("recent_sip")
    return late


def _wanted(request: Request, symbol: str) -> list[str]:
    """The symbols of the path or of the query, sorted; VenueError 400 where there is none or a parameter is odd."""
    query = request.query
    names = [symbol] if symbol else symbols(query)
    if not names:
        raise refusal("malformed", detail="symbols is required")
    choice(query, "feed", "iex", FEEDS)
    choice(query, "currency", "USD", ("USD",))
    if query.get("asof", "-") != "-":
        day(query, "asof", date.min)            # symbols never change here; the parameter is checked and that is all
    return sorted(names)


def get_bars(venue: Venue, request: Request, symbol: str) -> Response:
    """Bars by symbol, then time; a page holds ``limit`` of all symbols together."""
    query = request.query
    timeframe = query.get("timeframe") or venue.panel.timeframe
    played = _played(venue, request)
    adjusted = choice(query, "adjustment", "raw", ADJUSTMENTS) in ("split", "all")

    def rows_of(name: str, column: int) -> tuple[IntArray, Callable[[int], dict[str, Any]]]:
        splits = [split for split in venue.splits if split.symbol == name] if adjusted else ()
        bars = played_bars(venue.panel, column, played, timeframe, splits)
        return bars.ts_ns, lambda row: bar_json(bars, row)

    return _pages(venue, request, symbol, "bars", rows_of)


def get_ticks(kind: str) -> Handler:
    """Trades or quotes of the past: those that the stream tells, derived from the bars."""

    def handler(venue: Venue, request: Request, symbol: str) -> Response:
        def rows_of(name: str, column: int) -> tuple[IntArray, Callable[[int], dict[str, Any]]]:
            moments, messages = ticks_of(venue, column, kind, _window(request, venue))
            return moments, lambda row: tick_json(messages[row])

        return _pages(venue, request, symbol, kind, rows_of)

    return handler


def _window(request: Request, venue: Venue) -> tuple[int, int]:
    """The first and the stop row of the bars that a request's times can touch."""
    start, end = moment(request.query, "start"), moment(request.query, "end", end_of_day=True)
    panel = venue.panel
    first = 0 if start is None else int(np.searchsorted(panel.available_ns, start, side="right"))
    played = _played(venue, request)
    stop = played if end is None else int(np.searchsorted(panel.ts_ns, end, side="right"))
    return first, min(stop, played)


def ticks_of(venue: Venue, column: int, kind: str, rows: tuple[int, int]) -> tuple[IntArray, list[dict[str, Any]]]:
    """Moments and messages of one symbol's trades or quotes in some bars."""
    found: list[dict[str, Any]] = []
    for i in range(*rows):
        if venue.panel.close[i, column] == venue.panel.close[i, column]:
            said = SliceMessages(venue.panel, i, venue.fill_model.half_spread_bps)
            ticks = said.ticks(column, trades=kind == "trades", quotes=kind == "quotes")
            found.extend(tick.message for tick in ticks)
    return np.fromiter((tick["t"] for tick in found), np.int64, len(found)), found


def tick_json(message: dict[str, Any]) -> dict[str, Any]:
    """A trade or quote of the stream as REST writes it."""
    return {
        name: rfc3339(value) if name == "t" else value for name, value in message.items() if name not in ("T", "S")
    }


RowsOf = Callable[[str, int], tuple[IntArray, Callable[[int], dict[str, Any]]]]


def _pages(venue: Venue, request: Request, symbol: str, key: str, rows_of: RowsOf) -> Response:
    """One page of rows by symbol, then time: ``limit`` of all symbols together, times inclusive."""
    query = request.query
    wanted = _wanted(request, symbol)
    limit = whole(query, "limit", 1000, 10_000)
    newest_first = choice(query, "sort", "asc", ("asc", "desc")) == "desc"
    start, end = moment(query, "start"), moment(query, "end", end_of_day=True)
    if start is not None and end is not None and end < start:
        raise refusal("malformed", detail="end should not be before start")
    from_symbol, from_row = _read_token(query.get("page_token"))
    pages: dict[str, list[dict[str, Any]]] = {}
    token = None
    for name in wanted:
        column = venue.column(name)
        if column is None or name < from_symbol:
            continue
        moments, shape = rows_of(name, column)
        low = 0 if start is None else int(np.searchsorted(moments, start))
        high = len(moments) if end is None else int(np.searchsorted(moments, end, side="right"))
        rows = range(high - 1, low - 1, -1) if newest_first else range(low, high)
        skip = from_row if name == from_symbol else 0
        chosen = rows[skip : skip + limit]
        if chosen:
            pages[name] = [shape(row) for row in chosen]
        limit -= len(chosen)
        if skip + len(chosen) < len(rows):
            token = _write_token(name, skip + len(chosen))
            break
    if symbol:
        return json_response({key: pages.get(symbol, []), "symbol": symbol, "next_page_token": token})
    return json_response({key: pages, "next_page_token": token})


def _write_token(symbol: str, row: int) -> str:
    return urlsafe_b64encode(f"{symbol}|{row}".encode()).decode()


def _read_token(token: str | None) -> tuple[str, int]:
    if not token:
        return "", 0
    try:
        symbol, _, row = urlsafe_b64decode(token.encode()).decode().partition("|")
        return symbol, max(0, int(row))
    except ValueError:
        raise refusal("malformed", detail="page_token is unknown") from None


def latest_bar(venue: Venue, column: int, played: int) -> dict[str, Any] | None:
    """The last bar among the ``played``; None before the first."""
    bars = played_bars(venue.panel, column, played, venue.panel.timeframe)
    return bar_json(bars, -1) if len(bars.ts_ns) else None


def latest_quote(venue: Venue, column: int, played: int) -> dict[str, Any] | None:
    """The spread model's quote around the last price, outward on the cent; else as the stream told it."""
    try:
        bid, ask = venue.price_book.quote(column, played, venue.fill_model.half_spread_bps)
    except VenueError:
        return None
    told = _last_tick(venue, column, played, "quotes")
    if told is None:
        told = {"t": rfc3339(venue.now_ns), "ax": "V", "as": 1, "bx": "V", "bs": 1, "c": ["R"], "z": "C"}
    return {**told, "ap": float(ask), "bp": float(bid)}


def latest_trade(venue: Venue, column: int, played: int) -> dict[str, Any] | None:
    """The last trade, as the stream told it, in today's shares."""
    told = _last_tick(venue, column, played, "trades")
    return None if told is None else {**told, "p": float(venue.price_book.last(column, played))}


def _last_tick(venue: Venue, column: int, played: int, kind: str) -> dict[str, Any] | None:
    """The last trade or quote of the last bar that had one."""
    for i in range(played - 1, -1, -1):
        _, found = ticks_of(venue, column, kind, (i, i + 1))
        if found:
            return tick_json(found[-1])
    return None


def snapshot(venue: Venue, column: int, played: int) -> dict[str, Any]:
    """Latest trade, quote and bar, today's bar and the day's before."""
    days = played_bars(venue.panel, column, played, "1Day")
    return {
        "latestTrade": latest_trade(venue, column, played),
        "latestQuote": latest_quote(venue, column, played),
        "minuteBar": latest_bar(venue, column, played),
        "dailyBar": bar_json(days, -1) if len(days.ts_ns) else None,
        "prevDailyBar": bar_json(days, -2) if len(days.ts_ns) > 1 else None,
    }


def _latest(key: str, one: str, of: Any) -> Handler:
    """An endpoint that gives the newest thing of each symbol, or of the one in the path."""

    def handler(venue: Venue, request: Request, symbol: str) -> Response:
        wanted, played = _wanted(request, symbol), _played(venue, request, latest=True)
        found: dict[str, Any] = {}
        for name in wanted:
            column = venue.column(name)
            value = None if column is None else of(venue, column, played)
            if value is not None:
                found[name] = value
        if symbol:
            if symbol not in found:
                raise refusal("asset_not_found", symbol=symbol)
            value = found[symbol]
            return json_response({"symbol": symbol, one: value} if one else {"symbol": symbol, **value})
        return json_response({key: found} if key else found)

    return handler


_bars_latest = _latest("bars", "bar", latest_bar)
_quotes_latest = _latest("quotes", "quote", latest_quote)
_trades_latest = _latest("trades", "trade", latest_trade)
_snapshots = _latest("", "", snapshot)

DATA_ROUTES: dict[str, dict[str, Handler]] = {
    "/v2/stocks/bars": {"GET": get_bars},
    "/v2/stocks/*/bars": {"GET": get_bars},
    "/v2/stocks/quotes": {"GET": get_ticks("quotes")},
    "/v2/stocks/*/quotes": {"GET": get_ticks("quotes")},
    "/v2/stocks/trades": {"GET": get_ticks("trades")},
    "/v2/stocks/*/trades": {"GET": get_ticks("trades")},
    "/v2/stocks/bars/latest": {"GET": _bars_latest},
    "/v2/stocks/*/bars/latest": {"GET": _bars_latest},
    "/v2/stocks/quotes/latest": {"GET": _quotes_latest},
    "/v2/stocks/*/quotes/latest": {"GET": _quotes_latest},
    "/v2/stocks/trades/latest": {"GET": _trades_latest},
    "/v2/stocks/*/trades/latest": {"GET": _trades_latest},
    "/v2/stocks/snapshots": {"GET": _snapshots},
    "/v2/stocks/*/snapshot": {"GET": _snapshots},
}
