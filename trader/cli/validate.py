"""``alphatrade validate-features``: are features, labels and folds fit to be trained on?"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from trader.cli.arguments import add_config, add_home, add_json, home_of, print_json

REPORT = Path("results") / "pre_training_validation.json"


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "validate-features", help="stationarity, labels, look-ahead, train/test integrity, before any training",
        description="Examines what `alphatrade train` would learn from the same bars; exit code 1 when a check fails.",
        epilog=f"The whole of it is written to <home>/{REPORT}.",
    )
    parser.add_argument("--symbols", metavar="A,B", help="default: those of training.yaml, else all there are")
    parser.add_argument("--timeframe", metavar="SIZE", help="15Min, 1Day, …")
    parser.add_argument("--start", metavar="DATE", help="first day; default: 24 months before the end")
    parser.add_argument("--end", metavar="DATE", help="exclusive: the first moment that training must not see")
    add_config(parser)
    add_home(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Examine, write the report, say what was found."""
    from trader.config import load_settings
    from trader.features.feature_set import default_features
    from trader.features.user_features import load_user_features
    from trader.pipeline.barriers import load_barriers
    from trader.pipeline.feature_validation import validate_features
    from trader.pipeline.training_bars import parse_symbols, training_panel
    from trader.pipeline.training_settings import load_training_settings
    from trader.utils.atomic import atomic_write_text

    home = home_of(arguments)
    loaded = load_settings(home, arguments.config)
    settings = load_training_settings(home, loaded.training_path)
    extra = load_user_features(loaded.settings.features.extra, home)
    per_symbol = None
    if settings.labels.per_symbol and loaded.barriers_path is not None:
        per_symbol = dict(load_barriers(loaded.barriers_path, settings.labels))
    with ExitStack() as stack:
        tick = _ticker(arguments, stack)
        panel = training_panel(
            home, settings, symbols=parse_symbols(arguments.symbols), timeframe=arguments.timeframe,
            start=arguments.start, end=arguments.end)
        report = validate_features(panel, default_features(panel.timeframe, extra), settings, per_symbol, tick)
    path = home / REPORT
    atomic_write_text(path, json.dumps(report, indent=1) + "\n")
    if arguments.json:
        print_json({**report, "report": str(path)})
    else:
        print(_table(report))
        print(f"report: {path}")
    return 0 if report["passed"] else 1


def _ticker(arguments: argparse.Namespace, stack: ExitStack) -> Any:
    """A bar on a terminal's stderr, else silence."""
    if arguments.json or not sys.stderr.isatty():
        return lambda text, done, total: None
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<16}"), BarColumn(), TimeElapsedColumn())
    bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = bar.add_task("loading bars", total=None)
    return lambda text, done, total: bar.update(task, description=text, completed=done, total=total)


def _table(report: dict[str, Any]) -> str:
    """Every feature, then a line for each check."""
    data = report["data"]
    lines = [
        f"{data['bars']:,} {data['timeframe']} bars ({data['source']}) of {', '.join(data['symbols'])}, "
        f"{data['start'][:10]} to {data['end'][:10]}", "",
        f"{'feature':<28}{'ADF p':>9}{'KPSS p':>9}  verdict",
    ]
    for row in report["checks"]["stationarity"]["features"]:
        lines.append(f"{row['feature']:<28}{_p(row['adf_p']):>9}{_p(row['kpss_p']):>9}  {row['verdict']}")
    lines.append("")
    for name, check in report["checks"].items():
        lines.append(f"{'✓' if check['passed'] else '✗'} {name:<16}{check['text']}")
    return "\n".join(lines)


def _p(value: float | None) -> str:
    """A p-value; KPSS's table ends at 0.01 and 0.1."""
    return "–" if value is None else "<0.0001" if value < 0.0001 else f"{value:.4f}"
