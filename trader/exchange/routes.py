"""The trading endpoints: one function each, and the table that finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta

from trader.core.clock import from_ns, to_ns
from trader.core.days import NEW_YORK
from trader.core.sessions import session_open_close, sessions_between
from trader.exchange.account_routes import (
    get_account,
    get_activities,
    get_announcement,
    get_announcements,
    get_configurations,
    get_portfolio_history,
    patch_configurations,
)
from trader.exchange.errors import VenueError, refusal
from trader.exchange.hours import minute_of_day
from trader.exchange.http import Request, Response, json_response
from trader.exchange.identifiers import asset_id
from trader.exchange.params import choice, day, moment, number, symbols, truth, whole
from trader.exchange.types import VenueOrder
from trader.exchange.venue import Venue
from trader.exchange.watchlists import (
    delete_symbol,
    delete_watchlist,
    get_watchlist,
    get_watchlists,
    post_symbol,
    post_watchlist,
    put_watchlist,
)
from trader.exchange.wire import (
    EXCHANGE,
    asset_json,
    nested_json,
    new_york,
    order_json,
    position_json,
    read_order,
    read_replacement,
)

MARKETS = {
    "NYSE": ("New York Stock Exchange", "XNYS"), "NASDAQ": ("Nasdaq", "XNAS"), "IEX": ("Investors Exchange", "IEXG"),
}
Handler = Callable[[Venue, Request, str], Response]


def get_clock(venue: Venue, request: Request, _: str) -> Response:
    opens, closes = venue.next_open_close()
    return json_response({
        "timestamp": new_york(venue.now_ns), "is_open": venue.in_session,
        "next_open": new_york(opens), "next_close": new_york(closes),
    })


def get_clocks(venue: Venue, request: Request, _: str) -> Response:
    """The newer clock: one entry for each market asked for (NYSE unless told), with the phase of the day."""
    opens, closes = venue.next_open_close()
    local = from_ns(venue.now_ns).astimezone(NEW_YORK)
    inside = venue.hours.inside_day(venue.index)
    phase = "core" if venue.in_session else "closed" if not inside else "pre" if local.hour < 12 else "post"
    last = venue.hours.phase_end(venue.index)
    until = opens if last is None else int(venue.panel.available_ns[last])
    return json_response({"clocks": [
        {
            "market": market_json(name), "timestamp": new_york(venue.now_ns),
            "is_market_day": inside or session_open_close(local.date()) is not None,
            "next_market_open": new_york(opens), "next_market_close": new_york(closes),
            "phase": phase, "phase_until": new_york(until),
        }
        for name in symbols(request.query, "markets") or ["NYSE"]
    ]})


def market_json(name: str) -> dict[str, str]:
    """A market of New York; all of them keep the same hours here."""
    if name not in MARKETS:
        raise refusal("invalid", detail=f"market must be one of {', '.join(MARKETS)}")
    title, mic = MARKETS[name]
    return {"acronym": name, "name": title, "mic": mic, "bic": "", "timezone": "America/New_York"}


def get_market_calendar(venue: Venue, request: Request, market: str) -> Response:
    """The newer calendar: a week from today unless told, every moment with its offset."""
    shown = market_json(market.upper())
    utc = choice(request.query, "timezone", "", ("", "UTC", "America/New_York")) == "UTC"

    def written(day_: date, minute: int) -> str:
        moment_ = datetime(day_.year, day_.month, day_.day, minute // 60, minute % 60, tzinfo=NEW_YORK)
        return (moment_.astimezone(UTC) if utc else moment_).isoformat()

    days = []
    for day_, opens, closes in _sessions(venue, request, timedelta(days=7)):
        start, stop = minute_of_day(opens), minute_of_day(closes)
        days.append({
            "date": day_.isoformat(), "pre_start": written(day_, 4 * 60), "pre_end": written(day_, start),
            "core_start": written(day_, start), "core_end": written(day_, stop), "post_start": written(day_, stop),
            "post_end": written(day_, stop + 4 * 60), "settlement_date": _next_session(day_).isoformat(),
        })
    return json_response({"market": shown, "calendar": days})


def _sessions(venue: Venue, request: Request, default: timedelta) -> list[tuple[date, int, int]]:
    """The sessions of a request's window with opening and close."""
    today = from_ns(venue.now_ns).astimezone(NEW_YORK).date()
    first = day(request.query, "start", today)
    last = day(request.query, "end", first + default)
    if last < first:
        return []
    start = datetime(first.year, first.month, first.day, tzinfo=NEW_YORK)
    stop = datetime(last.year, last.month, last.day, 23, 59, 59, tzinfo=NEW_YORK)
    return [
        (day_, opens, closes) for day_, opens, closes in sessions_between(to_ns(start), to_ns(stop))
        if first <= day_ <= last
    ]


