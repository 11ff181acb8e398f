"""Sessions while the market halts a symbol, or all of them: a gap in the bars, and orders that wait."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from session_world import QUICK, comparable, events_of, lock_step, make_home, runs

from trader import headless, system
from trader.backtest.engine import BacktestEngine
from trader.core import events as ev
from trader.core.clock import iso
from trader.core.panel import FIELDS
from trader.exchange.fault_script import read_script
from trader.exchange.server import ExchangeServer
from trader.session.plan import SessionPlan, make_plan
from trader.session.venue_thread import build_venue
from trader.strategy.registry import make_strategy

SLICES = 160
# Symbol, the first slice that a halt leaves out and the first that it does not; once both stand still.
HALTS = [("AAPL", 20, 34), ("MSFT", 60, 90), ("AAPL", 80, 82), ("MSFT", 120, 121)]


@pytest.fixture
def halting(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(plan: SessionPlan, after: ExitStack) -> ExchangeServer:
        server = build_venue(plan, after)
        script = read_script({"faults": [
            {"kind": "market_event", "event": event, "from_bar": plan.first + at,
             "arguments": {"symbol": symbol, **({"reason": "T1"} if event == "halt" else {})}}
            for symbol, first, stop in HALTS for event, at in (("halt", first), ("resume", stop))
        ]})
        server.faults.add(script.faults)
        return server

    monkeypatch.setattr(system, "build_venue", build)


def told(journal: Path) -> list[dict[str, object]]:
    """Decisions and fills, without the ids that differ from run to run."""
    rows = comparable(events_of(journal), (ev.OrderIntent, ev.RiskVerdict, ev.OrderFilled))
    for row in rows:
        name = str(row["client_order_id"])
        row["client_order_id"] = name.rsplit("-", 1)[-1] if name.startswith(("RUN-", "bt-")) else "leg"
        row.pop("execution_id", None)
    return rows


def test_a_session_takes_a_halt_for_a_gap_in_the_data(home: Path, halting: None) -> None:
    wish = lock_step(make_home(home, QUICK), SLICES)
    assert headless.run(wish) == 0
    plan = make_plan(wish)
    assert plan.panel is not None
    panel = plan.panel.rows(0, plan.first + SLICES)
    gone = replace(panel, **{name: getattr(panel, name).copy() for name in FIELDS})
    for symbol, first, stop in HALTS:
        for name in FIELDS:
            getattr(gone, name)[plan.first + first : plan.first + stop, panel.column(symbol)] = np.nan
    journal = home / "backtest.sqlite"
    BacktestEngine(float(plan.loaded.settings.sim.cash), risk_params=plan.risk_params).run(
        make_strategy("trend"), gone, iso(int(panel.ts_ns[plan.first])), journal=journal)
    session = runs(home)[-1]
    events = events_of(session)
    assert told(session) == told(journal)
    assert sum(isinstance(event, ev.OrderFilled) for event in events) > 5
    assert [event.text for event in events if isinstance(event, ev.Note) and "suspended" in event.text]     # exits did
    assert not [event for event in events if isinstance(event, ev.OrderAnomaly | ev.PositionAdjusted)]
