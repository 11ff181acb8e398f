"""The trading endpoints: one function each, and the table that finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from trader.exchange.account_routes import (
    get_account,
    get_activities,
    get_announcement,
    get_announcements,
    get_configurations,
    get_portfolio_history,
    patch_configurations,
)
from trader.exchange.calendar_routes import get_calendar, get_clock, get_clocks, get_market_calendar
from trader.exchange.errors import VenueError, refusal
from trader.exchange.http import Request, Response, json_response
from trader.exchange.identifiers import asset_id
from trader.exchange.params import choice, moment, number, symbols, truth, whole
from trader.exchange.types import VenueOrder
from trader.exchange.venue import Venue
from trader.exchange.watchlists import (
    by_name,
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
    order_json,
    position_json,
    read_order,
    read_replacement,
)

Handler = Callable[[Venue, Request, str], Response]


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
    """Take an order; its symbol may be an asset id."""
    wish = read_order(request.body)
    if venue.column(wish.symbol) is None and (named := _symbol_of(venue, wish.symbol)) is not None:
        wish = msgspec.structs.replace(wish, symbol=named)
    return json_response(nested_json(venue, venue.submit(wish)))


def get_orders(venue: Venue, request: Request, _: str) -> Response:
    """Orders by status, time, side and symbol; a leg whose parent is not in the answer stands for itself.

    Among the open ones a stop in its target's shadow does not (`VenueRules.held_stops`).
    """
    query = request.query
    status = choice(query, "status", "open", ("open", "closed", "all"))
    classes = symbols(query, "asset_class")
    if classes and not {"US_EQUITY", "ALL"}.intersection(classes):
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
        and not (status == "open" and order.unseen)
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
    """A symbol from a symbol or an asset id; VenueError 404."""
    symbol = name if venue.column(name) is not None else _symbol_of(venue, name)
    if symbol is None:
        raise refusal("asset_not_found", symbol=name)
    return symbol


def _symbol_of(venue: Venue, asset: str) -> str | None:
    """The symbol of an asset id."""
    return next((symbol for symbol in venue.panel.symbols if asset_id(symbol) == asset), None)


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
    "/v2/watchlists:by_name": {
        "GET": by_name(get_watchlist), "PUT": by_name(put_watchlist), "POST": by_name(post_symbol),
        "DELETE": by_name(delete_watchlist),
    },
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
