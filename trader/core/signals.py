"""What a strategy says: a direction and how sure it is; never a number of shares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signal:
    """A wish for one symbol at one slice.

    ``direction`` is +1 (be long), -1 (be short) or 0 (be flat); ``strength`` lies in 0…1. Percentages are
    fractions of ``price``. A signal in the direction already held asks for nothing.
    """

    symbol: str
    direction: int
    strength: float
    price: float
    probability: float | None = None
    take_profit_pct: float | None = None
    stop_loss_pct: float | None = None
    expected_alpha_bps: float | None = None
    shares: int | None = None                   # fixed size, where the strategy's rules name one
    reason: str = ""
