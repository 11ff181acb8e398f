"""Faults as data: what can go wrong, where, when, how often. `trader.exchange.fault_script` reads them.

Every fault has ``skip`` (matches that pass unharmed first), ``count`` (hits until it is spent, 0 for no end),
``probability`` of each match to be hit, or in place of these three ``at`` (which matches are hit, the first is 1); and
``from_bar``/``until_bar`` (bar numbers between which it acts; matches count from there). Several faults may hit one
thing, in the order of the script. What never arrives meets no further fault, and an answer is taken away only once:
the others wait for the next match.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Union, get_args

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(ge=0.0, le=3600.0)]
Skew = Annotated[float, Meta(ge=-86_400.0, le=86_400.0)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Share = Annotated[float, Meta(gt=0.0, lt=1.0)]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]

BEFORE, AFTER = "before", "after"
Bar = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Number = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Method = Annotated[str, Meta(pattern="^(GET|POST|PUT|PATCH|DELETE)$")]
Path = Annotated[str, Meta(pattern="^[/*]")]
Side = Annotated[str, Meta(pattern="^(buy|sell)$")]
OrderType = Annotated[str, Meta(pattern="^(market|limit|stop|stop_limit|trailing_stop)$")]
When = Annotated[str, Meta(pattern="^(before|after)$")]
Stream = Annotated[str, Meta(pattern="^(trading|data|both)$")]


def check_value(value: Any) -> None:
    """ValueError for what no message can hold."""
    try:
        msgspec.json.encode(value)
        msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"value cannot be sent: {error}") from None


# What streams tell: trade updates by their event, market data by their T.
TRADE_EVENTS = (
    "new", "accepted", "pending_new", "fill", "partial_fill", "canceled", "expired", "done_for_day", "replaced",
    "rejected", "stopped", "pending_cancel", "pending_replace", "calculated", "suspended", "restated",
    "order_replace_rejected", "order_cancel_rejected",
)
DATA_EVENTS = ("t", "q", "b", "u", "d", "s", "l", "c", "x", "i")
STREAM_EVENTS = {"trading": (TRADE_EVENTS,), "data": (DATA_EVENTS,), "both": (TRADE_EVENTS, DATA_EVENTS)}
STEP = "step"                       # what a fault of the connections names to act after a bar, whatever is said


class Fault(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"
):
    """What all faults share."""

    skip: Count = 0
    count: Count = 1
    probability: Probability = 1.0
    at: tuple[Number, ...] = ()
    from_bar: Bar = 0
    until_bar: Bar | None = None

    def __post_init__(self) -> None:
        if self.at and (self.skip, self.count, self.probability) != (0, 1, 1.0):
            raise ValueError("`at` names the matches that are hit; leave skip, count and probability out")
        if self.until_bar is not None and self.until_bar <= self.from_bar:
            raise ValueError(f"until_bar is {self.until_bar}; expected a bar after from_bar, which is {self.from_bar}")


class RequestFault(Fault, frozen=True):
    """Hits REST requests; ``path`` may hold ``*``, ``symbol`` is looked for in path, query, body and order."""

    point: ClassVar[str] = "request"
    method: Method | None = None
    path: Path | None = None
    symbol: str | None = None

    @property
    def swallows(self) -> bool:
        """Whether the venue never sees the request."""
        return isinstance(self, DropRequest | RateLimit) or (
            isinstance(self, Hang | ServerError) and self.when == BEFORE
        )

    def covers(self, other: RequestFault) -> bool:
        """Whether it leaves nothing to do for another that would hit the same request."""
        return self.swallows or (isinstance(self, TAKERS) and isinstance(other, TAKERS))


class DropRequest(RequestFault, frozen=True, tag="drop_request"):
    """The request is lost on its way: the venue never sees it, the connection breaks."""


class DropResponse(RequestFault, frozen=True, tag="drop_response"):
    """The venue carries the request out, the answer is lost, the connection breaks."""


class DelayResponse(RequestFault, frozen=True, tag="delay"):
    """The request (``when: before``) or its answer (``after``) takes ``seconds`` longer."""

    seconds: Seconds = 1.0
    when: When = AFTER


class Hang(RequestFault, frozen=True, tag="hang"):
    """No answer ever, the connection stays open; with ``when: after`` the request was carried out."""

    when: When = BEFORE


class RateLimit(RequestFault, frozen=True, tag="rate_limit"):
    """429 with Alpaca's X-RateLimit headers and Retry-After ``seconds``; a burst is a larger ``count``."""

    seconds: Seconds = 1.0
    limit: Count = 200


