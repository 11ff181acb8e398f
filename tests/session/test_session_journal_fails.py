"""A disk that refuses: no order leaves without its record, the level says so, and it comes back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from session_world import events_of, lock_step, make_home, runs, wait_for

from trader import headless
from trader.core import events as ev
from trader.core.journal import Journal, check
from trader.execution.broker_api import AlpacaBroker
from trader.host import EngineHost
from trader.options import SessionOptions
from trader.system import AlphaTradeSystem


class Disk:
    """Full or not; counts the orders that left while it was full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.left_unrecorded = 0
        write, submit = Journal._write, AlpacaBroker.submit

        def refusing(journal: Journal) -> None:
            if self.full:
                raise sqlite3.OperationalError("database or disk is full")
            write(journal)

        async def watched(broker: AlpacaBroker, order: Any) -> Any:
            self.left_unrecorded += self.full
            return await submit(broker, order)

        monkeypatch.setattr(Journal, "_write", refusing)
        monkeypatch.setattr(AlpacaBroker, "submit", watched)


@contextmanager
def session(home: Path, speed: str = "20000") -> Iterator[EngineHost]:
    host = EngineHost.from_options(SessionOptions(home=home, speed=speed))
    host.start()
    try:
        yield host
    finally:
        host.stop(200)


def test_no_order_leaves_while_the_disk_is_full_and_trading_comes_back(
        home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    with session(make_home(home)) as host:
        wait_for(lambda: host.frame().positions)
        disk.full = True
        wait_for(lambda: host.frame().degradation.level in ("HALTED", "EXIT_ONLY"))
        assert host.frame().degradation.component == "journal"
        bars = host.frame().status.bars
        wait_for(lambda: host.frame().status.bars > bars + 40)
        assert disk.left_unrecorded == 0
        disk.full = False
        wait_for(lambda: host.frame().degradation.level == "NORMAL")
        filled = host.frame().account.trades
        wait_for(lambda: host.frame().account.trades > filled)
    assert host.error is None
    assert disk.left_unrecorded == 0
    journal = runs(home)[-1]
    assert check(journal) is None
    events = events_of(journal)
    assert isinstance(events[-1], ev.SessionEnded)
    assert sum(isinstance(e, ev.SliceClosed) for e in events) == host.frame().status.bars


def test_a_halt_on_a_full_disk_cancels_at_once_and_closes_when_it_can(
        home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    with session(make_home(home), speed="3000") as host:         # slow enough to meet what was bought
        wait_for(lambda: host.frame().positions)
        disk.full = True
        host.halt("key", "with a full disk")
        wait_for(lambda: host.frame().halt.latched and not any(o.is_open for o in host.frame().orders))
        assert host.frame().positions
        wait_for(lambda: host.frame().halt.step == "failed")
        disk.full = False
        wait_for(lambda: host.frame().halt.step == "flat" and not host.frame().positions)
    assert host.error is None
    assert disk.left_unrecorded == 0


def test_a_disk_that_stays_full_ends_with_an_error(home: Path, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    disk = Disk(monkeypatch)
    real = AlphaTradeSystem._on_slice

    async def on_slice(system: AlphaTradeSystem, bar: Any) -> None:
        disk.full = system.book.slices >= 20
        await real(system, bar)

    monkeypatch.setattr(AlphaTradeSystem, "_on_slice", on_slice)
    assert headless.run(lock_step(make_home(home), 30)) == 70
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "journal could not be written" in said[0]
    assert disk.left_unrecorded == 0
    assert check(runs(home)[-1]) is None


async def test_a_fault_in_carrying_out_is_said_and_stops_new_positions() -> None:
    """A late answer that the engine cannot take must not vanish in a task that nobody awaits."""
    from trader.core.commands import CancelAll
    from trader.session.carrier import Carrier

    class Engine:
        def __init__(self) -> None:
            self.reports: list[tuple[str, bool]] = []

        def report_component(self, component: str, ok: bool, now_ns: int, reason: str = "") -> None:
            self.reports.append((component, ok))

    class Recorder:
        def commit(self) -> None:
            """Nothing to write."""

    class Orders:
        async def execute(self, command: object) -> list[object]:
            raise RuntimeError("a fault of ours")

    engine = Engine()
    carrier = Carrier(engine, Recorder(), Orders(), lambda: 1)     # type: ignore[arg-type]
    carrier.start([CancelAll()])
    await carrier.settle()
    await asyncio.sleep(0)
    assert engine.reports == [("carrier", False)]
