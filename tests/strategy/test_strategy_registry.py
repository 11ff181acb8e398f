"""Names to strategies: the shipped ones, a user's file, and mistakes that say how to mend them."""

import pytest

from trader.strategy.registry import BUILT_IN, make_strategy, strategy_class
from trader.utils.errors import UserError

OWN = '''
from typing import ClassVar
from trader.core.signals import Signal
from trader.strategy.base_strategy import BaseStrategy, StrategyParams

class Params(StrategyParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    every: int = 5

class Mine(BaseStrategy):
    Params: ClassVar = Params
    def on_slice(self, ctx):
        return [Signal("AAA", 1, 1.0, 10.0)] if ctx.history.n % self.params.every == 0 else []

class Half(BaseStrategy):
    pass

class Other:
    pass
'''


@pytest.mark.parametrize("name", BUILT_IN)
def test_shipped_strategies_have_their_names_and_defaults(name):
    strategy = make_strategy(name)
    assert strategy.name == name
    assert strategy.warmup > 0


def test_a_users_strategy_is_one_file(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    strategy = make_strategy("mine.py:Mine", {"every": 3}, base_dir=tmp_path)
    assert strategy.name == "Mine"
    assert strategy.params.every == 3
    assert strategy_class(f"{tmp_path}/mine.py:Mine").__name__ == "Mine"


@pytest.mark.parametrize(("name", "params", "words"), [
    ("tren", None, "did you mean 'trend'"), ("nothing", None, "known: trend"),
    ("gone.py:Mine", None, "does not exist"), ("mine.py:Nope", None, "no class 'Nope'"),
    ("mine.py:Half", None, "lacks on_slice"), ("mine.py:Other", None, "not a strategy"),
    ("broken.py:Mine", None, "ZeroDivisionError"), ("no.such.module:Mine", None, "cannot be imported"),
    ("trend", {"brekout": 3}, "brekout"), ("trend", {"breakout": -3}, "breakout"),
    ("sma_cross", {"fast": 60}, "must be below slow"), ("mine.py:Mine", {"every": "x"}, "every"),
])
def test_mistakes_are_one_clear_line(tmp_path, name, params, words):
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(UserError) as caught:
        make_strategy(name, params, base_dir=tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
