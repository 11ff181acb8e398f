"""What of Alpaca the exchange covers, read off the code's own tables: ``python -m trader.exchange.coverage`` writes it.

Alpaca's side (endpoints about US equities, words of orders, messages) is listed here; the exchange's side comes from
its routes, checks, types and streams, so that the document cannot promise what the code does not have.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from trader.exchange import desk, matching, splits, venue
from trader.exchange.checks import CLASSES, TIMES_IN_FORCE, TYPES
from trader.exchange.control import CONTROL_ROUTES, STEP, step
from trader.exchange.data_routes import DATA_ROUTES
from trader.exchange.data_stream import CHANNELS, DATA_PLANS
from trader.exchange.data_stream import ERRORS as STREAM_ERRORS
from trader.exchange.errors import REFUSALS
from trader.exchange.fault_rules import CALCULATED, FAULTS, TRADE_EVENTS
from trader.exchange.market_events import EVENTS
from trader.exchange.routes import TRADING_ROUTES
from trader.exchange.types import END_FIELDS, OPEN_STATUSES, QUEUED_STATUSES, VenueRules

DOCUMENT = Path(__file__).with_name("COVERAGE.md")
YES, NO = "✓", "–"

OTHER_PRODUCT = "not about US equities"
NOT_KEPT = "the exchange does not hold this data"
# Alpaca's endpoints that a client of US equities may call, beside those that the exchange has anyway.
MISSING_ENDPOINTS = {
    "GET /v2/stocks/auctions": NOT_KEPT, "GET /v2/stocks/*/auctions": NOT_KEPT,
    "GET /v2/stocks/meta/conditions/*": NOT_KEPT, "GET /v2/stocks/meta/exchanges": NOT_KEPT,
    "GET /v1/corporate-actions": NOT_KEPT, "GET /v1beta1/news": NOT_KEPT,
    "GET /v1beta1/screener/stocks/most-actives": NOT_KEPT, "GET /v1beta1/screener/stocks/movers": NOT_KEPT,
    "GET /v1beta1/logos/*": NOT_KEPT, "GET /v2/options/contracts": OTHER_PRODUCT,
    "POST /v2/positions/*/exercise": OTHER_PRODUCT, "GET /v2/wallets": OTHER_PRODUCT,
    "GET /v2/locates": "easy-to-borrow symbols need none, others cannot be sold short",
}
MISSING_NOTES = {
    "mleg": OTHER_PRODUCT, "n": OTHER_PRODUCT, "o": OTHER_PRODUCT,
}
BY_FAULT, BY_RULE = "by the fault `status`", "by the rule `{}`"
# How to meet what does not come by itself; the fault `status` brings about most others as well.
HOW = {
    **dict.fromkeys(("accepted_for_bidding", "stopped", "calculated", "pending_review"), BY_FAULT),
    "suspended": "while the symbol is halted", "accepted": "outside its hours",
    "held": "legs until their entry is filled; by the rule `held_stops` stops while their target works",
    "rejected": f"{BY_FAULT}; refusals are answers of the request", "done_for_day": BY_RULE.format("done_for_day"),
    "restated": "exits that shrink with their sibling, splits", "replaced": "also by the fault `leg_replaced`",
    **dict.fromkeys((
        "pending_new", "pending_cancel", "pending_replace", "order_replace_rejected", "order_cancel_rejected",
    ), BY_RULE.format("slow_changes")),
}
STATUSES = (
    "new", "accepted", "pending_new", "accepted_for_bidding", "held", "partially_filled", "filled", "done_for_day",
    "canceled", "expired", "replaced", "pending_cancel", "pending_replace", "stopped", "rejected", "suspended",
    "calculated", "pending_review",
)
RULES = VenueRules.__struct_fields__
STREAM_MESSAGES = {
    "t": "trades", "q": "quotes", "b": "bars", "u": "updatedBars", "d": "dailyBars", "s": "statuses", "l": "lulds",
    "c": "corrections", "x": "cancelErrors", "i": "imbalances", "n": "news", "o": "orderbooks",
}


class Row(NamedTuple):
    """One endpoint: the call, whether it is there, and a note."""

    call: str
    covered: bool
    note: str = ""


def endpoint_rows() -> list[Row]:
    """Every endpoint, the exchange's and the missing ones, by path."""
    here = {f"{method} {path}" for path, methods in {**TRADING_ROUTES, **DATA_ROUTES}.items() for method in methods}
    rows = [Row(call, True) for call in here]
    rows += [Row(call, False, note) for call, note in MISSING_ENDPOINTS.items() if call not in here]
    return sorted(rows, key=lambda row: (row.call.split(" ")[1], row.call))


