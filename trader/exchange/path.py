"""The price path inside a bar: open, the nearer extreme, the other extreme, close; straight lines between.

A position on the path is a float from 0 (open) to 3 (close).
"""

from __future__ import annotations

Path = tuple[float, float, float, float]
Touch = tuple[float, float, bool]       # where on the path, at what price, and whether at once
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


def fall_to(path: Path, level: float, start: float) -> Touch | None:
    """The first time from ``start`` on that the price is at most ``level``: there, or at once where it stands."""
    stands = price_at(path, start) if start else path[0]
    if stands <= level:
        return start, stands, True
    for corner in range(int(start), 3):
        there = path[corner + 1]
        if there <= level:
            here = path[corner]
            position = corner + (here - level) / (here - there)
            return (position, level, False) if position > start else (start, stands, True)
    return None


def rise_to(path: Path, level: float, start: float) -> Touch | None:
    """The first time from ``start`` on that the price is at least ``level``, as `fall_to`."""
    stands = price_at(path, start) if start else path[0]
    if stands >= level:
        return start, stands, True
    for corner in range(int(start), 3):
        there = path[corner + 1]
        if there >= level:
            here = path[corner]
            position = corner + (level - here) / (there - here)
            return (position, level, False) if position > start else (start, stands, True)
    return None
