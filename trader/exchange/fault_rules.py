"""Faults as data: what can go wrong, when, how often; read from YAML or JSON with the line of every mistake.

A script is a list of faults, or an object with ``seed`` and ``faults``::

    seed: 7
    faults:
      - {kind: drop_response, method: POST, path: /v2/orders, symbol: AAPL}
      - {kind: rate_limit, count: 5, skip: 20}
      - {kind: omit, event: fill, probability: 0.1, count: 0}

``rules`` may change what the venue's broker allows (`trader.exchange.types.VenueRules`), like ``{slow_changes: true}``.
The log of a run is a script too: played again over the same traffic it hits the same things.

Every fault has ``skip`` (matches that pass unharmed first), ``count`` (hits until it is spent, 0 for no end),
``probability`` of each match to be hit, and ``from_bar``/``until_bar`` (bar numbers between which it acts).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Union, get_args

import msgspec
from msgspec import Meta

from trader.exchange.types import VenueRules
from trader.utils.errors import UserError

Seconds = Annotated[float, Meta(ge=0.0, le=3600.0)]
Skew = Annotated[float, Meta(ge=-86_400.0, le=86_400.0)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Share = Annotated[float, Meta(gt=0.0, lt=1.0)]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]

BEFORE, AFTER = "before", "after"
When = Annotated[str, Meta(pattern="^(before|after)$")]
Stream = Annotated[str, Meta(pattern="^(trading|data|both)$")]


class Fault(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"
):
    """What all faults share."""

    skip: Count = 0
    count: Count = 1
    probability: Probability = 1.0
    from_bar: int = 0
    until_bar: int | None = None


class RequestFault(Fault, frozen=True):
    """Hits REST requests; ``path`` may hold ``*``, ``symbol`` is looked for in path, query, body and order."""

    point: ClassVar[str] = "request"
    method: str | None = None
    path: str | None = None
    symbol: str | None = None


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


class MissingField(RequestFault, frozen=True, tag="missing_field"):
    """A field of the answer is not there."""

    field: str = "status"


class ClockSkew(RequestFault, frozen=True, tag="clock_skew"):
    """Every moment in the answer is ``seconds`` off (negative: behind)."""

    seconds: Skew = 30.0


class LateFill(RequestFault, frozen=True, tag="late_fill"):
    """A cancelled order fills completely: after its ``canceled`` was told, or (``when: before``) in place of that.

    The price is the order's limit or the last price. An exit fills when the position is still there.
    """

    when: When = AFTER


class UpdateFault(Fault, frozen=True):
    """Hits trade updates (``stream: trading``) or market data (``data``; ``event`` is then the message's T)."""

    point: ClassVar[str] = "update"
    stream: Stream = "trading"
    event: str | None = None
    symbol: str | None = None


class Duplicate(UpdateFault, frozen=True, tag="duplicate"):
    """The message comes ``times`` times more."""

    times: Annotated[int, Meta(ge=1, le=100)] = 1


class Reorder(UpdateFault, frozen=True, tag="reorder"):
    """The message comes after the next one; if none follows, at the end of the next bar."""


class DelayUpdate(UpdateFault, frozen=True, tag="delay_update"):
    """The message comes ``bars`` bars later."""

    bars: Annotated[int, Meta(ge=1, le=100_000)] = 1


class Omit(UpdateFault, frozen=True, tag="omit"):
    """The message never comes."""


class UnknownInUpdate(UpdateFault, frozen=True, tag="unknown_in_update"):
    """A field of the message holds a value that no client knows; in a trade update counted from ``data``."""

    field: str = "order.status"
    value: Any = "quantum_superposed"


class MissingInUpdate(UpdateFault, frozen=True, tag="missing_in_update"):
    """A field of the message is not there."""

    field: str = "order.status"


class SkewInUpdate(UpdateFault, frozen=True, tag="skew_in_update"):
    """Every moment in the message is ``seconds`` off (negative: behind)."""

    seconds: Skew = 30.0


class SocketFault(UpdateFault, frozen=True):
    """Hits the connections of a stream when a message is due; that message is lost to them."""

    point: ClassVar[str] = "socket"


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
    side: str | None = None
    type: str | None = None


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

        read_event(self.event, self.arguments)


AnyFault = Union[  # noqa: UP007 - msgspec reads the union
    DropRequest, DropResponse, DelayResponse, Hang, RateLimit, ServerError, UnknownValue, MissingField, ClockSkew,
    LateFill, Duplicate, Reorder, DelayUpdate, Omit, UnknownInUpdate, MissingInUpdate, KillStream, HalfOpen, Mute,
    SkewInUpdate, StreamError, PartialFill, PassStatus, LegReplaced, Restart, MarketFault,
]
FAULTS: dict[str, type[Fault]] = {str(kind.__struct_config__.tag): kind for kind in get_args(AnyFault)}


class FaultScript(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A seed, the faults, and changes of the venue's rules."""

    faults: list[AnyFault] = []
    seed: int = 0
    rules: dict[str, Any] = {}

    def __post_init__(self) -> None:
        self.ruled(VenueRules())

    def ruled(self, rules: VenueRules) -> VenueRules:
        """The rules with the script's changes; ValueError for what is no rule."""
        return changed_rules(rules, self.rules)


def changed_rules(rules: VenueRules, changes: dict[str, Any]) -> VenueRules:
    """Rules with some of them changed; ValueError names the rule and what was expected."""
    known = VenueRules.__struct_fields__
    for name in changes:
        if name not in known:
            raise ValueError(f"there is no rule {name!r}; the rules are {', '.join(known)}")
    wanted = {name: str(value) if isinstance(value, float) else value for name, value in changes.items()}
    try:
        return msgspec.convert({**msgspec.structs.asdict(rules), **wanted}, VenueRules)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def read_faults(value: Any) -> list[Fault]:
    """Faults from JSON values: one object or a list; ValueError names the field and what was expected."""
    wanted = value if isinstance(value, list) else [value]
    try:
        return list(msgspec.convert(wanted, list[AnyFault]))
    except msgspec.ValidationError as error:
        raise ValueError(_mended(str(error))) from None


def read_script(value: dict[str, Any]) -> FaultScript:
    """A script from JSON values: one with ``faults``, or a single fault; ValueError names the field."""
    try:
        return msgspec.convert(value if "faults" in value else {"faults": [value]}, FaultScript)
    except msgspec.ValidationError as error:
        raise ValueError(_mended(str(error))) from None


def script_of_log(lines: list[str]) -> FaultScript:
    """The script that hits again what a log says was hit: one fault for each hit, without draws.

    Each hit names its fault's rule and the match at which it struck. ValueError for lines that are no hits.
    """
    hits = msgspec.json.decode(f"[{','.join(lines)}]", type=list[_Logged])
    return msgspec.convert({"faults": [
        {**hit.rule, "skip": hit.match - 1, "count": 1, "probability": 1.0}
        for hit in sorted(hits, key=lambda hit: (hit.fault, hit.match))
    ]}, FaultScript)


class _Logged(msgspec.Struct, frozen=True):
    """What a replay needs of a line of the log."""

    fault: int
    match: Annotated[int, Meta(ge=1)]
    rule: dict[str, Any]


def _log_lines(text: str) -> list[str]:
    """The lines of a log of hits; none when the text is something else."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines if lines and lines[0].startswith('{"number":') else []


def load_fault_script(path: Path) -> FaultScript:
    """A script from a YAML or JSON file, or from a log of hits; UserError with the line of what is wrong."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        if lines := _log_lines(text):
            return script_of_log(lines)
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"cannot read the faults in {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        what = getattr(error, "problem", None) or str(error)
        raise UserError(f"{path}{line}: {what}; write the faults as YAML or JSON") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}; a log of faults has one hit a line, as --fault-log writes it") from error
    body = {"faults": value} if isinstance(value, list) else value
    try:
        return msgspec.convert(body, FaultScript)
    except msgspec.ValidationError as error:
        message = str(error)
        steps = _steps(message)
        if isinstance(value, list):
            steps = steps[1:]
        line_number = _line_of(tree, steps)
        raise UserError(f"{path}:{line_number}: {_mended(message)}") from None


def _mended(message: str) -> str:
    """msgspec's message with the known kinds where a kind is unknown."""
    if "Invalid value" in message and ".kind" in message:
        return f"{message}; the kinds are {', '.join(FAULTS)}"
    return message


def _steps(message: str) -> list[str | int]:
    """The path in a validation message: ``at `$.faults[2].seconds``` is faults, 2, seconds."""
    import re

    at = re.search(r"`(\$[^`]*)`$", message)
    if at is None:
        return []
    return [int(index) if index else name for index, name in re.findall(r"\[(\d+)\]|\.(\w+)", at[1])]


def _line_of(node: Any, steps: list[str | int]) -> int:
    """The line of a node, or of the nearest parent that is there."""
    import yaml

    line = node.start_mark.line + 1 if node is not None else 1
    for step in steps:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        elif isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == step), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
            continue
        else:
            break
        line = node.start_mark.line + 1
    return int(line)
