"""Wrong input and wrong surroundings: one clear line, the right exit code, nothing half-written."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from session_world import QUICK, events_of, headless, lock_step, make_home, runs, summary_of

from console.cli import main
from trader import headless as here
from trader.core import events as ev


@pytest.fixture
def refused(home: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """``alphatrade-tui --no-ui`` that must refuse: the one line that it says, and nothing left behind."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}

    def run(*flags: str, code: int = 2) -> str:
        assert main(["--no-ui", "--log-format", "json", *flags]) == code
        output, errors = capfd.readouterr()
        line, = errors.strip().splitlines()
        assert line.startswith("alphatrade-tui: ")
        assert "run_id" not in output
        assert list(home.glob("runs/*")) == []
        assert not (home / "state" / "session-sim.json").exists()
        return line

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--stop-after", "0"], "--stop-after 0"),
        (["--stop-after", "some"], "some"),
        (["--speed", "warp"], "'warp' is not a speed"),
        (["--speed", "-3"], "is not a speed"),
        (["--symbols", "NOSUCH"], "NOSUCH"),
        (["--symbols", ","], "--symbols"),
        (["--start", "2031-01-01"], "2031"),
        (["--start", "2012-08-01", "--end", "2012-07-01"], "2012"),
        (["--start", "yesterday"], "yesterday"),
        (["--timeframe", "7Lightyears"], "7Lightyears"),
        (["--mode", "paper"], "ALPACA_API_KEY"),
        (["--mode", "live"], "ALPACA_API_KEY"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_wrong_flags_are_named(home: Path, refused: Callable[..., str], flags: list[str], said: str) -> None:
    make_home(home)
    assert said in refused(*flags)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("strategy: {name: trend\n", "settings.yaml"),
        ("strategi: {name: trend}\n", "strategi"),
        ("strategy: {name: clairvoyance}\n", "clairvoyance"),
        ("sim: {speed: 0}\n", "speed"),
        ("sim: {cash: lots}\n", "cash"),
        ("\x00\x01", "settings.yaml"),
    ],
)
def test_wrong_settings_are_named(home: Path, refused: Callable[..., str], settings: str, said: str) -> None:
    make_home(home, settings)
    assert said in refused()


def test_a_home_that_cannot_be_written_is_named(home: Path, refused: Callable[..., str]) -> None:
    make_home(home)
    (home / "state").write_text("a file where a folder belongs")     # holds for root as well
    assert str(home / "state") in refused()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_home_is_named(home: Path, refused: Callable[..., str]) -> None:
    make_home(home)
    home.chmod(0o500)
    try:
        assert str(home) in refused()
    finally:
        home.chmod(0o700)


def test_a_busy_chosen_port_is_named_and_leaves_no_run(home: Path, refused: Callable[..., str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        make_home(home, QUICK.replace("{enabled: false}", f"{{port: {port}}}"))
        assert f"127.0.0.1:{port}" in refused("--speed", "max")


@pytest.fixture
def stranger() -> Iterator[str]:
    """A broker that knows nobody."""
    class Unauthorized(BaseHTTPRequestHandler):
        def _refuse(self) -> None:
            body = b'{"code": 40110000, "message": "request is not authorized"}'
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _refuse

        def log_message(self, *_: object) -> None:
            """Silence."""

    server = HTTPServer(("127.0.0.1", 0), Unauthorized)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_wrong_keys_are_named_without_showing_them(home: Path, refused: Callable[..., str], stranger: str) -> None:
    make_home(home)
    (home / ".env").write_text(f"ALPACA_API_KEY=PKWRONG\nALPACA_SECRET_KEY=hush\nALPACA_BASE_URL={stranger}\n")
    line = refused("--mode", "paper")
    assert "key" in line.lower()
    assert "hush" not in line


def test_a_second_session_in_the_same_home_is_refused(home: Path) -> None:
    from session_world import read_until

    first = headless(make_home(home), "--speed", "900")
    try:
        read_until(first, "data_stream up")
        _, errors = (second := headless(home)).communicate(timeout=200)
        assert second.returncode == 3
        assert str(first.pid) in errors
        assert len(runs(home)) == 1
    finally:
        first.terminate()
        first.communicate(timeout=200)
    assert first.returncode == 0


def test_a_damaged_journal_of_the_last_session_is_mended_and_said(home: Path) -> None:
    make_home(home)
    assert here.run(lock_step(home, 60, persist=True)) == 0
    journal = runs(home)[-1]
    before = events_of(journal)
    with sqlite3.connect(journal) as db:
        db.execute("UPDATE events SET body = substr(body, 1, 20) WHERE seq > ?", (len(before) - 10,))
    db.close()
    output, errors = (process := headless(home, "--speed", "max", "--persist", "--stop-after", "20")).communicate(
        timeout=200)
    assert (process.returncode, errors) == (0, "")
    assert summary_of(output)["anomalies"] == 0
    after = events_of(runs(home)[-1])
    said = [e.text for e in after if isinstance(e, ev.Note) and e.source == "journal"]
    assert len(said) == 1
    assert "was damaged" in said[0]
    assert list(journal.parent.glob("*.damaged"))
    assert any(isinstance(e, ev.Reconciled) and e.green for e in after)
