"""``alphatrade backtest``: a strategy over stored bars, the guide's result files, and a run to replay."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trader.cli.arguments import add_config, add_home, add_json, home_of, print_json
from trader.utils.errors import UserError

if TYPE_CHECKING:
    from trader.config import Loaded
    from trader.core.panel import BarPanel

WARM_UP_DAYS = {"1Day": 900}
WARM_UP_DAYS_INTRADAY = 150


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
    from trader.backtest.engine import BacktestEngine
    from trader.backtest.report import report_of, summary_text, write_results
    from trader.config import load_settings
    from trader.core.ids import new_run_id
    from trader.risk.params import RiskParams, load_risk_params
    from trader.utils.run_dir import JOURNAL_FILE, create_run, write_facts

    if not arguments.initial_capital > 0:
        raise UserError(f"--initial-capital {arguments.initial_capital} must be above 0")
    home = home_of(arguments)
    loaded = load_settings(home, arguments.config)
    panel, start = _bars(arguments, loaded)
    choice = _decide(arguments, loaded, panel, start)
    started = time.time_ns()
    run_id = new_run_id("backtest")
    about = {
        "mode": "backtest", "account": "backtest", "symbols": list(panel.symbols), "timeframe": panel.timeframe,
        "source": panel.source, "strategy": choice.strategy.name, "start": start, "end": arguments.end,
        "settings_hash": loaded.settings_hash,
    }
    directory = create_run(home, run_id, {**about, "started_ns": started})
    engine = BacktestEngine(
        arguments.initial_capital, risk_params=load_risk_params(loaded.risk_path) if loaded.risk_path else RiskParams())
    progress = _Progress(quiet=arguments.json)
    result = engine.run(
        choice.strategy, panel, start, arguments.end, predictor=choice.predictor, monitor=choice.monitor,
        journal=directory / JOURNAL_FILE, run_id=run_id, settings_hash=loaded.settings_hash, on_slice=progress,
        model=choice.model, warnings=choice.warnings,
    )
    progress.close()
    output = (arguments.output or home / "results").expanduser().absolute()
    written = write_results(result, output, about)
    report = report_of(result, about)
    write_facts(directory, {
        "run_id": run_id, **about, "started_ns": started, "seconds": round((time.time_ns() - started) / 1e9, 3),
        "summary": {key: report.get(key) for key in ("sharpe_ratio", "max_drawdown", "win_rate", "profit_factor",
                                                     "total_trades", "total_return", "final_equity")},
    })
    if arguments.json:
        print_json({**report, "run_id": run_id, "results": [str(path) for path in written]})
    else:
        print(summary_text(result))
        print(f"run {run_id}; results in {output}; look at it: alphatrade-tui --replay latest")
    return 0


@dataclass(frozen=True, slots=True)
class _Choice:
    strategy: Any
    predictor: Any = None
    monitor: Any = None
    model: Any = None
    warnings: tuple[str, ...] = ()


def _bars(arguments: argparse.Namespace, loaded: Loaded) -> tuple[BarPanel, str | None]:
    """The panel with its warm-up, and the first day to trade."""
    from datetime import date, timedelta

    from trader.data.catalog import load_panel
    from trader.data.store import BarStore
    from trader.data.timeframe import parse_timeframe

    settings = loaded.settings
    timeframe = parse_timeframe(arguments.timeframe or settings.timeframe).name
    symbols = _symbols(arguments.symbols)
    stored = any(info.timeframe == timeframe for info in BarStore(loaded.home).datasets())
    start = arguments.start
    if start is None and not stored and timeframe != "1Day":
        start = settings.sim.start
    seed = settings.sim.seed if arguments.seed is None else arguments.seed
    warm = None
    if start is not None:
        try:
            first = date.fromisoformat(start[:10])
        except ValueError:
            raise UserError(f"--start {start!r} is not a date; write it as 2012-06-01") from None
        warm = (first - timedelta(days=WARM_UP_DAYS.get(timeframe, WARM_UP_DAYS_INTRADAY))).isoformat()
    return load_panel(loaded.home, symbols, timeframe, warm, arguments.end, synth_seed=seed), start


def _symbols(text: str | None) -> list[str] | None:
    if text is None:
        return None
    symbols = [word.strip().upper() for word in text.split(",") if word.strip()]
    if not symbols:
        raise UserError(f"--symbols {text!r} names no symbol; write them as AAPL,MSFT")
    return symbols


def _decide(arguments: argparse.Namespace, loaded: Loaded, panel: BarPanel, start: str | None) -> _Choice:
    """The strategy, with its model where it needs one."""
    from trader.data.catalog import parse_range
    from trader.strategy.registry import make_strategy

    settings = loaded.settings
    name = arguments.strategy or settings.strategy.name
    params = settings.strategy.params if name == settings.strategy.name else {}
    strategy = make_strategy(name, params)
    if not strategy.needs_model:
        return _Choice(strategy)
    import numpy as np

    from trader.features.user_features import load_user_features
    from trader.mlops.monitoring import ModelMonitor
    from trader.models.registry import latest_model
    from trader.prediction import BatchPredictor, HealthWatch, barriers_of, load_model, model_loaded, trained_before

    directory = latest_model(loaded.home, settings.model.name)
    if directory is None:
        if arguments.strategy:
            raise UserError(f"strategy {name} needs a model and {loaded.home / 'models'} holds none; "
                            "train one: alphatrade train")
        fallback = settings.strategy.fallback
        return _Choice(make_strategy(fallback, {}), warnings=(
            f"no model is trained yet, so the rule-based strategy {fallback} was run; train one: alphatrade train",))
    artifact, features = load_model(directory, load_user_features(settings.features.extra, loaded.home))
    start_ns = parse_range(start, None)[0]
    first = 0 if start_ns is None else int(np.searchsorted(panel.ts_ns, start_ns))
    warnings = []
    if not trained_before(artifact, int(panel.ts_ns[min(first, len(panel) - 1)])):
        from trader.core.clock import iso

        warnings.append(f"IN-SAMPLE: the model was trained on bars up to {iso(artifact.trained_through_ns)[:10]}, "
                        "so this result is no evidence of skill; backtest later bars")
    strategy = make_strategy(name, params, barriers=barriers_of(artifact.labels, panel.symbols))
    predictor = BatchPredictor(artifact, features, panel, first)
    begin = int(panel.ts_ns[min(first, len(panel) - 1)])
    watch = HealthWatch(ModelMonitor(artifact.manifest, panel.symbols), predictor)
    return _Choice(strategy, predictor, watch, model_loaded(artifact, begin), tuple(warnings))


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
