"""Which bars a training may learn from: settings and flags made into one panel."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from trader.utils.errors import UserError

if TYPE_CHECKING:
    from trader.core.panel import BarPanel
    from trader.pipeline.training_settings import TrainingSettings

_MONTH_DAYS = 30.44


def training_panel(
    home: Path, settings: TrainingSettings, *, symbols: Sequence[str] | None = None, timeframe: str | None = None,
    start: str | None = None, end: str | None = None,
) -> BarPanel:
    """The bars that arguments and ``config/training.yaml`` ask for, up to but not including the end.

    Parameters
    ----------
    symbols, timeframe, start, end : instead of those of ``settings.data``; without any start, so many months
        before the end (daily bars: all there are)

    Raises
    ------
    UserError
        Unknown symbol, malformed date, no bars in the range.
    """
    from trader.data.catalog import load_panel

    wanted = settings.data
    chosen = tuple(symbols) if symbols is not None else wanted.symbols or None
    frame, until = timeframe or wanted.timeframe, end or wanted.end
    begin = start or wanted.start or months_before(home, chosen, frame, until, wanted.months)
    return load_panel(home, chosen, frame, begin, exclusive(until))


def exclusive(end: str | None) -> str | None:
    """An end that does not include its day: a bare date as the catalogue's end would."""
    return f"{end}T00:00" if end is not None and len(end) == 10 else end


def months_before(
    home: Path, symbols: Sequence[str] | None, timeframe: str, end: str | None, months: float
) -> str | None:
    """The day on which so many months of history before the end (or the last bar) begin; None for all there is."""
    from trader.core.clock import DAY_NS, from_ns
    from trader.data.catalog import available, parse_range
    from trader.data.timeframe import parse_timeframe

    frame, until = parse_timeframe(timeframe), parse_range(None, exclusive(end))[1]
    if frame.daily:
        return None                         # a daily history is short: all of it
    if until is None:
        have = [d for d in available(home) if d.timeframe == frame.name and (symbols is None or d.symbol in symbols)]
        stored = [d for d in have if d.place == "store"]
        until = max((d.last_ns for d in stored or have), default=None)
        if until is None:
            return None                     # nothing there: loading says so in its own words
    return from_ns(until - round(months * _MONTH_DAYS) * DAY_NS).date().isoformat()


def parse_symbols(text: str | None, flag: str = "--symbols") -> tuple[str, ...] | None:
    """``AAPL,msft`` as capital names in order; None where the flag was not given."""
    if text is None:
        return None
    symbols = tuple(dict.fromkeys(word.strip().upper() for word in text.split(",") if word.strip()))
    if not symbols:
        raise UserError(f"{flag} names no symbol; write AAPL,MSFT")
    return symbols


def require_day(text: str | None, flag: str) -> str | None:
    """A bare ISO date, or None as given."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise UserError(f"{flag} {text!r} is not a date; write it as 2012-06-01") from None
