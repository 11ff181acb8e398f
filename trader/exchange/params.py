"""Query parameters read with care: each reader names the parameter and what it expects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TypeVar

from trader.core.clock import DAY_NS, to_ns
from trader.exchange.errors import refusal

Query = Mapping[str, str]
_Default = TypeVar("_Default", date, None)
_BEYOND_MICROSECONDS = re.compile(r"[.,]\d{6}(\d{1,3})")         # datetime leaves them out
DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")      # how a number may be written
_DIGITS = 18                        # of a whole number: more mean nothing, and Python refuses to read very many
_FIRST_NS, _LAST_NS = -(1 << 62), 1 << 62                       # moments that arrays of ns can be compared with


def whole(query: Query, name: str, default: int, most: int) -> int:
    """A whole number from 1 to ``most``."""
    given = query.get(name)
    if not given:
        return default
    if not (given.isascii() and given.isdigit() and len(given) <= _DIGITS) or not 1 <= int(given) <= most:
        raise refusal("malformed", detail=f"{name} must be a whole number from 1 to {most}")
    return int(given)


def truth(query: Query, name: str) -> bool:
    """A switch; Python's ``True`` counts as well as ``true`` and ``1``."""
    given = query.get(name, "").lower()
    if given not in ("", "true", "false", "1", "0"):
        raise refusal("malformed", detail=f"{name} must be true or false")
    return given in ("true", "1")


def choice(query: Query, name: str, default: str, known: tuple[str, ...]) -> str:
    """One of the known words."""
    given = query.get(name) or default
    if given not in known:
        raise refusal("malformed", detail=f"{name} must be one of {', '.join(known)}")
    return given


def choices(query: Query, name: str, default: str, known: tuple[str, ...]) -> list[str]:
    """One of the known words, or several with commas between."""
    return [choice({name: word}, name, default, known) for word in (query.get(name) or default).split(",")]


def number(query: Query, name: str) -> Decimal | None:
    """A positive decimal; None when it is not given."""
    given = query.get(name)
    if not given:
        return None
    value = Decimal(given) if DECIMAL.fullmatch(given) else Decimal("NaN")
    if not value.is_finite() or value <= 0 or abs(value.adjusted()) > 18:
        raise refusal("invalid", detail=f"{name} must be a positive number")
    return Decimal(format(value, "f"))          # 1E+1 is 10


def moment(query: Query, name: str, *, end_of_day: bool = False) -> int | None:
    """RFC 3339 or a date, as ns UTC; a bare date is its midnight UTC, or its last moment with ``end_of_day``."""
    given = query.get(name)
    if not given:
        return None
    try:
        value = datetime.fromisoformat(given.replace(" ", "+"))
    except ValueError:
        raise refusal("malformed", detail=f"{name} must be a date or an RFC 3339 time, not {given!r}") from None
    bare = len(given) == 10
    fraction = _BEYOND_MICROSECONDS.search(given)
    ns = to_ns(value if value.tzinfo else value.replace(tzinfo=UTC)) + (int(f"{fraction[1]:0<3}") if fraction else 0)
    ns = min(max(ns, _FIRST_NS), _LAST_NS)
    return ns + DAY_NS - 1 if bare and end_of_day else ns


def day(query: Query, name: str, default: _Default) -> date | _Default:
    """A date."""
    given = query.get(name)
    if not given:
        return default
    try:
        return date.fromisoformat(given[:10])
    except ValueError:
        raise refusal("malformed", detail=f"{name} must be a date like 2024-01-08, not {given!r}") from None


def symbols(query: Query, name: str = "symbols") -> list[str]:
    """Comma-separated symbols, upper case, each once."""
    parts = (part.strip().upper() for part in query.get(name, "").split(","))
    return list(dict.fromkeys(part for part in parts if part))
