"""``alphatrade status``: what runs, what is halted, how the account stands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from trader.cli.arguments import add_home, add_json, home_of, print_json
from trader.cli.run_files import journal_of, last_summary, list_runs
from trader.core.clock import iso
from trader.options import MODES
from trader.utils.control_client import ControlError, request
from trader.utils.latch import latch_of
from trader.utils.session_file import SessionInfo, running_sessions


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser("status", help="running sessions, halt latches, equity and positions")
    add_home(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the state of a home."""
    facts = collect(home_of(arguments))
    if arguments.json:
        print_json(facts)
    else:
        print("\n".join(lines(facts)))
    return 0


def collect(home: Path) -> dict[str, Any]:
    """Sessions (asked over their control port), latches and the last run of a home."""
    latches = {mode: latch_of(home, mode).read() for mode in MODES}
    runs = list_runs(home)
    last = {**runs[0], "summary": last_summary(journal_of(Path(runs[0]["path"])))} if runs else None
    return {
        "home": str(home),
        "sessions": [_ask(info) for info in running_sessions(home)],
        "halted": {
            mode: {"source": latch.source, "reason": latch.reason, "since": iso(latch.ts_ns)}
            for mode, latch in latches.items() if latch is not None
        },
        "last_run": last,
    }


def _ask(info: SessionInfo) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "mode": info.mode, "run_id": info.run_id, "pid": info.pid, "started": iso(info.started_ns),
        "journal": info.journal,
    }
    try:
        return {**facts, "answers": True, "status": request(info, "status", timeout_s=2.0)}
    except ControlError as error:
        return {**facts, "answers": False, "error": str(error), "status": last_summary(Path(info.journal))}


def lines(facts: dict[str, Any]) -> list[str]:
    """The same for people."""
    text = [f"home      {facts['home']}"]
    for session in facts["sessions"]:
        text.append(f"session   {session['mode']}, run {session['run_id']}, pid {session['pid']}, "
                    f"since {session['started'][:19]}Z")
        if not session["answers"]:
            text.append(f"          {session['error']}")
        text += [f"          {line}" for line in _figures(session["status"] or {})]
    if not facts["sessions"]:
        text.append("session   none is running; alphatrade-tui starts one")
    for mode, latch in facts["halted"].items():
        text.append(f"HALTED    {mode} since {latch['since'][:19]}Z by {latch['source']}: {latch['reason']}; "
                    f"`alphatrade resume --mode {mode}` lifts it")
    last = facts["last_run"]
    if last is not None and not any(s["run_id"] == last["run_id"] for s in facts["sessions"]):
        text.append(f"last run  {last['run_id']} ({last.get('mode', '?')})")
        text += [f"          {line}" for line in _figures(last["summary"] or {})]
    return text


_FIGURES = ("equity", "cash", "bars", "orders", "fills", "vetoes", "halts", "level")


def _figures(status: dict[str, Any]) -> list[str]:
    """The known figures of a summary on one line, then the positions where they are listed."""
    known = [f"{name} {_short(status[name])}" for name in _FIGURES if status.get(name) not in (None, "", [])]
    positions = status.get("positions")
    if isinstance(positions, (int, str)):
        known.append(f"positions {positions}")
    found = [", ".join(known)] if known else []
    if isinstance(positions, dict):
        found.append("positions " + (", ".join(f"{s} {_short(q)}" for s, q in positions.items()) or "none"))
    elif isinstance(positions, list):
        rows = [f"{p.get('symbol', '?')} {_short(p.get('quantity'))}" for p in positions if isinstance(p, dict)]
        found.append("positions " + (", ".join(rows) or "none"))
    return found


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
