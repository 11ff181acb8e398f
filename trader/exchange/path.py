"""The price path inside a bar: open, the nearer extreme, the other extreme, close; straight lines between.

A position on the path is a float from 0 (open) to 3 (close).
"""

from __future__ import annotations

Path = tuple[float, float, float, float]
END = 3.0


def bar_path(open_: float, high: float, low: float, close: float) -> Path:
    """The four corners. With both extremes equally near, the one away from the close comes first."""
    up, down = high - open_, open_ - low
    high_first = up < down if up != down else close < open_
    return (open_, high, low, close) if high_first else (open_, low, high, close)


def price_at(path: Path, position: float) -> float:
    """The price at a position."""
    corner = int(position)
    if corner >= 3:
        return path[3]
    here = path[corner]
    return here + (path[corner + 1] - here) * (position - corner)
