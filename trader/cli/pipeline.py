"""``alphatrade pipeline``: the stages from bars to paper trading; what is fresh is skipped."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from trader.cli.arguments import (
    add_config,
    add_home,
    add_json,
    add_workers,
    home_of,
    print_json,
    require_trials,
)
from trader.utils.errors import UserError

if TYPE_CHECKING:
    from trader.pipeline.context import Context
    from trader.pipeline.parallel import Workers
    from trader.pipeline.runner import StageReport

STAGES = ("data", "features", "labels", "train", "calibrate", "backtest", "validate", "paper")
SIGNS = {"fresh": "=", "stale": "~", "ran": "✓", "failed": "✗"}
_CHOICES = ("symbols", "timeframe", "start", "split", "end", "strategy", "initial_capital", "search")


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "pipeline", help="from bars to a validated model, stage by stage; what is fresh is skipped",
        description="Runs a stage and whatever it depends on that is stale. Without --stage it shows what would run "
                    "and why. The backtest plays only bars that training never saw.",
        epilog="The flags from --symbols to --search are remembered by the commands after; --forget-choices drops "
               "them. An interrupted run goes on where it was: give the command again.",
    )
    parser.add_argument("--stage", choices=STAGES, help="where to go; each stage has its report in results/pipeline/")
    parser.add_argument("--force", action="store_true", help="run this stage even if nothing has changed")
    parser.add_argument("--symbols", metavar="A,B", help="default: those of training.yaml, else all there are")
    parser.add_argument("--timeframe", metavar="SIZE", help="15Min, 1Day, … (default: training.yaml)")
    parser.add_argument("--start", metavar="DATE", help="first day of training (default: months of training.yaml)")
    parser.add_argument("--split", metavar="DATE",
                        help="first day of the backtest, unseen by training (default: the last fifth of the days)")
    parser.add_argument("--end", metavar="DATE", help="last day of the backtest (default: the last there is)")
    parser.add_argument("--strategy", metavar="NAME", help="as for alphatrade backtest (default: settings)")
    parser.add_argument("--initial-capital", type=float, metavar="DOLLARS", help="of the backtest (default: 100000)")
    parser.add_argument(
        "--search", type=int, metavar="N",
        help="try N settings of the ensemble under the same purged folds; the best is trained, all are counted "
             "(default: 0, the settings as they are)")
    add_workers(parser)
    parser.add_argument("--forget-choices", action="store_true", help="back to the settings' own choices")
    add_config(parser)
    add_home(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run or survey; the exit code is 1 where a verdict is no."""
    import os

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from trader.pipeline.parallel import SERIAL, open_workers
    from trader.pipeline.runner import make_context, plain, run_stage, survey

    def context(workers: Workers) -> Context:
        return make_context(
            home_of(arguments), arguments.config, _given(arguments), forget_choices=arguments.forget_choices,
            workers=workers)

    if arguments.stage is None:
        if arguments.force:
            raise UserError("--force needs --stage: which one shall run?")
        reports = survey(context(SERIAL))
        if arguments.json:
            print_json([plain(report) for report in reports])
        else:
            for report in reports:
                print(f"{SIGNS[report.status]} {report.stage:<10} {report.status}: {report.reason}")
        return 0
    with _going_on_later(), ExitStack() as stack:
        workers = stack.enter_context(open_workers(arguments.workers, arguments.scheduler))
        listener = _listener(arguments, stack)
        reports = run_stage(context(workers), arguments.stage, force=arguments.force, listener=listener)
    ok = reports[-1].ok
    if arguments.json:
        print_json({"stage": arguments.stage, "ok": ok, "stages": [plain(report) for report in reports]})
    elif not ok and reports[-1].stage != arguments.stage:
        raise UserError(
            f"stage {arguments.stage} did not run: {reports[-1].stage} says no; see its report", exit_code=1)
    return 0 if ok else 1


@contextmanager
def _going_on_later() -> Iterator[None]:
    """An interrupt, or a request to end, is answered at once, in one line, and leaves nothing half-written."""
    asked: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if _importing(frame):           # a library whose import is broken off fails later, in words of its own
            again = threading.Timer(0.02, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
        else:
            raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():           # nobody else is sent signals
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, end)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            before[signal.SIGINT] = signal.signal(signal.SIGINT, end)
    try:
        yield
    except KeyboardInterrupt:           # a library may have raised one of its own instead
        number = asked[0] if asked else signal.SIGINT
        raise UserError(
            "interrupted; what was done is kept: give the command again to go on", exit_code=128 + number) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The choices that flags make."""
    from trader.pipeline.training_bars import parse_symbols, require_day

    given = {name: getattr(arguments, name) for name in _CHOICES}
    given["symbols"] = parse_symbols(arguments.symbols)
    require_trials(arguments.search)
    for name in ("start", "split", "end"):
        given[name] = require_day(given[name], f"--{name}")
    capital = arguments.initial_capital
    if capital is not None and not capital > 0:
        raise UserError(f"--initial-capital {capital} must be above 0")
    return given


def _listener(arguments: argparse.Namespace, stack: ExitStack) -> Any:
    """Who tells a person: nobody, plain lines, or lines with a bar below them."""
    from trader.pipeline.runner import Listener

    class Lines(Listener):
        """A line for each stage on stdout."""

        def say(self, text: str) -> None:
            print(text, flush=True)

        def ends(self, report: StageReport) -> None:
            if report.status != "failed":           # the command's own error line says it
                self.say(_line(report, wanted=report.stage == arguments.stage))

    if arguments.json:
        return Listener()
    if not sys.stderr.isatty():
        return Lines()
    from trader.cli.progress import StageBar

    bar = stack.enter_context(StageBar())

    class Bar(Lines):
        """The same, with what is being done below."""

        def say(self, text: str) -> None:
            if sys.stdout.isatty():                 # the line goes above the bar instead of through it
                bar.print(text)
            else:
                super().say(text)

        def begins(self, stage: str, reason: str) -> None:
            bar.begin(stage)

        def ticks(self, stage: str, text: str, done: int, total: int) -> None:
            bar.tick(f"{stage}: {text}", done, total)

        def ends(self, report: StageReport) -> None:
            bar.rest()
            super().ends(report)

    return Bar()


def _line(report: StageReport, *, wanted: bool) -> str:
    """What became of a stage; a skipped one repeats its result only where it was asked for."""
    sign = SIGNS[report.status] if report.ok else "✗"
    if report.status == "fresh":
        return f"{sign} {report.stage:<10} skipped, {report.reason}{f'; {report.text}' if wanted else ''}"
    note = f"; {report.note}" if report.note else ""
    return f"{sign} {report.stage:<10} {report.seconds:.1f} s ({report.reason}{note}); {report.text}"
