from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trader.utils.errors import UserError
from trader.utils.latch import HaltLatch, LatchState, latch_of


def test_set_survives_and_clear_lifts(home: Path) -> None:
    assert latch_of(home, "sim").read() is None
    latch_of(home, "sim").set("key", "f12", 5)
    assert latch_of(home, "sim").read() == LatchState("key", "f12", 5)
    assert latch_of(home, "paper").read() is None
    assert latch_of(home, "sim").clear("me", "looked at it") == LatchState("key", "f12", 5)
    assert latch_of(home, "sim").read() is None
    assert latch_of(home, "sim").clear("me", "again") is None


def test_the_first_cause_stays(home: Path) -> None:
    latch = latch_of(home, "sim")
    latch.set("breaker", "lost 1 %", 5)
    assert latch.set("key", "f12", 9) == LatchState("breaker", "lost 1 %", 5) == latch.read()


def test_durable_before_it_returns(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("rename"), replace(a, b))[1])
    latch_of(home, "sim").set("key", "f12", 5)
    assert steps == ["fsync", "rename", "fsync"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"source": "key"}', b"\xff\xfe", b"null", b'"x"'])
def test_what_cannot_be_read_counts_as_halted(home: Path, content: bytes) -> None:
    latch = latch_of(home, "live")
    latch.path.parent.mkdir(parents=True)
    latch.path.write_bytes(content)
    state = latch.read()
    assert state is not None
    assert state.source == "start"
    assert "cannot be read" in state.reason
    latch.set("key", "f12", 5)                      # a halt makes it whole again
    assert latch.read() == LatchState("key", "f12", 5)


def test_a_damaged_latch_can_be_lifted(home: Path) -> None:
    latch = latch_of(home, "live")
    latch.path.parent.mkdir(parents=True)
    latch.path.write_bytes(b"garbage")
    assert latch.clear("me", "checked") is not None
    assert latch.read() is None


def test_a_file_in_place_of_the_folder_counts_as_halted_and_set_says_so(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    latch = HaltLatch(tmp_path / "state" / "halt-sim.json")
    assert latch.read() is not None
    with pytest.raises(UserError, match="cannot write"):
        latch.set("key", "f12", 5)


def test_the_history_tells_who_lifted_it(home: Path) -> None:
    latch = latch_of(home, "sim")
    latch.set("key", "f12", 5)
    latch.clear("eva", "news is over")
    lines = [json.loads(line) for line in latch.path.with_suffix(".history.jsonl").read_text().splitlines()]
    assert lines == [
        {"set": 5, "source": "key", "reason": "f12"}, {"lifted": 5, "by": "eva", "reason": "news is over"}]
