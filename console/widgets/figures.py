"""Numbers and times as text: one spelling everywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
ZONE = "New York"
UNKNOWN = "–"


def number(value: float | None, digits: int = 2) -> str:
    """Thousands separated, fixed digits: ``12,345.60``; a dash where nothing is known."""
    if value is None or value != value:
        return UNKNOWN
    return f"{value:,.{digits}f}"


def quantity(value: float | None) -> str:
    """Shares: whole where they are whole."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4f}"


def signed(value: float | None, digits: int = 2) -> str:
    """With its sign; zero has none."""
    if value is None or value != value:
        return UNKNOWN
    text = f"{value:+,.{digits}f}"
    return text[1:] if float(text.replace(",", "")) == 0 else text


def percent(share: float | None, digits: int = 2) -> str:
    """A share (0.01) as ``1.00%``."""
    return UNKNOWN if share is None else f"{number(share * 100, digits)}%"


def signed_percent(share: float | None, digits: int = 2) -> str:
    """A share with its sign."""
    return UNKNOWN if share is None else f"{signed(share * 100, digits)}%"


def arrow(value: float | None, digits: int = 2) -> str:
    """Up, down or flat beside a number, so that colour is never alone."""
    if value is None or round(value, digits) == 0:
        return "·"
    return "▲" if value > 0 else "▼"


def gain_tone(value: float | None, digits: int = 2) -> str:
    """The tone of a gain or a loss."""
    if value is None or round(value, digits) == 0:
        return ""
    return "good" if value > 0 else "bad"


@lru_cache(maxsize=8192)
def _new_york(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC).astimezone(NEW_YORK)


def moment(ns: int) -> datetime:
    """Nanoseconds UTC as a New York datetime of whole seconds."""
    return _new_york(ns // 1_000_000_000)


def clock_time(ns: int | None) -> str:
    """``10:45:00`` in New York."""
    return UNKNOWN if not ns else moment(ns).strftime("%H:%M:%S")


def day_time(ns: int | None) -> str:
    """``2013-06-03 10:45:00`` in New York."""
    return UNKNOWN if not ns else moment(ns).strftime("%Y-%m-%d %H:%M:%S")


def short_day_time(ns: int | None) -> str:
    """``06-03 10:45`` in New York."""
    return UNKNOWN if not ns else moment(ns).strftime("%m-%d %H:%M")


def weekday_time(ns: int | None) -> str:
    """``Fri 09:45`` in New York: enough to tell today from yesterday."""
    return UNKNOWN if not ns else moment(ns).strftime("%a %H:%M")


def dollars(value: float | None, digits: int = 2) -> str:
    """``$1,234.50``, ``-$22.43``."""
    text = number(value, digits)
    return text if text == UNKNOWN else f"-${text[1:]}" if text.startswith("-") else f"${text}"


def weekday(ns: int | None) -> str:
    """``Mon 3 Jun 2013`` in New York."""
    return UNKNOWN if not ns else moment(ns).strftime("%a %-d %b %Y")


def span(seconds: float | None) -> str:
    """A length of time: ``0.4s``, ``12s``, ``3m 05s``, ``2h 14m``, ``5d 3h``."""
    if seconds is None:
        return UNKNOWN
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def wait(ns: int) -> str:
    """How long something took: milliseconds up to ten seconds, then as a `span`."""
    return f"{ns / 1e6:,.1f} ms" if ns < 10_000_000_000 else span(ns / 1e9)


def countdown(seconds: float | None) -> str:
    """``1:12`` or ``1:02:12``."""
    if seconds is None:
        return UNKNOWN
    whole = max(0, int(seconds))
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def coarse_age(seconds: float) -> str:
    """An age in steps, so that a still pane is not repainted every second."""
    if seconds < 5:
        return "now"
    if seconds < 60:
        return f"{int(seconds) // 5 * 5}s ago"
    if seconds < 3600:
        return f"{int(seconds) // 60}m ago"
    return f"{int(seconds) // 3600}h ago"


_UNITS = {
    "$": lambda value: number(value, 0),
    "%": lambda value: percent(value, 2),
    "bps": lambda value: f"{number(value, 1)}bp",
    "/min": lambda value: f"{number(value, 0)}/m",
    "s": lambda value: f"{number(value, 1)}s",
    "x": lambda value: f"{number(value, 2)}×",
    "level": lambda value: number(value, 0),
    "count": lambda value: number(value, 0),
}


def in_unit(value: float, unit: str) -> str:
    """A limit's number in its unit; shares of one for ``%``."""
    if value != value or value in (float("inf"), float("-inf")):
        return UNKNOWN
    return _UNITS.get(unit, lambda plain: f"{number(plain, 2)}{unit}")(value)
