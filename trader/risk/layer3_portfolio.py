"""Layer 3, the portfolio: tail risk, losses, and how alike its parts have become."""

from __future__ import annotations

from decimal import Decimal

from trader.risk.case import Case, Rule
from trader.risk.verdicts import Ruling, Word, scaled, shrink, veto


def value_at_risk(case: Case, quantity: Decimal) -> Ruling:
    """One-day VaR with this order, as a share of equity; what lowers it may pass above the limit."""
    tail, symbol = case.tail, case.intent.symbol
    limit = case.params.var_limit_pct
    if not tail.known:
        return Word(0.0, limit, "allow", "VAR_UNKNOWN", quantity)
    per_share = case.sign * case.price
    after = tail.exposures(case.values, case.pending)
    after[case.facts.column[symbol]] += float(quantity) * per_share
    dollars = tail.var(after)
    used = dollars / case.equity
    if used <= limit:
        return used, limit
    before = tail.exposures(case.values, case.pending)
    now = tail.var(before)
    if dollars <= now:
        return Word(used, limit, "allow", "VAR_REDUCED", quantity)
    room = limit * case.equity
    fits = tail.largest_within(before, symbol, per_share, int(quantity), room) if now < room else 0
    return shrink("VAR_LIMIT", fits, quantity, used, limit, "VaR")


def drawdown(case: Case, quantity: Decimal) -> Ruling:
    """Loss from the peak: half size from the warning, none from the limit."""
    params, breaker, used = case.params, case.breakers["drawdown"], case.drawdown
    if used >= params.max_drawdown or breaker.tripped:
        return veto("DRAWDOWN_LIMIT", used, params.max_drawdown, f"drawdown {used:.2%}")
    multiplier = params.warning_size_multiplier if used >= params.drawdown_warning else breaker.multiplier
    return scaled("DRAWDOWN_WARNING", multiplier, case.intent.quantity, quantity, used, params.max_drawdown,
                  "drawdown")


def intraday_loss(case: Case, quantity: Decimal) -> Ruling:
    """Loss of the day: half size from the warning, none from the circuit breaker."""
    params, breaker, used = case.params, case.breakers["intraday_loss"], case.day_loss
    limit = params.intraday_loss_circuit_breaker
    if used >= limit or breaker.tripped:
        return veto("INTRADAY_LOSS_HALT", used, limit, f"the day's loss is {used:.2%}")
    multiplier = params.warning_size_multiplier if used >= params.intraday_loss_warning else breaker.multiplier
    return scaled("INTRADAY_LOSS_WARNING", multiplier, case.intent.quantity, quantity, used, limit, "the day's loss")


def correlation(case: Case, quantity: Decimal) -> Ruling:
    """When everything moves together, many positions are one."""
    breaker = case.breakers["correlation"]
    multiplier = breaker.multiplier
    code = f"CORRELATION_{breaker.state.upper()}"
    if multiplier == 0.0:
        return veto(code, breaker.value, breaker.limit, "correlations left no diversification")
    return scaled(code, multiplier, case.intent.quantity, quantity, breaker.value, breaker.limit,
                  "rise of correlations")


ENTRY_RULES = (
    Rule(3, "var", "%", value_at_risk),
    Rule(3, "drawdown", "%", drawdown),
    Rule(3, "intraday_loss", "%", intraday_loss),
    Rule(3, "correlation", "%", correlation),
)
