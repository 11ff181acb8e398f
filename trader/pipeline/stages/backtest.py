"""backtest: the calibrated model on bars that its training never saw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trader.core.clock import iso
from trader.models.registry import models_dir
from trader.pipeline.backtest_run import BacktestRequest, run_backtest
from trader.pipeline.context import Context, StageResult
from trader.pipeline.stages.data import stored_bars
from trader.pipeline.state import file_hash

RESULTS = "results"
REPORT = "backtest_report.json"
FIGURES = ("sharpe_ratio", "max_drawdown", "win_rate", "profit_factor", "total_trades", "total_return", "final_equity")


def settings(context: Context) -> Mapping[str, Any]:
    """The session's settings and files, and the strategy with its code where that is the user's."""
    name = context.choices.strategy or context.loaded.settings.strategy.name
    file = Path(name.rpartition(":")[0]).expanduser() if ":" in name else None
    return {
        "settings": context.loaded.settings_hash, "strategy": [name, file and file_hash(file)],
        "initial capital": context.choices.initial_capital,
    }


def run(context: Context) -> StageResult:
    """Play every bar from the split on; earlier ones are history."""
    panel, split_ns = stored_bars(context)
    model = models_dir(context.home) / context.facts("calibrate")["model"]
    total = len(panel.between(split_ns, None))
    context.tick("playing bars", 0, total)

    def shown(played: int) -> None:
        if played % 100 == 0:
            context.tick("playing bars", played, total)

    done = run_backtest(
        BacktestRequest(
            context.loaded, panel, iso(split_ns)[:10], context.choices.end, context.choices.initial_capital,
            context.home / RESULTS, context.choices.strategy, model, f"backtest-{context.key}"),
        shown,
    )
    report = done.report
    facts = {"run_id": done.run_id, "strategy": done.result.strategy, "model": report["model"],
             "source": done.result.source, **{name: report.get(name) for name in FIGURES}}
    text = (f"{done.result.strategy} on {total:,} bars after the split: Sharpe {_said(report['sharpe_ratio'], '.2f')}, "
            f"drawdown {_said(report['max_drawdown'], '.1%')}, {report['total_trades']} trades; run {done.run_id}")
    return StageResult(text, done.written, facts)


def read_report(context: Context) -> dict[str, Any]:
    """The report that `run` left."""
    report: dict[str, Any] = json.loads((context.home / RESULTS / REPORT).read_text(encoding="utf-8"))
    return report


def _said(value: float | None, form: str) -> str:
    return "not defined" if value is None else format(value + 0.0, form)       # no minus in front of zero
