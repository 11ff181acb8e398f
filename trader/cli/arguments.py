"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NoReturn

from trader.options import MODES
from trader.utils.errors import UserError
from trader.utils.paths import home_dir


class Parser(argparse.ArgumentParser):
    """Mistakes in arguments are user errors like all others: one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")


def add_home(parser: argparse.ArgumentParser) -> None:
    """``--home``, before or after the command's name."""
    parser.add_argument(
        "--home", type=Path, default=argparse.SUPPRESS, metavar="DIR",
        help="where sessions keep their files (default: ALPHATRADE_HOME, else this folder if it holds "
             "config/settings.yaml, else the user data directory)")


def add_config(parser: argparse.ArgumentParser) -> None:
    """``--config``."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings.yaml to use")


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def add_mode(parser: argparse.ArgumentParser, *, required: bool = False, text: str = "the session's mode") -> None:
    """``--mode sim|paper|live``."""
    parser.add_argument("--mode", choices=MODES, required=required, help=text)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """``--workers`` and ``--scheduler``: who does what is independent."""
    parser.add_argument("--workers", type=int, default=1, metavar="N",
                        help="processes of this machine that share symbols, folds and trials (default 1); the result "
                             "is the same")
    parser.add_argument("--scheduler", metavar="ADDRESS",
                        help="a Dask scheduler whose workers do the work, such as tcp://10.0.0.5:8786")


def require_trials(trials: int | None) -> int | None:
    """The number after ``--search``; UserError where it is none."""
    if trials is not None and trials < 0:
        raise UserError(f"--search {trials} is not a number of trials; write 20, or leave it out")
    return trials


def home_of(arguments: argparse.Namespace) -> Path:
    """The home that the arguments and the environment name."""
    return home_dir(getattr(arguments, "home", None))


def print_json(value: Any) -> None:
    """One JSON document on stdout; paths and decimals as text."""
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False))
