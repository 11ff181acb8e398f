"""``alphatrade runs``: the sessions and backtests that can be replayed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from trader.cli.arguments import add_home, add_json, home_of, print_json
from trader.cli.run_files import journal_of, last_summary, list_runs


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser("runs", help="list sessions and backtests; alphatrade-tui --replay opens one")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="newest N only (default 20; 0: all)")
    add_home(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the runs, newest first."""
    home = home_of(arguments)
    runs = list_runs(home)
    shown = runs[: arguments.limit] if arguments.limit > 0 else runs
    for facts in shown:
        facts["summary"] = last_summary(journal_of(Path(facts["path"])))
    if arguments.json:
        print_json(shown)
    elif not shown:
        print(f"no runs in {home}; `alphatrade backtest` or `alphatrade-tui` makes one")
    else:
        print(f"{'run':<32} {'mode':<9} {'started (UTC)':<17} {'equity':>14} {'fills':>7}")
        for facts in shown:
            summary = facts["summary"] or {}
            print(
                f"{facts['run_id']:<32} {facts.get('mode', '?'):<9} {_when(facts.get('started_ns')):<17} "
                f"{_money(summary.get('equity')):>14} {summary.get('fills', '–'):>7}")
        if len(shown) < len(runs):
            print(f"… and {len(runs) - len(shown)} older; --limit 0 shows all")
    return 0


def _when(ns: Any) -> str:
    from trader.core.clock import iso

    return iso(ns)[:16].replace("T", " ") if isinstance(ns, int) else "?"


def _money(value: Any) -> str:
    try:
        return f"{float(value):,.2f}"
    except (TypeError, ValueError):
        return "–"
