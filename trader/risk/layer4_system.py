"""Layer 4, the system: is it fit to open positions at all?"""

from __future__ import annotations

from decimal import Decimal

from trader.risk.breakers import ConnectionBreaker
from trader.risk.case import Case, Rule
from trader.risk.verdicts import Ruling, Word, scaled, veto

LEVELS = {"NORMAL": 0, "CAUTIOUS": 1, "EXIT_ONLY": 2, "HALTED": 3}
MODEL_LEVELS = {"FRESH": 0, "AGING": 1, "STALE": 2, "CRITICAL": 3}


def halt_latch(case: Case, quantity: Decimal) -> Ruling:
    """While halted nothing is opened."""
    if case.state.halted:
        return veto("HALTED", 1, 0, "trading is halted until it is resumed by hand")
    return 0, 0


def degradation(case: Case, quantity: Decimal) -> Ruling:
    """Smaller when cautious, nothing new when only exits are safe."""
    state = case.state
    level = LEVELS[state.degradation_level]
    if level >= 2:
        return veto("DEGRADED", level, 2, f"level {state.degradation_level}")
    return scaled("DEGRADED", state.degradation_multiplier, case.intent.quantity, quantity, level, 2,
                  state.degradation_level)


def data_age(case: Case, quantity: Decimal) -> Ruling:
    """Decisions on old bars open nothing."""
    limit = case.params.max_data_age_bars * case.state.bar_span_s
    used = case.state.data_age_s
    if used > limit:
        return veto("DATA_STALE", used, limit, f"the newest bar is {used:.0f} s old")
    return used, limit


def model(case: Case, quantity: Decimal) -> Ruling:
    """Orders that a model asked for shrink as it ages; rule-based orders do not care."""
    state = case.state
    level = MODEL_LEVELS[state.model_level]
    if case.intent.probability is None:
        return Word(level, 3, "allow", "NO_MODEL", quantity)
    if level >= 3 or state.model_multiplier == 0.0:
        return veto("MODEL_CRITICAL", level, 3, f"the model is {state.model_level}")
    return scaled("MODEL_AGE", state.model_multiplier, case.intent.quantity, quantity, level, 3, state.model_level)


def connection(case: Case, quantity: Decimal) -> Ruling:
    """No entries over a broken line."""
    breaker = case.breakers["connection"]
    if breaker.tripped:
        down = breaker.down if isinstance(breaker, ConnectionBreaker) else ()
        return veto("CONNECTION_DOWN", breaker.value, 0, f"down: {', '.join(sorted(down))}")
    return 0, 0


def reconciliation(case: Case, quantity: Decimal) -> Ruling:
    """No entries before the books agree with the broker's."""
    if not case.state.reconciled:
        return veto("NOT_RECONCILED", 1, 0, "the books do not agree with the broker yet")
    return 0, 0


def ramp_up(case: Case, quantity: Decimal) -> Ruling:
    """Real money starts small: a share of the intended size until it has traded for a while."""
    factor = case.state.size_factor
    return scaled("FIRST_LIVE_WEEKS", factor, case.intent.quantity, quantity, factor, 1.0, "the first live weeks")


ENTRY_RULES = (
    Rule(4, "halt_latch", "level", halt_latch),
    Rule(4, "degradation", "level", degradation),
    Rule(4, "data_age", "s", data_age),
    Rule(4, "model", "level", model),
    Rule(4, "connection", "x", connection),
    Rule(4, "reconciliation", "x", reconciliation),
    Rule(4, "ramp_up", "x", ramp_up),
)
