"""The pipeline as a whole: nothing grows, exits always pass, breakers and gauges speak when they change."""

from decimal import Decimal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from risk_world import BARS, SYMBOLS, World, checks_of, last

from trader.core import events as ev
from trader.risk.params import RiskParams
from trader.risk.risk_manager import RiskManager

QUICK = settings(max_examples=60)


def scenario(draw_positions, halted, degradation, multiplier, reconciled, equity_share):
    w = World(days=15)
    w.play(12 * BARS)
    for symbol, quantity in zip(SYMBOLS, draw_positions, strict=True):
        if quantity:
            w.fill(symbol, "buy" if quantity > 0 else "sell", abs(quantity))
    w.book.equity *= equity_share
    system = w.risk.system
    system.halted, system.reconciled = halted, reconciled
    system.degradation_level, system.degradation_multiplier = degradation, multiplier
    return w


worlds = st.builds(
    scenario, st.tuples(*[st.integers(-300, 300)] * 5), st.booleans(),
    st.sampled_from(["NORMAL", "CAUTIOUS", "EXIT_ONLY", "HALTED"]), st.sampled_from([1.0, 0.5, 0.25]), st.booleans(),
    st.floats(0.5, 1.1),
)


@QUICK
@given(worlds, st.sampled_from(SYMBOLS), st.sampled_from(["buy", "sell"]), st.integers(1, 5000),
       st.one_of(st.none(), st.floats(-50, 500)))
def test_an_entry_never_grows_is_whole_and_within_its_limits(w, symbol, side, quantity, alpha):
    intent = w.intent(symbol, side, quantity, expected_alpha_bps=alpha)
    verdict = w.risk.vet(intent, w.book, w.history)
    assert 0 <= verdict.quantity <= intent.quantity
    assert verdict.quantity == verdict.quantity.to_integral_value()
    assert (verdict.action == "veto") == (verdict.quantity == 0)
    assert (verdict.action == "allow") == (verdict.quantity == intent.quantity)
    assert all(c.action != "veto" for c in checks_of(verdict)[:-1])
    if verdict.action != "veto":
        p, equity, price = w.risk.params, w.book.equity, w.price(symbol)
        after = abs(float(w.book.quantity(symbol))) * price + float(verdict.quantity) * price
        assert after <= p.max_position_pct * equity * (1 + 1e-9)
        assert w.book.gross + float(verdict.quantity) * price <= p.max_gross_exposure * equity * (1 + 1e-9)


@QUICK
@given(worlds, st.sampled_from(SYMBOLS), st.integers(1, 5000), st.sampled_from(["exit", "flatten", "protect", "halt"]))
def test_what_reduces_risk_always_passes(w, symbol, quantity, role):
    held = w.book.quantity(symbol)
    side = "sell" if held > 0 else "buy"
    verdict = w.vet(symbol, side, quantity, role, bracket=False)
    if held == 0 and role != "halt":
        assert verdict.action == "veto"
    elif role == "halt":
        assert verdict.quantity == quantity
    else:
        assert verdict.quantity == min(quantity, abs(held))


@QUICK
@given(worlds, st.sampled_from(SYMBOLS), st.sampled_from(["buy", "sell"]), st.integers(1, 2000))
def test_the_same_question_has_the_same_answer(w, symbol, side, quantity):
    intent = w.intent(symbol, side, quantity)
    first = w.risk.vet(intent, w.book, w.history)
    w.risk._recent.clear()
    assert ev.encode(first) == ev.encode(w.risk.vet(intent, w.book, w.history))


def test_a_verdict_brings_numbers_and_the_journal_knows_the_rules():
    w = World(days=15)
    w.play(12 * BARS)
    told = w.risk.opening(w.now)[0]
    assert isinstance(told, ev.RiskRules)
    w.book.apply(ev.decode(ev.encode(told)))
    intent = w.intent(quantity=100_000)
    verdict = ev.decode(ev.encode(w.risk.vet(intent, w.book, w.history)))
    w.book.apply(intent)
    w.book.apply(verdict)
    checks = w.book.checks_of(w.book.orders[intent.client_order_id])
    assert checks == checks_of(verdict)
    assert [check.rule for check in checks] == [rule.rule for rule in told.tables["entry"]][:len(checks)]
    assert len(verdict.used) == len(verdict.limits) == len(checks)
    assert all(check in checks for check in verdict.checks)
    assert len(verdict.checks) < len(checks)
    assert all((check.action, check.code) == ("allow", "OK") for check in checks if check not in verdict.checks)
    assert last(verdict).action == "shrink"


def test_a_verdict_without_a_table_is_told_by_its_checks():
    check = ev.RuleCheck(1, "position", "veto", "POSITION_LIMIT", 0.3, 0.2, "%")
    verdict = ev.RiskVerdict(ts=1, client_order_id="o", symbol="XYZ", action="veto", quantity_asked=Decimal(1),
                             quantity=Decimal(0), checks=(check,))
    assert checks_of(verdict) == (check,)


def test_two_runs_over_the_same_events_say_the_same():
    def run():
        w = World(days=40, seed=5)
        out = w.play(3 * BARS)
        w.fill("AAPL", "buy", 300)
        w.fill("XYZ", "sell", 200)
        out += w.play(37 * BARS)
        return b"".join(ev.encode(e) for e in out)

    assert run() == run()


