"""Every rule of the four layers: when it allows, when it shrinks, when it vetoes."""

from decimal import Decimal

import numpy as np
import pytest
from risk_world import BARS, World, check_of, checks_of, last

from trader.core import events as ev
from trader.risk.gauges import FORM_RULES
from trader.risk.params import RiskParams
from trader.risk.pipeline import ENTRY_RULES, EXIT_RULES

WIDE = {
    "max_position_pct": 1.0, "max_symbol_exposure": 10.0, "max_sector_exposure": 10.0, "max_gross_exposure": 10.0,
    "max_net_exposure": 10.0, "max_leverage": 10.0, "max_order_value": 1e9, "max_participation": 1.0,
    "max_impact_bps": 1e6,
    "var_limit_pct": 1.0,
}


def world(days_played: int = 12, **limits) -> World:
    out = World(RiskParams(**(WIDE | limits)), margin=limits.pop("margin", 20.0) if "margin" in limits else 20.0)
    out.play(days_played * BARS)
    return out


def test_a_modest_entry_passes_all_rules_in_the_order_of_the_layers():
    w = World()
    w.play(12 * BARS)
    verdict = w.vet(quantity=10)
    assert verdict.action == "allow"
    assert verdict.quantity == verdict.quantity_asked == 10
    assert len(checks_of(verdict)) == len(ENTRY_RULES)
    assert [c.layer for c in checks_of(verdict)] == sorted(c.layer for c in checks_of(verdict))
    assert {c.layer for c in checks_of(verdict)} == {1, 2, 3, 4}


@pytest.mark.parametrize(("limit", "value", "rule", "code", "fits"), [
    ("max_order_value", 5_000.0, "order_value", "ORDER_VALUE", 5_000.0),
    ("max_position_pct", 0.05, "position_limit", "POSITION_LIMIT", 5_000.0),
    ("max_symbol_exposure", 0.06, "symbol_exposure", "SYMBOL_EXPOSURE", 6_000.0),
    ("max_sector_exposure", 0.07, "sector_exposure", "SECTOR_EXPOSURE", 7_000.0),
    ("max_gross_exposure", 0.08, "gross_exposure", "GROSS_EXPOSURE", 8_000.0),
    ("max_net_exposure", 0.09, "net_exposure", "NET_EXPOSURE", 9_000.0),
    ("max_leverage", 0.10, "leverage", "LEVERAGE", 10_000.0),
])
def test_exposure_limits_shrink_to_what_fits_and_veto_when_nothing_does(limit, value, rule, code, fits):
    w = world(**{limit: value})
    price = w.price("XYZ")
    verdict = w.vet(quantity=200)
    assert (verdict.action, last(verdict).rule, last(verdict).code) == ("shrink", rule, code)
    assert verdict.quantity == int(fits / price)
    assert last(verdict).used > last(verdict).limit
    assert w.vet(quantity=5).action == "allow"
    if rule != "order_value":
        w.fill("XYZ", "buy", int(fits / price) + 1)
        verdict = w.vet(quantity=5)
        assert (verdict.action, last(verdict).code, verdict.quantity) == ("veto", code, 0)


def test_pending_entries_count_for_symbol_sector_gross_and_net():
    w = world(max_symbol_exposure=0.10)
    w.working("XYZ", "buy", 60)
    assert last(w.vet("XYZ", quantity=50)).code == "DUPLICATE_ORDER"
    assert check_of(w.vet("XYZ", quantity=50), "symbol_exposure").action == "shrink"
    w = world(max_sector_exposure=0.10)
    w.working("AAPL", "buy", 60)
    assert last(w.vet("MSFT", quantity=50)).code == "SECTOR_EXPOSURE"
    assert w.vet("GOOG", quantity=50).action == "allow"
    w = world(max_gross_exposure=0.10)
    w.working("AAPL", "buy", 60)
    assert last(w.vet("XYZ", quantity=50)).code == "GROSS_EXPOSURE"
    w = world(max_net_exposure=0.10)
    w.working("AAPL", "buy", 60)
    assert last(w.vet("XYZ", quantity=50)).code == "NET_EXPOSURE"
    assert w.vet("XYZ", "sell", 50).action == "allow"


