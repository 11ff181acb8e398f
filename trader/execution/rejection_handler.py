"""What a rejection means and what to do about it: retry, resize, abandon or halt, each with a limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from trader.core.money import ZERO, whole_shares


class Action(StrEnum):
    """What a rejection calls for."""

    READ_BACK = "read_back"     # the order exists already: look it up
    RETRY = "retry"             # the same order, the same client id, after a wait
    RESIZE = "resize"           # a new, smaller intent
    ABANDON = "abandon"         # drop the intent
    HALT = "halt"               # no order will do better: stop and call a person


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of rejection. ``words`` must all stand in the message (lower case); empty words fit any message."""

    kind: str
    status: int
    code: int | None
    words: tuple[str, ...]
    action: Action
    limit: int = 0              # how often the action may be repeated for one order (retry) or symbol (resize)
    wait_s: float = 0.0


# Alpaca's documented rejections, the narrow ones first; statuses and codes are the contract, words only tell apart
# what shares a code.
RULES: tuple[Rule, ...] = (
    Rule("unauthorized", 401, None, (), Action.HALT),
    Rule("duplicate_client_order_id", 422, 40010001, ("client_order_id", "unique"), Action.READ_BACK),
    Rule("bracket_terms", 422, 40010001, (), Action.ABANDON),
    Rule("rate_limit", 429, None, (), Action.RETRY, limit=3, wait_s=1.0),
    Rule("wash_trade", 403, 40310000, ("wash",), Action.ABANDON),
    Rule("wash_trade", 403, 40310000, ("opposite side",), Action.ABANDON),
    Rule("insufficient_quantity", 403, 40310000, ("insufficient qty",), Action.RESIZE, limit=2),
    Rule("buying_power", 403, 40310000, ("buying power",), Action.RESIZE, limit=2),
    Rule("buying_power", 403, 40310000, ("insufficient balance",), Action.RESIZE, limit=2),
    Rule("shorting", 403, 40310000, ("short",), Action.ABANDON),
    Rule("unchanged", 403, 40310000, ("not changed",), Action.ABANDON),
    Rule("account_blocked", 403, 40310000, ("account", "blocked"), Action.HALT),
    Rule("account_blocked", 403, 40310000, ("not authorized",), Action.HALT),
    Rule("account_blocked", 403, 40310000, ("restricted",), Action.HALT),
    Rule("forbidden", 403, None, (), Action.ABANDON),
    Rule("not_found", 404, None, (), Action.ABANDON),
    Rule("sub_penny", 422, 42210000, ("increment",), Action.ABANDON),
    Rule("sub_penny", 422, 42210000, ("sub-penny",), Action.ABANDON),
    Rule("not_an_entry", 422, 42210000, ("entry orders",), Action.ABANDON),
    Rule("fractional", 422, 42210000, ("fractional",), Action.ABANDON),
    Rule("base_price", 422, 42210000, ("base_price",), Action.ABANDON),
    Rule("base_price", 422, 42210000, ("current price",), Action.ABANDON),
    Rule("not_cancelable", 422, 42210000, ("cancel",), Action.ABANDON),
    Rule("not_replaceable", 422, 42210000, ("replace",), Action.ABANDON),
    Rule("unprocessable", 422, None, (), Action.ABANDON),
    Rule("malformed", 400, None, (), Action.ABANDON),
)
_OTHER = Rule("other", 0, None, (), Action.ABANDON)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one rejection. ``quantity``: what would fit, where the broker said (whole shares)."""

    kind: str
    action: Action
    wait_s: float = 0.0
    quantity: Decimal | None = None
    reason: str = ""


def classify(status: int, code: int, message: str) -> Rule:
    """The first rule that fits."""
    text = message.lower()
    for rule in RULES:
        if rule.status == status and rule.code in (None, code) and all(word in text for word in rule.words):
            return rule
    return _OTHER


class RejectionHandler:
    """Applies the table with its limits.

    Retries are counted per order, resizes per symbol until one of the symbol's orders is accepted, so that a
    stubborn refusal ends as an abandoned intent and not as a loop. ``max_abandoned_in_a_row`` orders abandoned in a
    row without an acceptance between them halt as well: something is wrong that no single order explains.
    """

    def __init__(self, *, max_abandoned_in_a_row: int = 20) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._abandoned = 0
        self._max_abandoned = max_abandoned_in_a_row

    def decide(
        self, *, client_order_id: str, symbol: str, quantity: Decimal, status: int, code: int, message: str,
        retry_after_s: float | None = None, details: Mapping[str, Any] | None = None,
    ) -> Decision:
        """What to do about this rejection of this order."""
        rule = classify(status, code, message)
        key = (client_order_id if rule.action is Action.RETRY else symbol, rule.kind)
        if rule.limit:
            self._counts[key] += 1
            if self._counts[key] > rule.limit:
                return self._abandon(rule, f"{rule.kind} for the {self._counts[key]}th time")
        if rule.action is Action.RETRY:
            backed_off = rule.wait_s * 2 ** (self._counts[key] - 1)
            return Decision(rule.kind, rule.action, max(backed_off, retry_after_s or 0.0), reason=message)
        if rule.action is Action.RESIZE:
            fits = _what_fits(details or {}, quantity)
            if fits is None or fits <= 0:
                return self._abandon(rule, message)
            return Decision(rule.kind, rule.action, quantity=fits, reason=message)
        if rule.action is Action.ABANDON:
            return self._abandon(rule, message)
        return Decision(rule.kind, rule.action, reason=message)

    def accepted(self, symbol: str) -> None:
        """An order of the symbol was accepted: its resizes count anew."""
        self._abandoned = 0
        for key in [key for key in self._counts if key[0] == symbol]:
            del self._counts[key]

    def _abandon(self, rule: Rule, reason: str) -> Decision:
        self._abandoned += 1
        if self._abandoned >= self._max_abandoned:
            return Decision(rule.kind, Action.HALT, reason=f"{self._abandoned} orders refused in a row; last: {reason}")
        return Decision(rule.kind, Action.ABANDON, reason=reason)


def _what_fits(details: Mapping[str, Any], quantity: Decimal) -> Decimal | None:
    """Shares that the broker would take: ``available`` shares, or the part that the buying power pays for."""
    try:
        if "available" in details:
            return min(quantity, max(ZERO, whole_shares(Decimal(str(details["available"])))))
        have, cost = Decimal(str(details["buying_power"])), Decimal(str(details["cost_basis"]))
        return whole_shares(quantity * have / cost) if have < cost else None
    except (KeyError, InvalidOperation, ZeroDivisionError):
        return None
