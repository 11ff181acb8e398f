"""The account's endpoints: figures, settings, history, movements, watchlists, announcements."""

from __future__ import annotations

from datetime import date
from typing import Any

from trader.core.clock import DAY_NS, from_ns
from trader.core.days import NEW_YORK
from trader.exchange.errors import refusal
from trader.exchange.http import Request, Response, json_response
from trader.exchange.params import choice, day, moment, symbols, truth, whole
from trader.exchange.portfolio import (
    DAILY,
    MEDIUM_DAYS,
    TIMEFRAMES,
    default_timeframe,
    history_json,
    period_ns,
    session_start,
)
from trader.exchange.types import Activity, Entry, Split
from trader.exchange.venue import Venue
from trader.exchange.wire import account_json, activity_id, activity_json, read_configurations, text

PAGE = 100
NON_TRADES = (
    "ACATC", "ACATS", "CFEE", "CIL", "CSD", "CSW", "DIV", "DIVCGL", "DIVCGS", "DIVFEE", "DIVFT", "DIVNRA", "DIVROC",
    "DIVTW", "DIVTXEX", "DIVWH", "EXTRD", "FEE", "FOPT", "FXTRD", "INT", "INTNRA", "INTPNL", "INTTW", "JNL", "JNLC",
    "JNLS", "MA", "MEM", "NC", "OCT", "OPASN", "OPCA", "OPCSH", "OPEXC", "OPEXP", "OPTRD", "PTC", "PTR", "REORG",
    "SPIN", "SPLIT", "SWP", "VOF", "WH",
)
ANNOUNCED = frozenset({"DIVIDEND", "MERGER", "SPINOFF", "SPLIT"})
CASH = ("CSD", "CSW")
# Words for several types: cash that came or went, and all that is neither that nor a dividend.
GROUPS = {"TRANS": CASH, "MISC": tuple(kind for kind in NON_TRADES if kind not in CASH and kind[:3] != "DIV")}
CATEGORIES = {"": ("FILL", *NON_TRADES), "trade_activity": ("FILL",), "non_trade_activity": NON_TRADES}


def get_account(venue: Venue, request: Request, _: str) -> Response:
    return json_response(account_json(venue, venue.account()))


def get_configurations(venue: Venue, request: Request, _: str) -> Response:
    return json_response(venue.configurations)


def patch_configurations(venue: Venue, request: Request, _: str) -> Response:
    venue.configure(read_configurations(venue.configurations, request.body))
    return json_response(venue.configurations)


def get_portfolio_history(venue: Venue, request: Request, _: str) -> Response:
    """Equity over a window: ``period`` back from ``end`` (one month from now), or from ``start`` on.

    Within days a ``start`` means its whole session, or the next one when that is over.
    """
    query = request.query
    end = moment(query, "end")
    if end is None:
        end = moment(query, "date_end", end_of_day=True)
    end = venue.now_ns if end is None else end
    start = moment(query, "start")
    if start is not None and query.get("period") and (query.get("end") or query.get("date_end")):
        raise refusal("invalid", detail="only two of start, end and period can be given")
    if start is None:
        start = end - period_ns(query.get("period") or "1M")
    elif query.get("period"):
        end = start + period_ns(query["period"])
    start = max(start, 0)
    timeframe = choice(query, "timeframe", default_timeframe(end - start), tuple(TIMEFRAMES))
    if timeframe != DAILY and end - start > MEDIUM_DAYS * DAY_NS:
        raise refusal("invalid", detail=f"beyond {MEDIUM_DAYS} days the timeframe must be {DAILY}")
    reporting = choice(
        query, "intraday_reporting", "market_hours", ("market_hours", "extended_hours", "continuous"))
    extended = truth(query, "extended_hours") or reporting != "market_hours"
    if query.get("start") and timeframe != DAILY and reporting != "continuous":
        start = session_start(venue, start, extended=extended)
    reset = choice(query, "pnl_reset", "per_day", ("per_day", "no_reset")) == "per_day"
    kinds = symbols(query, "cashflow_types")
    for kind in kinds:
        if kind not in (*NON_TRADES, "ALL", "NONE"):
            raise refusal("invalid", detail=f"invalid cashflow type: {kind}")
    return json_response(
        history_json(venue, start, end, timeframe, extended=extended, reset_daily=reset, kinds=kinds)
    )


