"""Layer 2, at the order: protected, not too many, not twice, not while an order's fate is open."""

from __future__ import annotations

from decimal import Decimal

from trader.core.orders import OrderState
from trader.risk.case import ENTRY, Case, Rule, Ruling
from trader.risk.verdicts import allow, scaled, veto


def bracket_required(case: Case, quantity: Decimal) -> Ruling:
    """An entry carries its stop and its target to the broker."""
    intent = case.intent
    missing = (intent.take_profit is None) + (intent.stop_loss is None)
    if missing and case.params.require_bracket:
        return veto(2, "bracket_required", "BRACKET_MISSING", missing, 0, "x", "needs take_profit and stop_loss")
    return allow(2, "bracket_required", missing, 0 if case.params.require_bracket else 2, "x", quantity)


def bracket_geometry(case: Case, quantity: Decimal) -> Ruling:
    """Target on the winning side, stop on the losing side, neither inside the noise nor the stop too far."""
    intent, price, params = case.intent, case.price, case.params
    far = 0.0
    for name, level, side in (("take_profit", intent.take_profit, 1), ("stop_loss", intent.stop_loss, -1)):
        if level is None:
            continue
        distance = case.sign * side * (float(level) / price - 1.0)
        if distance < params.min_bracket_distance_pct:
            return veto(2, "bracket_geometry", "BRACKET_GEOMETRY", distance, params.min_bracket_distance_pct, "%",
                        f"{name} {level} against a {intent.side} at {price:.2f}")
        if side < 0:
            far = distance
    if far > params.max_stop_loss_pct:
        return veto(2, "bracket_geometry", "STOP_TOO_FAR", far, params.max_stop_loss_pct, "%",
                    f"stop_loss {intent.stop_loss} is {far:.1%} away from {price:.2f}")
    return allow(2, "bracket_geometry", far, params.max_stop_loss_pct, "%", quantity)


def rate_limit(case: Case, quantity: Decimal) -> Ruling:
    """Orders in the last minute; a part of the allowance is kept for exits, protection is never refused."""
    params, role = case.params, case.intent.role
    limit = params.max_orders_per_minute - (params.reserved_orders_per_minute if role == ENTRY else 0)
    used = case.orders_last_minute + 1
    if used > limit and role in (ENTRY, "exit"):
        return veto(2, "rate_limit", "RATE_LIMIT", used, limit, "/min", f"{used} orders within a minute")
    return allow(2, "rate_limit", used, limit, "/min", quantity)


def working_order(case: Case, quantity: Decimal) -> Ruling:
    """One entry a symbol at a time, never against another one, never while the symbol is being closed."""
    intent = case.intent
    for order in case.working:
        if order.role == ENTRY and order.side == intent.side:
            return veto(2, "working_order", "DUPLICATE_ORDER", 1, 0, "x", f"{order.client_order_id} already works")
        if order.role == ENTRY:
            return veto(2, "working_order", "OPPOSITE_ORDER", 1, 0, "x", f"{order.client_order_id} works against it")
        if order.role in ("exit", "flatten", "halt"):
            return veto(2, "working_order", "EXIT_WORKING", 1, 0, "x", f"{order.client_order_id} is closing it")
    return allow(2, "working_order", 0, 0, "x", quantity)


def unknown_order(case: Case, quantity: Decimal) -> Ruling:
    """A symbol with an order of unknown fate takes no entries."""
    for order in case.working:
        if order.state is OrderState.UNKNOWN:
            return veto(2, "unknown_order", "ORDER_UNKNOWN", 1, 0, "x", f"fate of {order.client_order_id} unknown")
    return allow(2, "unknown_order", 0, 0, "x", quantity)


def rejection_rate(case: Case, quantity: Decimal) -> Ruling:
    """After too many rejections the next order is not the answer."""
    breaker = case.breakers["rejection_rate"]
    if breaker.tripped:
        return veto(2, "rejection_rate", "REJECTION_RATE", breaker.value, breaker.limit, "x", "too many rejections")
    return scaled(2, "rejection_rate", "REJECTION_RATE", breaker.multiplier, case.intent.quantity, quantity,
                  used=breaker.value, limit=breaker.limit, unit="x", subject="rejections")


ENTRY_RULES: tuple[Rule, ...] = (
    bracket_required, bracket_geometry, rate_limit, unknown_order, working_order, rejection_rate,
)
EXIT_RULES: tuple[Rule, ...] = (rate_limit,)
