"""Clock and calendar, each in Alpaca's older form (one market, New York's) and its newer one (markets by name)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from trader.core.clock import from_ns
from trader.core.days import NEW_YORK
from trader.core.sessions import next_close, next_open, session_date, session_open_close, session_table
from trader.exchange.errors import refusal
from trader.exchange.http import Request, Response, json_response
from trader.exchange.params import choice, day, moment, symbols
from trader.exchange.venue import Venue
from trader.exchange.wire import new_york

MARKETS = {
    "NYSE": ("New York Stock Exchange", "XNYS"), "NASDAQ": ("Nasdaq", "XNAS"), "IEX": ("Investors Exchange", "IEXG"),
}
LISTED = date(1970, 1, 1), date(2029, 12, 31)           # the days that Alpaca's calendar has
_DAWN, _EVENING = timedelta(hours=4), timedelta(hours=4)
_EPOCH = date(1970, 1, 1)


def get_clock(venue: Venue, request: Request, _: str) -> Response:
    opens, closes = venue.next_open_close()
    return json_response({
        "timestamp": new_york(venue.now_ns), "is_open": venue.in_session,
        "next_open": new_york(opens), "next_close": new_york(closes),
    })


def get_clocks(venue: Venue, request: Request, _: str) -> Response:
    """The newer clock: one entry for each market asked for (NYSE unless told), now or at a ``time``."""
    ns = moment(request.query, "time")
    if ns is None:
        shown = _venue_clock(venue)
    elif LISTED[0] < from_ns(ns).date() < LISTED[1]:
        shown = _clock_at(ns)
    else:
        raise refusal("invalid", detail=f"time must lie between {LISTED[0]} and {LISTED[1]}")
    names = symbols(request.query, "markets") or ["NYSE"]
    return json_response({"clocks": [{"market": market_json(name), **shown} for name in names]})


def _venue_clock(venue: Venue) -> dict[str, object]:
    """The venue's own hours, which are those of its bars."""
    opens, closes = venue.next_open_close()
    local = from_ns(venue.now_ns).astimezone(NEW_YORK)
    inside = venue.hours.inside_day(venue.index)
    phase = "core" if venue.in_session else "closed" if not inside else "pre" if local.hour < 12 else "post"
    last = venue.hours.phase_end(venue.index)
    until = opens if last is None else int(venue.panel.available_ns[last])
    return {
        "timestamp": new_york(venue.now_ns),
        "is_market_day": inside or session_open_close(local.date()) is not None,
        "next_market_open": new_york(opens), "next_market_close": new_york(closes),
        "phase": phase, "phase_until": new_york(until),
    }


def _clock_at(ns: int) -> dict[str, object]:
    """Any other moment, by the exchange's calendar."""
    now = from_ns(ns).astimezone(NEW_YORK)
    hours = session_open_close(now.date())
    phase, until = "closed", _phases(next_open(ns))[0][1]
    if hours is not None:
        phase, until = next((found for found in _phases(hours[0]) if now < found[1]), (phase, until))
    return {
        "timestamp": new_york(ns), "is_market_day": hours is not None,
        "next_market_open": new_york(next_open(ns)), "next_market_close": new_york(next_close(ns)),
        "phase": phase, "phase_until": until.isoformat(),
    }


def _phases(opens_ns: int) -> list[tuple[str, datetime]]:
    """What a session's day consists of, each with its end."""
    opens = from_ns(opens_ns).astimezone(NEW_YORK)
    closes = from_ns(next_close(opens_ns)).astimezone(NEW_YORK)
    dawn = opens.replace(hour=0, minute=0) + _DAWN
    return [("closed", dawn), ("pre", opens), ("core", closes), ("post", closes + _EVENING)]


def market_json(name: str) -> dict[str, str]:
    """A market of New York, by its acronym or MIC; all of them keep the same hours here."""
    for acronym, (title, mic) in MARKETS.items():
        if name in (acronym, mic):
            return {"acronym": acronym, "name": title, "mic": mic, "bic": "", "timezone": "America/New_York"}
    raise refusal("invalid", detail=f"market must be one of {', '.join(MARKETS)}")


def get_market_calendar(venue: Venue, request: Request, market: str) -> Response:
    """The newer calendar: a week from today unless told, every moment with its offset."""
    shown = market_json(market.upper())
    utc = choice(request.query, "timezone", "", ("", "UTC", "America/New_York")) == "UTC"
    first = day(request.query, "start", from_ns(venue.now_ns).astimezone(NEW_YORK).date())
    last = day(request.query, "end", min(first, LISTED[1]) + timedelta(days=7))
    days = []
    for row in _rows(first, last):
        names = ("pre_start", "core_start", "post_start", "post_end")
        ends = [end.astimezone(UTC) if utc else end for _, end in _phases(session_table().open_list[row])]
        times = dict(zip(names, (end.isoformat() for end in ends), strict=True))
        days.append({
            "date": session_date(row).isoformat(), **times, "pre_end": times["core_start"],
            "core_end": times["post_start"], "settlement_date": session_date(row + 1).isoformat(),
        })
    return json_response({"market": shown, "calendar": days})


def get_calendar(venue: Venue, request: Request, _: str) -> Response:
    """The sessions of a window, of trading or of settlement days; all that there are unless told."""
    settled = choice(request.query, "date_type", "TRADING", ("TRADING", "SETTLEMENT")) == "SETTLEMENT"
    rows = _rows(day(request.query, "start", LISTED[0]), day(request.query, "end", LISTED[1]))
    return json_response([_listed(row - settled) for row in rows])


def _rows(first: date, last: date) -> range:
    """The listed sessions from one day to another, as rows of `session_table`."""
    table = session_table()
    start, stop = ((min(max(day_, LISTED[0]), LISTED[1]) - _EPOCH).days for day_ in (first, last))
    if last < max(first, LISTED[0]) or first > LISTED[1]:
        return range(0)
    days = table.days
    return range(bisect_left(days, start), bisect_right(days, stop))


@lru_cache(maxsize=16_384)
def _listed(row: int) -> dict[str, str]:
    """A session of the older calendar; a trade settles one session later, a half day's evening ends early too."""
    day_ = session_date(row)
    hours = session_open_close(day_)
    assert hours is not None
    opens, closes = (from_ns(ns).astimezone(NEW_YORK) for ns in hours)
    return {
        "date": day_.isoformat(), "open": f"{opens:%H:%M}", "close": f"{closes:%H:%M}",
        "session_open": "0400", "session_close": f"{closes + _EVENING:%H%M}",
        "settlement_date": session_date(row + 1).isoformat(),
    }
