"""One backtest from settings to result files and a run to replay: the command and the pipeline stage both use it."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trader.utils.errors import UserError

if TYPE_CHECKING:
    from trader.backtest.engine import BacktestResult
    from trader.config import Loaded
    from trader.core.panel import BarPanel

WARM_UP_DAYS = {"1Day": 900}
WARM_UP_DAYS_INTRADAY = 150


@dataclass(frozen=True, slots=True)
class BacktestRequest:
    """What to run on what. ``strategy`` None: the settings'; ``model`` None: the current one of the settings' name."""

    loaded: Loaded
    panel: BarPanel             # with its warm-up
    start: str | None           # first day to trade; None: all of the panel
    end: str | None             # last day, inclusive
    capital: float
    output: Path                # directory of the result files
    strategy: str | None = None
    model: Path | None = None
    run_id: str | None = None   # of what is kept under runs/, an earlier one of this name making room; None: a new one


@dataclass(frozen=True, slots=True)
class BacktestRun:
    """What came of it; ``report`` is what ``backtest_report.json`` holds."""

    run_id: str
    result: BacktestResult
    report: dict[str, Any]
    written: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    strategy: Any
    predictor: Any = None
    monitor: Any = None
    loaded_event: Any = None
    model: str | None = None
    in_sample: bool = False
    warnings: tuple[str, ...] = ()


def load_bars(
    loaded: Loaded, symbols: Sequence[str] | None, timeframe: str | None, start: str | None, end: str | None,
    seed: int | None = None,
) -> tuple[BarPanel, str | None]:
    """The panel with its warm-up, and the first day to trade (None: the panel's first).

    Raises
    ------
    UserError
        No such bars, or a malformed date.
    """
    from trader.data.catalog import load_panel
    from trader.data.store import BarStore
    from trader.data.timeframe import parse_timeframe

    settings = loaded.settings
    frame = parse_timeframe(timeframe or settings.timeframe).name
    stored = any(info.timeframe == frame for info in BarStore(loaded.home).datasets())
    if start is None and not stored and frame != "1Day":
        start = settings.sim.start
    warm = None
    if start is not None:
        try:
            first = date.fromisoformat(start[:10])
        except ValueError:
            raise UserError(f"--start {start!r} is not a date; write it as 2012-06-01") from None
        warm = (first - timedelta(days=WARM_UP_DAYS.get(frame, WARM_UP_DAYS_INTRADAY))).isoformat()
    synth_seed = settings.sim.seed if seed is None else seed
    try:
        return load_panel(loaded.home, symbols, frame, warm, end, synth_seed=synth_seed), start
    except UserError:
        load_panel(loaded.home, symbols, frame, start, end, synth_seed=synth_seed)      # says it of the dates given
        raise


def run_backtest(request: BacktestRequest, on_slice: Callable[[int], None] | None = None) -> BacktestRun:
    """Run it, write the result files, and keep the run under ``<home>/runs``.

    Raises
    ------
    UserError
        The strategy, its model or the range cannot be used, or the disk refuses.
    """
    from trader.backtest.engine import BacktestEngine
    from trader.backtest.report import report_of, write_results
    from trader.core.ids import new_run_id
    from trader.risk.params import load_risk_params
    from trader.utils.run_dir import JOURNAL_FILE, create_run, write_facts

    loaded, panel = request.loaded, request.panel
    if not request.capital > 0:
        raise UserError(f"--initial-capital {request.capital} must be above 0")
    choice = _decide(request)
    started = time.time_ns()
    run_id = request.run_id or new_run_id("backtest")
    about = {
        "mode": "backtest", "account": "backtest", "symbols": list(panel.symbols), "timeframe": panel.timeframe,
        "source": panel.source, "strategy": choice.strategy.name, "settings_hash": loaded.settings_hash,
        "model": choice.model, "in_sample": choice.in_sample,
        **{name: day for name, day in (("start", request.start), ("end", request.end)) if day is not None},
    }
    if request.run_id is not None:
        shutil.rmtree(loaded.home / "runs" / run_id, ignore_errors=True)
    directory = create_run(loaded.home, run_id, {**about, "started_ns": started})
    engine = BacktestEngine(
        request.capital, risk_params=load_risk_params(loaded.risk_path))
    try:
        result = engine.run(
            choice.strategy, panel, request.start, request.end, predictor=choice.predictor, monitor=choice.monitor,
            journal=directory / JOURNAL_FILE, run_id=run_id, settings_hash=loaded.settings_hash, on_slice=on_slice,
            model=choice.loaded_event, warnings=choice.warnings,
        )
    except BaseException as error:
        shutil.rmtree(directory, ignore_errors=True)    # half a backtest is none
        if isinstance(error, sqlite3.Error):
            raise _cannot_journal(directory / JOURNAL_FILE, error) from error
        raise
    written = write_results(result, request.output, about)
    report = report_of(result, about)
    write_facts(directory, {
        "run_id": run_id, **about, "started_ns": started, "seconds": round((time.time_ns() - started) / 1e9, 3),
        "summary": {key: report.get(key) for key in ("sharpe_ratio", "max_drawdown", "win_rate", "profit_factor",
                                                     "total_trades", "total_return", "final_equity")},
    })
    return BacktestRun(run_id, result, report, tuple(written))


def _cannot_journal(path: Path, error: sqlite3.Error) -> UserError:
    """The one line for a journal that the disk refused; closing it afterwards raises errors that say less."""
    first: BaseException = error
    while isinstance(first.__context__, sqlite3.Error):
        first = first.__context__
    return UserError(f"cannot write {path}: {first}; free space or choose a writable --home")


def _decide(request: BacktestRequest) -> _Choice:
    """The strategy, with its model where it needs one."""
    from trader.strategy.registry import make_strategy

    settings = request.loaded.settings
    name = request.strategy or settings.strategy.name
    params = settings.strategy.params if name == settings.strategy.name else {}
    strategy = make_strategy(name, params)
    if not strategy.needs_model:
        return _Choice(strategy)
    from trader.models.registry import latest_model

    home = request.loaded.home
    wanted = settings.model.name or strategy.model_name
    directory = request.model or latest_model(home, wanted)
    if directory is not None:
        return _with_model(request, name, params, directory)
    if request.strategy:
        raise UserError(
            f"strategy {name} needs a model and {home / 'models'} holds none of the name {wanted}; train one: "
            "alphatrade train")
    fallback = settings.strategy.fallback
    return _Choice(make_strategy(fallback, {}), warnings=(
        f"no model is trained yet, so the rule-based strategy {fallback} was run; train one: alphatrade train",))


def _with_model(request: BacktestRequest, name: str, params: dict[str, Any], directory: Path) -> _Choice:
    import numpy as np

    from trader.core.clock import iso
    from trader.data.catalog import parse_range
    from trader.features.user_features import load_user_features
    from trader.mlops.monitoring import ModelMonitor
    from trader.prediction import (
        BatchPredictor,
        HealthWatch,
        barriers_of,
        load_model,
        model_loaded,
        require_bars,
        require_use,
        trained_before,
    )
    from trader.strategy.registry import make_strategy, strategy_class

    loaded, panel = request.loaded, request.panel
    artifact, features = load_model(directory, load_user_features(loaded.settings.features.extra, loaded.home))
    require_use(artifact, strategy_class(name))
    require_bars(artifact, panel.timeframe, panel.symbols)
    start_ns = parse_range(request.start, None)[0]
    first = 0 if start_ns is None else int(np.searchsorted(panel.ts_ns, start_ns))
    begin = int(panel.ts_ns[min(first, len(panel) - 1)])
    in_sample = not trained_before(artifact, begin)
    warnings = (
        f"IN-SAMPLE: the model was trained on bars up to {iso(artifact.trained_through_ns)[:10]}, "
        "so this result is no evidence of skill; backtest later bars",
    ) if in_sample else ()
    strategy = make_strategy(name, params, barriers=barriers_of(artifact.labels, panel.symbols))
    predictor = BatchPredictor(artifact, features, panel, first)
    watch = HealthWatch(ModelMonitor(artifact.manifest, panel.symbols), predictor)
    return _Choice(
        strategy, predictor, watch, model_loaded(artifact, begin), artifact.model_id, in_sample, warnings)