def test_buying_power_is_what_margin_leaves():
    w = World(RiskParams(**WIDE), margin=1.0)
    w.play(12 * BARS)
    w.fill("AAPL", "buy", 900)
    verdict = w.vet(quantity=500)
    room = w.book.equity - w.book.gross
    assert last(verdict).code == "BUYING_POWER"
    assert verdict.quantity == int(room / w.price("XYZ"))
    w.fill("MSFT", "buy", 200)
    assert last(w.vet(quantity=1)).code == "BUYING_POWER"
    assert w.vet(quantity=1).action == "veto"


@pytest.mark.parametrize(("change", "code"), [
    ({"quantity": Decimal(0)}, "ORDER_INVALID"), ({"quantity": Decimal(-5)}, "ORDER_INVALID"),
    ({"quantity": Decimal("NaN")}, "ORDER_INVALID"), ({"symbol": "ZZZ"}, "ORDER_INVALID"),
    ({"side": "hold"}, "ORDER_INVALID"), ({"limit_price": Decimal("100.001")}, "ORDER_INVALID"),
    ({"stop_loss": Decimal("-3")}, "ORDER_INVALID"), ({"quantity": Decimal("0.4")}, "WHOLE_SHARES"),
])
def test_sanity_refuses_unsound_orders(change, code):
    w = world()
    base = w.intent()
    fields = {f: getattr(base, f) for f in base.__struct_fields__} | change
    verdict = w.risk.vet(ev.OrderIntent(**fields), w.book, w.history)
    assert (verdict.action, last(verdict).code, len(checks_of(verdict))) == ("veto", code, 1)


def test_sanity_cuts_to_whole_shares_and_needs_equity():
    w = world()
    verdict = w.vet(quantity="7.9")
    assert (verdict.action, verdict.quantity) == ("shrink", 7)
    w.book.equity = -1.0
    assert last(w.vet()).code == "NO_EQUITY"


def test_an_entry_does_not_trade_through_a_position():
    w = world()
    w.fill("XYZ", "buy", 10)
    assert last(w.vet(side="sell", quantity=20)).code == "OPPOSITE_POSITION"
    assert w.vet(side="buy", quantity=20).action == "allow"


def test_participation_and_impact_use_completed_days_only():
    w = world(days_played=3, max_participation=0.001)
    assert w.risk.facts.adv("XYZ", w.history) == (260_000.0, True)
    verdict = w.vet(quantity=500)
    assert last(verdict).code == "PARTICIPATION"
    assert verdict.quantity == 260
    w.play(5)                                       # into the next day: its volume must not count
    assert w.risk.facts.adv("XYZ", w.history) == (260_000.0, True)
    first = world(days_played=0)
    first.play(4)
    assert first.risk.facts.adv("XYZ", first.history) == (40_000.0, False)


def test_impact_vetoes_alpha_below_cost_and_shrinks_where_size_is_the_cost():
    w = world(max_impact_bps=25.0)
    assert last(w.vet(quantity=10, expected_alpha_bps=2.0)).code == "IMPACT"
    assert w.vet(quantity=10, expected_alpha_bps=2.0).action == "veto"
    assert w.vet(quantity=10, expected_alpha_bps=-5.0).action == "veto"
    assert w.vet(quantity=10, expected_alpha_bps=20.0).action == "allow"
    verdict = w.vet(quantity=10_000, expected_alpha_bps=5.0)
    check = check_of(verdict, "impact")
    assert check.action == "shrink"
    assert 0 < verdict.quantity < 10_000
    again = check_of(w.vet(quantity=verdict.quantity, expected_alpha_bps=5.0), "impact")
    assert again.action == "allow"
    assert again.used == pytest.approx(again.limit, rel=0.01)


