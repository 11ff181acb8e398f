"""``alphatrade train`` and ``alphatrade calibrate-barriers``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trader.cli.arguments import add_home, add_json, home_of, print_json
from trader.utils.errors import UserError

if TYPE_CHECKING:
    from trader.core.panel import BarPanel
    from trader.pipeline.train import TrainProgress
    from trader.pipeline.training_settings import TrainingSettings

_MONTH_DAYS = 30.44


def add_parser(subparsers: Any) -> None:
    """Register both commands."""
    train = subparsers.add_parser("train", help="train, judge and calibrate a model; it becomes the current one")
    _add_data(train)
    train.add_argument("--seed", type=int, metavar="N", help="instead of the one in training.yaml")
    train.add_argument(
        "--progress", choices=("auto", "json", "none"), default="auto",
        help="auto: a bar on a terminal; json: one JSON line a step on stdout, the last with the model's path")
    train.set_defaults(run=run_train)

    barriers = subparsers.add_parser("calibrate-barriers", help="choose triple-barrier distances per symbol")
    _add_data(barriers)
    barriers.add_argument("--calibrate", action="store_true", help="accepted for the guide's spelling; always on")
    barriers.add_argument("--output", type=Path, metavar="FILE",
                          help="default: <home>/config/triple_barrier_params.yaml")
    barriers.set_defaults(run=run_calibrate)


def run_train(arguments: argparse.Namespace) -> int:
    """Train a model and print what it is worth."""
    from trader.config import load_settings
    from trader.features.feature_set import default_features
    from trader.features.user_features import load_user_features
    from trader.models.artifact import read_manifest
    from trader.pipeline.barriers import load_barriers
    from trader.pipeline.train import train_model
    from trader.pipeline.training_settings import load_training_settings
    from trader.utils.atomic import atomic_write_text

    home = home_of(arguments)
    lines = arguments.progress == "json"
    try:
        session = load_settings(home)
        settings = load_training_settings(home, arguments.config or session.training_path)
        extra = load_user_features(session.settings.features.extra, home)
        with _shown(arguments) as show:
            panel = _panel(arguments, home, settings)
            per_symbol = None
            if settings.labels.per_symbol and session.barriers_path is not None:
                per_symbol = load_barriers(session.barriers_path, settings.labels)
            directory = train_model(
                panel, settings, home, show, arguments.seed, per_symbol=per_symbol,
                features=default_features(panel.timeframe, extra),
            )
    except UserError as error:
        if lines:
            _line({"stage": "failed", "error": str(error)})
        raise
    manifest = read_manifest(directory)
    report = _report(manifest, directory)
    atomic_write_text(home / "results" / "training_report.json", json.dumps(report, indent=1) + "\n")
    if lines:
        _line({"stage": "done", "model": str(directory), "model_id": directory.name, "verdict": report["verdict"]})
    elif arguments.json:
        print_json(report)
    else:
        print(_text(report))
    return 0


def run_calibrate(arguments: argparse.Namespace) -> int:
    """Choose barriers and write the file."""
    import msgspec

    from trader.config import load_settings
    from trader.pipeline.barriers import calibrate_barriers, write_barriers
    from trader.pipeline.training_settings import load_training_settings

    home = home_of(arguments)
    settings = load_training_settings(home, arguments.config or load_settings(home).training_path)
    found = calibrate_barriers(_panel(arguments, home, settings), settings.labels)
    path = arguments.output or home / "config" / "triple_barrier_params.yaml"
    write_barriers(path, found)
    if arguments.json:
        print_json({"path": str(path), **msgspec.to_builtins(found)})
        return 0
    print("symbol    barriers  horizon   loss  neutral  profit    held   score")
    for name, own in found.symbols.items():
        loss, neutral, profit = own.class_shares
        distance = f"±{own.profit_taking:g}σ"
        print(f"{name:<8} {distance:>9} {own.max_holding_periods:>8} {loss:>6.1%} {neutral:>8.1%} {profit:>7.1%} "
              f"{own.mean_holding:>7.1f} {own.score:>7.3f}")
    print(f"{found.source} bars {found.start[:10]} to {found.end[:10]}; written to {path}")
    return 0


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="training.yaml to use")
    parser.add_argument("--symbols", metavar="A,B", help="default: those of training.yaml, else all there are")
    parser.add_argument("--timeframe", metavar="SIZE", help="15Min, 1Day, …")
    parser.add_argument("--start", metavar="DATE", help="first day; default: 24 months before the end")
    parser.add_argument("--end", metavar="DATE", help="exclusive: the first moment that training must not see")
    add_home(parser)
    add_json(parser)


def _panel(arguments: argparse.Namespace, home: Path, settings: TrainingSettings) -> BarPanel:
    """The bars that flags and settings ask for, up to but not including the end."""
    from trader.data.catalog import load_panel

    wanted = settings.data
    symbols: Sequence[str] | None = wanted.symbols or None
    if arguments.symbols is not None:
        symbols = tuple(s.strip().upper() for s in arguments.symbols.split(",") if s.strip())
        if not symbols:
            raise UserError("--symbols names no symbol; write AAPL,MSFT")
    timeframe = arguments.timeframe or wanted.timeframe
    end = arguments.end or wanted.end
    start = arguments.start or wanted.start or _months_before(home, symbols, timeframe, end, wanted.months)
    # a bare date as the end would include that day
    until = f"{end}T00:00" if end is not None and len(end) == 10 else end
    return load_panel(home, symbols, timeframe, start, until)


def _months_before(
    home: Path, symbols: Sequence[str] | None, timeframe: str, end: str | None, months: int
) -> str | None:
    """The day on which so many months of history before the end begin; None for all there is."""
    from trader.core.clock import DAY_NS, from_ns
    from trader.data.catalog import available, parse_range
    from trader.data.timeframe import parse_timeframe

    frame, until = parse_timeframe(timeframe), parse_range(None, end)[1]
    if frame.daily:
        return None                         # a daily history is short: all of it
    if until is None:
        have = [d for d in available(home) if d.timeframe == frame.name and (symbols is None or d.symbol in symbols)]
        stored = [d for d in have if d.place == "store"]
        until = max((d.last_ns for d in stored or have), default=None)
        if until is None:
            return None                     # nothing there: loading says so in its own words
    return from_ns(until - round(months * _MONTH_DAYS) * DAY_NS).date().isoformat()


@contextmanager
def _shown(arguments: argparse.Namespace) -> Iterator[Callable[[TrainProgress], None]]:
    """How progress reaches whoever watches."""
    if arguments.progress == "json":
        yield lambda step: _line({
            "stage": step.stage, "done": step.done, "total": step.total, "eta_seconds": step.eta_seconds,
        }) if step.done < step.total else None
    elif arguments.progress == "auto" and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description:<16}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(), TextColumn("{task.fields[left]}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("loading bars", total=None, left="")

            def show(step: TrainProgress) -> None:
                left = "" if step.eta_seconds is None else f"{step.eta_seconds:.0f} s left"
                bar.update(task, description=step.stage, completed=step.done, total=step.total, left=left)

            yield show
    else:
        yield lambda step: None


def _line(facts: dict[str, Any]) -> None:
    print(json.dumps(facts), flush=True)


def _report(manifest: dict[str, Any], directory: Path) -> dict[str, Any]:
    scores = manifest["scores"]
    return {
        "model": str(directory), "model_id": directory.name, "created": manifest["created"],
        "verdict": scores["verdict"], "data": manifest["data"], "labels": manifest["labels"], "scores": scores,
    }


def _text(report: dict[str, Any]) -> str:
    scores, data = report["scores"], report["data"]
    names = ("loss", "neutral", "profit")
    shares = ", ".join(f"{name} {share:.1%}" for name, share in zip(names, scores["class_shares"], strict=True))
    calibration = scores["calibration"]
    before, after = calibration["before"]["ece"], calibration["after"]["ece"]
    span = f"{data['start'][:10]} to {data['end'][:10]}"
    facts = {
        "model": report["model_id"],
        "stored in": report["model"],
        "bars": f"{data['bars']:,} of {data['timeframe']}, {data['source']}, {span}",
        "symbols": ", ".join(data["symbols"]),
        "samples": f"{scores['n']:,} ({scores['n_effective']:,.0f} effective); {shares}",
        "judged": f"out of fold, {scores['folds']} purged folds, {scores['n_trials']} trial",
        "accuracy": f"{_rate(scores)} over three classes",
        "log-loss": f"{scores['log_loss']:.4f}; class shares alone {scores['log_loss_prior']:.4f}",
        "direction": f"{_rate(scores['direction'])} of the barriers touched",
        "calibration": f"{calibration['method']}; ECE {before:.4f} before, {after:.4f} after, out of sample",
        "confusion": "rows: what came; columns: what was said",
    }
    lines = [f"{name:<12} {value}" for name, value in facts.items()]
    lines.append(" " * 22 + "".join(f"{name:>9}" for name in names))
    for name, counts in zip(names, scores["confusion"], strict=True):
        lines.append(f"{'':<13}{name:<9}" + "".join(f"{count:>9,}" for count in counts))
    return "\n".join([*lines, f"{'verdict':<12} {report['verdict']}"])


def _rate(scores: dict[str, Any]) -> str:
    low, high = scores["accuracy_low"], scores["accuracy_high"]
    return f"{scores['accuracy']:.1%} [{low:.1%}, {high:.1%}], base rate {scores['base_rate']:.1%}"
