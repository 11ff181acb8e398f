"""Layer 1, before the trade: is the order sound, and does the account have room for it?"""

from __future__ import annotations

import math
from decimal import Decimal

from trader.core.events import OrderIntent
from trader.core.money import tick_size, whole_shares
from trader.risk.case import Case, Rule, Ruling, covering
from trader.risk.verdicts import allow, cap, shrink, veto

CLOSING = frozenset({"exit", "flatten", "halt", "external"})
PROTECTING = frozenset({"protect", "stop_loss"})
PRICES = ("limit_price", "stop_price", "take_profit", "stop_loss")


def _off_tick(intent: OrderIntent) -> str:
    for name in PRICES:
        price = getattr(intent, name)
        if price is not None and (not price.is_finite() or price <= 0 or price % tick_size(price)):
            return f"{name} {price} is not a positive price on its tick"
    return ""


def sanity(case: Case, quantity: Decimal) -> Ruling:
    """A known symbol and side, a positive quantity, prices on the tick, a price to value it at."""
    intent = case.intent
    fault = ""
    if intent.symbol not in case.facts.column:
        fault = f"{intent.symbol} is not traded in this session"
    elif intent.side not in ("buy", "sell"):
        fault = f"side {intent.side!r} is neither buy nor sell"
    elif not quantity.is_finite() or quantity <= 0:
        fault = f"quantity {quantity} is not positive"
    else:
        fault = _off_tick(intent)
    if fault:
        return veto(1, "sanity", "ORDER_INVALID", 1, 0, "x", fault)
    if intent.role != "entry":
        return allow(1, "sanity", 0, 0, "x", quantity)
    if not (math.isfinite(case.price) and case.price > 0):
        return veto(1, "sanity", "NO_PRICE", 1, 0, "x", f"no price of {intent.symbol} is known")
    if not case.equity > 0:
        return veto(1, "sanity", "NO_EQUITY", 1, 0, "x", f"equity is ${case.equity:,.2f}")
    whole = whole_shares(quantity)
    if whole == quantity:
        return allow(1, "sanity", 0, 0, "x", quantity)
    return shrink(1, "sanity", "WHOLE_SHARES", int(whole), quantity, used=float(quantity), limit=float(whole), unit="x",
                  subject="shares")


def reduce_only(case: Case, quantity: Decimal) -> Ruling:
    """What closes or protects may not exceed what is held and not yet on its way out."""
    if case.intent.role == "halt":                  # the broker's word on positions, not ours, rules a halt
        on_way = covering(case, frozenset({"halt"}))
        if on_way >= quantity:
            return veto(1, "reduce_only", "EXIT_WORKING", float(on_way), float(quantity), "x", "a halt order works")
        return allow(1, "reduce_only", float(quantity), float(quantity), "x", quantity)
    held = abs(case.held)
    if held == 0 or (case.held > 0) == (case.sign > 0):
        return veto(1, "reduce_only", "NOTHING_TO_REDUCE", float(quantity), 0, "x",
                    f"{case.intent.side} {quantity} does not reduce a position of {case.held}")
    on_way = covering(case, PROTECTING if case.intent.role == "protect" else CLOSING)
    free = held - on_way
    if free <= 0:
        return veto(1, "reduce_only", "EXIT_WORKING", float(on_way), float(held), "x", "working orders cover it")
    if quantity <= free:
        return allow(1, "reduce_only", float(quantity), float(free), "x", quantity)
    ruling, _ = veto(1, "reduce_only", "REDUCE_ONLY", float(quantity), float(free), "x", f"{quantity} → {free} shares")
    from msgspec.structs import replace

    return replace(ruling, action="shrink"), free


def reversal(case: Case, quantity: Decimal) -> Ruling:
    """An entry never trades through a position to its other side."""
    if case.held and (case.held > 0) != (case.sign > 0):
        return veto(1, "reversal", "OPPOSITE_POSITION", float(case.held), 0, "x",
                    f"holds {case.held}; close it before a {case.intent.side}")
    return allow(1, "reversal", 0, 0, "x", quantity)


def order_value(case: Case, quantity: Decimal) -> Ruling:
    """Dollars of one order."""
    return cap(1, "order_value", "ORDER_VALUE", base=0.0, per_share=case.price, limit=case.params.max_order_value,
               quantity=quantity, scale=1.0, unit="$", subject="order")


def position_limit(case: Case, quantity: Decimal) -> Ruling:
    """The position after this order, as a share of equity."""
    return cap(1, "position_limit", "POSITION_LIMIT", base=abs(case.held_value), per_share=case.price,
               limit=case.params.max_position_pct * case.equity, quantity=quantity, scale=case.equity, unit="%",
               subject=case.intent.symbol)


