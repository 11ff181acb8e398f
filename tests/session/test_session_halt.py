"""The emergency halt of a running session: every way in, twice, amid an order, over crashes and restarts."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from session_world import (
    QUICK,
    command,
    events_of,
    headless,
    lock_step,
    make_home,
    read_until,
    runs,
    spawn,
    venue_at_rest,
    wait_for,
)

from trader import headless as here
from trader.core import events as ev
from trader.core.fold import Fold
from trader.host import EngineHost
from trader.options import SessionOptions
from trader.system import AlphaTradeSystem
from trader.utils.errors import UserError
from trader.utils.latch import latch_of
from trader.utils.session_file import running_sessions

FAST = "20000"                          # simulated seconds a second: a bar every 45 ms


@contextmanager
def session(home: Path, **options: Any) -> Iterator[EngineHost]:
    """A free-running session in this process; stopped in order at the end."""
    host = EngineHost.from_options(SessionOptions(home=home, speed=FAST, **options))
    host.start()
    try:
        yield host
    finally:
        assert host.stop(200)
    assert host.error is None


def trading(host: EngineHost) -> bool:
    """Something is held."""
    assert host.error is None, host.error
    return bool(host.frame().positions)


def flat(host: EngineHost) -> bool:
    frame = host.frame()
    return frame.halt.step == "flat" and not frame.positions and not any(o.is_open for o in frame.orders)


def folded(journal: Path) -> Fold:
    fold = Fold()
    for event in events_of(journal):
        fold.apply(event)
    return fold


def entries(journal: Path) -> int:
    return sum(isinstance(e, ev.OrderSubmitting) for e in events_of(journal))


def test_the_halt_empties_the_account_and_holds_over_restarts_until_lifted(home: Path) -> None:
    make_home(home)
    with session(home, persist=True) as host:
        wait_for(lambda: trading(host))
        host.halt("key", "f12")
        latched = latch_of(home, "sim").read()
        assert latched is not None                      # durable when the call returns
        assert (latched.source, latched.reason) == ("key", "f12")
        wait_for(lambda: flat(host))
        host.halt("key", "f12 again")
        bars = host.frame().status.bars
        wait_for(lambda: host.frame().status.bars > bars + 20)
        assert flat(host)
    first = folded(runs(home)[-1])
    assert first.halt.latched
    assert first.halt.reason == "f12"
    assert first.book.positions == {}
    assert first.book.open_orders == {}
    with session(home, persist=True) as host:
        wait_for(lambda: host.frame().status.bars > 30)
        assert host.frame().halt.latched
        assert host.frame().halt.reason == "f12"
        assert entries(runs(home)[-1]) == 0
        assert host.resume("tester", "all is well") is None
        assert latch_of(home, "sim").read() is None
        wait_for(lambda: trading(host))
    assert not folded(runs(home)[-1]).halt.latched


def test_a_halt_before_the_engine_stands_is_not_lost(home: Path) -> None:
    make_home(home)
    host = EngineHost.from_options(lock_step(home, 40))
    host.halt("key", "at once")
    host.start()
    assert host.wait(200)
    assert host.error is None
    fold = folded(runs(home)[-1])
    assert fold.halt.latched
    assert fold.halt.reason == "at once"
    assert fold.counts["orders"] == 0
    assert latch_of(home, "sim").read() is not None


def test_a_halt_while_an_order_is_on_its_way_closes_what_it_buys(
        home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order has left, its answer has not come: the halt waits for its fate and then closes it."""
    import asyncio

    from trader.execution.order_manager import OrderManager

    make_home(home)
    hosts: list[EngineHost] = []
    real = OrderManager._send

    async def slow(self: OrderManager, order: Any) -> Any:
        outcome = await real(self, order)
        if order.client_order_id.split("-")[-1].startswith("e"):
            if not hosts[0].frame().halt.latched:
                hosts[0].halt("key", "in flight")
            await asyncio.sleep(0.3)                    # the stream tells of the fill before the answer is here
        return outcome

    monkeypatch.setattr(OrderManager, "_send", slow)
    host = EngineHost.from_options(SessionOptions(home=home, speed=FAST))
    hosts.append(host)
    host.start()
    try:
        wait_for(lambda: flat(host))
    finally:
        assert host.stop(200)
    fold = folded(runs(home)[-1])
    assert fold.book.positions == {}
    assert fold.book.open_orders == {}
    assert fold.counts["anomalies"] == 0
    assert fold.counts["orders"] >= 1


