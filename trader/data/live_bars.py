"""A bar off the wire, and telling new ones from repeats, corrections and late ones."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from trader.core.clock import to_ns


class StreamBar(NamedTuple):
    """One symbol's bar; ``ts_ns`` is its start. ``vwap`` and ``trade_count`` are NaN where the feed has none."""

    symbol: str
    ts_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float = math.nan
    trade_count: float = math.nan


class Arrival(StrEnum):
    """What an arriving bar is to what came before."""

    NEW = "new"
    LATE = "late"                   # older than the symbol's newest, and not seen yet
    CORRECTION = "correction"       # seen, with other values
    DUPLICATE = "duplicate"


def read_bar(raw: Mapping[str, Any]) -> StreamBar:
    """A bar of Alpaca's stream or REST; ValueError names the field that cannot be read."""
    try:
        return StreamBar(
            str(raw["S"]), read_time(raw["t"]), float(raw["o"]), float(raw["h"]), float(raw["l"]), float(raw["c"]),
            float(raw["v"]), _optional(raw.get("vw")), _optional(raw.get("n")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"bar without a readable field ({type(error).__name__}: {error}): {raw!r:.160}") from None


def read_time(value: Any) -> int:
    """Nanoseconds UTC of a msgpack timestamp, an RFC 3339 text or an aware datetime; ValueError otherwise."""
    if hasattr(value, "to_unix_nano"):
        return int(value.to_unix_nano())
    if isinstance(value, datetime):
        return to_ns(value)
    if not isinstance(value, str):
        raise ValueError(f"time {value!r} is neither a timestamp nor RFC 3339 text")
    whole, _, fraction = value.removesuffix("Z").partition(".")
    moment = datetime.fromisoformat(whole if "+" in whole else whole + "+00:00")
    return to_ns(moment) + int((fraction.partition("+")[0] + "000000000")[:9] if fraction else 0)


class BarLedger:
    """Remembers each symbol's latest ``keep`` bars and says what an arriving one is to them."""

    def __init__(self, keep: int = 500) -> None:
        self._seen: dict[str, OrderedDict[int, StreamBar]] = {}
        self._newest: dict[str, StreamBar] = {}
        self._keep = keep

    def arrive(self, bar: StreamBar) -> Arrival:
        """Take a bar in."""
        seen = self._seen.setdefault(bar.symbol, OrderedDict())
        before = seen.get(bar.ts_ns)
        if before is not None:
            if _same(before, bar):
                return Arrival.DUPLICATE
            seen[bar.ts_ns] = bar
            if self._newest[bar.symbol].ts_ns == bar.ts_ns:
                self._newest[bar.symbol] = bar
            return Arrival.CORRECTION
        seen[bar.ts_ns] = bar
        if len(seen) > self._keep:
            seen.popitem(last=False)
        newest = self._newest.get(bar.symbol)
        if newest is not None and newest.ts_ns > bar.ts_ns:
            return Arrival.LATE
        self._newest[bar.symbol] = bar
        return Arrival.NEW

    def newest(self, symbol: str) -> StreamBar | None:
        """A symbol's newest bar."""
        return self._newest.get(symbol)


def _same(a: StreamBar, b: StreamBar) -> bool:
    return all(x == y or (x != x and y != y) for x, y in zip(a, b, strict=True))


def _optional(value: Any) -> float:
    return math.nan if value is None else float(value)
