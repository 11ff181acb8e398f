"""The market data endpoints: bars with pages, latest bar, quote and trade, snapshots."""

from __future__ import annotations

import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import numpy as np

from trader.exchange.bars import BarColumns, played_bars
from trader.exchange.errors import VenueError, refusal
from trader.exchange.http import Request, Response, json_response
from trader.exchange.params import choice, moment, symbols, whole
from trader.exchange.routes import Handler
from trader.exchange.venue import Venue
from trader.exchange.wire import rfc3339

_LOT = 100


def bar_json(bars: BarColumns, row: int) -> dict[str, Any]:
    """One bar; ``n`` and ``vw`` are null where the market's data does not know them."""
    count, vwap = float(bars.trades[row]), float(bars.vwap[row])
    return {
        "t": rfc3339(int(bars.ts_ns[row])), "o": float(bars.open[row]), "h": float(bars.high[row]),
        "l": float(bars.low[row]), "c": float(bars.close[row]), "v": number_json(float(bars.volume[row])),
        "n": None if math.isnan(count) else int(count), "vw": None if math.isnan(vwap) else vwap,
    }


def number_json(value: float) -> int | float:
    """Whole numbers without a point."""
    return int(value) if value.is_integer() else value


def get_bars(venue: Venue, request: Request, symbol: str) -> Response:
    """Bars by symbol, then time; a page holds ``limit`` of all symbols together."""
    query = request.query
    wanted = [symbol] if symbol else symbols(query)
    if not wanted:
        raise refusal("malformed", detail="symbols is required")
    timeframe = query.get("timeframe") or venue.panel.timeframe
    limit = whole(query, "limit", 1000, 10_000)
    newest_first = choice(query, "sort", "asc", ("asc", "desc")) == "desc"
    start, end = moment(query, "start"), moment(query, "end", end_of_day=True)
    from_symbol, from_row = _read_token(query.get("page_token"))
    pages: dict[str, list[dict[str, Any]]] = {}
    token = None
    for name in sorted(wanted):
        column = venue.column(name)
        if column is None or name < from_symbol:
            continue
        bars = played_bars(venue.panel, column, venue.index, timeframe)
        low = 0 if start is None else int(np.searchsorted(bars.ts_ns, start))
        high = len(bars.ts_ns) if end is None else int(np.searchsorted(bars.ts_ns, end, side="right"))
        rows = list(range(low, high))
        if newest_first:
            rows.reverse()
        skip = from_row if name == from_symbol else 0
        chosen = rows[skip : skip + limit]
        if chosen:
            pages[name] = [bar_json(bars, row) for row in chosen]
        limit -= len(chosen)
        if skip + len(chosen) < len(rows):
            token = _write_token(name, skip + len(chosen))
            break
    if symbol:
        return json_response({"bars": pages.get(symbol, []), "symbol": symbol, "next_page_token": token})
    return json_response({"bars": pages, "next_page_token": token})


def _write_token(symbol: str, row: int) -> str:
    return urlsafe_b64encode(f"{symbol}|{row}".encode()).decode()


def _read_token(token: str | None) -> tuple[str, int]:
    if not token:
        return "", 0
    try:
        symbol, _, row = urlsafe_b64decode(token.encode()).decode().partition("|")
        return symbol, int(row)
    except ValueError:
        raise refusal("malformed", detail="page_token is unknown") from None


def latest_bar(venue: Venue, column: int) -> dict[str, Any] | None:
    """The last bar played; None before the first."""
    bars = played_bars(venue.panel, column, venue.index, venue.panel.timeframe)
    return bar_json(bars, -1) if len(bars.ts_ns) else None


def latest_quote(venue: Venue, column: int) -> dict[str, Any] | None:
    """The spread model's quote around the last price, outward on the cent."""
    try:
        price = float(venue.last_price(column))
    except VenueError:
        return None
    half = venue.fill_model.half_spread_bps / 1e4
    cents = 100 if price >= 1 else 10_000
    return {
        "t": rfc3339(venue.now_ns), "ax": "V", "ap": math.ceil(price * (1 + half) * cents - 1e-6) / cents,
        "as": 1, "bx": "V", "bp": math.floor(price * (1 - half) * cents + 1e-6) / cents, "bs": 1,
        "c": ["R"], "z": "C",
    }


def latest_trade(venue: Venue, column: int) -> dict[str, Any] | None:
    """The last bar's close as a trade."""
    if not venue.index:
        return None
    try:
        price = float(venue.last_price(column))
    except VenueError:
        return None
    return {
        "t": rfc3339(venue.now_ns), "x": "V", "p": price, "s": _LOT, "c": ["@"], "i": venue.index, "z": "C",
    }


def snapshot(venue: Venue, column: int) -> dict[str, Any]:
    """Latest trade, quote and bar, today's bar and the day's before."""
    days = played_bars(venue.panel, column, venue.index, "1Day")
    return {
        "latestTrade": latest_trade(venue, column),
        "latestQuote": latest_quote(venue, column),
        "minuteBar": latest_bar(venue, column),
        "dailyBar": bar_json(days, -1) if len(days.ts_ns) else None,
        "prevDailyBar": bar_json(days, -2) if len(days.ts_ns) > 1 else None,
    }


def _latest(key: str, one: str, of: Any) -> Handler:
    """An endpoint that gives the newest thing of each symbol, or of the one in the path."""

    def handler(venue: Venue, request: Request, symbol: str) -> Response:
        wanted = [symbol] if symbol else symbols(request.query)
        if not wanted:
            raise refusal("malformed", detail="symbols is required")
        found: dict[str, Any] = {}
        for name in wanted:
            column = venue.column(name)
            value = None if column is None else of(venue, column)
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
    "/v2/stocks/bars/latest": {"GET": _bars_latest},
    "/v2/stocks/*/bars/latest": {"GET": _bars_latest},
    "/v2/stocks/quotes/latest": {"GET": _quotes_latest},
    "/v2/stocks/*/quotes/latest": {"GET": _quotes_latest},
    "/v2/stocks/trades/latest": {"GET": _trades_latest},
    "/v2/stocks/*/trades/latest": {"GET": _trades_latest},
    "/v2/stocks/snapshots": {"GET": _snapshots},
    "/v2/stocks/*/snapshot": {"GET": _snapshots},
}
