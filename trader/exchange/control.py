"""The control API, on a loopback port of its own: step, pace, look. No keys; nothing here trades."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from trader.exchange.errors import VenueError, refusal
from trader.exchange.http import Request, Response, error_response, json_response
from trader.exchange.wire import text

if TYPE_CHECKING:
    from trader.exchange.server import ExchangeServer

LOCKSTEP = "lockstep"
ControlHandler = Callable[["ExchangeServer", dict[str, Any]], dict[str, Any]]


def step(server: ExchangeServer, body: dict[str, Any]) -> dict[str, Any]:
    """Play ``count`` bars (1 unless given) when nothing else drives the venue.

    ``trade_updates`` is the ``seq`` of the last trade update so far, ``bars`` the ``seq`` of the last bar message,
    ``symbols`` the symbols with a bar in the last slice: a client that has seen those has seen everything.
    """
    if server.running:
        raise refusal("running")
    count = body.get("count", 1)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 1_000_000:
        raise refusal("malformed", detail="count must be a whole number from 1 to 1000000")
    symbols: list[str] = []
    for _ in range(count):
        if server.venue.done:
            break
        symbols = server.advance()
    return {**progress(server), "symbols": symbols}


def set_speed(server: ExchangeServer, body: dict[str, Any]) -> dict[str, Any]:
    """Real time × ``speed``, or ``lockstep``."""
    server.set_speed(body.get("speed", ""))
    return progress(server)


def pause(server: ExchangeServer, body: dict[str, Any]) -> dict[str, Any]:
    """Let time stand still; requests are answered all the same."""
    server.set_paused(True)
    return progress(server)


def resume(server: ExchangeServer, body: dict[str, Any]) -> dict[str, Any]:
    """Let time go on."""
    server.set_paused(False)
    return progress(server)


def progress(server: ExchangeServer) -> dict[str, Any]:
    """Where the venue stands and what has been sent."""
    venue = server.venue
    return {
        "done": venue.done, "index": venue.index,
        "bar_ts_ns": int(venue.panel.ts_ns[venue.index - 1]) if venue.index else None,
        "now_ns": venue.now_ns, "trade_updates": venue.desk.event_count, "bars": server.data_stream.bars_sent,
        "speed": server.speed, "paused": server.paused,
    }


def state(server: ExchangeServer, body: dict[str, Any]) -> dict[str, Any]:
    """`progress`, the market, who listens, and the account in short."""
    venue = server.venue
    account = venue.account() if len(venue.panel) else None
    return {
        **progress(server),
        "n_bars": len(venue.panel), "symbols": venue.panel.symbols, "timeframe": venue.panel.timeframe,
        "source": venue.panel.source, "in_session": venue.in_session,
        "listeners": {"trade_updates": len(server.trading_stream.listeners), "bars": server.data_stream.subscribed},
        "cash": text(venue.accounts_book.cash),
        "equity": None if account is None else text(account.equity),
        "fees": text(venue.accounts_book.fees), "realized": text(venue.accounts_book.realized),
        "positions": {symbol: text(held.qty) for symbol, held in venue.accounts_book.holdings.items()},
        "orders": {"open": len(venue.orders("open")), "all": len(venue.desk.orders)},
        "fills": len(venue.activities),
    }


CONTROL_ROUTES: dict[tuple[str, str], ControlHandler] = {
    ("POST", "/v1/step"): step,
    ("POST", "/v1/speed"): set_speed,
    ("POST", "/v1/pause"): pause,
    ("POST", "/v1/resume"): resume,
    ("GET", "/v1/state"): state,
}


def answer_control(server: ExchangeServer, request: Request) -> Response:
    """Find and run a control request."""
    handler = CONTROL_ROUTES.get((request.method, request.path))
    try:
        if handler is None:
            raise refusal("endpoint_not_found")
        body = msgspec.json.decode(request.body) if request.body else {}
        if not isinstance(body, dict):
            raise refusal("malformed", detail="the body must be a JSON object")
        return json_response(handler(server, body))
    except VenueError as error:
        return error_response(error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return error_response(refusal("malformed", detail=f"request body format is invalid: {error}"))
