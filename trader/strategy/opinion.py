"""What a rule says of every bar as if it held nothing: the side whose bets a meta-model judges.

A rule that holds a position is silent about the next entry. Its opinion is asked of a book that is always empty, so
that it depends on the bars alone: the same in training, in one batch over a backtest, and bar by bar.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from trader.core.book import Book
from trader.core.days import days_of
from trader.core.history import History
from trader.core.panel import BarPanel, FloatArray, Slice
from trader.strategy.base_strategy import BaseStrategy, StrategyContext
from trader.strategy.registry import make_strategy
from trader.utils.errors import UserError

_SETTLES = 500          # bars after which what a rule carries along no longer depends on where it began
_BARS_PER_DAY = 26.0


class Opinion:
    """A rule heard bar by bar.

    Parameters
    ----------
    rule : a strategy that needs no model; it belongs to this object alone
    past : the bars before the first one to come; the rule looks back on them and is settled by the last of them
    """

    def __init__(self, rule: BaseStrategy, past: BarPanel) -> None:
        self._rule = rule
        self._history = History(past.symbols, bars_per_day=_BARS_PER_DAY)
        self._column = {symbol: j for j, symbol in enumerate(past.symbols)}
        self._book = Book(past.symbols)
        days = days_of(past.available_ns).tolist()
        settle = len(past) - max(_SETTLES, 5 * rule.warmup)
        for row, day in enumerate(days):
            bar = past.slice(row)
            if row < settle:
                self._history.append(bar, day)
            else:
                self.push(bar, day)

    def push(self, bar: Slice, day: int) -> FloatArray:
        """Side times strength by symbol, shape ``(n_symbols,)``: in [-1, 1], 0 where the rule would not enter."""
        self._history.append(bar, day)
        said = np.zeros(len(self._column))
        context = StrategyContext(bar, self._history, self._book, None, np.isfinite(bar.close))
        for signal in self._rule.on_slice(context):
            if signal.symbol in self._column:
                said[self._column[signal.symbol]] = signal.direction * min(max(signal.strength, 0.0), 1.0)
        return said


def opinions(rule: BaseStrategy, panel: BarPanel, start: int = 0) -> FloatArray:
    """The rule's opinion at every bar from ``start`` on, shape ``(n_bars - start, n_symbols)``."""
    heard = Opinion(rule, panel.rows(0, start))
    days = days_of(panel.available_ns[start:]).tolist()
    said = [heard.push(panel.slice(start + row), day) for row, day in enumerate(days)]
    return np.array(said).reshape(len(days), len(panel.symbols))


def make_rule(name: str, params: Mapping[str, Any]) -> BaseStrategy:
    """The rule behind ``meta.primary`` and ``meta.params``.

    Raises
    ------
    UserError
        no such strategy, or one that needs a model itself
    """
    rule = make_strategy(name, dict(params))
    if rule.needs_model:
        raise UserError(f"meta.primary {name!r} needs a model itself; name a rule such as trend or sma_cross")
    return rule


def rule_facts(rule: BaseStrategy, name: str) -> dict[str, Any]:
    """What a model's manifest keeps of the rule: its name, parameters and the hash of both and of its code."""
    params = msgspec.to_builtins(rule.params)
    source = inspect.getsourcefile(type(rule))
    code = "" if source is None else Path(source).read_text(encoding="utf-8")
    digest = hashlib.sha256(json.dumps([name, params, code], sort_keys=True).encode())
    return {"primary": name, "params": params, "fingerprint": digest.hexdigest()}
