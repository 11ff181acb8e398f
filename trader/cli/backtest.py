"""``alphatrade backtest``: a strategy over stored bars, the guide's result files, and a run to replay."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from trader.cli.arguments import add_config, add_home, add_json, home_of, print_json
from trader.utils.errors import UserError


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "backtest", help="run a strategy over stored bars",
        description="Runs the live engine over stored bars: same risk layers, same fills, same journal. Without "
                    "data of your own it uses the bundled sample (15-minute bars are synthesized inside real days).",
        epilog="Then look at it: alphatrade-tui --replay latest",
    )
    parser.add_argument("--start", metavar="DATE", help="first day (ISO); earlier bars only warm up")
    parser.add_argument("--end", metavar="DATE", help="last day, inclusive")
    parser.add_argument("--initial-capital", type=float, default=100_000, metavar="DOLLARS")
    parser.add_argument("--symbols", metavar="A,B", help="default: everything that is stored, else the sample")
    parser.add_argument("--strategy", metavar="NAME", help="a built-in, or path/to/file.py:Class (default: settings)")
    parser.add_argument("--timeframe", metavar="SIZE", help="15Min, 1d … (default: settings)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="result files (default: <home>/results)")
    parser.add_argument("--seed", type=int, default=None, help="of the synthesized bars")
    add_config(parser)
    add_home(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the backtest and say what came of it."""
    import os

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from trader.backtest.report import summary_text
    from trader.config import load_settings
    from trader.pipeline.backtest_run import BacktestRequest, load_bars, run_backtest

    home = home_of(arguments)
    loaded = load_settings(home, arguments.config)
    panel, start = load_bars(
        loaded, _symbols(arguments.symbols), arguments.timeframe, arguments.start, arguments.end, arguments.seed)
    output = (arguments.output or home / "results").expanduser().absolute()
    progress = _Progress(quiet=arguments.json)
    done = run_backtest(
        BacktestRequest(
            loaded, panel, start, arguments.end, arguments.initial_capital, output, arguments.strategy),
        progress,
    )
    progress.close()
    if arguments.json:
        print_json({**done.report, "run_id": done.run_id, "results": [str(path) for path in done.written]})
    else:
        print(summary_text(done.result))
        print(f"run {done.run_id}; results in {output}; look at it: alphatrade-tui --replay latest")
    return 0


def _symbols(text: str | None) -> list[str] | None:
    if text is None:
        return None
    symbols = [word.strip().upper() for word in text.split(",") if word.strip()]
    if not symbols:
        raise UserError(f"--symbols {text!r} names no symbol; write them as AAPL,MSFT")
    return symbols


class _Progress:
    """A line on a terminal's stderr; silence elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet or not sys.stderr.isatty()
        self._started = time.monotonic()

    def __call__(self, played: int) -> None:
        if not self._quiet and played % 500 == 0:
            rate = played / max(time.monotonic() - self._started, 1e-9)
            print(f"\r{played:,} slices, {rate:,.0f} a second", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if not self._quiet:
            print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
