"""The control API, on a loopback port of its own: step, pace, look, faults, events of the market.

No keys; nothing here trades. Pages in a browser are kept out: whatever carries an ``Origin`` is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from trader.exchange.desk import ACCOUNT
from trader.exchange.errors import VenueError, refusal
from trader.exchange.fault_rules import FAULTS, SocketFault
from trader.exchange.fault_script import changed_rules, check_symbols, read_faults, read_script
from trader.exchange.http import Request, Response, error_response, json_response
from trader.exchange.http_connection import Gate, Reply
from trader.exchange.wire import text

if TYPE_CHECKING:
    from trader.exchange.server import ExchangeServer

MAX_STEPS = 1_000_000
FAULT_PATH = "/v1/faults/"
MARKET_PATH = "/v1/market/"
STEP = ("POST", "/v1/step")
ControlHandler = Callable[["ExchangeServer", dict[str, Any]], dict[str, Any]]


def only(body: dict[str, Any], *known: str) -> None:
    """VenueError 400 for a field that nobody would look at."""
    for name in body:
        if name not in known:
            raise refusal("malformed", detail=f"unknown field {name}; the fields are {', '.join(known) or 'none'}")


def wish_of_step(server: ExchangeServer, body: dict[str, Any]) -> Callable[[], bool]:
    """What `step` wants, as a question to ask before each bar."""
    if server.pace.running:
        raise refusal("running")
    only(body, "count", "until_ns")
    until = body.get("until_ns")
    count = body.get("count", 1 if until is None else MAX_STEPS)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_STEPS:
        raise refusal("malformed", detail=f"count must be a whole number from 1 to {MAX_STEPS}")
    if until is not None and (not isinstance(until, int) or isinstance(until, bool)):
        raise refusal("malformed", detail="until_ns must be a whole number of nanoseconds")
    venue = server.venue
    last = venue.index + count
    return lambda: venue.index < last and (until is None or venue.now_ns < until)


def step(server: ExchangeServer, request: Request, reply: Reply) -> None:
    """Play ``count`` bars (1 unless given), or up to the moment ``until_ns``, when nothing else drives the venue.

    ``trade_updates`` is the ``seq`` of the last trade update so far, ``bars`` the ``seq`` of the last bar message,
    ``symbols`` the symbols with a bar in the last slice: a client that has seen those has seen everything. The answer
    comes when all bars have been played; until then the orders of others wait.
    """
    wanted: Callable[[], bool] | None = None

    def read(body: dict[str, Any]) -> dict[str, Any]:
        nonlocal wanted
        wanted = wish_of_step(server, body)
        return {}

    refused = _answered(request, read)
    if wanted is None:
        reply(refused)
        return
    server.pace.walk(
        wanted, lambda symbols: reply(json_response({**progress(server), "symbols": symbols})),
        lambda: reply(error_response(refusal("internal"))),
    )


def set_speed(server: ExchangeServer, body: dict[str, Any]) -> dict[str, Any]:
    """Real time × ``speed``, or ``lockstep``."""
    only(body, "speed")
    speed = body.get("speed", "")
    try:
        server.pace.set_speed("" if isinstance(speed, bool) else speed)
    except ValueError as error:
        raise refusal("malformed", detail=str(error)) from None
    return progress(server)


def pause(server: ExchangeServer, body: dict[str, Any]) -> dict[str, Any]:
    """Let time stand still; requests are answered all the same."""
    only(body)
    server.pace.set_paused(True)
    return progress(server)


def resume(server: ExchangeServer, body: dict[str, Any]) -> dict[str, Any]:
    """Let time go on."""
    only(body)
    server.pace.set_paused(False)
    return progress(server)


def progress(server: ExchangeServer) -> dict[str, Any]:
    """Where the venue stands and what has been sent."""
    venue = server.venue
    return {
        "done": venue.done, "index": venue.index,
        "bar_ts_ns": int(venue.panel.ts_ns[venue.index - 1]) if venue.index else None,
        "now_ns": venue.now_ns, "trade_updates": venue.desk.event_count, "bars": server.data_stream.bars_sent,
        "speed": server.pace.speed, "paused": server.pace.paused,
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
        "fills": len(venue.activities), "halted": sorted(venue.halted), "connections": server.connections,
        "faults": len(server.faults.armed), "fault_hits": server.faults.total,
    }


def get_faults(server: ExchangeServer, body: dict[str, Any]) -> dict[str, Any]:
    """The armed faults with their counts, and the log of what they hit."""
    plan = server.faults
    return {
        "seed": plan.seed, "total": plan.total, "faults": [armed.view() for armed in plan.armed],
        "log": msgspec.to_builtins(list(plan.log)),
    }


def post_faults(server: ExchangeServer, body: dict[str, Any]) -> dict[str, Any]:
    """Arm one fault, or all of ``faults``, as a script has them: with ``seed`` and ``rules``; their ids."""
    try:
        script = read_script(body)
        rules = script.ruled(server.venue.rules)
        check_symbols(script.faults, server.venue.panel.symbols)
    except ValueError as error:
        raise refusal("malformed", detail=str(error)) from None
    if "seed" in body:
        server.faults.seed = script.seed
    server.venue.set_rules(rules)
    added = server.faults.add(script.faults, since=server.venue.index)
    server.arm()
    return {"ids": [armed.number for armed in added]}


def delete_faults(server: ExchangeServer, body: dict[str, Any]) -> dict[str, Any]:
    """Disarm every fault."""
    removed = server.faults.remove()
    server.arm()
    return {"removed": removed}


def delete_fault(server: ExchangeServer, number: str) -> dict[str, Any]:
    """Disarm one fault."""
    if not (number.isascii() and number.isdigit()) or not server.faults.remove(int(number[:18])):
        raise refusal("malformed", detail=f"there is no fault {number}")
    server.arm()
    return {"removed": 1}


def get_rules(server: ExchangeServer, body: dict[str, Any]) -> dict[str, Any]:
    """What the venue's broker allows."""
    rules: dict[str, Any] = msgspec.to_builtins(server.venue.rules)
    return rules


