"""The ``alphatrade`` command: finds the group that a command belongs to and runs it."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from trader.cli.arguments import Parser, add_home, home_of
from trader.cli.guard import guarded
from trader.utils.errors import UserError
from trader.utils.paths import home_dir

# Command: the module whose ``add_parser(subparsers)`` adds it and sets ``run``, a function of the arguments that
# returns the exit code. Only the module of the command that was asked for is imported.
COMMANDS = {
    "status": "trader.cli.status",
    "halt": "trader.cli.halt",
    "resume": "trader.cli.halt",
    "runs": "trader.cli.runs",
    "doctor": "trader.cli.doctor",
    "backtest": "trader.cli.backtest",
    "report": "trader.cli.report",
    "data": "trader.cli.data",
    "train": "trader.cli.train",
    "calibrate-barriers": "trader.cli.train",
    "models": "trader.cli.models",
    "pipeline": "trader.cli.pipeline",
    "validate-features": "trader.cli.validate",
    "exchange": "trader.cli.exchange",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``alphatrade``; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    home: Path | None = None

    def run() -> int:
        nonlocal home
        arguments = parse(words)
        home = home_of(arguments)
        return int(arguments.run(arguments) or 0)

    return guarded("alphatrade", run, lambda: home or home_dir())


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command line; ``--help`` and ``--version`` print and leave.

    Raises
    ------
    UserError
        For an unknown command or a mistake in its arguments.
    """
    parser = Parser(prog="alphatrade", description="Batch commands of AlphaTrade; alphatrade-tui opens the console.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    add_home(parser)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for module in _modules(words):
        importlib.import_module(module).add_parser(subparsers)
    arguments = parser.parse_args(words)
    if arguments.command is None:
        raise UserError(f"which command? one of {', '.join(COMMANDS)}; see `alphatrade --help`")
    return arguments


def _modules(words: Sequence[str]) -> list[str]:
    """The modules to import for a command line: one where the command is known."""
    command = _command(words)
    if command is None:
        return list(dict.fromkeys(COMMANDS.values())) if {"-h", "--help"} & set(words) else []
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(COMMANDS)}"
        raise UserError(f"unknown command {command!r}; {hint}")
    return [COMMANDS[command]]


def _command(words: Sequence[str]) -> str | None:
    """The first word that is neither a flag nor the value of ``--home``."""
    takes_value = False
    for word in words:
        if takes_value:
            takes_value = False
        elif word == "--home":
            takes_value = True
        elif not word.startswith("-"):
            return word
    return None


def _version() -> str:
    from trader import __version__

    return __version__


if __name__ == "__main__":
    sys.exit(main())