def get_calendar(venue: Venue, request: Request, _: str) -> Response:
    """The sessions of a window, a year from today unless told; half days end early."""
    choice(request.query, "date_type", "TRADING", ("TRADING", "SETTLEMENT"))
    return json_response([
        {
            "date": day_.isoformat(), "open": f"{from_ns(opens).astimezone(NEW_YORK):%H:%M}",
            "close": f"{from_ns(closes).astimezone(NEW_YORK):%H:%M}",
            "session_open": "0400", "session_close": "2000", "settlement_date": _next_session(day_).isoformat(),
        }
        for day_, opens, closes in _sessions(venue, request, timedelta(days=365))
    ])


def _next_session(day_: date) -> date:
    """When a trade of a day settles: one session later."""
    later = day_ + timedelta(days=1)
    while session_open_close(later) is None:
        later += timedelta(days=1)
    return later


def get_assets(venue: Venue, request: Request, _: str) -> Response:
    """All assets of the given status, class, exchange and (any of the given) attributes."""
    query = request.query
    choice(query, "status", "active", ("active", "inactive"))
    wanted = set(query.get("attributes", "").split(",")) - {""}
    if (
        query.get("status") == "inactive" or query.get("asset_class") not in (None, "", "us_equity")
        or query.get("exchange") not in (None, "", EXCHANGE)
    ):
        return json_response([])
    assets = [asset_json(venue, symbol) for symbol in venue.panel.symbols]
    return json_response([asset for asset in assets if not wanted or wanted & set(asset["attributes"])])


def get_asset(venue: Venue, request: Request, name: str) -> Response:
    return json_response(asset_json(venue, _symbol(venue, name)))


def post_order(venue: Venue, request: Request, _: str) -> Response:
    return json_response(nested_json(venue, venue.submit(read_order(request.body))))


def get_orders(venue: Venue, request: Request, _: str) -> Response:
    """Orders by status, time, side and symbol; a leg whose parent is not in the answer stands for itself."""
    query = request.query
    status = choice(query, "status", "open", ("open", "closed", "all"))
    if set(symbols(query, "asset_class")) - {"US_EQUITY"}:
        return json_response([])
    limit = whole(query, "limit", 50, 500)
    direction = choice(query, "direction", "desc", ("asc", "desc"))
    after, until = moment(query, "after"), moment(query, "until")
    wanted, side = symbols(query), choice(query, "side", "", ("", "buy", "sell"))
    first, last = _number_after(venue, query, "after_order_id"), _number_after(venue, query, "before_order_id")
    found = [
        order for order in venue.orders(status)
        if (after is None or order.created_ns > after) and (until is None or order.created_ns < until)
        and (not wanted or order.symbol in wanted) and (not side or order.side == side)
        and (first is None or order.number > first) and (last is None or order.number < last)
    ]
    nested = truth(query, "nested")
    if nested:
        there = {order.id for order in found}
        found = [order for order in found if order.parent_id not in there]
    if direction == "desc":
        found.reverse()
    shape: Callable[[VenueOrder], object] = (
        (lambda order: nested_json(venue, order)) if nested else order_json
    )
    return json_response([shape(order) for order in found[:limit]])


def _number_after(venue: Venue, query: Mapping[str, str], name: str) -> int | None:
    given = query.get(name)
    return venue.order(given).number if given else None


def get_order(venue: Venue, request: Request, order_id: str) -> Response:
    """One order with its legs, unless ``nested`` is false."""
    order = venue.order(order_id)
    bare = "nested" in request.query and not truth(request.query, "nested")
    return json_response(order_json(order) if bare else nested_json(venue, order))


def get_order_by_client_id(venue: Venue, request: Request, _: str) -> Response:
    return json_response(nested_json(venue, venue.order_by_client_id(request.query.get("client_order_id", ""))))