def post_rules(server: ExchangeServer, body: dict[str, Any]) -> dict[str, Any]:
    """Change rules from the next order on, like ``slow_changes`` or ``hard_to_borrow``; all of them."""
    try:
        server.venue.set_rules(changed_rules(server.venue.rules, body))
        server.venue.desk.dirty.add(ACCOUNT)
    except ValueError as error:
        raise refusal("malformed", detail=str(error)) from None
    return get_rules(server, body)


def post_streams(server: ExchangeServer, body: dict[str, Any]) -> dict[str, Any]:
    """Do to the connections of a stream now what a fault of that kind would: kill_stream, half_open, mute, …"""
    try:
        (fault,) = read_faults(body)
    except ValueError as error:
        raise refusal("malformed", detail=str(error)) from None
    if not isinstance(fault, SocketFault):
        kinds = ", ".join(name for name, kind in FAULTS.items() if issubclass(kind, SocketFault))
        raise refusal("malformed", detail=f"kind must be one of {kinds}")
    server.stream_faults.act(fault)
    return {"connections": server.connections}


def post_restart(server: ExchangeServer, body: dict[str, Any]) -> dict[str, Any]:
    """Break every client's connection and be away for ``seconds`` (0.5 unless given)."""
    only(body, "seconds")
    seconds = body.get("seconds", 0.5)
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= 3600:
        raise refusal("malformed", detail="seconds must be a number from 0 to 3600")
    server.restart(float(seconds))
    return {"seconds": seconds}


def post_market(server: ExchangeServer, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """An event of the market: halt, resume, gap, split, correct, cancel_trade."""
    event = server.happen(name, body)
    return {**progress(server), "event": msgspec.to_builtins(event)}


CONTROL_ROUTES: dict[tuple[str, str], ControlHandler] = {
    ("POST", "/v1/speed"): set_speed,
    ("POST", "/v1/pause"): pause,
    ("POST", "/v1/resume"): resume,
    ("GET", "/v1/state"): state,
    ("GET", "/v1/faults"): get_faults,
    ("POST", "/v1/faults"): post_faults,
    ("DELETE", "/v1/faults"): delete_faults,
    ("GET", "/v1/rules"): get_rules,
    ("POST", "/v1/rules"): post_rules,
    ("POST", "/v1/streams"): post_streams,
    ("POST", "/v1/restart"): post_restart,
}


def control_gate(server: ExchangeServer) -> Gate:
    """Everything is answered at once but steps, which may take their time, one after the other."""
    def gate(request: Request, answer: Callable[[], Response], reply: Reply) -> None:
        if (request.method, request.path) == STEP:
            server.pace.after_walk(lambda: step(server, request, reply))
        else:
            reply(answer())
    return gate


def answer_control(server: ExchangeServer, request: Request) -> Response:
    """Find and run a control request."""
    method, path = request.method, request.path

    def run(body: dict[str, Any]) -> dict[str, Any]:
        handler = CONTROL_ROUTES.get((method, path))
        if handler is not None:
            return handler(server, body)
        if method == "DELETE" and path.startswith(FAULT_PATH):
            return delete_fault(server, path.removeprefix(FAULT_PATH))
        if method == "POST" and path.startswith(MARKET_PATH):
            return post_market(server, path.removeprefix(MARKET_PATH), body)
        raise refusal("endpoint_not_found")

    answer = _answered(request, run)
    return answer if server.settle() else error_response(refusal("internal"))      # what is answered is durable


def _answered(request: Request, run: Callable[[dict[str, Any]], dict[str, Any]]) -> Response:
    """Read a control request's body and run something with it."""
    try:
        if "origin" in request.headers:
            raise VenueError(403, 40310000, "the control API is not for pages in a browser")
        body = msgspec.json.decode(request.body) if request.body else {}
        if request.path == FAULT_PATH[:-1] and request.method == "POST" and isinstance(body, list):
            body = {"faults": body}
        if not isinstance(body, dict):
            raise refusal("malformed", detail="the body must be a JSON object")
        return json_response(run(body))
    except VenueError as error:
        return error_response(error)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return error_response(refusal("malformed", detail=f"request body format is invalid: {error}"))