def produced_statuses() -> set[str]:
    """The statuses that orders of this exchange can have."""
    return set(OPEN_STATUSES) | set(QUEUED_STATUSES) | set(END_FIELDS) | {CALCULATED}


def announced_events() -> set[str]:
    """The trade events that the exchange's own code names."""
    source = "".join(inspect.getsource(module) for module in (desk, matching, venue, splits))
    return {event for event in TRADE_EVENTS if f'"{event}"' in source} | (produced_statuses() & set(TRADE_EVENTS))


def markdown() -> str:
    """The document."""
    parts = [
        "# What of Alpaca the embedded exchange covers",
        "Generated from the code's tables by `python -m trader.exchange.coverage`; a test keeps it fresh.",
        "## Endpoints", "`*` stands for one segment of the path.",
        _table(("call", "covered", "note"), (
            (f"`{row.call}`", YES if row.covered else NO, row.note) for row in endpoint_rows()
        )),
        "## Orders",
        _words("type", TYPES, TYPES), _words("time in force", TIMES_IN_FORCE, TIMES_IN_FORCE),
        _words("class", (*CLASSES, "mleg"), CLASSES),
        _words("status", STATUSES, produced_statuses()),
        "## Trade updates (`/stream`)",
        _words("event", TRADE_EVENTS, announced_events()),
        "## Market data stream (`/v2/iex`, `/v2/sip`)",
        _table(("T", "channel", "covered", "note"), (
            (f"`{kind}`", channel, *((YES, "") if channel in CHANNELS else (NO, MISSING_NOTES[kind])))
            for kind, channel in STREAM_MESSAGES.items()
        )),
        "Every code can also be provoked by the fault `stream_error`.",
        _table(("code", "message"), ((f"`{code}`", message) for code, message in STREAM_ERRORS.items())),
        f"Plans: {', '.join(f'`{name}`' for name in DATA_PLANS)}.",
        "## Refusals (HTTP)",
        _table(("status", "code", "message"), sorted({
            (str(status), f"`{code}`", message) for status, code, message in REFUSALS.values()
        })),
        "## Control API (a loopback port of its own)",
        _table(("call", "what it does"), [
            *(
                (f"`{method} {path}`", _summary(does))
                for (method, path), does in {STEP: step, **CONTROL_ROUTES}.items()
            ),
            ("`DELETE /v1/faults/ID`", "Disarm one fault."),
            *((f"`POST /v1/market/{name}`", _summary(event)) for name, event in EVENTS.items()),
        ]),
        "## Faults", "Rules that a script may change: " + ", ".join(f"`{name}`" for name in RULES) + ".",
        _table(("kind", "what happens"), ((f"`{name}`", _summary(kind)) for name, kind in FAULTS.items())),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(thing: object) -> str:
    """The first paragraph of a docstring on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def _words(name: str, known: Iterable[str], covered: Iterable[str]) -> str:
    there = set(covered)
    return _table((name, "covered", "note"), (
        (f"`{word}`", YES if word in there else NO, HOW.get(word, "") if word in there else MISSING_NOTES[word])
        for word in known
    ))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    DOCUMENT.write_text(markdown(), encoding="utf-8")
