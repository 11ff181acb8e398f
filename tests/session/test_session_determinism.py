"""Two sessions in lock-step, however fast the machine: the same journal, row by row."""

from __future__ import annotations

from pathlib import Path

import pytest
from session_world import QUICK, comparable, events_of, headless, lock_step, make_home, runs, summary_of

from trader import headless as here
from trader.core import events as ev


def test_two_sessions_write_the_same_journal(tmp_path: Path) -> None:
    journals = []
    for name in ("one", "two"):
        home = make_home(tmp_path / name)
        assert here.run(lock_step(home, 150)) == 0
        journals.append(comparable(events_of(runs(home)[-1])))
    assert len(journals[0]) > 300
    assert journals[0] == journals[1]


@pytest.mark.slow
def test_trainings_and_handovers_are_the_same_every_time(tmp_path: Path) -> None:
    """Long enough for a model to be trained, to take over, to grow stale and to be renewed."""
    learning = QUICK.replace("{name: trend}", "{name: ml_momentum}") + "model: {training_months: 9}\n"
    journals = []
    for name in ("one", "two"):
        home = make_home(tmp_path / name, learning)
        output, errors = (process := headless(home, "--speed", "max", "--stop-after", "900")).communicate(timeout=200)
        assert process.returncode == 0, errors
        assert summary_of(output)["bars"] == 900
        journals.append(events_of(runs(home)[-1]))
    assert any(isinstance(e, ev.StrategyChanged) and e.strategy == "ml_momentum" for e in journals[0])
    assert sum(isinstance(e, ev.ModelLoaded) for e in journals[0]) > 1
    assert comparable(journals[0]) == comparable(journals[1])


def test_a_handover_comes_at_its_slice_whatever_the_training_took(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that fails at once and one that takes its time leave the same journal but for their own words."""
    import asyncio

    from trader.session import handover, training

    monkeypatch.setattr(handover, "HANDOVER_SLICE", 30)
    journals = []
    for seconds in (0.0, 1.0):
        async def train(argv, on_progress, niceness=0, seconds=seconds):
            for done in range(5):
                on_progress({"stage": "folds", "done": done, "total": 5, "eta_seconds": seconds})
                await asyncio.sleep(seconds / 5)
            return training.TrainingOutcome(None, "no such model")

        monkeypatch.setattr(training, "train", train)
        home = make_home(tmp_path / f"took{seconds}", QUICK.replace("{name: trend}", "{name: ml_momentum}"))
        assert here.run(lock_step(home, 60)) == 0
        journals.append(comparable(events_of(runs(home)[-1])))
    told = [i for i, event in enumerate(journals[0]) if event["type"] == "TrainingProgress"]
    assert [journals[0][i]["state"] for i in told] == ["running"] * 6 + ["failed"]
    assert journals[0] == journals[1]
