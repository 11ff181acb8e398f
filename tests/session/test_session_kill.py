"""Kill -9 at random moments, start again: no order twice, none lost, positions and cash equal on both sides."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from session_world import (
    ELSEWHERE,
    environment,
    events_of,
    headless,
    make_home,
    read_until,
    runs,
    spawn,
    summary_of,
    venue_at_rest,
)

from trader.core import events as ev
from trader.core.fold import Fold
from trader.core.orders import OrderState

MOMENTS = int(os.environ.get("ALPHATRADE_KILLS", "3"))
MANY = 20
OPEN_AT_VENUE = ("new", "accepted", "pending_new", "held", "partially_filled", "pending_cancel")
FIRST_ORDERS = "fill"                   # a log line that says: it trades


def assert_both_sides_agree(home: Path, venue_file: Path) -> None:
    """Orders, executions, positions and cash of all journals together against the venue's file."""
    state, orders = venue_at_rest(venue_file)
    ids = Counter(order.client_order_id for order in orders)
    assert [name for name, count in ids.items() if count > 1] == []
    known: set[str] = set()
    submitted: Counter[str] = Counter()
    executions: Counter[str] = Counter()
    for journal in runs(home):
        for event in events_of(journal):
            if isinstance(event, ev.OrderAccepted | ev.LegKnown):
                known.add(event.client_order_id)
            elif isinstance(event, ev.OrderSubmitting):
                submitted[event.client_order_id] += 1
            elif isinstance(event, ev.OrderFilled):
                executions[event.execution_id] += 1
            assert not isinstance(event, ev.PositionAdjusted | ev.CashAdjusted | ev.OrderAnomaly), event
    assert set(ids) - known == set()
    assert [name for name, count in submitted.items() if count > 1] == []
    assert [name for name, count in executions.items() if count > 1] == []
    filled = {order.client_order_id: order.filled_qty for order in orders if order.filled_qty}
    fold = Fold()
    for event in events_of(runs(home)[-1]):
        fold.apply(event)
    assert fold.book.cash == Decimal(state.cash)
    assert {s: p.quantity for s, p in fold.book.positions.items()} == {
        symbol: Decimal(holding.qty) for symbol, holding in state.holdings.items() if Decimal(holding.qty)}
    still_open = {order.client_order_id for order in orders if order.status in OPEN_AT_VENUE}
    assert set(fold.book.open_orders) == still_open
    assert len(executions) >= len(filled)
    assert len(filled) > 2


def kill_at_a_random_moment(process: subprocess.Popen[str], rng: random.Random, until: str = FIRST_ORDERS) -> None:
    read_until(process, until)
    time.sleep(rng.uniform(0.0, 0.3))
    process.send_signal(signal.SIGKILL)
    process.communicate()


def sessions_and_their_venue_die(home: Path, moments: int, seed: int) -> None:
    rng = random.Random(seed)
    make_home(home)
    for _ in range(moments):
        kill_at_a_random_moment(
            headless(home, "--speed", "max", "--persist", "--stop-after", "100000"), rng,
            until=rng.choice([FIRST_ORDERS, "data_stream up", "session"]))
    last = headless(home, "--speed", "max", "--persist", "--stop-after", "60")
    output, errors = last.communicate(timeout=200)
    assert last.returncode == 0, errors
    assert summary_of(output)["anomalies"] == 0
    assert_both_sides_agree(home, home / "state" / "exchange-sim.sqlite")


def test_sessions_and_their_venue_die_together(home: Path) -> None:
    sessions_and_their_venue_die(home, MOMENTS, seed=1)


@pytest.mark.slow
def test_sessions_and_their_venue_die_many_times(home: Path) -> None:
    sessions_and_their_venue_die(home, MANY, seed=2)


@contextlib.contextmanager
def exchange_process(home: Path, file: Path, *rules: str) -> Iterator[tuple[str, str]]:
    """``alphatrade exchange serve`` in lock-step: its address and that of its control port."""
    words = ["exchange", "serve", "--home", str(home), "--symbols", "AAPL,MSFT", "--start", "2012-06-15",
             "--speed", "lockstep", "--persist", str(file), *(word for rule in rules for word in ("--rule", rule))]
    with subprocess.Popen([sys.executable, "-m", "trader.cli.main", *words], env=environment(home), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=home.parent) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        ready = json.loads(process.stdout.readline() or process.stderr.read())
        try:
            yield ready["url"], f"127.0.0.1:{ready['control_port']}"
        finally:
            process.terminate()


def sessions_die_while_the_exchange_lives(home: Path, moments: int, seed: int, *rules: str) -> None:
    rng = random.Random(seed)
    file = make_home(home) / "venue.db"
    with exchange_process(home, file, *rules) as (url, control):
        for _ in range(moments):
            kill_at_a_random_moment(spawn(home, str(home), url, control, "100000", code=ELSEWHERE), rng)
        output, errors = (last := spawn(home, str(home), url, control, "60", code=ELSEWHERE)).communicate(timeout=200)
    assert last.returncode == 0, errors
    assert summary_of(output)["anomalies"] == 0
    assert_both_sides_agree(home, file)


@pytest.mark.parametrize("rules", [(), ("held_stops=true",)])
def test_sessions_die_while_the_exchange_lives_on(home: Path, rules: tuple[str, ...]) -> None:
    sessions_die_while_the_exchange_lives(home, MOMENTS, 3, *rules)


@pytest.mark.slow
@pytest.mark.parametrize("rules", [(), ("held_stops=true",)])
def test_sessions_die_many_times_while_the_exchange_lives_on(home: Path, rules: tuple[str, ...]) -> None:
    sessions_die_while_the_exchange_lives(home, MANY, 4, *rules)


DYING = """
import os, signal, sys
from console.cli import main
from trader.execution.broker_api import AlpacaBroker
number, moment = int(sys.argv.pop(1)), sys.argv.pop(1)
real, sent = AlpacaBroker.submit, 0
async def submit(self, order):
    global sent
    sent += 1
    if sent == number and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = await real(self, order)
    if sent == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
AlpacaBroker.submit = submit
sys.exit(main())
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_order_that_was_being_sent_is_found_or_given_up_before_trading_goes_on(home: Path, moment: str) -> None:
    """Dead between the record and the first byte, or between the last byte and the answer's record."""
    make_home(home)
    dying = spawn(home, "6", moment, "--no-ui", "--speed", "max", "--persist", code=DYING)
    dying.communicate(timeout=200)
    assert dying.returncode == -signal.SIGKILL
    before = Fold()
    for event in events_of(runs(home)[-1]):
        before.apply(event)
    lost, = [name for name, order in before.book.open_orders.items() if order.state is OrderState.SUBMITTING]
    last = headless(home, "--speed", "max", "--persist", "--stop-after", "40")
    output, errors = last.communicate(timeout=200)
    assert last.returncode == 0, errors
    assert summary_of(output)["anomalies"] == 0
    assert_both_sides_agree(home, home / "state" / "exchange-sim.sqlite")
    after = events_of(runs(home)[-1])
    fate = next(i for i, e in enumerate(after) if getattr(e, "client_order_id", "") == lost
                and isinstance(e, ev.OrderAccepted if moment == "after" else ev.OrderRejected))
    assert fate < next(i for i, e in enumerate(after) if isinstance(e, ev.SliceClosed))
