"""How rules word their checks: allow, shrink to what fits, veto."""

from __future__ import annotations

from decimal import Decimal

from trader.core.events import RuleCheck
from trader.core.money import ZERO
from trader.risk.case import Ruling

OK = "OK"


def allow(layer: int, rule: str, used: float, limit: float, unit: str, quantity: Decimal, code: str = OK) -> Ruling:
    """The rule has nothing against the quantity."""
    return RuleCheck(layer, rule, "allow", code, used, limit, unit), quantity


def veto(layer: int, rule: str, code: str, used: float, limit: float, unit: str, message: str) -> Ruling:
    """The rule refuses."""
    return RuleCheck(layer, rule, "veto", code, used, limit, unit, message), ZERO


def cap(
    layer: int, rule: str, code: str, *, base: float, per_share: float, limit: float, quantity: Decimal,
    scale: float, unit: str, subject: str,
) -> Ruling:
    """Hold ``base + quantity × per_share`` within ``limit``; ``used`` and ``limit`` are reported over ``scale``."""
    after = base + float(quantity) * per_share
    if after <= limit * (1.0 + 1e-12):
        return allow(layer, rule, after / scale, limit / scale, unit, quantity)
    fits = int((limit - base) / per_share + 1e-9) if limit > base else 0
    return shrink(
        layer, rule, code, fits, quantity, used=after / scale, limit=limit / scale, unit=unit, subject=subject,
    )


def shrink(
    layer: int, rule: str, code: str, fits: int, quantity: Decimal, *, used: float, limit: float, unit: str,
    subject: str,
) -> Ruling:
    """Cut to ``fits`` whole shares; a veto where not even one fits."""
    if fits >= quantity:
        return allow(layer, rule, used, limit, unit, quantity)
    numbers = f"{subject} {_show(used, unit)} of {_show(limit, unit)}"
    if fits < 1:
        return veto(layer, rule, code, used, limit, unit, numbers)
    message = f"{numbers}: {quantity} → {fits} shares"
    return RuleCheck(layer, rule, "shrink", code, used, limit, unit, message), Decimal(fits)


def scaled(
    layer: int, rule: str, code: str, multiplier: float, asked: Decimal, quantity: Decimal, *, used: float,
    limit: float, unit: str, subject: str,
) -> Ruling:
    """Hold the quantity within ``multiplier`` × what was asked: multipliers of several rules meet in their minimum."""
    if multiplier >= 1.0:
        return allow(layer, rule, used, limit, unit, quantity)
    fits = int(float(asked) * multiplier + 1e-9)
    return shrink(
        layer, rule, code, fits, quantity, used=used, limit=limit, unit=unit,
        subject=f"size × {multiplier:g}: {subject}",
    )


def _show(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value:.2%}"
    if unit == "$":
        return f"${value:,.0f}"
    return f"{value:,.1f} {unit}".rstrip()