def test_brackets_are_required_and_must_surround_the_price():
    w = world()
    assert last(w.vet(bracket=False)).code == "BRACKET_MISSING"
    assert last(w.vet(stop_loss=None)).code == "BRACKET_MISSING"
    assert last(w.vet(stop_loss=Decimal("150.00"))).code == "BRACKET_GEOMETRY"
    assert last(w.vet(take_profit=Decimal("50.00"))).code == "BRACKET_GEOMETRY"
    assert last(w.vet(stop_loss=Decimal("10.00"))).code == "STOP_TOO_FAR"
    assert w.vet("XYZ", "sell").action == "allow"
    free = world(require_bracket=False)
    assert free.vet(bracket=False).action == "allow"


def test_rate_limit_keeps_a_reserve_for_exits_and_never_refuses_protection():
    w = world(max_orders_per_minute=4, reserved_orders_per_minute=2)
    w.fill("AAPL", "buy", 100)
    assert [w.vet(quantity=1).action for _ in range(3)] == ["allow", "allow", "veto"]
    assert [w.vet("AAPL", "sell", 1, "exit").action for _ in range(3)] == ["allow", "allow", "veto"]
    for role in ("protect", "flatten", "halt"):
        assert w.vet("AAPL", "sell", 1, role).action == "allow"
    later = w.intent(quantity=1, ts=w.now + 61 * 10**9)
    assert w.risk.vet(later, w.book, w.history).action == "allow"


def test_one_entry_a_symbol_and_none_against_it_or_into_an_exit():
    w = world()
    w.working("XYZ", "buy", 5)
    assert last(w.vet(side="buy")).code == "DUPLICATE_ORDER"
    assert last(w.vet(side="sell")).code == "OPPOSITE_ORDER"
    assert w.vet("AAPL").action == "allow"
    w.fill("AAPL", "buy", 10)
    w.working("AAPL", "sell", 10, "exit")
    assert last(w.vet("AAPL")).code == "EXIT_WORKING"


def test_an_order_of_unknown_fate_locks_its_symbol():
    w = world()
    w.working("XYZ", "buy", 5, unknown=True)
    assert last(w.vet("XYZ")).code == "ORDER_UNKNOWN"
    assert w.vet("AAPL").action == "allow"


def test_rejections_halve_then_stop_entries_until_the_cool_down():
    w = world(rejection_warning=2, rejection_limit=3, rejection_window_s=1800.0, rejection_cooldown_s=3600.0)
    w.risk.on_rejection(w.now)
    assert w.vet(quantity=10).quantity == 10
    w.risk.on_rejection(w.now)
    assert w.vet(quantity=10).quantity == 5
    w.risk.on_rejection(w.now)
    assert last(w.vet(quantity=10)).code == "REJECTION_RATE"
    told = [e for e in w.play(1) if isinstance(e, ev.BreakerChanged)]
    assert [e.state for e in told] == ["elevated", "tripped"]
    w.play(2)
    assert w.vet(quantity=10).action == "veto"
    w.play(3)
    assert w.vet(quantity=10).quantity == 10


def test_var_shrinks_to_the_limit_vetoes_beyond_it_and_lets_hedges_pass():
    w = world(var_limit_pct=0.001)
    verdict = w.vet(quantity=1_000)
    assert last(verdict).code == "VAR_LIMIT"
    assert 0 < verdict.quantity < 1_000
    assert check_of(w.vet(quantity=verdict.quantity), "var").action == "allow"
    assert check_of(w.vet(quantity=verdict.quantity + 1), "var").action == "shrink"
    w.fill("XYZ", "buy", int(verdict.quantity) * 3)
    assert w.vet("XYZ", quantity=100).action == "veto"
    young = world(days_played=0, var_limit_pct=0.001)
    young.play(20)
    assert check_of(young.vet(quantity=1_000), "var").code == "VAR_UNKNOWN"


def test_intraday_loss_halves_at_the_warning_and_halts_at_the_breaker():
    w = world()
    w.book.equity = w.book.day_start_equity * 0.994
    verdict = w.vet(quantity=10)
    assert (verdict.quantity, last(verdict).code) == (5, "INTRADAY_LOSS_WARNING")
    w.book.equity = w.book.day_start_equity * 0.99
    assert last(w.vet(quantity=10)).code == "INTRADAY_LOSS_HALT"


