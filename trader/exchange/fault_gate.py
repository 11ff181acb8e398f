"""Faults between a REST request and its answer. Each effect wraps the next gate; the last gate is the venue itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from trader.exchange.errors import VenueError, refusal
from trader.exchange.fault_fields import remove_field, set_field, shift_moments
from trader.exchange.fault_rules import (
    AFTER,
    BEFORE_WORK,
    ClockSkew,
    DelayResponse,
    DropRequest,
    DropResponse,
    Fault,
    Hang,
    LateFill,
    MissingField,
    PassStatus,
    RateLimit,
    RequestFault,
    ServerError,
    UnknownValue,
)
from trader.exchange.fault_venue import VenueFaults, force_fill
from trader.exchange.faults import FaultPlan, matches_request
from trader.exchange.http import Request, Response, error_response
from trader.exchange.http_connection import Gate, Reply
from trader.exchange.rate import rate_headers
from trader.exchange.types import PENDING_STATUSES, VenueOrder
from trader.exchange.venue import Venue

UNTOUCHED = PENDING_STATUSES | {"held"}     # what no execution can be under way for
Ask = Callable[[], Response]
_PAGE = "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n</body>\r\n</html>\r\n"
_TITLES = {500: "500 Internal Server Error", 502: "502 Bad Gateway", 503: "503 Service Temporarily Unavailable",
           504: "504 Gateway Time-out"}


class FaultGate:
    """Stands between every request and its answer.

    ``orders`` are the faults inside the venue; ``settle`` makes durable that something was hit, before anybody can
    notice.
    """

    def __init__(
        self, plan: FaultPlan, venue: Venue, orders: VenueFaults, settle: Callable[[], bool]
    ) -> None:
        self._settle = settle
        self._plan = plan
        self._venue = venue
        self._orders = orders
        self._effects: dict[type[Fault], Callable[[Any, Gate], Gate]] = {
            DropRequest: self._drop_request, DropResponse: self._drop_response, DelayResponse: self._delay,
            Hang: self._hang, RateLimit: self._rate_limit, ServerError: self._server_error,
            UnknownValue: self._unknown_value, MissingField: self._missing_field, ClockSkew: self._clock_skew,
            LateFill: self._late_fill,
        }

    def __call__(self, request: Request, answer: Ask, reply: Reply) -> None:
        gate: Gate = self._told_as_it_stands if self._plan.watches(PassStatus) else _plain
        symbols = self.symbols_of(request)
        what = {"method": request.method, "path": request.path}
        if symbols:
            what["symbols"] = ",".join(sorted(symbols))
        matches = matches_request(request.method, request.path, symbols)

        def meant(fault: RequestFault) -> bool:
            return matches(fault) and (not isinstance(fault, LateFill) or bool(self._to_cancel(request)))

        for fault in reversed(self._plan.strike(RequestFault, meant, what, RequestFault.covers)):
            gate = self._effects[type(fault)](fault, gate)

        def told(response: Response | None) -> None:
            reply(response if self._settle() else error_response(refusal("internal")))

        gate(request, answer, told)

    def symbols_of(self, request: Request) -> frozenset[str]:
        """The symbols that a request is about: in its path, its query, its body, or of the orders that it means."""
        found = set(request.query.get("symbols", "").split(",")) | {request.query.get("symbol", "")}
        found |= {order.symbol for order in self._to_cancel(request)}
        for segment in request.path.split("/"):
            found.add(segment)
            order = self._venue.desk.orders.get(segment)
            if order is not None:
                found.add(order.symbol)
        if request.body:
            try:
                body = msgspec.json.decode(request.body)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                body = None
            if isinstance(body, dict):
                found.add(str(body.get("symbol")))
        return frozenset(symbol for symbol in found if self._venue.column(symbol) is not None)

    def _told_as_it_stands(self, request: Request, answer: Ask, reply: Reply) -> None:
        """The answer to a new order shows the status in which a fault has put it meanwhile."""
        response = answer()
        if response.status == 200 and (request.method, request.path) == ("POST", "/v2/orders"):
            body = msgspec.json.decode(response.body)
            status = self._orders.entered.get(body["id"]) or self._venue.desk.orders[body["id"]].status
            if status in BEFORE_WORK:
                response = replace(response, body=msgspec.json.encode({**body, "status": status}))
        reply(response)

    # --- effects --------------------------------------------------------------------------------------------

    def _drop_request(self, fault: DropRequest, inner: Gate) -> Gate:
        return lambda request, answer, reply: reply(None)

    def _drop_response(self, fault: DropResponse, inner: Gate) -> Gate:
        return lambda request, answer, reply: inner(request, answer, lambda response: reply(None))

    def _delay(self, fault: DelayResponse, inner: Gate) -> Gate:
        later = asyncio.get_running_loop().call_later
        if fault.when == AFTER:
            return lambda request, answer, reply: inner(
                request, answer, lambda response: _ignore(later(fault.seconds, reply, response))
            )
        return lambda request, answer, reply: _ignore(later(fault.seconds, inner, request, answer, reply))

    def _hang(self, fault: Hang, inner: Gate) -> Gate:
        if fault.when == AFTER:
            return lambda request, answer, reply: inner(request, answer, lambda response: None)
        return lambda request, answer, reply: None

    def _rate_limit(self, fault: RateLimit, inner: Gate) -> Gate:
        error = error_response(VenueError(429, 42910000, "rate limit exceeded"))
        headers = rate_headers(fault.limit, 0, int(time.time() + fault.seconds) + 1)
        response = replace(error, headers=(*headers, ("Retry-After", str(int(fault.seconds) or 1))))
        return lambda request, answer, reply: reply(response)

    def _server_error(self, fault: ServerError, inner: Gate) -> Gate:
        html = fault.status == 502 if fault.html is None else fault.html
        if html:
            page = _PAGE.format(_TITLES.get(fault.status, str(fault.status)))
            response = Response(fault.status, page.encode(), "text/html")
        else:
            error = VenueError(fault.status, fault.status * 100_000 + 10_000, "internal server error occurred")
            response = error_response(error)
        if fault.when == AFTER:
            return lambda request, answer, reply: inner(request, answer, lambda _: reply(response))
        return lambda request, answer, reply: reply(response)

    def _unknown_value(self, fault: UnknownValue, inner: Gate) -> Gate:
        return _changed_answer(inner, lambda body: set_field(body, fault.field, fault.value))

    def _missing_field(self, fault: MissingField, inner: Gate) -> Gate:
        return _changed_answer(inner, lambda body: remove_field(body, fault.field))

    def _clock_skew(self, fault: ClockSkew, inner: Gate) -> Gate:
        return _changed_answer(inner, lambda body: shift_moments(body, fault.seconds))

    def _late_fill(self, fault: LateFill, inner: Gate) -> Gate:
        def gate(request: Request, answer: Ask, reply: Reply) -> None:
            def answered() -> Response:
                venue = self._venue
                orders = [order for order in self._to_cancel(request) if fault.symbol in (None, order.symbol)]
                if fault.when == AFTER:
                    with self._orders.filling_late(orders):
                        return answer()
                for order in orders:
                    force_fill(venue, order, order.remaining)
                response = answer()
                return Response(204) if response.status == 422 else response    # it has filled: that is told later
            inner(request, answered, reply)
        return gate

    def _to_cancel(self, request: Request) -> list[VenueOrder]:
        """The working orders that a request wants to cancel: one, or all of them."""
        if request.method != "DELETE":
            return []
        desk = self._venue.desk
        folder, _, order_id = request.path.rpartition("/")
        closing_all = request.path == "/v2/positions" and request.query.get("cancel_orders", "").lower() == "true"
        if request.path == "/v2/orders" or closing_all:
            orders = desk.open_orders()
        else:
            named = desk.orders.get(order_id) if folder == "/v2/orders" else None
            orders = [] if named is None else [named]
        return [order for order in orders if order.is_open and order.status not in UNTOUCHED]


def _changed_answer(inner: Gate, change: Callable[[Any], Any]) -> Gate:
    """Successful JSON answers pass through ``change``."""
    def distort(response: Response | None) -> Response | None:
        if response is None or not response.body or response.status >= 400:
            return response
        body = change(msgspec.json.decode(response.body))
        return replace(response, body=msgspec.json.encode(body))
    return lambda request, answer, reply: inner(request, answer, lambda response: reply(distort(response)))


def _plain(request: Request, answer: Ask, reply: Reply) -> None:
    reply(answer())


def _ignore(_: object) -> None:
    """The timer belongs to the loop."""
