"""Bars judged block by block are judged as each would be by itself."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from trader.backtest import engine
from trader.backtest.blocks import ROWS, BlockValidator
from trader.backtest.engine import BacktestEngine
from trader.core import events as ev
from trader.core.fold import Fold
from trader.core.journal import read_events
from trader.core.panel import BarPanel
from trader.data.live_validator import LiveDataValidator
from trader.risk.params import RiskParams
from trader.strategy.sma_cross import SmaCross, SmaCrossParams

SYMBOLS = ("A", "B", "C")
BAR_NS = 900 * 10**9


def panel_with(faults: bool, holes: bool, rows: int = 2 * ROWS + 40) -> BarPanel:
    draw = np.random.default_rng(11)
    close = np.round(100.0 * np.exp(np.cumsum(draw.normal(0.0, 0.002, (rows, 3)), axis=0)), 2)
    fields = [close.copy(), close * 1.001, close * 0.999, close, np.full_like(close, 5_000.0)]
    if faults:
        fields[3][ROWS + 7, 1] *= 3.0                     # a spike beyond the bar's own range
        fields[4][ROWS + 9, 2] = -1.0
        fields[0][3, 0] = np.inf
    if holes:
        missing = draw.random(close.shape) < 0.05
        for field in fields:
            field[missing] = np.nan
    ts = np.arange(rows) * BAR_NS
    return BarPanel(SYMBOLS, "15Min", ts, ts + BAR_NS, *fields)


@pytest.mark.parametrize("faults", [False, True])
@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("first", [0, 5, ROWS - 1])
def test_blocks_find_what_single_bars_show(faults, holes, first):
    panel = panel_with(faults, holes)
    alone = LiveDataValidator(0.25, 1, symbols=SYMBOLS)
    blocks = BlockValidator(LiveDataValidator(0.25, 1, symbols=SYMBOLS), panel)
    found = 0
    for i in range(first, len(panel)):
        bar = panel.slice(i)
        before = panel.close[i - 1] if i else bar.close
        mask, issues = alone.check_slice(bar, before, bar.available_ns)
        block_mask, block_issues = blocks.check_slice(bar, before, bar.available_ns)
        assert np.array_equal(mask, block_mask)
        assert list(block_issues) == issues
        found += len(issues)
    assert bool(found) is faults


def test_a_late_look_at_a_bar_is_taken_by_itself():
    panel = panel_with(False, False)
    blocks = BlockValidator(LiveDataValidator(0.25, 1, symbols=SYMBOLS), panel)
    blocks.check_slice(panel.slice(0), panel.close[0], int(panel.available_ns[0]))
    bar = panel.slice(1)
    mask, issues = blocks.check_slice(bar, panel.close[0], bar.available_ns + 3600 * 10**9)
    assert not mask.any()
    assert {issue.type for issue in issues} == {"stale_data"}


def test_a_backtest_counts_finished_orders_and_keeps_none(monkeypatch, tmp_path):
    kept = []
    counted = engine.count
    monkeypatch.setattr(engine, "count", lambda book, played: kept.append(book) or counted(book, played))
    panel = panel_with(False, False)
    params = SmaCrossParams(fast=3, slow=8, shares=10, take_profit_pct=None, stop_loss_pct=None)
    journal = tmp_path / "j.sqlite"
    result = BacktestEngine(1_000_000, risk_params=RiskParams(require_bracket=False)).run(
        SmaCross(params), panel, journal=journal)
    assert all(order.is_open for order in kept[0].orders.values())
    events = [event for _, event in read_events(journal)]
    told = {name: sum(isinstance(event, kind) for event in events) for name, kind in (
        ("intents", ev.OrderIntent), ("orders", ev.OrderSubmitting), ("fills", ev.OrderFilled))}
    assert told.items() <= result.counts.items()
    assert result.counts["fills"] > 20
    fold = Fold()
    for event in events:
        fold.apply(event)
    assert msgspec.structs.asdict(fold.book.counts()).items() <= result.counts.items()