def test_a_fractional_position_can_be_left():
    w = World(days=3)
    w.play(30)
    w.book.apply(ev.PositionAdjusted(
        ts=w.now, symbol="XYZ", quantity=Decimal("0.5"), average_price=Decimal(100), reason="broker"))
    assert w.vet("XYZ", "sell", "0.5", "exit").quantity == Decimal("0.5")


def falling(days: int, day: int, drop: float) -> np.ndarray:
    moves = np.full((days * BARS, len(SYMBOLS)), 1e-6)
    moves[day * BARS + 3] = -drop
    return moves


def test_the_intraday_breaker_warns_trips_latches_for_the_day_and_resets_with_the_next():
    w = World(days=6, moves=falling(6, 2, 0.0065))
    w.play(2 * BARS)
    w.fill("AAPL", "buy", 1000)
    events = w.play(BARS)
    changes = [e for e in events if isinstance(e, ev.BreakerChanged)]
    assert [(c.breaker, c.state, c.multiplier) for c in changes] == [("intraday_loss", "warning", 0.5)]
    assert w.risk.halt_reason is None
    changes = [e for e in w.play(1) if isinstance(e, ev.BreakerChanged)]
    assert [c.state for c in changes] == ["normal"]

    w = World(days=6, moves=falling(6, 2, 0.012))
    w.play(2 * BARS)
    w.fill("AAPL", "buy", 1000)
    w.play(4)
    assert "intraday loss" in w.risk.halt_reason
    w.fill("AAPL", "sell", 1000, price=102.0)               # back above water: still latched today
    w.play(1)
    assert w.risk.halt_reason is not None
    assert last(w.vet()).code == "INTRADAY_LOSS_HALT"
    w.play(BARS)
    assert w.risk.halt_reason is None
    assert w.vet().action == "allow"


def test_after_a_halt_is_lifted_losses_count_from_there():
    w = World(days=6, moves=falling(6, 2, 0.012))
    w.play(2 * BARS)
    w.fill("AAPL", "buy", 1000)
    w.play(4)
    assert w.risk.halt_reason is not None
    w.risk.on_halt_lifted(w.book, w.now)
    assert w.risk.halt_reason is None
    changes = [e for e in w.play(1) if isinstance(e, ev.BreakerChanged)]
    assert [(c.breaker, c.state) for c in changes] == [("intraday_loss", "normal")]
    assert w.vet("XYZ", "sell").action == "allow"
    w.book.cash -= Decimal(1100)
    w.play(1)
    assert w.risk.halt_reason is not None


def test_drawdown_trips_and_stays():
    w = World(days=6)
    w.play(2 * BARS)
    w.book.peak_equity = w.book.equity / 0.79
    w.play(1)
    assert "drawdown" in w.risk.halt_reason
    w.book.peak_equity = w.book.equity
    w.play(2 * BARS)
    assert "drawdown" in w.risk.halt_reason


def test_gauges_speak_when_something_moved_and_once_a_day():
    w = World(days=20)
    events = w.play(10 * BARS)
    gauges = [e for e in events if isinstance(e, ev.RiskGauges)]
    assert len(gauges) == 10
    w.fill("AAPL", "buy", 300)
    moved = [e for e in w.play(4) if isinstance(e, ev.RiskGauges)]
    assert moved
    position = next(g for g in moved[0].gauges if g.rule == "position_limit")
    assert (position.state, position.detail) == ("breach", "AAPL")
    assert next(g for g in moved[0].gauges if g.rule == "bracket_required").detail == "AAPL"


def test_the_correlation_breaker_trips_on_a_common_shock_and_recovers():
    rng = np.random.default_rng(2)
    calm = rng.normal(0, 0.001, (60 * BARS, 5))
    common = rng.normal(0, 0.002, (60 * BARS, 1))
    moves = calm.copy()
    moves[30 * BARS:40 * BARS] += common[30 * BARS:40 * BARS]
    w = World(days=60, moves=moves)
    changes = [e for e in w.play(60 * BARS) if isinstance(e, ev.BreakerChanged) and e.breaker == "correlation"]
    states = [c.state for c in changes]
    assert "crisis" in states
    assert states[-1] == "normal"
    assert len(states) <= 4
    assert all(c.ts > w.panel.available_ns[30 * BARS] for c in changes)


def test_limits_are_named_numbers():
    limits = World(days=2).risk.limits()
    assert limits["intraday_loss_circuit_breaker"] == 0.01
    assert limits["max_position_pct"] == 0.20
    assert all(isinstance(v, float) for v in limits.values())


def test_the_manager_reads_the_pipeline():
    w = World(days=4)
    w.play(2 * BARS)
    manager = RiskManager(w.risk, w.book, w.history)
    assert manager.check_all_limits().passed
    w.fill("AAPL", "buy", 400)
    check = manager.check_all_limits()
    assert not check.passed
    assert "position_limit" in check.breaches
    w.risk.system.halted = True
    assert "halted" in manager.check_all_limits().reason


def test_params_refuse_disorder():
    import pytest

    with pytest.raises(ValueError, match="intraday_loss_warning"):
        RiskParams(intraday_loss_warning=0.02)
