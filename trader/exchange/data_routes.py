"""The market data endpoints: bars, trades and quotes with pages, the latest of each, snapshots."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, NamedTuple

import numpy as np

from trader.core.clock import MINUTE_NS, from_ns, to_ns
from trader.core.days import NEW_YORK
from trader.exchange.bars import BarColumns, played_bars
from trader.exchange.data_messages import bar_ticks, bar_values
from trader.exchange.errors import refusal
from trader.exchange.http import Request, Response, json_response
from trader.exchange.params import choice, choices, day, moment, symbols, whole
from trader.exchange.routes import Handler
from trader.exchange.venue import Venue
from trader.exchange.wire import rfc3339

DELAY_NS = 15 * MINUTE_NS
TICKS = 8                           # places that a bar has for its ticks
FEEDS = ("iex", "sip", "delayed_sip", "otc", "boats", "overnight")
ADJUSTMENTS = ("raw", "split", "dividend", "spin-off", "all")


def bar_json(bars: BarColumns, row: int) -> dict[str, Any]:
    """One bar."""
    return {"t": rfc3339(int(bars.ts_ns[row])), **bar_values(bars, row)}


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


class Window(NamedTuple):
    """What a request may see: bars before ``played``, moments from ``start`` to ``end``, both inclusive, in ns."""

    played: int
    start: int
    end: int
    newest_first: bool


Rows = Callable[[str, int, Window, int | None], Iterator[tuple[int, dict[str, Any]]]]


def get_bars(venue: Venue, request: Request, symbol: str) -> Response:
    """Bars by symbol, then time; a page holds ``limit`` of all symbols together."""
    query = request.query
    timeframe = query.get("timeframe")
    if not timeframe:
        raise refusal("malformed", detail="timeframe is required")
    adjusted = not {"split", "all"}.isdisjoint(choices(query, "adjustment", "raw", ADJUSTMENTS))

    def rows(name: str, column: int, window: Window, position: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
        splits = [split for split in venue.splits if split.symbol == name] if adjusted else ()
        bars = played_bars(venue.panel, column, window.played, timeframe, splits)
        first = int(np.searchsorted(bars.ts_ns, window.start))
        stop = int(np.searchsorted(bars.ts_ns, window.end, side="right"))
        for row in _ordered(first, stop, position, newest_first=window.newest_first):
            yield row, bar_json(bars, row)

    return _pages(venue, request, symbol, "bars", rows)


def get_ticks(kind: str) -> Handler:
    """Trades or quotes of the past: those that the stream tells, derived from the bars."""

    def handler(venue: Venue, request: Request, symbol: str) -> Response:
        def rows(name: str, column: int, window: Window, position: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
            for place, message in ticks_of(venue, column, kind, window, position):
                yield place, tick_json(message)

        return _pages(venue, request, symbol, kind, rows)

    return handler


def ticks_of(
    venue: Venue, column: int, kind: str, window: Window, position: int | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """One symbol's trades or quotes from a place on (all of the window without one), each with its place.

    They are made bar by bar as they are taken; trades that were corrected or canceled since say so (``u``). A place is
    the bar's number times `TICKS` and the tick's within it.
    """
    panel, half = venue.panel, venue.fill_model.half_spread_bps / 1e4
    first = int(np.searchsorted(panel.available_ns, window.start, side="right"))
    stop = min(window.played, int(np.searchsorted(panel.ts_ns, window.end, side="right")))
    start = None if position is None else position // TICKS
    for i in _ordered(first, stop, start, newest_first=window.newest_first):
        path = venue.path_of(i, column)
        if path is None:
            continue
        ticks = bar_ticks(
            panel, i, column, path, panel.volume.item(i, column), half,
            trades=kind == "trades", quotes=kind == "quotes",
        )
        if kind == "trades" and ticks:
            if (i, column) in venue.canceled:
                ticks[-1]["u"] = "canceled"
            elif (i, column) in venue.corrected:
                ticks[-1]["u"] = "corrected"
        for place in _ordered(i * TICKS, i * TICKS + len(ticks), position, newest_first=window.newest_first):
            tick = ticks[place - i * TICKS]
            if window.start <= tick["t"] <= window.end:
                yield place, tick


def _ordered(first: int, stop: int, position: int | None, *, newest_first: bool) -> range:
    """Numbers from ``first`` to before ``stop``, or backwards, from ``position`` on."""
    if newest_first:
        return range(stop - 1 if position is None else min(stop - 1, position), first - 1, -1)
    return range(first if position is None else max(first, position), stop)


def tick_json(message: dict[str, Any]) -> dict[str, Any]:
    """A trade or quote of the stream as REST writes it."""
    return {
        name: rfc3339(value) if name == "t" else value for name, value in message.items() if name not in ("T", "S")
    }


def _window(venue: Venue, request: Request) -> Window:
    """What a request asks for; without ``start`` from the beginning of New York's current day on."""
    query = request.query
    newest_first = choice(query, "sort", "asc", ("asc", "desc")) == "desc"
    start, end = moment(query, "start"), moment(query, "end", end_of_day=True)
    if start is not None and end is not None and end < start:
        raise refusal("malformed", detail="end should not be before start")
    if start is None:
        today = from_ns(venue.now_ns).astimezone(NEW_YORK)
        start = to_ns(today.replace(hour=0, minute=0, second=0, microsecond=0))
    return Window(_played(venue, request), start, venue.now_ns if end is None else end, newest_first)


