"""Watchlists: named lists of symbols that the venue keeps for the account."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from trader.exchange.desk import ACCOUNT
from trader.exchange.errors import VenueError, refusal
from trader.exchange.http import Request, Response, json_response

if TYPE_CHECKING:
    from trader.exchange.venue import Venue


class Watchlist(msgspec.Struct, kw_only=True):
    """One list; names are unique, symbols each once in the order in which they came."""

    id: str
    name: str
    created_ns: int
    updated_ns: int
    symbols: list[str]


class WatchlistBody(msgspec.Struct):
    """What a client sends."""

    name: str | None = None
    symbols: list[str] | None = None
    symbol: str | None = None


_body = msgspec.json.Decoder(WatchlistBody)


def watchlist_json(venue: Venue, watchlist: Watchlist, *, assets: bool = True) -> dict[str, Any]:
    """A list with its assets, or the short form of the overview."""
    from trader.exchange.wire import asset_json, rfc3339

    shown: dict[str, Any] = {
        "id": watchlist.id, "account_id": venue.account_id, "name": watchlist.name,
        "created_at": rfc3339(watchlist.created_ns), "updated_at": rfc3339(watchlist.updated_ns),
    }
    if assets:
        shown["assets"] = [asset_json(venue, symbol) for symbol in watchlist.symbols]
    return shown


def _read(request: Request) -> WatchlistBody:
    try:
        return _body.decode(request.body or b"{}")
    except msgspec.ValidationError as error:
        raise refusal("invalid", detail=str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refusal("malformed", detail=f"request body format is invalid: {error}") from None


def _find(venue: Venue, watchlist_id: str) -> Watchlist:
    found = venue.watchlists.get(watchlist_id)
    if found is None:
        raise refusal("watchlist_not_found")
    return found


def by_name(answer: Callable[[Venue, Request, str], Response]) -> Callable[[Venue, Request, str], Response]:
    """The handler of a list's id for those who say its ``name``."""

    def answer_named(venue: Venue, request: Request, _: str) -> Response:
        name = request.query.get("name", "")
        return answer(venue, request, next((found.id for found in venue.watchlists.values() if found.name == name), ""))

    return answer_named


def _symbols(venue: Venue, names: list[str]) -> list[str]:
    for name in names:
        if venue.column(name) is None:
            raise refusal("unknown_symbol", symbol=name)
    return list(dict.fromkeys(names))


def _name(venue: Venue, name: str | None, besides: str | None = None) -> str:
    if not name or len(name) > 64:
        raise refusal("invalid", detail="name must have 1 to 64 characters")
    if any(other.name == name and other.id != besides for other in venue.watchlists.values()):
        raise refusal("invalid", detail="watchlist name must be unique")
    return name


def _changed(venue: Venue, watchlist: Watchlist) -> Response:
    watchlist.updated_ns = venue.now_ns
    venue.desk.dirty.add(ACCOUNT)
    return json_response(watchlist_json(venue, watchlist))


def get_watchlists(venue: Venue, request: Request, _: str) -> Response:
    return json_response([watchlist_json(venue, found, assets=False) for found in venue.watchlists.values()])


def post_watchlist(venue: Venue, request: Request, _: str) -> Response:
    body = _read(request)
    watchlist = Watchlist(
        id="", name=_name(venue, body.name), created_ns=venue.now_ns, updated_ns=venue.now_ns,
        symbols=_symbols(venue, body.symbols or []),
    )
    watchlist.id = venue.desk.ids.next()
    venue.watchlists[watchlist.id] = watchlist
    return _changed(venue, watchlist)


def get_watchlist(venue: Venue, request: Request, watchlist_id: str) -> Response:
    return json_response(watchlist_json(venue, _find(venue, watchlist_id)))


def put_watchlist(venue: Venue, request: Request, watchlist_id: str) -> Response:
    watchlist, body = _find(venue, watchlist_id), _read(request)
    if body.symbols is not None:
        symbols = _symbols(venue, body.symbols)
    else:
        symbols = watchlist.symbols
    if body.name is not None:
        watchlist.name = _name(venue, body.name, watchlist.id)
    watchlist.symbols = symbols
    return _changed(venue, watchlist)


def post_symbol(venue: Venue, request: Request, watchlist_id: str) -> Response:
    watchlist, body = _find(venue, watchlist_id), _read(request)
    watchlist.symbols = _symbols(venue, [*watchlist.symbols, body.symbol or ""])
    return _changed(venue, watchlist)


def delete_watchlist(venue: Venue, request: Request, watchlist_id: str) -> Response:
    del venue.watchlists[_find(venue, watchlist_id).id]
    venue.desk.dirty.add(ACCOUNT)
    return Response(204)


def delete_symbol(venue: Venue, request: Request, path: str) -> Response:
    """``path`` is ``{watchlist id}/{symbol}``."""
    watchlist_id, _, symbol = path.partition("/")
    watchlist = _find(venue, watchlist_id)
    if symbol not in watchlist.symbols:
        raise VenueError(404, 40410000, f"{symbol} is not in the watchlist")
    watchlist.symbols.remove(symbol)
    return _changed(venue, watchlist)