def patch_order(venue: Venue, request: Request, order_id: str) -> Response:
    return json_response(nested_json(venue, venue.replace(order_id, **read_replacement(request.body))))


def delete_order(venue: Venue, request: Request, order_id: str) -> Response:
    venue.cancel(order_id)
    return Response(204)


def delete_orders(venue: Venue, request: Request, _: str) -> Response:
    return json_response([
        {"id": order_id, "status": 200 if possible else 500} for order_id, possible in venue.cancel_all()
    ], 207)


def get_positions(venue: Venue, request: Request, _: str) -> Response:
    return json_response([position_json(position) for position in venue.positions()])


def get_position(venue: Venue, request: Request, name: str) -> Response:
    return json_response(position_json(venue.position(_symbol(venue, name))))


def delete_position(venue: Venue, request: Request, name: str) -> Response:
    qty, percentage = number(request.query, "qty"), number(request.query, "percentage")
    if qty is not None and percentage is not None:
        raise refusal("invalid", detail="qty and percentage exclude each other")
    return json_response(order_json(venue.close_position(_symbol(venue, name), qty, percentage)))


def delete_positions(venue: Venue, request: Request, _: str) -> Response:
    results = venue.close_all(cancel_orders=truth(request.query, "cancel_orders"))
    return json_response([
        {"symbol": symbol, "status": result.http_status, "body": result.body()}
        if isinstance(result, VenueError)
        else {"symbol": symbol, "status": 200, "body": order_json(result)}
        for symbol, result in results
    ], 207)


def _symbol(venue: Venue, name: str) -> str:
    """A symbol from a symbol or an asset id."""
    if venue.column(name) is not None:
        return name
    for symbol in venue.panel.symbols:
        if asset_id(symbol) == name:
            return symbol
    raise refusal("asset_not_found", symbol=name)


# A path with "*" takes any one segment there, which becomes the handler's third argument; "**" takes two at the end.
TRADING_ROUTES: dict[str, dict[str, Handler]] = {
    "/v2/account": {"GET": get_account},
    "/v2/account/configurations": {"GET": get_configurations, "PATCH": patch_configurations},
    "/v2/account/portfolio/history": {"GET": get_portfolio_history},
    "/v2/account/activities": {"GET": get_activities},
    "/v2/account/activities/*": {"GET": get_activities},
    "/v2/clock": {"GET": get_clock},
    "/v2/calendar": {"GET": get_calendar},
    "/v3/clock": {"GET": get_clocks},
    "/v3/calendar/*": {"GET": get_market_calendar},
    "/v2/assets": {"GET": get_assets},
    "/v2/assets/*": {"GET": get_asset},
    "/v2/orders": {"GET": get_orders, "POST": post_order, "DELETE": delete_orders},
    "/v2/orders:by_client_order_id": {"GET": get_order_by_client_id},
    "/v2/orders/*": {"GET": get_order, "PATCH": patch_order, "DELETE": delete_order},
    "/v2/watchlists": {"GET": get_watchlists, "POST": post_watchlist},
    "/v2/watchlists/*": {
        "GET": get_watchlist, "PUT": put_watchlist, "POST": post_symbol, "DELETE": delete_watchlist,
    },
    "/v2/watchlists/**": {"DELETE": delete_symbol},
    "/v2/corporate_actions/announcements": {"GET": get_announcements},
    "/v2/corporate_actions/announcements/*": {"GET": get_announcement},
    "/v2/positions": {"GET": get_positions, "DELETE": delete_positions},
    "/v2/positions/*": {"GET": get_position, "DELETE": delete_position},
}


def find_route(routes: dict[str, dict[str, Handler]], method: str, path: str) -> tuple[Handler, str]:
    """The handler of a path and what its "*" stands for; VenueError 404 or 405."""
    methods, argument = routes.get(path), ""
    if methods is None:
        segments = path.split("/")
        for at in (len(segments) - 1, 3):
            if 0 < at < len(segments) and segments[at]:
                methods = routes.get("/".join([*segments[:at], "*", *segments[at + 1 :]]))
                if methods is not None:
                    argument = segments[at]
                    break
        else:
            methods = routes.get("/".join([*segments[:-2], "**"]))
            argument = "/".join(segments[-2:])
    if methods is None:
        raise refusal("endpoint_not_found")
    handler = methods.get(method)
    if handler is None:
        raise refusal("method_not_allowed")
    return handler, argument