def symbol_exposure(case: Case, quantity: Decimal) -> Ruling:
    """The position with everything that is on order for it."""
    base = abs(case.held_value) + abs(case.pending.get(case.intent.symbol, 0.0))
    return cap(1, "symbol_exposure", "SYMBOL_EXPOSURE", base=base, per_share=case.price,
               limit=case.params.max_symbol_exposure * case.equity, quantity=quantity, scale=case.equity, unit="%",
               subject=case.intent.symbol)


def sector_exposure(case: Case, quantity: Decimal) -> Ruling:
    """All of the symbol's sector, orders on the way included; a symbol without one is its own sector."""
    sectors, symbol = case.params.sectors, case.intent.symbol
    sector = sectors.get(symbol, symbol)
    book = case.book
    base = 0.0
    for other, position in book.positions.items():
        if sectors.get(other, other) == sector:
            base += abs(float(position.quantity) * book.marks.get(other, float(position.average_price)))
    base += sum(abs(value) for other, value in case.pending.items() if sectors.get(other, other) == sector)
    return cap(1, "sector_exposure", "SECTOR_EXPOSURE", base=base, per_share=case.price,
               limit=case.params.max_sector_exposure * case.equity, quantity=quantity, scale=case.equity, unit="%",
               subject=f"sector {sector}")


def _pending_gross(case: Case) -> float:
    return sum(map(abs, case.pending.values()))


def gross_exposure(case: Case, quantity: Decimal) -> Ruling:
    """Long plus short, held and on order."""
    return cap(1, "gross_exposure", "GROSS_EXPOSURE", base=case.book.gross + _pending_gross(case), per_share=case.price,
               limit=case.params.max_gross_exposure * case.equity, quantity=quantity, scale=case.equity, unit="%",
               subject="gross exposure")


def net_exposure(case: Case, quantity: Decimal) -> Ruling:
    """Long minus short in this order's direction."""
    base = case.sign * (case.book.net + sum(case.pending.values()))
    return cap(1, "net_exposure", "NET_EXPOSURE", base=base, per_share=case.price,
               limit=case.params.max_net_exposure * case.equity, quantity=quantity, scale=case.equity, unit="%",
               subject="net exposure")


def leverage(case: Case, quantity: Decimal) -> Ruling:
    """Gross over equity after this order, against the hard ceiling."""
    return cap(1, "leverage", "LEVERAGE", base=case.book.gross + _pending_gross(case), per_share=case.price,
               limit=case.params.max_leverage * case.equity, quantity=quantity, scale=case.equity, unit="x",
               subject="leverage")


def buying_power(case: Case, quantity: Decimal) -> Ruling:
    """The broker refuses what the account cannot pay for; ask for no more."""
    room = max(0.0, case.book.mode_margin * case.equity - case.book.gross - _pending_gross(case))
    return cap(1, "buying_power", "BUYING_POWER", base=0.0, per_share=case.price, limit=room, quantity=quantity,
               scale=1.0, unit="$", subject="order")


def participation(case: Case, quantity: Decimal) -> Ruling:
    """Share of the average daily volume."""
    adv, _ = case.facts.adv(case.intent.symbol, case.history)
    if adv <= 0.0:
        return veto(1, "participation", "NO_VOLUME", 1, 0, "%", f"no volume of {case.intent.symbol} is known")
    return cap(1, "participation", "PARTICIPATION", base=0.0, per_share=1.0, limit=case.params.max_participation * adv,
               quantity=quantity, scale=adv, unit="%", subject="of daily volume")


def impact(case: Case, quantity: Decimal) -> Ruling:
    """Expected cost against the expected alpha, or against a fixed ceiling where none is stated."""
    params, symbol = case.params, case.intent.symbol
    adv, _ = case.facts.adv(symbol, case.history)
    volatility = case.facts.volatility(symbol, case.history)
    alpha = case.intent.expected_alpha_bps
    limit = params.max_impact_bps
    if alpha is not None:
        limit = min(limit, max(0.0, alpha) * params.max_impact_to_alpha_ratio)
    cost = case.impact.total_bps(float(quantity), adv, volatility, params.assumed_spread_bps)
    if cost <= limit:
        return allow(1, "impact", cost, limit, "bps", quantity)
    fits = case.impact.quantity_within(limit, adv, volatility, params.assumed_spread_bps)
    of = "" if alpha is None else f" for an alpha of {alpha:.1f} bps"
    return shrink(1, "impact", "IMPACT", int(min(fits, float(quantity))), quantity, used=cost, limit=limit, unit="bps",
                  subject=f"cost{of}")


ENTRY_RULES: tuple[Rule, ...] = (
    sanity, reversal, order_value, position_limit, symbol_exposure, sector_exposure, gross_exposure, net_exposure,
    leverage, buying_power, participation, impact,
)
EXIT_RULES: tuple[Rule, ...] = (sanity, reduce_only)
