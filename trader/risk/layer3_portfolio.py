"""Layer 3, the portfolio: tail risk, losses, and how alike its parts have become."""

from __future__ import annotations

from decimal import Decimal

from trader.risk.case import Case, Rule, Ruling
from trader.risk.verdicts import allow, scaled, shrink, veto


def value_at_risk(case: Case, quantity: Decimal) -> Ruling:
    """One-day VaR with this order, as a share of equity; what lowers it may pass above the limit."""
    tail, symbol = case.tail, case.intent.symbol
    limit = case.params.var_limit_pct
    if not tail.known:
        return allow(3, "var", 0.0, limit, "%", quantity, "VAR_UNKNOWN")
    before = tail.exposures(case.book, case.pending)
    per_share = case.sign * case.price
    after = before.copy()
    after[case.facts.column[symbol]] += float(quantity) * per_share
    dollars = tail.var(after)
    used = dollars / case.equity
    if used <= limit:
        return allow(3, "var", used, limit, "%", quantity)
    now = tail.var(before)
    if dollars <= now:
        return allow(3, "var", used, limit, "%", quantity, "VAR_REDUCED")
    room = limit * case.equity
    fits = tail.largest_within(before, symbol, per_share, int(quantity), room) if now < room else 0
    return shrink(3, "var", "VAR_LIMIT", fits, quantity, used=used, limit=limit, unit="%", subject="VaR")


def drawdown(case: Case, quantity: Decimal) -> Ruling:
    """Loss from the peak: half size from the warning, none from the limit."""
    params, breaker, used = case.params, case.breakers["drawdown"], case.drawdown
    if used >= params.max_drawdown or breaker.tripped:
        return veto(3, "drawdown", "DRAWDOWN_LIMIT", used, params.max_drawdown, "%", f"drawdown {used:.2%}")
    multiplier = params.warning_size_multiplier if used >= params.drawdown_warning else breaker.multiplier
    return scaled(3, "drawdown", "DRAWDOWN_WARNING", multiplier, case.intent.quantity, quantity, used=used,
                  limit=params.max_drawdown, unit="%", subject="drawdown")


def intraday_loss(case: Case, quantity: Decimal) -> Ruling:
    """Loss of the day: half size from the warning, none from the circuit breaker."""
    params, breaker, used = case.params, case.breakers["intraday_loss"], case.day_loss
    limit = params.intraday_loss_circuit_breaker
    if used >= limit or breaker.tripped:
        return veto(3, "intraday_loss", "INTRADAY_LOSS_HALT", used, limit, "%", f"the day's loss is {used:.2%}")
    multiplier = params.warning_size_multiplier if used >= params.intraday_loss_warning else breaker.multiplier
    return scaled(3, "intraday_loss", "INTRADAY_LOSS_WARNING", multiplier, case.intent.quantity, quantity, used=used,
                  limit=limit, unit="%", subject="the day's loss")


def correlation(case: Case, quantity: Decimal) -> Ruling:
    """When everything moves together, many positions are one."""
    breaker = case.breakers["correlation"]
    code = f"CORRELATION_{breaker.state.upper()}"
    if breaker.multiplier == 0.0:
        return veto(3, "correlation", code, breaker.value, breaker.limit, "%", "correlations left no diversification")
    return scaled(3, "correlation", code, breaker.multiplier, case.intent.quantity, quantity, used=breaker.value,
                  limit=breaker.limit, unit="%", subject="rise of correlations")


ENTRY_RULES: tuple[Rule, ...] = (value_at_risk, drawdown, intraday_loss, correlation)