class ServerError(RequestFault, frozen=True, tag="server_error"):
    """500, 502 (an HTML page, as proxies send), 503 or 504, before or after the request was carried out."""

    status: Annotated[int, Meta(ge=500, le=599)] = 500
    when: When = BEFORE
    html: bool | None = None


class UnknownValue(RequestFault, frozen=True, tag="unknown_value"):
    """A field of the answer holds a value that no client knows; ``field`` may have dots."""

    field: str = "status"
    value: Any = "quantum_superposed"

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        check_value(self.value)


class MissingField(RequestFault, frozen=True, tag="missing_field"):
    """A field of the answer is not there."""

    field: str = "status"


class ClockSkew(RequestFault, frozen=True, tag="clock_skew"):
    """Every moment in the answer is ``seconds`` off (negative: behind)."""

    seconds: Skew = 30.0


TAKERS = (DropRequest, DropResponse, Hang, RateLimit, ServerError)      # the client does not get its answer


class LateFill(RequestFault, frozen=True, tag="late_fill"):
    """A cancelled order fills completely: after its ``canceled`` was told, or (``when: before``) in place of that.

    The price is the order's limit or the last price. An exit fills when the position is still there.
    """

    when: When = AFTER


class UpdateFault(Fault, frozen=True):
    """Hits trade updates (``stream: trading``) or market data (``data``; ``event`` is then the message's T)."""

    point: ClassVar[str] = "update"
    moments: ClassVar[tuple[str, ...]] = ()         # what ``event`` may name besides messages
    stream: Stream = "trading"
    event: str | None = None
    symbol: str | None = None

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        events = [*(event for stream in STREAM_EVENTS[self.stream] for event in stream), *self.moments]
        if self.event is not None and self.event not in events:
            raise ValueError(f"there is no event {self.event!r} on stream {self.stream}: {', '.join(events)}")


class Duplicate(UpdateFault, frozen=True, tag="duplicate"):
    """The message comes ``times`` times more."""

    times: Annotated[int, Meta(ge=1, le=100)] = 1


class Reorder(UpdateFault, frozen=True, tag="reorder"):
    """The message comes after the next one; if none follows, at the end of the next bar, unless the exchange dies."""


class DelayUpdate(UpdateFault, frozen=True, tag="delay_update"):
    """The message comes ``bars`` bars later; not to a later life of the exchange: Alpaca's streams repeat nothing."""

    bars: Annotated[int, Meta(ge=1, le=100_000)] = 1


class Omit(UpdateFault, frozen=True, tag="omit"):
    """The message never comes."""


class UnknownInUpdate(UpdateFault, frozen=True, tag="unknown_in_update"):
    """A field of the message holds a value that no client knows; in a trade update counted from ``data``."""

    field: str = "order.status"
    value: Any = "quantum_superposed"

    def __post_init__(self) -> None:
        UpdateFault.__post_init__(self)
        check_value(self.value)


class MissingInUpdate(UpdateFault, frozen=True, tag="missing_in_update"):
    """A field of the message is not there."""

    field: str = "order.status"


class SkewInUpdate(UpdateFault, frozen=True, tag="skew_in_update"):
    """Every moment in the message is ``seconds`` off (negative: behind)."""

    seconds: Skew = 30.0


class SocketFault(UpdateFault, frozen=True):
    """Hits the connections of a stream when a message is due, which is lost to them; ``event: step`` after a bar."""

    point: ClassVar[str] = "socket"
    moments: ClassVar[tuple[str, ...]] = (STEP,)


