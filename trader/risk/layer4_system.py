"""Layer 4, the system: is it fit to open positions at all?"""

from __future__ import annotations

from decimal import Decimal

from trader.risk.breakers import ConnectionBreaker
from trader.risk.case import Case, Rule, Ruling
from trader.risk.verdicts import allow, scaled, veto

LEVELS = {"NORMAL": 0, "CAUTIOUS": 1, "EXIT_ONLY": 2, "HALTED": 3}
MODEL_LEVELS = {"FRESH": 0, "AGING": 1, "STALE": 2, "CRITICAL": 3}


def halt_latch(case: Case, quantity: Decimal) -> Ruling:
    """While halted nothing is opened."""
    if case.state.halted:
        return veto(4, "halt_latch", "HALTED", 1, 0, "level", "trading is halted until it is resumed by hand")
    return allow(4, "halt_latch", 0, 0, "level", quantity)


def degradation(case: Case, quantity: Decimal) -> Ruling:
    """Smaller when cautious, nothing new when only exits are safe."""
    state = case.state
    level = LEVELS[state.degradation_level]
    if level >= 2:
        return veto(4, "degradation", "DEGRADED", level, 2, "level", f"level {state.degradation_level}")
    return scaled(4, "degradation", "DEGRADED", state.degradation_multiplier, case.intent.quantity, quantity,
                  used=level, limit=2, unit="level", subject=state.degradation_level)


def data_age(case: Case, quantity: Decimal) -> Ruling:
    """Decisions on old bars open nothing."""
    limit = case.params.max_data_age_bars * case.state.bar_span_s
    used = case.state.data_age_s
    if used > limit:
        return veto(4, "data_age", "DATA_STALE", used, limit, "s", f"the newest bar is {used:.0f} s old")
    return allow(4, "data_age", used, limit, "s", quantity)


def model(case: Case, quantity: Decimal) -> Ruling:
    """Orders that a model asked for shrink as it ages; rule-based orders do not care."""
    state = case.state
    level = MODEL_LEVELS[state.model_level]
    if case.intent.probability is None:
        return allow(4, "model", level, 3, "level", quantity, "NO_MODEL")
    if level >= 3 or state.model_multiplier == 0.0:
        return veto(4, "model", "MODEL_CRITICAL", level, 3, "level", f"the model is {state.model_level}")
    return scaled(4, "model", "MODEL_AGE", state.model_multiplier, case.intent.quantity, quantity, used=level, limit=3,
                  unit="level", subject=state.model_level)


def connection(case: Case, quantity: Decimal) -> Ruling:
    """No entries over a broken line."""
    breaker = case.breakers["connection"]
    if breaker.tripped:
        down = breaker.down if isinstance(breaker, ConnectionBreaker) else ()
        return veto(4, "connection", "CONNECTION_DOWN", breaker.value, 0, "x", f"down: {', '.join(sorted(down))}")
    return allow(4, "connection", 0, 0, "x", quantity)


def reconciliation(case: Case, quantity: Decimal) -> Ruling:
    """No entries before the books agree with the broker's."""
    if not case.state.reconciled:
        return veto(4, "reconciliation", "NOT_RECONCILED", 1, 0, "x", "the books do not agree with the broker yet")
    return allow(4, "reconciliation", 0, 0, "x", quantity)


def ramp_up(case: Case, quantity: Decimal) -> Ruling:
    """Real money starts small: a share of the intended size until it has traded for a while."""
    factor = case.state.size_factor
    return scaled(4, "ramp_up", "FIRST_LIVE_WEEKS", factor, case.intent.quantity, quantity, used=factor, limit=1.0,
                  unit="x", subject="the first live weeks")


ENTRY_RULES: tuple[Rule, ...] = (halt_latch, degradation, data_age, model, connection, reconciliation, ramp_up)