def _pages(venue: Venue, request: Request, symbol: str, key: str, rows: Rows) -> Response:
    """One page of rows by symbol, then time: ``limit`` of all symbols together."""
    query = request.query
    wanted = _wanted(request, symbol)
    limit = whole(query, "limit", 1000, 10_000)
    window = _window(venue, request)
    from_symbol, from_position = _read_token(query.get("page_token"))
    pages: dict[str, list[dict[str, Any]]] = {}
    token = None
    for name in wanted:
        column = venue.column(name)
        if column is None or name < from_symbol:
            continue
        for position, row in rows(name, column, window, from_position if name == from_symbol else None):
            if not limit:
                token = _write_token(name, position)
                break
            pages.setdefault(name, []).append(row)
            limit -= 1
        if token:
            break
    if symbol:
        return json_response({key: pages.get(symbol, []), "symbol": symbol, "next_page_token": token})
    return json_response({key: pages, "next_page_token": token})


def _write_token(symbol: str, position: int) -> str:
    return urlsafe_b64encode(f"{symbol}|{position}".encode()).decode()


def _read_token(token: str | None) -> tuple[str, int]:
    """The symbol and the place of the first row that was not shown."""
    if not token:
        return "", 0
    try:
        symbol, _, position = urlsafe_b64decode(token.encode()).decode().partition("|")
        return symbol, max(0, int(position))
    except ValueError:
        raise refusal("malformed", detail="page_token is unknown") from None


def latest_bar(venue: Venue, column: int, played: int) -> dict[str, Any] | None:
    """The last bar among the ``played``; None before the first."""
    panel = venue.panel
    rows = np.flatnonzero(~np.isnan(panel.close[:played, column]))
    if not len(rows):
        return None
    last = int(rows[-1])
    return bar_json(played_bars(panel.rows(last, last + 1), column, 1, panel.timeframe), 0)


def latest_quote(venue: Venue, column: int, played: int) -> dict[str, Any] | None:
    """The last quote, as the stream told it, around the last price in today's shares; None before the first."""
    last = _last_tick(venue, column, played, "quotes")
    if last is None:
        return None
    bid, ask = venue.price_book.quote(column, played, venue.fill_model.half_spread_bps)
    return {**last[1], "ap": float(ask), "bp": float(bid)}


def latest_trade(venue: Venue, column: int, played: int) -> dict[str, Any] | None:
    """The last trade, as the stream told it, in today's shares."""
    last = _last_tick(venue, column, played, "trades")
    if last is None:
        return None
    bar, told = last                    # there may be bars after it in which nothing was traded
    return {**told, "p": float(venue.price_book.in_todays_shares(told["p"], column, bar, played))}


def _last_tick(venue: Venue, column: int, played: int, kind: str) -> tuple[int, dict[str, Any]] | None:
    """The last bar that had a trade or a quote, and the last of that bar."""
    everything = Window(played, 0, venue.now_ns, newest_first=True)
    last = next(ticks_of(venue, column, kind, everything), None)
    return None if last is None else (last[0] // TICKS, tick_json(last[1]))


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
