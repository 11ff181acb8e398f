"""What the session tests share: a home, sessions in processes and threads, journals made comparable."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from trader.core import events as ev
from trader.core.journal import read_events
from trader.exchange.snapshot import VenueState
from trader.exchange.types import VenueOrder
from trader.options import SessionOptions
from trader.utils.run_dir import read_facts

ROOT = Path(__file__).resolve().parents[2]
CONSOLE = "import sys; from console.cli import main; sys.exit(main())"
# The same session at an exchange of another process, which sets the pace.
ELSEWHERE = """
import sys
from pathlib import Path
from trader import headless
from trader.options import SessionOptions
home, url, control, stop_after = sys.argv[1:]
sys.exit(headless.run(SessionOptions(
    home=Path(home), stop_after=int(stop_after), venue_url=url, venue_control=control, log_format="json")))
"""
QUICK = """\
strategy: {name: trend}
health: {enabled: false}
sim: {symbols: [AAPL, MSFT], start: 2012-06-15, history_bars: 400}
"""
# Fields that tell of the machine and its disk, not of the market.
OF_THE_MACHINE = {"latency_ms", "eta_seconds", "path"}


def make_home(home: Path, settings: str = QUICK, risk: str = "") -> Path:
    """A home with these settings; ``risk`` replaces the risk parameters."""
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config" / "settings.yaml").write_text(settings, encoding="utf-8")
    if risk:
        (home / "config" / "risk_params.yaml").write_text(risk, encoding="utf-8")
    return home


def lock_step(home: Path, slices: int, **options: Any) -> SessionOptions:
    """Options of a session that plays so many slices as fast as it can."""
    return SessionOptions(home=home, speed="max", stop_after=slices, **options)


def environment(home: Path) -> dict[str, str]:
    """A process's surroundings: this checkout's code, this home, no keys."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("ALPACA_", "REDIS_"))}
    return {**keep, "ALPHATRADE_HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore"}


def spawn(home: Path, *flags: str, code: str = CONSOLE) -> subprocess.Popen[str]:
    """A process that is read through pipes."""
    return subprocess.Popen([sys.executable, "-c", code, *flags], env=environment(home), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, cwd=home.parent)


def headless(home: Path, *flags: str) -> subprocess.Popen[str]:
    """``alphatrade-tui --no-ui`` with JSON lines."""
    return spawn(home, "--no-ui", "--log-format", "json", *flags)


def command(home: Path, *words: str, timeout_s: float = 200) -> subprocess.CompletedProcess[str]:
    """``alphatrade`` to its end."""
    return subprocess.run([sys.executable, "-m", "trader.cli.main", *words], env=environment(home), text=True,
                          capture_output=True, timeout=timeout_s, cwd=home.parent, check=False)


def read_until(process: subprocess.Popen[str], word: str) -> list[str]:
    """Lines of standard output up to one that holds a word; all of them when it ends before."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            break
    return lines


def summary_of(output: str) -> dict[str, Any]:
    """The last line of a session's standard output."""
    return dict(json.loads(output.strip().splitlines()[-1]))


def runs(home: Path) -> list[Path]:
    """Journals of sessions in a home, oldest first."""
    return sorted((home / "runs").glob("*/journal.sqlite"),
                  key=lambda path: (read_facts(path.parent) or {}).get("started_ns", 0))


def events_of(journal: Path) -> list[ev.AnyEvent]:
    """All events of a journal."""
    return [event for _, event in read_events(journal)]


def comparable(events: Iterable[ev.AnyEvent], kinds: tuple[type, ...] | None = None) -> list[dict[str, Any]]:
    """Events as plain objects without run ids and readings of the machine, numbers as numbers."""
    events = list(events)
    run = next((e.run_id for e in events if isinstance(e, ev.SessionStarted)), "")
    kept = []
    for event in events:
        if kinds is not None and not isinstance(event, kinds):
            continue
        fields = msgspec.to_builtins(event)
        kept.append({key: _plain(value, run) for key, value in fields.items() if key not in OF_THE_MACHINE})
    return kept


def _plain(value: Any, run: str) -> Any:
    if isinstance(value, str):
        text = value.replace(run, "RUN") if run else value
        try:
            return float(text)
        except ValueError:
            return text
    if isinstance(value, list | tuple):
        return [_plain(item, run) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item, run) for key, item in value.items()}
    return value


def wait_for(condition: Callable[[], Any], seconds: float = 200.0) -> Any:
    """What the condition says once it is true; AssertionError when it never is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not come true in time")


def venue_at_rest(file: Path) -> tuple[VenueState, list[VenueOrder]]:
    """What an exchange keeps in its file."""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        state, = db.execute("SELECT body FROM state").fetchone()
        orders = [body for (body,) in db.execute("SELECT body FROM orders ORDER BY number")]
    return (msgspec.msgpack.decode(state, type=VenueState),
            [msgspec.msgpack.decode(body, type=VenueOrder) for body in orders])
