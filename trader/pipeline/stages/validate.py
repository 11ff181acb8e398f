"""validate: the backtest against the guide's thresholds; its verdict is what the live gate reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from trader.pipeline.context import Context, StageResult
from trader.pipeline.stages.backtest import REPORT, RESULTS, read_report
from trader.pipeline.state import file_hash
from trader.pipeline.terms import terms_of
from trader.pipeline.verdict import THRESHOLDS, Validation, failures, figures_of, remarks, write_validation


def settings(context: Context) -> Mapping[str, Any]:
    """The thresholds."""
    return {"thresholds": [(t.key, t.sign, t.minimum) for t in THRESHOLDS]}


def run(context: Context) -> StageResult:
    """Judge and record."""
    report = read_report(context)
    failed = failures(report)
    found = Validation(
        passed=not failed and not report["in_sample"], failed=failed, remarks=remarks(report),
        figures=figures_of(report), data_source=report["data_source"], in_sample=report["in_sample"],
        terms=terms_of(
            context.loaded, timeframe=report["timeframe"], symbols=report["symbols"],
            strategy=context.choices.strategy, model=report["model"]),
        run_id=context.facts("backtest")["run_id"],
        period=(report["start"], report["end"]) if report.get("end") else None,
        report_sha256=file_hash(context.home / RESULTS / REPORT) or "", settings_hash=report["settings_hash"],
    )
    path = write_validation(context.home, found)
    words = "passed" if found.passed else f"not passed: {'; '.join(failed) or 'in-sample'}"
    shut = "; ".join(found.shut_out)
    text = f"{words}{f'. The live gate stays shut: {shut}' if shut else ''}"
    facts = {**msgspec.to_builtins(found), "live_gate": "shut" if shut or not found.passed else "open to paper days",
             "shut_out": list(found.shut_out)}
    return StageResult(text, (path,), facts, ok=found.passed)
