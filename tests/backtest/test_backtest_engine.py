"""The backtest: deterministic to the byte, honest about its range, the same accounts as its journal."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from trader.backtest.engine import BacktestEngine, BacktestResult, InstitutionalBacktestEngine
from trader.backtest.report import write_results
from trader.core import events as ev
from trader.core.fold import Fold
from trader.core.journal import check, read_events
from trader.core.panel import BarPanel
from trader.data.catalog import load_panel
from trader.strategy.registry import make_strategy
from trader.utils.errors import UserError

START = "2012-06-15"


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> BarPanel:
    """Synthetic 15-minute bars of two symbols: history, then a month to trade."""
    return load_panel(tmp_path_factory.mktemp("home"), ["AAPL", "MSFT"], "15Min", "2012-05-01", "2012-07-20",
                      synth_seed=7)


def played(panel: BarPanel, journal: Path | None = None, **more: Any) -> BacktestResult:
    return BacktestEngine(100_000).run(make_strategy("trend"), panel, START, None, journal=journal, **more)


@pytest.fixture(scope="module")
def run(panel: BarPanel, tmp_path_factory: pytest.TempPathFactory) -> BacktestResult:
    return played(panel, tmp_path_factory.mktemp("run") / "journal.sqlite")


def events(result: BacktestResult) -> list[ev.AnyEvent]:
    assert result.journal is not None
    return [event for _, event in read_events(result.journal)]


def test_two_runs_write_the_same_bytes(run: BacktestResult, panel: BarPanel, tmp_path: Path) -> None:
    again = played(panel, tmp_path / "journal.sqlite", run_id="another")
    mine, theirs = ([msgspec.to_builtins(e) for e in events(result)] for result in (run, again))
    for rows in (mine, theirs):
        assert rows[0].pop("run_id")
    assert mine == theirs
    for name, result in (("one", run), ("two", again)):
        write_results(result, tmp_path / name, {"strategy": "trend"})
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_the_result_and_its_journal_tell_the_same(run: BacktestResult) -> None:
    assert run.journal is not None
    assert check(run.journal) is None
    fold = Fold()
    equity: list[float] = []
    for event in events(run):
        fold.apply(event)
        if isinstance(event, ev.SliceClosed):
            equity.append(fold.book.equity)
    assert len(equity) == run.counts["slices"] == len(run.equity)
    assert run.counts["fills"] == fold.counts["fills"] > 20
    assert run.counts["orders"] == fold.counts["orders"]
    assert run.counts["trades"] == len(run.trades) == len(fold.book.closed_trades)
    assert fold.book.equity == pytest.approx(float(run.equity[-1]))
    assert fold.counts["anomalies"] == 0
    assert fold.ended == "all bars played"


def test_cash_is_the_sum_of_the_fills_to_the_cent(run: BacktestResult) -> None:
    fold = Fold()
    cash = Decimal(100_000)
    for event in events(run):
        fold.apply(event)
        if isinstance(event, ev.OrderFilled):
            cash += event.quantity * event.price * (-1 if event.side == "buy" else 1) - event.commission
    assert fold.book.cash == cash
    profit = sum(trade.pnl for trade in run.trades)
    open_value = sum(float(p.quantity) * fold.book.marks[s] for s, p in fold.book.positions.items())
    entry_value = sum(float(p.quantity * p.average_price) + float(p.fees) for p in fold.book.positions.values())
    assert float(run.equity[-1]) == pytest.approx(100_000 + profit + open_value - entry_value, abs=0.01)


def test_every_position_has_its_stop_within_two_slices(run: BacktestResult) -> None:
    fold = Fold()
    naked: dict[str, int] = {}
    for event in events(run):
        if isinstance(event, ev.SliceClosed):
            for symbol in list(fold.book.positions):
                orders = fold.book.open_orders_of(symbol)
                safe = any(o.stop_price is not None or o.role in ("exit", "entry") for o in orders)
                naked[symbol] = 0 if safe else naked.get(symbol, 0) + 1
                assert naked[symbol] <= 2, (symbol, event.ts)
        fold.apply(event)


def test_bars_before_the_start_are_seen_and_not_traded(run: BacktestResult, panel: BarPanel) -> None:
    first = int(np.searchsorted(panel.ts_ns, np.datetime64(START, "ns").astype(np.int64)))
    slices = [e for e in events(run) if isinstance(e, ev.SliceClosed)]
    assert slices[0].bar_ts == int(panel.ts_ns[first])
    assert all(e.ts >= slices[0].bar_ts for e in events(run))


def test_the_guides_names_answer(run: BacktestResult) -> None:
    assert isinstance(run.sharpe_ratio, float)
    assert 0 <= run.max_drawdown <= 1
    assert run.total_trades == len(run.trades)
    with pytest.raises(AttributeError, match="sharp_ratio"):
        _ = run.sharp_ratio
    assert issubclass(InstitutionalBacktestEngine, BacktestEngine)


def test_report_and_curve_agree_with_the_result(run: BacktestResult, tmp_path: Path) -> None:
    write_results(run, tmp_path, {})
    report = json.loads((tmp_path / "backtest_report.json").read_text())
    assert {"sharpe_ratio", "max_drawdown", "win_rate", "profit_factor", "total_trades"} <= report.keys()
    assert report["data_source"] == "synthetic-intraday"
    assert "synthetic-intraday" in (tmp_path / "metrics_summary.txt").read_text()
    curve = (tmp_path / "equity_curve.csv").read_text().splitlines()
    assert len(curve) == 1 + run.counts["slices"]
    assert float(curve[-1].split(",")[1]) == report["final_equity"]
    assert len((tmp_path / "trades.csv").read_text().splitlines()) == 1 + len(run.trades)


@pytest.mark.parametrize(("start", "end", "said"), [
    ("2031-01-01", None, "2031-01-01"), (None, "1999-01-01", "1999-01-01"), ("soon", None, "soon")])
def test_a_range_without_bars_is_named(panel: BarPanel, start: str | None, end: str | None, said: str) -> None:
    with pytest.raises(UserError, match=said):
        BacktestEngine().run(make_strategy("trend"), panel, start, end)


@pytest.mark.parametrize("capital", [0, -1, float("nan")])
def test_a_capital_that_is_none_is_refused(capital: float) -> None:
    with pytest.raises(ValueError, match="initial_capital"):
        BacktestEngine(capital)


def test_the_cost_of_a_slice_does_not_grow_with_the_run(panel: BarPanel) -> None:
    """Counted in calls, not in seconds: the last fifth of a run may not work more per slice than the second."""
    import sys

    calls = 0
    marks: list[int] = []

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    n = len(panel) - int(np.searchsorted(panel.ts_ns, np.datetime64(START, "ns").astype(np.int64)))
    sys.setprofile(count)
    try:
        played(panel, on_slice=lambda done: marks.append(calls) if done % (n // 5) == 0 else None)
    finally:
        sys.setprofile(None)
    second, last = marks[1] - marks[0], marks[4] - marks[3]
    assert last < 1.6 * second


def test_a_breaker_in_a_backtest_halts_for_the_day_and_trades_on_the_next(panel: BarPanel) -> None:
    from trader.risk.params import RiskParams

    kept: list[ev.AnyEvent] = []
    engine = BacktestEngine(100_000, risk_params=RiskParams(
        intraday_loss_warning=0.0002, intraday_loss_circuit_breaker=0.0004))
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        result = engine.run(make_strategy("trend"), panel, START, None, journal=Path(folder) / "j.sqlite")
        kept = events(result)
    halts = [e for e in kept if isinstance(e, ev.HaltLatched)]
    lifts = [e for e in kept if isinstance(e, ev.HaltLifted)]
    assert halts
    assert all(e.source == "breaker" for e in halts)
    assert abs(len(halts) - len(lifts)) <= 1
    after = [e for e in kept if isinstance(e, ev.OrderIntent) and e.role == "entry" and e.ts > lifts[0].ts]
    assert after
    latched_until = dict(zip([e.ts for e in halts], [e.ts for e in lifts], strict=False))
    for start, end in latched_until.items():
        assert not [e for e in kept if isinstance(e, ev.OrderIntent) and e.role == "entry" and start < e.ts < end]
