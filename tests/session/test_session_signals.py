"""SIGTERM at any moment: an orderly end, one summary, the journal whole; a second signal ends at once."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from session_world import QUICK, events_of, headless, make_home, read_until, runs, summary_of, wait_for

from trader.core import events as ev
from trader.core.journal import check

LEARNING = QUICK.replace("{name: trend}", "{name: ml_momentum}")


def ended(process: subprocess.Popen[str], seconds: float = 200) -> tuple[str, str]:
    output, errors = process.communicate(timeout=seconds)
    assert "Traceback" not in errors
    return output, errors


def assert_whole(journal: Path) -> list[ev.AnyEvent]:
    assert check(journal) is None
    events = events_of(journal)
    assert isinstance(events[0], ev.SessionStarted)
    return events


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_trades_ends_in_order(home: Path, number: signal.Signals) -> None:
    process = headless(make_home(home), "--speed", "20000")
    read_until(process, "fill")
    process.send_signal(number)
    output, errors = ended(process)
    assert (process.returncode, errors) == (0, "")
    summary = summary_of(output)
    assert summary["ended"] == "signal"
    events = assert_whole(runs(home)[-1])
    assert isinstance(events[-1], ev.SessionEnded)
    assert summary["bars"] == sum(isinstance(e, ev.SliceClosed) for e in events)
    assert summary["orders"] == sum(isinstance(e, ev.OrderSubmitting) for e in events)
    assert not (home / "state" / "session-sim.json").exists()


def test_a_signal_while_it_starts_leaves_no_run_that_never_began(home: Path) -> None:
    """The lock is taken first of all; whatever comes then is met by the signal."""
    process = headless(make_home(home), "--speed", "max")
    wait_for(lambda: (home / "state" / "session-sim.lock").exists())
    process.send_signal(signal.SIGTERM)
    output, errors = ended(process)
    assert (process.returncode, errors) == (0, "")
    summary = summary_of(output)
    for journal in runs(home):
        assert_whole(journal)
    assert [path.name for path in (home / "runs").glob("*")] == [path.parent.name for path in runs(home)]
    assert summary["journal"] is None or Path(summary["journal"]).exists()


@pytest.mark.parametrize("speed", ["max", "20000"])
def test_a_signal_while_a_model_trains_ends_the_training_too(home: Path, speed: str) -> None:
    """In lock-step the session waits for the training at its slice; it must not wait for it when told to stop."""
    process = headless(make_home(home, LEARNING), "--speed", speed)
    read_until(process, "ml_momentum on ")
    wait_for(lambda: trainings(process.pid))
    process.send_signal(signal.SIGTERM)
    output, errors = ended(process)
    assert (process.returncode, errors) == (0, "")
    assert summary_of(output)["ended"] == "signal"
    events = assert_whole(runs(home)[-1])
    assert isinstance(events[-1], ev.SessionEnded)
    assert "done" not in {event.state for event in events if isinstance(event, ev.TrainingProgress)}
    wait_for(lambda: not list((home / "models").glob("*.tmp*")))


def trainings(parent: int) -> list[int]:
    """Processes that a session has started."""
    children = Path(f"/proc/{parent}/task")
    if not children.exists():
        pytest.skip("children of a process are read from /proc")
    return [int(pid) for task in children.glob("*/children") for pid in task.read_text().split()]


def test_a_second_signal_ends_at_once_with_the_journal_whole(home: Path) -> None:
    process = headless(make_home(home), "--speed", "20000")
    read_until(process, "fill")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    ended(process)
    assert process.returncode in (0, 128 + signal.SIGTERM, 128 + signal.SIGINT)     # 0: it had already ended in order
    assert_whole(runs(home)[-1])


def test_a_second_signal_does_not_wait_for_an_engine_that_hangs(
        home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's loop is blocked: the first signal waits for it in vain, the second leaves."""
    from session_world import spawn

    hanging = """
import sys, time
from console.cli import main
from trader.system import AlphaTradeSystem
real = AlphaTradeSystem._on_slice
async def hang(self, bar):
    await real(self, bar)
    if self.book.slices == 5:
        print("hanging", flush=True)
        time.sleep(600)
AlphaTradeSystem._on_slice = hang
sys.exit(main())
"""
    process = spawn(make_home(home), "--no-ui", "--speed", "max", code=hanging)
    read_until(process, "hanging")
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.0)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=200)
    assert process.returncode == 128 + signal.SIGTERM
    events = assert_whole(runs(home)[-1])
    assert sum(isinstance(e, ev.SliceClosed) for e in events) == 5


def test_the_last_line_is_the_summary_of_all_slices(home: Path) -> None:
    output, errors = ended(process := headless(make_home(home), "--speed", "max", "--stop-after", "120"))
    assert (process.returncode, errors) == (0, "")
    summary = summary_of(output)
    events = assert_whole(Path(summary["journal"]))
    assert summary["bars"] == 120
    assert summary["fills"] == sum(isinstance(e, ev.OrderFilled) for e in events)
    assert summary["orders"] == sum(isinstance(e, ev.OrderSubmitting) for e in events)
    assert {"equity", "halts", "orders", "run_id"} <= summary.keys()