class KillStream(SocketFault, frozen=True, tag="kill_stream"):
    """The connections break without a closing handshake."""


class HalfOpen(SocketFault, frozen=True, tag="half_open"):
    """The connections stay open, and nothing is sent or heard on them again, pings included."""


class Mute(SocketFault, frozen=True, tag="mute"):
    """Pings are answered, messages no longer come; after ``bars`` more bars they do again (0: never)."""

    bars: Count = 0


class StreamError(SocketFault, frozen=True, tag="stream_error"):
    """The market data stream says an error of its table; ``close`` ends the connection after it."""

    stream: Stream = "data"
    code: Annotated[int, Meta(ge=400, le=599)] = 500
    close: bool = False


class VenueFault(Fault, frozen=True):
    """Hits orders as they start to work; ``side`` and ``type`` narrow it."""

    point: ClassVar[str] = "order"
    symbol: str | None = None
    side: Side | None = None
    type: OrderType | None = None


class PartialFill(VenueFault, frozen=True, tag="partial_fill"):
    """A ``fraction`` of the order fills at once (whole shares, at least one); the rest waits for the market."""

    fraction: Share = 0.5


# What an order may have to pass: before it works, after it has begun to, as it ends, after it was filled.
BEFORE_WORK = frozenset({"accepted", "pending_new", "accepted_for_bidding", "pending_review"})
WHILE_WORKING = frozenset({"suspended", "stopped"})
ENDINGS = frozenset({"rejected", "canceled", "expired", "done_for_day"})
CALCULATED = "calculated"
EVENTLESS = frozenset({"accepted_for_bidding", "pending_review"})      # Alpaca has no events of these names
PASSABLE = sorted(BEFORE_WORK | WHILE_WORKING | ENDINGS | {CALCULATED})


class PassStatus(VenueFault, frozen=True, kw_only=True, tag="status"):
    """An order passes through ``status``, told by an event, and goes on after ``bars`` bars (0: at once).

    accepted, pending_new, accepted_for_bidding and pending_review come before it works, and the request's answer
    shows them (the event of the last two is accepted); suspended after it began to, as does stopped, after which it
    fills; calculated after it was filled. With rejected, canceled and expired it ends, with done_for_day it sleeps
    until the next session.
    """

    status: Annotated[str, Meta(pattern=f"^({'|'.join(PASSABLE)})$")]
    bars: Count = 1


class LegReplaced(VenueFault, frozen=True, tag="leg_replaced"):
    """The venue replaces a stop leg by itself, one tick further away, under a new id and client order id."""


class StepFault(Fault, frozen=True):
    """Happens after a bar: the first from ``from_bar`` on that is not skipped."""

    point: ClassVar[str] = "step"


class Restart(StepFault, frozen=True, tag="restart"):
    """All connections break, the port is closed for ``seconds``, the venue comes back where it was."""

    seconds: Seconds = 0.5


class MarketFault(StepFault, frozen=True, kw_only=True, tag="market_event"):
    """An ``event`` of the market with its ``arguments``, as ``POST /v1/market/EVENT`` makes it."""

    event: str
    arguments: dict[str, Any] = {}

    def __post_init__(self) -> None:
        from trader.exchange.market_events import read_event

        Fault.__post_init__(self)
        read_event(self.event, self.arguments)


AnyFault = Union[  # noqa: UP007 - msgspec reads the union
    DropRequest, DropResponse, DelayResponse, Hang, RateLimit, ServerError, UnknownValue, MissingField, ClockSkew,
    LateFill, Duplicate, Reorder, DelayUpdate, Omit, UnknownInUpdate, MissingInUpdate, KillStream, HalfOpen, Mute,
    SkewInUpdate, StreamError, PartialFill, PassStatus, LegReplaced, Restart, MarketFault,
]
FAULTS: dict[str, type[Fault]] = {str(kind.__struct_config__.tag): kind for kind in get_args(AnyFault)}
