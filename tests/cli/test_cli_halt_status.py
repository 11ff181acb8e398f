"""halt, resume, status and runs against a real control port and real journals."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trader.cli.main import main
from trader.core.events import SessionStarted
from trader.core.journal import Journal
from trader.session.control import ControlServer
from trader.utils.latch import latch_of
from trader.utils.session_file import SessionInfo, SessionLock, own_process_start


class Session:
    """A session's control port in a loop and thread of its own, as the engine's host has it."""

    def __init__(self, home: Path, mode: str) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.lock = SessionLock(home, mode)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.server = ControlServer("token", {
            "status": self.handler("status", {"equity": 100_500.25, "fills": 2, "positions": {"AAPL": 10}}),
            "halt": self.handler("halt", {"orders_cancelled": 3, "positions_closed": 1, "failures": ["IBM: no bid"]}),
            "resume": self.handler("resume", {}),
        })
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.server.start(), self.loop).result(5)
        self.lock.acquire()
        self.lock.publish(SessionInfo(
            mode, "run-7", os.getpid(), own_process_start(), 1_700_000_000_000_000_000, str(home / "journal.sqlite"),
            self.server.host, self.server.port, "token"))

    def handler(self, name: str, answer: dict[str, Any]) -> Any:
        async def handle(request: dict[str, Any]) -> dict[str, Any]:
            self.heard.append((name, request))
            return answer

        return handle

    def stop_answering(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self.loop).result(5)

    def close(self) -> None:
        self.stop_answering()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.lock.release()


@pytest.fixture
def session(home: Path) -> Iterator[Session]:
    running = Session(home, "sim")
    yield running
    running.close()


def output(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_halt_speaks_to_the_session_that_runs(session: Session, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["halt", "--reason", "news"]) == 0
    assert session.heard == [("halt", {"source": "command", "reason": "news"})]
    assert capsys.readouterr().out == (
        "sim: halted: 3 orders cancelled, 1 positions closed; could not: IBM: no bid\n")
    assert latch_of(home, "sim").read() is None             # the session sets its latch itself
    assert latch_of(home, "live").read() is None


def test_a_session_that_does_not_answer_is_latched_and_said(
    session: Session, home: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    session.stop_answering()
    (result,) = output(capsys, "halt", "--mode", "sim", code=4)
    assert "does not answer to halt" in result["message"]
    assert f"kill {os.getpid()}" in result["message"]
    assert latch_of(home, "sim").read() is not None
    facts = output(capsys, "status")
    assert facts["sessions"][0]["answers"] is False
    assert facts["halted"]["sim"]["source"] == "command"


def test_without_a_session_every_mode_is_latched_and_each_is_lifted_by_name(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [r["mode"] for r in output(capsys, "halt", "--reason", "fire")] == ["sim", "paper", "live"]
    assert {mode: latch["reason"] for mode, latch in output(capsys, "status")["halted"].items()} == {
        "sim": "fire", "paper": "fire", "live": "fire"}
    monkeypatch.setattr(sys, "stdin", io.StringIO("RESUME\n"))
    assert main(["resume", "--mode", "sim"]) == 2           # not a terminal
    assert "type RESUME at a terminal, or pass --yes-resume" in capsys.readouterr().err
    assert latch_of(home, "sim").read() is not None
    assert output(capsys, "resume", "--mode", "sim", "--yes-resume", "--reason", "over")["resumed"] is True
    assert latch_of(home, "sim").read() is None
    assert latch_of(home, "live").read() is not None
    assert output(capsys, "resume", "--mode", "sim", "--yes-resume")["message"] == "sim is not halted"


@pytest.mark.parametrize(("typed", "code"), [("RESUME\n", 0), ("resume\n", 1), ("\n", 1), ("", 1)])
def test_at_a_terminal_the_word_decides(
    typed: str, code: int, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    latch_of(home, "paper").set("key", "f12", 1)
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert main(["resume", "--mode", "paper"]) == code
    assert (latch_of(home, "paper").read() is None) == (code == 0)
    assert "halted since 1970-01-01T00:00:00Z by key: f12" in capsys.readouterr().out


def test_resume_speaks_to_the_session_that_runs(session: Session, home: Path) -> None:
    latch_of(home, "sim").set("key", "f12", 1)
    assert main(["resume", "--mode", "sim", "--yes-resume", "--reason", "calm"]) == 0
    ((command, request),) = session.heard
    assert (command, request["reason"]) == ("resume", "calm")
    assert request["by"]


def test_status_shows_what_the_session_says(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    facts = output(capsys, "status")
    assert facts["sessions"][0]["status"]["equity"] == 100_500.25
    assert main(["status"]) == 0
    text = capsys.readouterr().out
    assert "run run-7" in text
    assert "equity 100,500.25, fills 2" in text
    assert "positions AAPL 10" in text
    assert "token" not in text
    assert "token" not in json.dumps(facts)


def run_folder(home: Path, name: str, started_ns: int, summary: dict[str, Any] | None) -> Path:
    folder = home / "runs" / name
    journal = Journal(folder / "journal.sqlite")
    journal.append(SessionStarted(
        ts=started_ns, run_id=name, mode="sim", account="a", symbols=("AAPL",), timeframe="15Min", source="real",
        cash=Decimal(1), strategy="trend"))
    if summary is not None:
        journal.set_meta("summary", json.dumps(summary))
    journal.close()
    (folder / "run.json").write_text(json.dumps({"mode": "sim", "started_ns": started_ns}))
    return folder


def test_runs_newest_first_and_the_last_one_in_status(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_folder(home, "older", 1, {"equity": 1.5, "fills": 7})
    run_folder(home, "newer", 1_700_000_000_000_000_000, None)
    (home / "runs" / "broken").mkdir()
    (home / "runs" / "broken" / "run.json").write_text("{")
    runs = output(capsys, "runs")
    assert [(run["run_id"], run["summary"]) for run in runs] == [
        ("newer", None), ("older", {"equity": 1.5, "fills": 7})]
    assert [run["run_id"] for run in output(capsys, "runs", "--limit", "1")] == ["newer"]
    assert output(capsys, "status")["last_run"]["run_id"] == "newer"
    assert main(["runs"]) == 0
    text = capsys.readouterr().out
    assert "2023-11-14 22:13" in text
    assert main(["status"]) == 0
    assert "last run  newer (sim)" in capsys.readouterr().out


def test_an_empty_home_says_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert "alphatrade-tui" in capsys.readouterr().out
    assert output(capsys, "runs") == []


def test_a_damaged_journal_does_not_stop_status(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_folder(home, "r", 1, {"equity": 1})
    (folder / "journal.sqlite").write_bytes(b"garbage" * 100)
    assert output(capsys, "status")["last_run"]["summary"] is None


def test_a_home_that_cannot_be_written_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state").write_text("")
    assert main(["--home", str(tmp_path), "halt", "--mode", "sim"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("alphatrade: cannot write ")
    assert err.count("\n") == 1
