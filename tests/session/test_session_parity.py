"""One decision path: a session on the embedded exchange and a backtest of the same bars decide the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from session_world import QUICK, comparable, events_of, lock_step, make_home, runs

from trader import headless
from trader.backtest.engine import BacktestEngine, BacktestResult
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


def both(
    home: Path, settings: str, strategy: str, slices: int, **options: str
) -> tuple[Path, SessionPlan, BacktestResult]:
    """A session and the backtest of the bars that it plays, decisions and fills compared; the session's journal."""
    wish = lock_step(make_home(home, settings), slices, **options)
    assert headless.run(wish) == 0
    plan = make_plan(wish)
    panel, start = played(plan, slices)
    journal = home / "backtest.sqlite"
    result = BacktestEngine(float(plan.loaded.settings.sim.cash), risk_params=plan.risk_params).run(
        make_strategy(strategy), panel, start, journal=journal)
    session = runs(home)[-1]
    assert decisions(session, DECISIONS) == decisions(journal, DECISIONS)
    assert decisions(session, FILLS) == decisions(journal, FILLS)
    return session, plan, result


def test_a_session_and_a_backtest_decide_the_same(home: Path) -> None:
    _, _, result = both(home, QUICK, "trend", 300)
    assert result.counts["orders"] > 20
    assert result.counts["slices"] == 300


def test_a_session_and_a_backtest_of_daily_bars_decide_the_same(home: Path) -> None:
    settings = QUICK.replace("2012-06-15", "2012-02-01").replace("{name: trend}", "{name: sma_cross}")
    session, plan, result = both(home, settings, "sma_cross", 300, timeframe="1Day")
    assert result.counts["orders"] > 5
    panel, _ = played(plan, 300)
    closed = [(event.bar_ts, event.ts) for event in events_of(session) if isinstance(event, ev.SliceClosed)]
    assert closed == list(zip(panel.ts_ns[plan.first:].tolist(), panel.available_ns[plan.first:].tolist(), strict=True))


def train(home: Path, config: str = "") -> None:
    from session_world import command

    words = []
    if config:
        (home / "training.yaml").write_text(config, encoding="utf-8")
        words = ["--config", str(home / "training.yaml")]
    trained = command(home, "train", "--home", str(home), "--symbols", "AAPL,MSFT", "--timeframe", "15Min",
                      "--start", "2011-09-01", "--end", "2012-06-14", "--seed", "7", *words, timeout_s=200)
    assert trained.returncode == 0, trained.stderr


def played_twice(home: Path, name: str, slices: int, **params: float) -> tuple[Path, Path]:
    """Journals of a session with a stored model of that strategy, and of the backtest of the same bars."""
    from trader.mlops.monitoring import ModelMonitor
    from trader.models.registry import latest_model
    from trader.prediction import BatchPredictor, HealthWatch, barriers_of, load_model, require_use

    options = lock_step(home, slices)
    assert headless.run(options) == 0
    plan = make_plan(options)
    panel, start = played(plan, slices)
    directory = latest_model(home, name)
    assert directory is not None
    artifact, features = load_model(directory)
    predictor = BatchPredictor(artifact, features, panel, plan.first)
    strategy = make_strategy(name, params, barriers=barriers_of(artifact.labels, panel.symbols))
    require_use(artifact, strategy)
    journal = home / "backtest.sqlite"
    BacktestEngine(float(plan.loaded.settings.sim.cash), risk_params=plan.risk_params).run(
        strategy, panel, start, predictor=predictor, journal=journal,
        monitor=HealthWatch(ModelMonitor(artifact.manifest, panel.symbols), predictor))
    return runs(home)[-1], journal


@pytest.mark.slow
def test_a_model_decides_the_same_bar_by_bar_and_in_one_batch(home: Path) -> None:
    make_home(home, QUICK.replace("{name: trend}", "{name: ml_momentum}"))
    train(home)
    session, journal = played_twice(home, "ml_momentum", 200)
    assert decisions(session, FILLS)
    assert decisions(session, DECISIONS) == decisions(journal, DECISIONS)


META = """\
name: ml_meta
meta: {primary: RULE}
model: {members: [lightgbm], iterations: 20, depth: 3}
importance: {mda: false}
"""


@pytest.mark.parametrize("rule", ["trend, params: {allow_short: true}", "sma_cross, params: {fast: 2, slow: 6}"])
def test_a_rules_bets_are_judged_the_same_bar_by_bar_and_in_one_batch(home: Path, rule: str) -> None:
    make_home(home, QUICK.replace("{name: trend}", "{name: ml_meta, params: {cost_bps: 0}}"))
    train(home, META.replace("RULE", rule))
    session, journal = played_twice(home, "ml_meta", 200, cost_bps=0.0)
    said = [comparable(events_of(path), (ev.Predictions,)) for path in (session, journal)]
    assert said[0] == said[1]
    sides = {side for row in said[0] for side in row["side"]}
    assert sides == ({-1, 0, 1} if "short" in rule else {0, 1})
    assert decisions(session, FILLS)
    assert decisions(session, DECISIONS) == decisions(journal, DECISIONS)