def _place_of(activity: Activity | Entry) -> tuple[int, int]:
    """By time; at one moment the deposit comes before executions, and what happens at night after them."""
    if isinstance(activity, Entry):
        return activity.ts_ns, 0 if activity.type == "JNLC" else 2
    return activity.ts_ns, 1


def _name_of(activity: Activity | Entry) -> str:
    return activity.id if isinstance(activity, Entry) else activity.execution_id


def get_activities(venue: Venue, request: Request, kind: str) -> Response:
    """Executions and movements; ``page_token`` is the id of the last one seen, a ``date`` has no pages."""
    query = request.query
    category = choice(query, "category", "", tuple(CATEGORIES))
    named = [kind] if kind else symbols(query, "activity_types")
    if category and named:
        raise refusal("invalid", detail="category and activity_types exclude each other")
    named = [kind for name in named for kind in GROUPS.get(name, (name,))]
    for name in named:
        if name not in CATEGORIES[""]:
            raise refusal("invalid", detail=f"invalid activity type: {name}")
    kinds = frozenset(named or CATEGORIES[category])
    size = whole(query, "page_size", PAGE, PAGE)
    newest_first = choice(query, "direction", "desc", ("asc", "desc")) == "desc"
    after, until = moment(query, "after"), moment(query, "until")
    date_, token, order_id = day(query, "date", None), query.get("page_token"), query.get("order_id")
    found: list[Activity | Entry] = list(venue.activities) if "FILL" in kinds else []
    if kinds != {"FILL"}:
        found.extend(entry for entry in venue.entries if entry.type in kinds)
        found.sort(key=_place_of)
    if newest_first:
        found.reverse()
    if token:
        last = token.rpartition("::")[2]
        at = next((i for i, activity in enumerate(found) if _name_of(activity) == last), None)
        if at is None:
            raise refusal("malformed", detail="page_token is unknown")
        found = found[at + 1 :]
    chosen = [
        activity for activity in found
        if (after is None or activity.ts_ns > after) and (until is None or activity.ts_ns < until)
        and (not date_ or from_ns(activity.ts_ns).astimezone(NEW_YORK).date() == date_)
        and (not order_id or getattr(activity, "order_id", None) == order_id)
    ]
    return json_response([activity_json(venue, activity) for activity in (chosen if date_ else chosen[:size])])


def _announcement(venue: Venue, split: Split) -> dict[str, Any]:
    effective = from_ns(split.ts_ns + DAY_NS // 2).astimezone(NEW_YORK).date().isoformat()
    if split.index < len(venue.panel):
        effective = from_ns(int(venue.panel.available_ns[split.index])).astimezone(NEW_YORK).date().isoformat()
    numerator, denominator = split.ratio.as_integer_ratio()
    return {
        "id": split.id, "corporate_action_id": activity_id(split.ts_ns, split.id), "ca_type": "split",
        "ca_sub_type": "stock_split" if split.ratio > 1 else "reverse_split", "initiating_symbol": split.symbol,
        "initiating_original_cusip": "", "target_symbol": split.symbol, "target_original_cusip": "",
        **dict.fromkeys(("declaration_date", "ex_date", "record_date", "payable_date"), effective),
        "cash": "0", "old_rate": str(denominator), "new_rate": str(numerator), "ratio": text(split.ratio),
    }


def get_announcements(venue: Venue, request: Request, _: str) -> Response:
    """The splits that this venue has carried out; it knows no other corporate actions."""
    query = request.query
    kinds, symbol = symbols(query, "ca_types"), query.get("symbol")
    since, until = day(query, "since", date.min), day(query, "until", date.max)
    if not kinds or not ANNOUNCED.issuperset(kinds):
        raise refusal("invalid", detail=f"ca_types must be some of {', '.join(sorted(ANNOUNCED))}".lower())
    return json_response([
        found for found in (_announcement(venue, split) for split in venue.splits)
        if "SPLIT" in kinds and (not symbol or found["initiating_symbol"] == symbol)
        and since.isoformat() <= found["ex_date"] <= until.isoformat()
    ])


def get_announcement(venue: Venue, request: Request, name: str) -> Response:
    for split in venue.splits:
        if split.id == name:
            return json_response(_announcement(venue, split))
    raise refusal("announcement_not_found")
