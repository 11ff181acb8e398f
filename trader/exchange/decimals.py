"""Between exact decimals and floats: the same few prices and quantities are asked for again and again."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache


@lru_cache(maxsize=1 << 16)
def exact(number: float) -> Decimal:
    """The decimal that a float prints as."""
    return Decimal(repr(number))


@lru_cache(maxsize=1 << 16)
def rough(number: Decimal) -> float:
    """The float next to a decimal."""
    return float(number)


def rounded(number: float, unit: int, quantum: Decimal) -> Decimal:
    """What a float prints as, rounded to 1 / ``unit`` (which is ``quantum``), half to even."""
    scaled = number * unit
    if 0.49999 < scaled % 1.0 < 0.50001 or scaled > 1e10:       # a half, or near one; too few digits to see one
        return Decimal(repr(number)).quantize(quantum)
    return Decimal(round(scaled)) * quantum
