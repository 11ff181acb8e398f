"""``alphatrade train`` and ``alphatrade calibrate-barriers``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trader.cli.arguments import add_home, add_json, add_workers, home_of, print_json, require_trials
from trader.utils.errors import UserError

if TYPE_CHECKING:
    from trader.core.panel import BarPanel
    from trader.pipeline.train import TrainProgress
    from trader.pipeline.training_settings import TrainingSettings


def add_parser(subparsers: Any) -> None:
    """Register both commands."""
    train = subparsers.add_parser("train", help="train, judge and calibrate a model; it becomes the current one")
    _add_data(train)
    train.add_argument("--seed", type=int, metavar="N", help="instead of the one in training.yaml")
    train.add_argument(
        "--search", type=int, default=0, metavar="N",
        help="try N settings of the ensemble under the same purged folds; the best is trained, all are counted")
    add_workers(train)
    train.add_argument(
        "--progress", choices=("auto", "json", "none"), default="auto",
        help="auto: a bar on a terminal; json: one JSON line a step on stdout, the last with the model's path")
    train.set_defaults(run=run_train)

    barriers = subparsers.add_parser("calibrate-barriers", help="choose triple-barrier distances per symbol")
    _add_data(barriers)
    barriers.add_argument("--calibrate", action="store_true", help="accepted for the guide's spelling; always on")
    barriers.add_argument("--cost-bps", type=float, default=5.0, metavar="BPS",
                          help="what a round trip costs, in hundredths of a per cent (default 5)")
    add_workers(barriers)
    barriers.add_argument("--output", type=Path, metavar="FILE",
                          help="default: <home>/config/triple_barrier_params.yaml")
    barriers.set_defaults(run=run_calibrate)


def run_train(arguments: argparse.Namespace) -> int:
    """Train a model and print what it is worth."""
    from trader.cli.training_text import training_text
    from trader.config import load_settings
    from trader.features.feature_set import default_features
    from trader.features.user_features import load_user_features
    from trader.models.artifact import read_manifest
    from trader.pipeline.barriers import load_barriers
    from trader.pipeline.parallel import open_workers
    from trader.pipeline.train import train_model
    from trader.pipeline.training_settings import load_training_settings
    from trader.utils.atomic import atomic_write_text

    home = home_of(arguments)
    lines = arguments.progress == "json"
    require_trials(arguments.search)
    try:
        session = load_settings(home)
        settings = load_training_settings(home, arguments.config or session.training_path)
        extra = load_user_features(session.settings.features.extra, home)
        with open_workers(arguments.workers, arguments.scheduler) as workers, _shown(arguments) as show:
            panel = _panel(arguments, home, settings)
            per_symbol = None
            if settings.labels.per_symbol and session.barriers_path is not None:
                per_symbol = load_barriers(session.barriers_path, settings.labels)
            directory = train_model(
                panel, settings, home, show, arguments.seed, per_symbol=per_symbol,
                features=default_features(panel.timeframe, extra), search=arguments.search, workers=workers,
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
        print(training_text(report))
    return 0


def run_calibrate(arguments: argparse.Namespace) -> int:
    """Choose barriers and write the file."""
    import msgspec

    from trader.config import load_settings
    from trader.pipeline.barriers import calibrate_barriers, write_barriers
    from trader.pipeline.parallel import open_workers
    from trader.pipeline.training_settings import load_training_settings

    home = home_of(arguments)
    settings = load_training_settings(home, arguments.config or load_settings(home).training_path)
    if not 0.0 <= arguments.cost_bps < 1000.0:
        raise UserError(f"--cost-bps {arguments.cost_bps:g} is no cost of a round trip; 5 is 0.05 %")
    with open_workers(arguments.workers, arguments.scheduler) as workers:
        panel = _panel(arguments, home, settings)
        found = calibrate_barriers(panel, settings.labels, arguments.cost_bps, workers)
    path = arguments.output or home / "config" / "triple_barrier_params.yaml"
    write_barriers(path, found)
    if arguments.json:
        print_json({"path": str(path), **msgspec.to_builtins(found)})
        return 0
    print("symbol     profit    stop  horizon   loss  neutral  profit    held   score  held out   costs")
    for name, own in found.symbols.items():
        loss, neutral, profit = own.class_shares
        print(f"{name:<8} {f'+{own.profit_taking:g}σ':>8} {f'-{own.stop_loss:g}σ':>7} {own.max_holding_periods:>8} "
              f"{loss:>6.1%} {neutral:>8.1%} {profit:>7.1%} {own.mean_holding:>7.1f} {own.score:>7.3f} "
              f"{own.validated_score:>9.3f} {own.cost_share:>7.1%}")
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
    from trader.pipeline.training_bars import parse_symbols, training_panel

    return training_panel(
        home, settings, symbols=parse_symbols(arguments.symbols), timeframe=arguments.timeframe,
        start=arguments.start, end=arguments.end)


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
        "verdict": scores["verdict"], "data": manifest["data"], "labels": manifest["labels"],
        "meta": manifest["meta"], "scores": scores,
    }
