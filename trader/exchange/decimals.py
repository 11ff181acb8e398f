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
