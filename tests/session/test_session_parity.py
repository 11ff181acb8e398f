"""One decision path: a session on the embedded exchange and a backtest of the same bars decide the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from session_world import QUICK, comparable, events_of, lock_step, make_home, runs

from trader import headless
from trader.backtest.engine import BacktestEngine
from trader.core import events as ev
from trader.core.clock import iso
from trader.core.panel import BarPanel
from trader.session.plan import SessionPlan, make_plan
from trader.strategy.registry import make_strategy

DECISIONS = (ev.OrderIntent, ev.RiskVerdict)
FILLS = (ev.OrderFilled,)


def played(plan: SessionPlan, slices: int) -> tuple[BarPanel, str]:
    """The bars of a session of so many slices, history in front, and its first day."""
    assert plan.panel is not None
    return plan.panel.rows(0, plan.first + slices), iso(int(plan.panel.ts_ns[plan.first]))


def by_number(rows: list[dict]) -> list[dict]:
    """Client ids without the run's part and without the ids that the venue gave to legs."""
    for row in rows:
        name = str(row["client_order_id"])
        row["client_order_id"] = name.rsplit("-", 1)[-1] if name.startswith(("RUN-", "bt-")) else "leg"
        row.pop("execution_id", None)
    return rows


def decisions(journal: Path, kinds: tuple[type, ...]) -> list[dict]:
    return by_number(comparable(events_of(journal), kinds))


def test_a_session_and_a_backtest_decide_the_same(home: Path) -> None:
    slices = 300
    options = lock_step(make_home(home), slices)
    assert headless.run(options) == 0
    plan = make_plan(options)
    panel, start = played(plan, slices)
    journal = home / "backtest.sqlite"
    result = BacktestEngine(float(plan.loaded.settings.sim.cash), risk_params=plan.risk_params).run(
        make_strategy("trend"), panel, start, journal=journal)
    session = runs(home)[-1]
    assert decisions(session, DECISIONS) == decisions(journal, DECISIONS)
    assert decisions(session, FILLS) == decisions(journal, FILLS)
    assert result.counts["orders"] > 20
    assert result.counts["slices"] == slices


@pytest.mark.slow
def test_a_model_decides_the_same_bar_by_bar_and_in_one_batch(home: Path) -> None:
    from session_world import command

    from trader.mlops.monitoring import ModelMonitor
    from trader.models.registry import latest_model
    from trader.prediction import BatchPredictor, HealthWatch, barriers_of, load_model

    slices = 200
    make_home(home, QUICK.replace("{name: trend}", "{name: ml_momentum}"))
    trained = command(home, "train", "--home", str(home), "--symbols", "AAPL,MSFT", "--timeframe", "15Min",
                      "--start", "2011-09-01", "--end", "2012-06-14", "--seed", "7", timeout_s=200)
    assert trained.returncode == 0, trained.stderr
    options = lock_step(home, slices)
    assert headless.run(options) == 0
    plan = make_plan(options)
    panel, start = played(plan, slices)
    directory = latest_model(home, "ml_momentum")
    assert directory is not None
    artifact, features = load_model(directory)
    predictor = BatchPredictor(artifact, features, panel, plan.first)
    strategy = make_strategy("ml_momentum", barriers=barriers_of(artifact.labels, panel.symbols))
    journal = home / "backtest.sqlite"
    BacktestEngine(float(plan.loaded.settings.sim.cash), risk_params=plan.risk_params).run(
        strategy, panel, start, predictor=predictor, journal=journal,
        monitor=HealthWatch(ModelMonitor(artifact.manifest, panel.symbols), predictor))
    session = runs(home)[-1]
    assert decisions(session, FILLS)
    assert decisions(session, DECISIONS) == decisions(journal, DECISIONS)
