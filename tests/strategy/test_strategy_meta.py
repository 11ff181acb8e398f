"""Meta-labelling: a rule's opinion of every bar, and the strategy that takes, sizes or vetoes its bets."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from trader.core.bets import bet_size
from trader.core.days import days_of
from trader.core.history import History
from trader.core.panel import BarPanel
from trader.strategy.base_strategy import StrategyContext
from trader.strategy.ml_meta import MLMeta, MLMetaParams
from trader.strategy.ml_strategy import barrier_volatility
from trader.strategy.opinion import Opinion, make_rule, opinions, rule_facts
from trader.utils.errors import UserError

SYMBOLS = ("AAA", "BBB", "CCC")
RULES = [("trend", {}), ("trend", {"allow_short": True, "breakout": 5}), ("sma_cross", {"fast": 3, "slow": 9})]


def panel(n: int = 900, seed: int = 0) -> BarPanel:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.003, (n, 3)), axis=0))
    close[200:230, 1] = np.nan
    opened = np.vstack((close[:1], close[:-1]))
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    ts = 1_704_205_800 * 10**9 + (np.arange(n) // 26 * 86_400 + np.arange(n) % 26 * 900) * 10**9
    return BarPanel(SYMBOLS, "15Min", ts, ts + 900 * 10**9, opened, high, low, close, np.full_like(close, 1e5))


@pytest.mark.parametrize(("name", "params"), RULES)
def test_an_opinion_is_the_same_in_one_batch_and_bar_by_bar_from_anywhere(name, params):
    bars = panel()
    whole = opinions(make_rule(name, params), bars)
    assert (np.abs(whole) <= 1.0).all()
    assert (whole != 0.0).sum() > 20
    assert (whole < 0.0).any() == bool(params.get("allow_short"))
    for start in (0, 1, 700):
        heard = Opinion(make_rule(name, params), bars.rows(0, start))
        days = days_of(bars.available_ns)
        stepped = np.array([heard.push(bars.slice(i), int(days[i])) for i in range(start, len(bars))])
        np.testing.assert_array_equal(stepped, opinions(make_rule(name, params), bars, start))
        np.testing.assert_array_equal(stepped, whole[start:])


def test_an_opinion_knows_nothing_of_later_bars():
    bars = panel()
    early = opinions(make_rule("trend", {}), bars.rows(0, 600))
    np.testing.assert_array_equal(early, opinions(make_rule("trend", {}), bars)[:600])


def test_a_rule_is_named_with_its_parameters_and_code():
    one, other = make_rule("trend", {}), make_rule("trend", {"breakout": 5})
    facts = rule_facts(one, "trend")
    assert (facts["primary"], facts["params"]["breakout"]) == ("trend", 12)
    assert facts == rule_facts(make_rule("trend", {}), "trend")
    assert facts["fingerprint"] != rule_facts(other, "trend")["fingerprint"]
    with pytest.raises(UserError, match="'ml_momentum' needs a model itself; name a rule such as trend"):
        make_rule("ml_momentum", {})
    with pytest.raises(UserError, match="did you mean 'trend'"):
        make_rule("tren", {})
    with pytest.raises(UserError, match="breakdown"):
        make_rule("trend", {"breakdown": 5})


class Table:
    """One slice in front of the strategy, after 150 bars."""

    def __init__(self) -> None:
        bars = panel(200, seed=4)
        self.history = History.over(bars, days_of(bars.available_ns), 26.0, seen=150)
        self.bar = bars.slice(149)
        self.sigma = barrier_volatility(bars.close[49:150])
        self.positions: dict = {}

    def ask(self, strategy, probabilities, opinion):
        context = StrategyContext(
            self.bar, self.history, SimpleNamespace(positions=self.positions), np.array(probabilities, float),
            np.ones(3, bool), np.array(opinion, float))
        return strategy.on_slice(context)


GOOD, BAD, NONE = [0.2, 0.2, 0.6], [0.6, 0.2, 0.2], [np.nan] * 3


def test_good_bets_are_taken_on_the_rules_side_and_bad_ones_vetoed():
    table, strategy = Table(), MLMeta(MLMetaParams(cost_bps=0.0), dict.fromkeys(SYMBOLS, (3.0, 2.0, 20)))
    first, second = table.ask(strategy, [GOOD, BAD, GOOD], [0.8, 0.8, -0.3])
    assert (first.symbol, first.direction, second.symbol, second.direction) == ("AAA", 1, "CCC", -1)
    for signal, i in ((first, 0), (second, 2)):
        gain, pain = 3.0 * table.sigma[i], 2.0 * table.sigma[i]
        assert signal.take_profit_pct == pytest.approx(gain)
        assert signal.stop_loss_pct == pytest.approx(pain)
        assert signal.expected_alpha_bps == pytest.approx((0.6 * gain - 0.2 * pain) * 1e4)
        assert signal.strength == pytest.approx(min(1.0, bet_size(0.75) / bet_size(0.65)))
    assert first.price == table.bar.close[0]


def test_the_stake_grows_with_the_odds_and_costs_are_earned_first():
    table = Table()
    stakes = []
    for won in (0.40, 0.42, 0.45, 0.50, 0.55):
        said = table.ask(MLMeta(MLMetaParams(cost_bps=0.0)), [[0.38, 0.62 - won, won], NONE, NONE], [1.0, 1.0, 1.0])
        stakes.append(said[0].strength)
    assert stakes == sorted(set(stakes))
    assert 0.0 < stakes[0] < stakes[-1] <= 1.0
    assert table.ask(MLMeta(MLMetaParams(cost_bps=1e5)), [GOOD] * 3, [1.0] * 3) == []


def test_without_a_model_a_prediction_or_an_opinion_nothing_is_said():
    table, strategy = Table(), MLMeta()
    assert table.ask(strategy, [NONE] * 3, [1.0] * 3) == []
    assert table.ask(strategy, [GOOD] * 3, [0.0] * 3) == []
    context = StrategyContext(table.bar, table.history, SimpleNamespace(positions={}), None, np.ones(3, bool))
    assert strategy.on_slice(context) == []


def test_positions_end_by_age_whatever_the_rule_says():
    table, strategy = Table(), MLMeta(barriers=dict.fromkeys(SYMBOLS, (3.0, 3.0, 20)))
    table.positions = {
        "AAA": SimpleNamespace(quantity=5, bars_held=20), "BBB": SimpleNamespace(quantity=-5, bars_held=19)}
    signals = table.ask(strategy, [GOOD] * 3, [1.0, 1.0, 0.0])
    assert [(s.symbol, s.direction, s.reason) for s in signals] == [("AAA", 0, "held for 20 bars")]
