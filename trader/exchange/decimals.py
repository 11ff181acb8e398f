"""From floats to exact decimals. (The other way `float` is fastest: to hash a decimal takes longer.)"""

from __future__ import annotations

from decimal import Decimal

_UNITS = tuple(10 ** places for places in range(7))
_QUANTA = tuple(Decimal(1).scaleb(-places) for places in range(7))


def exact(number: float) -> Decimal:
    """The decimal that a float prints as."""
    return Decimal(repr(number))


def rounded(number: float, places: int) -> Decimal:
    """What a float prints as, rounded to so many places (6 at most), half to even."""
    scaled = number * _UNITS[places]
    if 0.49999 < scaled % 1.0 < 0.50001 or scaled > 1e10:       # a half, or near one; too few digits to see one
        return Decimal(repr(number)).quantize(_QUANTA[places])
    return Decimal(round(scaled)) * _QUANTA[places]
