"""Words for a place on a time line: a share, a time, a date, or both."""

from __future__ import annotations

import re
from datetime import datetime, time

from console.widgets.figures import NEW_YORK, moment
from trader.utils.errors import UserError

_EXPECTED = "expected a share (34%), a time (10:45), a date (2013-06-03) or both (2013-06-03 10:45), New York time"


def parse_moment(text: str, near_ns: int) -> tuple[float | None, int | None]:
    """A share of the time line or nanoseconds UTC; a bare time is of the day of ``near_ns``.

    Raises
    ------
    UserError
        Where the words cannot be read.
    """
    words = " ".join(text.split())
    share = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", words)
    if share:
        value = float(share[1]) / 100
        if value > 1:
            raise UserError(f"{text!r} is past the end: shares go from 0% to 100%")
        return value, None
    day, _, rest = words.replace("T", " ").partition(" ")
    if ":" in day and not rest:
        day, rest = moment(near_ns).date().isoformat(), day
    try:
        date = datetime.strptime(day, "%Y-%m-%d").date()
        at = time.fromisoformat(rest if len(rest) != 4 else f"0{rest}") if rest else time(9, 30)
    except ValueError:
        raise UserError(f"{text!r} is no moment: {_EXPECTED}") from None
    return None, int(datetime.combine(date, at, NEW_YORK).timestamp()) * 1_000_000_000