def test_drawdown_halves_at_the_warning_and_halts_at_the_limit():
    w = world()
    w.book.day_start_equity = 1.0
    w.book.peak_equity = w.book.equity / 0.88
    assert (w.vet(quantity=10).quantity, last(w.vet(quantity=10)).code) == (5, "DRAWDOWN_WARNING")
    w.book.peak_equity = w.book.equity / 0.79
    assert last(w.vet(quantity=10)).code == "DRAWDOWN_LIMIT"


@pytest.mark.parametrize(("state", "quantity"), [("elevated", 5), ("crisis", 2), ("tripped", 0)])
def test_the_correlation_breaker_scales_entries(state, quantity):
    from trader.risk.correlation_breaker import ORDER

    w = world()
    w.risk.correlation._move(w.now, [s.value for s in ORDER].index(state), "test")
    verdict = w.vet(quantity=10)
    assert verdict.quantity == quantity
    assert last(verdict).code == f"CORRELATION_{state.upper()}"


@pytest.mark.parametrize(("change", "code"), [
    ({"halted": True}, "HALTED"),
    ({"degradation_level": "EXIT_ONLY", "degradation_multiplier": 0.0}, "DEGRADED"),
    ({"degradation_level": "HALTED"}, "DEGRADED"),
    ({"data_age_s": 2701.0}, "DATA_STALE"),
    ({"reconciled": False}, "NOT_RECONCILED"),
])
def test_the_system_layer_vetoes(change, code):
    w = world()
    for name, value in change.items():
        setattr(w.risk.system, name, value)
    verdict = w.vet()
    assert (verdict.action, last(verdict).code) == ("veto", code)


def test_the_system_layer_shrinks_and_multipliers_meet_in_their_minimum():
    w = world()
    w.risk.system.degradation_level, w.risk.system.degradation_multiplier = "CAUTIOUS", 0.5
    assert w.vet(quantity=100).quantity == 50
    w.risk.system.model_level, w.risk.system.model_multiplier = "STALE", 0.4
    assert w.vet(quantity=100).quantity == 50                   # no model asked for it
    assert w.vet(quantity=100, probability=0.6).quantity == 40
    w.risk.system.model_level = "CRITICAL"
    assert last(w.vet(quantity=100, probability=0.6)).code == "MODEL_CRITICAL"


def test_a_broken_connection_stops_entries_until_all_are_back():
    w = world()
    w.risk.on_connection("broker", "down", w.now)
    w.risk.on_connection("data_stream", "reconnecting", w.now)
    w.risk.on_connection("redis", "down", w.now)
    assert last(w.vet()).code == "CONNECTION_DOWN"
    w.risk.on_connection("broker", "up", w.now)
    assert last(w.vet()).code == "CONNECTION_DOWN"
    w.risk.on_connection("data_stream", "up", w.now)
    assert w.vet().action == "allow"


def test_exits_only_reduce_and_are_not_sent_twice():
    w = world()
    assert last(w.vet(side="sell", role="exit", quantity=5)).code == "NOTHING_TO_REDUCE"
    w.fill("XYZ", "buy", 10)
    assert last(w.vet(side="buy", role="exit", quantity=5)).code == "NOTHING_TO_REDUCE"
    verdict = w.vet(side="sell", role="exit", quantity=50)
    assert (verdict.action, verdict.quantity) == ("shrink", 10)
    w.working("XYZ", "sell", 6, "exit")
    assert w.vet(side="sell", role="exit", quantity=10).quantity == 4
    w.working("XYZ", "sell", 4, "flatten")
    assert last(w.vet(side="sell", role="flatten", quantity=10)).code == "EXIT_WORKING"
    assert w.vet(side="sell", role="protect", quantity=10).quantity == 10
    assert w.vet(side="sell", role="halt", quantity=10).quantity == 10


def test_every_rule_that_can_be_part_full_has_a_gauge():
    w = world()
    gauges = w.risk.gauges(w.now, w.book, w.history)
    rules = {c.rule for c in checks_of(w.vet())} | {"reduce_only"}
    assert {g.rule for g in gauges} == rules - FORM_RULES
    assert len(ENTRY_RULES) + len(EXIT_RULES) >= len(rules)
    assert all(np.isfinite([g.used, g.limit]).all() for g in gauges)

