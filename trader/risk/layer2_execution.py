"""Layer 2, at the order: protected, not too many, not twice, not while an order's fate is open."""

from __future__ import annotations

from decimal import Decimal

from trader.core.orders import OrderState
from trader.risk.case import ENTRY, Case, Rule
from trader.risk.verdicts import Ruling, scaled, veto


def bracket_required(case: Case, quantity: Decimal) -> Ruling:
    """An entry carries its stop and its target to the broker."""
    intent = case.intent
    missing = (intent.take_profit is None) + (intent.stop_loss is None)
    if missing and case.params.require_bracket:
        return veto("BRACKET_MISSING", missing, 0, "needs take_profit and stop_loss")
    return missing, 0 if case.params.require_bracket else 2


def bracket_geometry(case: Case, quantity: Decimal) -> Ruling:
    """Target on the winning side, stop on the losing side, neither inside the noise nor the stop too far."""
    intent, price, params = case.intent, case.price, case.params
    far = 0.0
    for name, level, side in (("take_profit", intent.take_profit, 1), ("stop_loss", intent.stop_loss, -1)):
        if level is None:
            continue
        distance = case.sign * side * (float(level) / price - 1.0)
        if distance < params.min_bracket_distance_pct:
            return veto("BRACKET_GEOMETRY", distance, params.min_bracket_distance_pct,
                        f"{name} {level} against a {intent.side} at {price:.2f}")
        if side < 0:
            far = distance
    if far > params.max_stop_loss_pct:
        return veto("STOP_TOO_FAR", far, params.max_stop_loss_pct,
                    f"stop_loss {intent.stop_loss} is {far:.1%} away from {price:.2f}")
    return far, params.max_stop_loss_pct


def rate_limit(case: Case, quantity: Decimal) -> Ruling:
    """Orders in the last minute; a part of the allowance is kept for exits, protection is never refused."""
    params, role = case.params, case.intent.role
    limit = params.max_orders_per_minute - (params.reserved_orders_per_minute if role == ENTRY else 0)
    used = case.orders_last_minute + 1
    if used > limit and role in (ENTRY, "exit"):
        return veto("RATE_LIMIT", used, limit, f"{used} orders within a minute")
    return used, limit


def working_order(case: Case, quantity: Decimal) -> Ruling:
    """One entry a symbol at a time, never against another one, never while the symbol is being closed."""
    intent = case.intent
    for order in case.working:
        if order.role == ENTRY and order.side == intent.side:
            return veto("DUPLICATE_ORDER", 1, 0, f"{order.client_order_id} already works")
        if order.role == ENTRY:
            return veto("OPPOSITE_ORDER", 1, 0, f"{order.client_order_id} works against it")
        if order.role in ("exit", "flatten", "halt"):
            return veto("EXIT_WORKING", 1, 0, f"{order.client_order_id} is closing it")
    return 0, 0


def unknown_order(case: Case, quantity: Decimal) -> Ruling:
    """A symbol with an order of unknown fate takes no entries."""
    for order in case.working:
        if order.state is OrderState.UNKNOWN:
            return veto("ORDER_UNKNOWN", 1, 0, f"fate of {order.client_order_id} unknown")
    return 0, 0


def rejection_rate(case: Case, quantity: Decimal) -> Ruling:
    """After too many rejections the next order is not the answer."""
    breaker = case.breakers["rejection_rate"]
    if breaker.tripped:
        return veto("REJECTION_RATE", breaker.value, breaker.limit, "too many rejections")
    return scaled("REJECTION_RATE", breaker.multiplier, case.intent.quantity, quantity, breaker.value, breaker.limit,
                  "rejections")


_RATE = Rule(2, "rate_limit", "/min", rate_limit)
ENTRY_RULES = (
    Rule(2, "bracket_required", "x", bracket_required),
    Rule(2, "bracket_geometry", "%", bracket_geometry),
    _RATE,
    Rule(2, "unknown_order", "x", unknown_order),
    Rule(2, "working_order", "x", working_order),
    Rule(2, "rejection_rate", "x", rejection_rate),
)
EXIT_RULES = (_RATE,)
