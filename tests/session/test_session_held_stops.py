"""Whole sessions at a broker that holds the stop while its target works, as Alpaca does."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from session_world import comparable, events_of, lock_step, make_home, runs, wait_for

from trader import headless, system
from trader.core import events as ev
from trader.core.fold import Fold
from trader.core.orders import OrderState
from trader.exchange.server import ExchangeServer
from trader.host import EngineHost
from trader.options import SessionOptions
from trader.session.plan import SessionPlan
from trader.session.venue_thread import build_venue


@pytest.fixture
def held_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(plan: SessionPlan, after: ExitStack) -> ExchangeServer:
        server = build_venue(plan, after)
        server.venue.set_rules(msgspec.structs.replace(server.venue.rules, held_stops=True))
        return server

    monkeypatch.setattr(system, "build_venue", build)


def played(home: Path, slices: int, **options: Any) -> list[ev.AnyEvent]:
    """The journal of a session of so many slices."""
    assert headless.run(lock_step(home, slices, **options)) == 0
    return events_of(runs(home)[-1])


def of(events: list[ev.AnyEvent], *kinds: type) -> list[Any]:
    return [event for event in events if isinstance(event, kinds)]


def folded(events: list[ev.AnyEvent]) -> Fold:
    fold = Fold()
    for event in events:
        fold.apply(event)
    return fold


def told(events: list[ev.AnyEvent], *kinds: type) -> list[dict[str, Any]]:
    """What events say, without the ids that the venue gave."""
    rows = comparable(of(events, ev.SessionStarted, *kinds))
    for row in rows:
        for name in ("client_order_id", "execution_id"):
            if not str(row.get(name, "")).startswith("RUN"):
                row.pop(name, None)
    return rows[1:]


def test_decisions_fills_and_risk_are_those_at_a_broker_that_lets_both_exits_work(
        home: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    both = played(make_home(home), 300)
    request.getfixturevalue("held_stops")
    held = played(make_home(tmp_path / "held"), 300)
    for kind in (ev.OrderIntent, ev.RiskVerdict, ev.OrderFilled, ev.RiskGauges):
        assert told(held, kind) == told(both, kind), kind
    assert {order.role for order in of(held, ev.OrderIntent)} == {"entry", "exit"}      # no second stop
    assert len(of(held, ev.OrderReplaced)) > 3                                          # stops were touched
    assert not of(held, ev.OrderAnomaly, ev.PositionAdjusted, ev.CashAdjusted)


def before_a_touch(events: list[ev.AnyEvent]) -> int:
    """So many slices of a session lie before the bar that touched a stop of an earlier bar's position."""
    slices, known = 0, {}
    for event in events:
        if isinstance(event, ev.SliceClosed):
            slices += 1
        elif isinstance(event, ev.LegKnown):
            known[event.client_order_id] = slices
        elif isinstance(event, ev.OrderReplaced) and slices - known[event.new_client_order_id] > 2:
            return slices
    raise AssertionError("no stop was touched")


def test_the_next_session_takes_the_position_over(home: Path, tmp_path: Path, held_stops: None) -> None:
    slices = before_a_touch(played(make_home(home), 300))
    make_home(tmp_path / "again")
    before = folded(played(tmp_path / "again", slices, persist=True)).book
    assert OrderState.HELD in {order.state for order in before.open_orders.values()}
    events = played(tmp_path / "again", 10, persist=True)
    first = of(events, ev.Reconciled)[0]
    assert (first.green, first.differences) == (True, ())
    replaced = {event.client_order_id for event in of(events, ev.OrderReplaced)}
    assert replaced & set(before.open_orders)           # its stop was touched
    assert "protect" not in {order.role for order in of(events, ev.OrderIntent)}
    assert not of(events, ev.OrderAnomaly, ev.OrderAdopted, ev.PositionAdjusted, ev.CashAdjusted)
    assert folded(events).book.closed_trades[0].exit_role == "stop_loss"


def test_the_halt_cancels_both_exits_and_closes(home: Path, held_stops: None) -> None:
    make_home(home)
    host = EngineHost.from_options(SessionOptions(home=home, speed="3000"))
    host.start()
    try:
        wait_for(lambda: any(order.state == OrderState.HELD and order.symbol in {p.symbol for p in frame.positions}
                             for frame in (host.frame(),) for order in frame.orders))
        host.halt("key", "f12")
        wait_for(lambda: host.frame().halt.step == "flat" and not host.frame().positions)
    finally:
        assert host.stop(200)
    assert host.error is None
    fold = folded(events_of(runs(home)[-1]))
    assert (fold.book.positions, fold.book.open_orders) == ({}, {})
    assert fold.counts["anomalies"] == 0
    assert fold.halt.positions_closed
