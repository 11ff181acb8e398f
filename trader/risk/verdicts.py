"""How rules word their rulings: two numbers where all is well; a shrink to what fits or a veto with words."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from trader.core.events import RuleCheck, RuleName
from trader.core.money import ZERO

OK = "OK"


class Word(msgspec.Struct, frozen=True, gc=False):
    """A ruling that numbers alone do not tell. ``quantity`` is what it leaves."""

    used: float
    limit: float
    action: str                                 # allow | shrink | veto
    code: str
    quantity: Decimal
    message: str = ""
    subject: str = ""                           # what is used up: "<subject> <used> of <limit>" becomes the message


Ruling = tuple[float, float] | Word             # (used, limit): the rule has nothing against the quantity


def veto(code: str, used: float, limit: float, message: str) -> Word:
    """The rule refuses."""
    return Word(used, limit, "veto", code, ZERO, message)


def cap(
    code: str, base: float, per_share: float, limit: float, quantity: Decimal, scale: float, subject: str,
) -> Ruling:
    """Hold ``base + quantity × per_share`` within ``limit``; ``used`` and ``limit`` are reported over ``scale``."""
    after = base + float(quantity) * per_share
    if after <= limit * (1.0 + 1e-12):
        return after / scale, limit / scale
    fits = int((limit - base) / per_share + 1e-9) if limit > base else 0
    return shrink(code, fits, quantity, after / scale, limit / scale, subject)


def shrink(code: str, fits: int, quantity: Decimal, used: float, limit: float, subject: str) -> Ruling:
    """Cut to ``fits`` whole shares; a veto where not even one fits."""
    if fits >= quantity:
        return used, limit
    if fits < 1:
        return Word(used, limit, "veto", code, ZERO, subject=subject)
    return Word(used, limit, "shrink", code, Decimal(fits), f"{quantity} → {fits} shares", subject)


def scaled(
    code: str, multiplier: float, asked: Decimal, quantity: Decimal, used: float, limit: float, subject: str,
) -> Ruling:
    """Hold the quantity within ``multiplier`` × what was asked: multipliers of several rules meet in their minimum."""
    if multiplier >= 1.0:
        return used, limit
    fits = int(float(asked) * multiplier + 1e-9)
    return shrink(code, fits, quantity, used, limit, f"size × {multiplier:g}: {subject}")


def check_of(rule: RuleName, word: Word) -> RuleCheck:
    """A word as the journal keeps it."""
    message = word.message
    if word.subject:
        numbers = f"{word.subject} {_show(word.used, rule.unit)} of {_show(word.limit, rule.unit)}"
        message = f"{numbers}: {message}" if message else numbers
    return RuleCheck(rule.layer, rule.rule, word.action, word.code, word.used, word.limit, rule.unit, message)


def _show(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value:.2%}"
    if unit == "$":
        return f"${value:,.0f}"
    return f"{value:,.1f} {unit}".rstrip()
