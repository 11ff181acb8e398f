"""Layer 1, before the trade: is the order sound, and does the account have room for it?"""

from __future__ import annotations

import math
from decimal import Decimal

from trader.core.events import OrderIntent
from trader.core.money import tick_size, whole_shares
from trader.risk.case import Case, Rule, covering
from trader.risk.verdicts import Ruling, Word, cap, shrink, veto

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
        return veto("ORDER_INVALID", 1, 0, fault)
    if intent.role != "entry":
        return 0, 0
    if not (math.isfinite(case.price) and case.price > 0):
        return veto("NO_PRICE", 1, 0, f"no price of {intent.symbol} is known")
    if not case.equity > 0:
        return veto("NO_EQUITY", 1, 0, f"equity is ${case.equity:,.2f}")
    if int(quantity) == quantity:
        return 0, 0
    whole = whole_shares(quantity)
    return shrink("WHOLE_SHARES", int(whole), quantity, float(quantity), float(whole), "shares")


def reduce_only(case: Case, quantity: Decimal) -> Ruling:
    """What closes or protects may not exceed what is held and not yet on its way out."""
    if case.intent.role == "halt":                  # the broker's word on positions, not ours, rules a halt
        on_way = covering(case, frozenset({"halt"}))
        if on_way >= quantity:
            return veto("EXIT_WORKING", float(on_way), float(quantity), "a halt order works")
        return float(quantity), float(quantity)
    held = abs(case.held)
    if held == 0 or (case.held > 0) == (case.sign > 0):
        return veto("NOTHING_TO_REDUCE", float(quantity), 0,
                    f"{case.intent.side} {quantity} does not reduce a position of {case.held}")
    on_way = covering(case, PROTECTING if case.intent.role == "protect" else CLOSING)
    free = held - on_way
    if free <= 0:
        return veto("EXIT_WORKING", float(on_way), float(held), "working orders cover it")
    if quantity <= free:
        return float(quantity), float(free)
    return Word(float(quantity), float(free), "shrink", "REDUCE_ONLY", free, f"{quantity} → {free} shares")


def reversal(case: Case, quantity: Decimal) -> Ruling:
    """An entry never trades through a position to its other side."""
    if case.held and (case.held > 0) != (case.sign > 0):
        return veto("OPPOSITE_POSITION", float(case.held), 0,
                    f"holds {case.held}; close it before a {case.intent.side}")
    return 0, 0


def order_value(case: Case, quantity: Decimal) -> Ruling:
    """Dollars of one order."""
    return cap("ORDER_VALUE", 0.0, case.price, case.params.max_order_value, quantity, 1.0, "order")


def position_limit(case: Case, quantity: Decimal) -> Ruling:
    """The position after this order, as a share of equity."""
    equity = case.equity
    return cap("POSITION_LIMIT", abs(case.held_value), case.price, case.params.max_position_pct * equity, quantity,
               equity, case.intent.symbol)


def symbol_exposure(case: Case, quantity: Decimal) -> Ruling:
    """The position with everything that is on order for it."""
    symbol, equity = case.intent.symbol, case.equity
    base = abs(case.held_value) + abs(case.pending.get(symbol, 0.0))
    return cap("SYMBOL_EXPOSURE", base, case.price, case.params.max_symbol_exposure * equity, quantity, equity, symbol)


def sector_exposure(case: Case, quantity: Decimal) -> Ruling:
    """All of the symbol's sector, orders on the way included; a symbol without one is its own sector."""
    sectors, symbol, equity = case.params.sectors, case.intent.symbol, case.equity
    sector = sectors.get(symbol, symbol)
    base = 0.0
    for other, value in case.values.items():
        if sectors.get(other, other) == sector:
            base += abs(value)
    if case.pending:
        base += sum(abs(value) for other, value in case.pending.items() if sectors.get(other, other) == sector)
    return cap("SECTOR_EXPOSURE", base, case.price, case.params.max_sector_exposure * equity, quantity, equity,
               f"sector {sector}")


def gross_exposure(case: Case, quantity: Decimal) -> Ruling:
    """Long plus short, held and on order."""
    equity = case.equity
    return cap("GROSS_EXPOSURE", case.gross, case.price, case.params.max_gross_exposure * equity, quantity, equity,
               "gross exposure")


def net_exposure(case: Case, quantity: Decimal) -> Ruling:
    """Long minus short in this order's direction."""
    equity = case.equity
    base = case.sign * (case.book.net + sum(case.pending.values()))
    return cap("NET_EXPOSURE", base, case.price, case.params.max_net_exposure * equity, quantity, equity,
               "net exposure")


def leverage(case: Case, quantity: Decimal) -> Ruling:
    """Gross over equity after this order, against the hard ceiling."""
    equity = case.equity
    return cap("LEVERAGE", case.gross, case.price, case.params.max_leverage * equity, quantity, equity, "leverage")


def buying_power(case: Case, quantity: Decimal) -> Ruling:
    """The broker refuses what the account cannot pay for; ask for no more."""
    book = case.book
    room = max(0.0, book.mode_margin * case.equity - book.gross - case.pending_gross)
    return cap("BUYING_POWER", 0.0, case.price, room, quantity, 1.0, "order")


def participation(case: Case, quantity: Decimal) -> Ruling:
    """Share of the average daily volume."""
    adv, _ = case.facts.adv(case.intent.symbol, case.history)
    if adv <= 0.0:
        return veto("NO_VOLUME", 1, 0, f"no volume of {case.intent.symbol} is known")
    return cap("PARTICIPATION", 0.0, 1.0, case.params.max_participation * adv, quantity, adv, "of daily volume")


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
        return cost, limit
    fits = case.impact.quantity_within(limit, adv, volatility, params.assumed_spread_bps)
    of = "" if alpha is None else f" for an alpha of {alpha:.1f} bps"
    return shrink("IMPACT", int(min(fits, float(quantity))), quantity, cost, limit, f"cost{of}")


ENTRY_RULES = (
    Rule(1, "sanity", "x", sanity),
    Rule(1, "reversal", "x", reversal),
    Rule(1, "order_value", "$", order_value),
    Rule(1, "position_limit", "%", position_limit),
    Rule(1, "symbol_exposure", "%", symbol_exposure),
    Rule(1, "sector_exposure", "%", sector_exposure),
    Rule(1, "gross_exposure", "%", gross_exposure),
    Rule(1, "net_exposure", "%", net_exposure),
    Rule(1, "leverage", "x", leverage),
    Rule(1, "buying_power", "$", buying_power),
    Rule(1, "participation", "%", participation),
    Rule(1, "impact", "bps", impact),
)
EXIT_RULES = (Rule(1, "sanity", "x", sanity), Rule(1, "reduce_only", "x", reduce_only))
