"""``alphatrade halt`` and ``alphatrade resume``: the emergency stop from another terminal, and the way back."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path
from typing import Any

from trader.cli.arguments import add_home, add_json, add_mode, home_of, print_json
from trader.core.clock import SystemClock, iso
from trader.options import MODES
from trader.utils.control_client import ControlError, request
from trader.utils.errors import UserError
from trader.utils.latch import latch_of
from trader.utils.session_file import SessionInfo, running_sessions

WORD = "RESUME"
HALT_TIMEOUT_S = 60.0           # the session cancels, closes and polls until flat before it answers
RESUME_TIMEOUT_S = 10.0


def add_parser(subparsers: Any) -> None:
    """Register both commands."""
    halt = subparsers.add_parser(
        "halt", help="cancel all orders, close all positions, keep trading off until resumed")
    add_mode(halt, text="which session (default: all that run; where none runs, all modes stay halted)")
    halt.add_argument("--reason", default="halted by command", help="kept in the journal and in the latch")
    halt.set_defaults(run=run_halt)
    resume = subparsers.add_parser("resume", help="lift a halt")
    add_mode(resume, required=True, text="whose halt to lift")
    resume.add_argument("--reason", default="", help="why it is safe again; kept in the journal")
    resume.add_argument("--yes-resume", action="store_true", help=f"do not ask for the word {WORD}")
    resume.set_defaults(run=run_resume)
    for parser in (halt, resume):
        add_home(parser)
        add_json(parser)


def run_halt(arguments: argparse.Namespace) -> int:
    """Halt what runs; where nothing answers, latch so that the next start stays halted. 4: a session did not answer."""
    home = home_of(arguments)
    sessions = {info.mode: info for info in running_sessions(home)}
    modes = [arguments.mode] if arguments.mode else list(sessions) or list(MODES)
    results = [_halt(home, mode, sessions.get(mode), arguments.reason) for mode in modes]
    if arguments.json:
        print_json(results)
    else:
        for result in results:
            print(f"{result['mode']}: {result['message']}")
    return 4 if any(result.get("error") for result in results) else 0


def _halt(home: Path, mode: str, info: SessionInfo | None, reason: str) -> dict[str, Any]:
    error = ""
    if info is not None:
        try:
            answer = request(info, "halt", timeout_s=HALT_TIMEOUT_S, source="command", reason=reason)
            return {"mode": mode, "halted": True, "session": info.run_id, "answer": answer, "message": _told(answer)}
        except ControlError as refused:
            error = str(refused)
    latch_of(home, mode).set("command", reason, SystemClock().now_ns())
    if info is None:
        return {"mode": mode, "halted": True, "session": None,
                "message": "no session runs; the latch is set, the next session stays halted until "
                           f"`alphatrade resume --mode {mode}`"}
    return {"mode": mode, "halted": True, "session": info.run_id, "error": error,
            "message": f"{error}; the latch is set for the next start, but pid {info.pid} may still trade: "
                       f"kill {info.pid}, then check orders and positions at the broker"}


def _told(answer: dict[str, Any]) -> str:
    cancelled, closed = answer.get("orders_cancelled"), answer.get("positions_closed")
    failures = answer.get("failures") or ()
    figures = f": {cancelled} orders cancelled, {closed} positions closed" if cancelled is not None else ""
    return f"halted{figures}" + (f"; could not: {'; '.join(map(str, failures))}" if failures else "")


def run_resume(arguments: argparse.Namespace) -> int:
    """Lift a halt, in the running session or for the next one."""
    home, mode = home_of(arguments), arguments.mode
    info = next((s for s in running_sessions(home) if s.mode == mode), None)
    latch = latch_of(home, mode)
    state = latch.read()
    if state is None and info is None:
        return _done(arguments, {"mode": mode, "resumed": False, "message": f"{mode} is not halted"})
    if state is not None and not arguments.json:
        print(f"{mode} is halted since {iso(state.ts_ns)[:19]}Z by {state.source}: {state.reason}")
    if not arguments.yes_resume:
        _ask_for_the_word(mode)
    reason = arguments.reason or "resumed by command"
    if info is not None:
        answer = request(info, "resume", timeout_s=RESUME_TIMEOUT_S, by=_user(), reason=reason)
        return _done(arguments, {
            "mode": mode, "resumed": True, "session": info.run_id, "answer": answer,
            "message": f"{mode} trades again"})
    latch.clear(_user(), reason)
    return _done(arguments, {
        "mode": mode, "resumed": True, "session": None, "message": f"the halt of {mode} is lifted; no session runs"})


def _done(arguments: argparse.Namespace, result: dict[str, Any]) -> int:
    if arguments.json:
        print_json(result)
    else:
        print(result["message"])
    return 0


def _ask_for_the_word(mode: str) -> None:
    if not sys.stdin.isatty():
        raise UserError(f"resuming {mode} wants a person: type {WORD} at a terminal, or pass --yes-resume")
    print(f"Type {WORD} to let {mode} trade again: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != WORD:
        raise UserError(f"{mode} stays halted: the word was not {WORD}", exit_code=1)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
