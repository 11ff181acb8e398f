"""``alphatrade report``: is the model still good, how well are orders executed, how does the risk stand?

Each report is computed from a run's journal alone, so that a running session, an ended one and a backtest are asked
in the same way.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

from trader.cli.arguments import add_home, add_json, home_of, print_json
from trader.utils.errors import UserError

# Report: the module with ``Reader`` (``take(event)`` after the fold has it, ``report() -> dict``) and ``lines(dict)``,
# and what the report answers.
REPORTS = {
    "model": ("trader.cli.report_model", "does the model need retraining? staleness, accuracy, calibration, drift"),
    "execution": ("trader.cli.report_execution", "how well are orders executed? slippage, fill rate, VWAP"),
    "risk": ("trader.cli.report_risk", "how does the risk stand? halt, breakers, limits"),
}


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "report", help="judge a run: its model, its execution, its risk",
        description="Judges a session or a backtest from its journal, while it runs or afterwards.",
        epilog="alphatrade runs lists the runs; alphatrade-tui --replay RUN shows one",
    )
    parser.add_argument("about", choices=REPORTS, help="; ".join(f"{name}: {text}" for name, (_, text) in
                                                               REPORTS.items()))
    parser.add_argument("--run", dest="run_name", default="latest", metavar="RUN",
                        help="a run's id, its directory or its journal (default: latest)")
    parser.add_argument("--hours", type=float, metavar="N", help="execution: the last N hours of the run only")
    add_home(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print a report."""
    from trader.replay import find_run

    if arguments.hours is not None:
        if arguments.about != "execution":
            raise UserError(f"--hours belongs to `alphatrade report execution`; the {arguments.about} report has none")
        if not arguments.hours > 0:
            raise UserError(f"--hours {arguments.hours:g} is not a number of hours above 0")
    module = importlib.import_module(REPORTS[arguments.about][0])
    facts = read_report(module, find_run(arguments.run_name, home_of(arguments)), arguments.hours)
    if arguments.json:
        print_json(facts)
    else:
        print("\n".join([heading(facts), *module.lines(facts)]))
    return 0


def read_report(module: Any, journal: Path, hours: float | None = None) -> dict[str, Any]:
    """Fold a journal and let a report's reader listen.

    Raises
    ------
    UserError
        The journal is unreadable or empty, or holds nothing that this report could judge.
    """
    from trader.core.clock import iso
    from trader.core.fold import Fold
    from trader.core.journal import read_events

    fold = Fold()
    reader = module.Reader(fold, hours)
    for _, event in read_events(journal):
        fold.apply(event)
        reader.take(event)
    session = fold.session
    if session is None:
        raise UserError(f"{journal} holds no events; the session that wrote it ended before its start was kept")
    about = {
        "run_id": session.run_id, "mode": session.mode, "source": session.source, "strategy": fold.strategy,
        "as_of": iso(fold.now_ns), "ended": fold.ended,
    }
    return {**about, **reader.report()}


def heading(facts: dict[str, Any]) -> str:
    """Which run a report speaks of."""
    state = f"ended: {facts['ended']}" if facts["ended"] else "running, or ended without a word"
    return f"run {facts['run_id']} ({facts['mode']}, {facts['source']} bars), as of {facts['as_of'][:19]}Z; {state}"
