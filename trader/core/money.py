"""Exact decimals for everything that reaches a broker."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

CENT = Decimal("0.01")
SUB_DOLLAR_TICK = Decimal("0.0001")
SHARE = Decimal(1)
MICRO_SHARE = Decimal("0.000000001")
ZERO = Decimal(0)


def decimal(value: Decimal | int | float | str) -> Decimal:
    """An exact decimal of what the value prints as (0.1 becomes 0.1, not its binary neighbour)."""
    if isinstance(value, Decimal):
        return value
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def tick_size(price: Decimal) -> Decimal:
    """Alpaca's price increment: a cent from one dollar up, a hundredth of a cent below."""
    return CENT if price >= 1 else SUB_DOLLAR_TICK


def to_tick(price: Decimal | float | str, *, toward: str = "nearest") -> Decimal:
    """The price on its tick; ``toward`` is ``nearest``, ``up`` or ``down``."""
    exact = decimal(price)
    rounding = {"nearest": ROUND_HALF_EVEN, "up": ROUND_CEILING, "down": ROUND_FLOOR}[toward]
    return exact.quantize(tick_size(exact), rounding=rounding)


def whole_shares(quantity: Decimal | float | int) -> Decimal:
    """The quantity cut (toward zero) to whole shares."""
    return decimal(quantity).quantize(SHARE, rounding=ROUND_DOWN)
