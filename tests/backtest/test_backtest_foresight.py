"""A strategy that is not asked where it foresees its silence decides what it would have decided bar by bar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trader.backtest.blocks import foreseen
from trader.backtest.engine import BacktestEngine
from trader.core.book import Book
from trader.core.foresight import bits_of, columns_of, row_bits
from trader.core.journal import read_events
from trader.core.money import ZERO
from trader.core.panel import BarPanel
from trader.risk.params import RiskParams
from trader.strategy.base_strategy import BaseStrategy
from trader.strategy.sma_cross import SmaCross, SmaCrossParams
from trader.strategy.trend import Trend, TrendParams

SYMBOLS = tuple("ABCDEFGHIJ")                       # more than a byte of bits
BAR_NS = 900 * 10**9


class EverySlice:
    """Mixed in front of a strategy: an ``on_slice`` of its own, so that no foresight speaks for it."""

    asked = 0

    def on_slice(self, ctx):
        self.asked += 1
        return super().on_slice(ctx)


class AskedSma(EverySlice, SmaCross):
    pass


class AskedTrend(EverySlice, Trend):
    pass


def panel(holes: bool, flat: bool = False, rows: int = 1500) -> BarPanel:
    draw = np.random.default_rng(5)
    moves = draw.normal(0.0, 0.004, (rows, len(SYMBOLS)))
    if flat:
        moves[200:400] = 0.0                            # equal means, and no breakout
    close = np.round(80.0 * np.exp(np.cumsum(moves, axis=0)), 2)
    opened = np.round(close * np.exp(draw.normal(0.0, 0.001, close.shape)), 2)
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    fields = [opened, high, low, close, np.full_like(close, 80_000.0)]
    if holes:
        missing = draw.random(close.shape) < 0.01
        for field in fields:
            field[missing] = np.nan
    ts = np.arange(rows) // 26 * 86_400 * 10**9 + np.arange(rows) % 26 * BAR_NS + 15 * 3600 * 10**9
    return BarPanel(SYMBOLS, "15Min", ts, ts + BAR_NS, *fields)


PAIRS = [
    (SmaCross, AskedSma, SmaCrossParams(fast=5, slow=20)),
    (SmaCross, AskedSma, SmaCrossParams(fast=3, slow=9, take_profit_pct=None, stop_loss_pct=None)),
    (Trend, AskedTrend, TrendParams()),
    (Trend, AskedTrend, TrendParams(allow_short=True, max_bars=9, alpha_share=0.6)),
]


def play(strategy: BaseStrategy, bars: BarPanel, journal: Path):
    bracket = getattr(strategy.params, "stop_loss_pct", 1.0) is not None
    engine = BacktestEngine(200_000, risk_params=RiskParams(require_bracket=bracket))
    result = engine.run(strategy, bars, journal=journal)
    return [event for _, event in read_events(journal)], result


@pytest.mark.parametrize(("foreseeing", "asked", "params"), PAIRS)
@pytest.mark.parametrize(("holes", "flat"), [(False, False), (True, True)])
def test_the_journal_is_that_of_a_strategy_asked_at_every_slice(tmp_path, foreseeing, asked, params, holes, flat):
    bars = panel(holes, flat)
    every = asked(params)
    want, result = play(every, bars, tmp_path / "asked.sqlite")
    got, _ = play(foreseeing(params), bars, tmp_path / "foreseen.sqlite")
    assert got == want
    assert every.asked == len(bars)
    assert result.counts["orders"] > 20


def test_silence_is_foreseen_at_most_slices():
    bars, strategy = panel(False), Trend()
    asked = [0]
    live = strategy.on_slice
    strategy.on_slice = lambda ctx: (asked.__setitem__(0, asked[0] + 1), live(ctx))[1]
    BacktestEngine(200_000).run(strategy, bars)
    assert 0 < asked[0] < 0.7 * len(bars)


def test_what_one_row_leaves_to_a_strategy_is_not_taken_for_anothers():
    """A strategy that was not asked after all (its history was too short) works the next row out itself."""
    bars, strategy = panel(True, True), SmaCross(SmaCrossParams(fast=5, slow=20))
    foresight, book = foreseen(strategy, bars), Book(cash=ZERO)
    left = []
    for row in range(len(bars)):
        foresight.silent(row, book)
        left.append(strategy.foreseen)
    unsure = [row for row in range(1, len(bars)) if left[row] is None and left[row - 1] is not None]
    assert unsure
    assert any(value is not None for value in left)


def test_a_subclass_with_decisions_of_its_own_is_asked():
    assert foreseen(Trend(), panel(False)) is not None
    assert foreseen(AskedTrend(), panel(False)) is None


def test_bits_are_columns():
    mask = np.random.default_rng(0).random((40, 19)) < 0.3
    for row, bits in zip(mask, row_bits(mask), strict=True):
        assert columns_of(bits) == np.flatnonzero(row).tolist()
        assert bits == bits_of(row) == sum(1 << k for k in np.flatnonzero(row).tolist())