def test_a_crash_between_latch_and_cancels_is_finished_by_the_next_start(home: Path) -> None:
    make_home(home)
    first = headless(home, "--speed", "max", "--persist", "--stop-after", "100000")
    read_until(first, "fill")
    latch_of(home, "sim").set("key", "the last thing it did", 1)
    first.kill()                                        # the latch is set, nothing is cancelled
    first.communicate()
    venue, _ = venue_at_rest(home / "state" / "exchange-sim.sqlite")
    assert here.run(lock_step(home, 5, persist=True)) == 0
    fold = folded(runs(home)[-1])
    assert fold.book.positions == {}
    assert fold.book.open_orders == {}
    assert fold.halt.step == "flat"
    assert fold.halt.positions_closed == len(venue.holdings)
    assert here.run(lock_step(home, 5, persist=True)) == 0      # what is done is not done again
    again = events_of(runs(home)[-1])
    assert not any(isinstance(e, ev.HaltFinished | ev.OrderSubmitting) for e in again)
    assert folded(runs(home)[-1]).halt.latched


def test_the_halt_command_reaches_a_running_session_and_the_resume_lifts_it(home: Path) -> None:
    make_home(home)
    with session(home) as host:
        wait_for(lambda: trading(host))
        halted = command(home, "halt", "--home", str(home), "--reason", "from outside", "--json")
        assert halted.returncode == 0, halted.stderr
        result, = json.loads(halted.stdout)
        assert result["halted"]
        assert result["answer"]["failures"] == []
        wait_for(lambda: flat(host))
        # The strategy's own exit may have come first: what is told is what the halt did.
        closing = {o.symbol for o in folded(runs(home)[-1]).book.orders.values() if o.role == "halt"}
        assert result["answer"]["positions_closed"] == len(closing)
        resumed = command(home, "resume", "--home", str(home), "--mode", "sim", "--yes-resume")
        assert resumed.returncode == 0, resumed.stderr
        wait_for(lambda: trading(host))


def test_the_halt_command_without_a_session_latches_the_next(home: Path) -> None:
    make_home(home)
    halted = command(home, "halt", "--home", str(home), "--mode", "sim")
    assert halted.returncode == 0
    assert here.run(lock_step(home, 40)) == 0
    fold = folded(runs(home)[-1])
    assert fold.halt.latched
    assert fold.counts["orders"] == 0


def test_sigusr1_halts(home: Path) -> None:
    process = headless(make_home(home), "--speed", FAST)
    try:
        read_until(process, "fill")
        process.send_signal(signal.SIGUSR1)
        lines = read_until(process, "orders cancelled")
        assert "orders cancelled" in lines[-1]
        assert latch_of(home, "sim").read() is not None
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=200)
    assert process.returncode == 0
    fold = folded(runs(home)[-1])
    assert fold.halt.source == "signal"
    assert fold.book.positions == {}


def test_http_halts_with_the_token_only(home: Path) -> None:
    make_home(home, QUICK.replace("{enabled: false}", "{enabled: true}"))
    with session(home) as host:
        wait_for(lambda: trading(host))
        info, = running_sessions(home)
        port = host.system.health_port

        def post(token: str) -> int:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/halt", method="POST", data=b"over http",
                headers={"Authorization": f"Bearer {token}"})
            try:
                with urllib.request.urlopen(request, timeout=200) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as refused:
                return refused.code

        assert post("wrong") == 401
        assert latch_of(home, "sim").read() is None
        assert post(info.token) == 200
        wait_for(lambda: flat(host))
        assert host.frame().halt.source == "http"


def test_the_intraday_breaker_halts(home: Path) -> None:
    """Two basis points of loss are soon there."""
    make_home(home, risk="intraday_loss_warning: 0.0001\nintraday_loss_circuit_breaker: 0.0002\n")
    assert here.run(lock_step(home, 150)) == 0
    fold = folded(runs(home)[-1])
    assert (fold.halt.source, fold.halt.step) == ("breaker", "flat")
    assert "intraday" in fold.halt.reason
    assert fold.book.positions == {}
    latched = latch_of(home, "sim").read()
    assert latched is not None
    assert latched.source == "breaker"


def test_a_damaged_latch_counts_as_halted_until_it_is_lifted(home: Path) -> None:
    make_home(home)
    latch = latch_of(home, "sim")
    latch.path.parent.mkdir(parents=True)
    latch.path.write_text("{ half a li")
    with session(home) as host:
        wait_for(lambda: host.frame().status.bars > 20)
        assert host.frame().halt.latched
        assert "cannot be read" in host.frame().halt.reason
        assert host.frame().positions == ()
        assert host.resume("tester", "replaced") is None
        wait_for(lambda: trading(host))


def test_another_process_s_session_is_halted_by_the_guide_s_script(home: Path) -> None:
    make_home(home)
    words = ("--no-ui", "--speed", "20000", "--home", str(home))
    with spawn(home, *words) as running:
        read_until(running, "fill")
        answer = asyncio.run(_halt_elsewhere(home))
        running.terminate()
        running.communicate(timeout=200)
    assert set(answer) == {"orders_cancelled", "positions_closed", "failures"}
    assert latch_of(home, "sim").read() is not None


async def _halt_elsewhere(home: Path) -> dict[str, object]:
    system = AlphaTradeSystem(SessionOptions(home=home))
    await system.initialize()
    try:
        return await system.emergency_halt()
    finally:
        with pytest.raises(UserError, match="already runs"):
            await system.run()
        await system.shutdown()
