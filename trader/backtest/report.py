"""The files of a backtest, by the guide's names."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from trader.backtest.engine import BacktestResult
from trader.core.clock import iso
from trader.utils.atomic import atomic_write_text

_SUMMARY = (
    ("Total return", "total_return", "{:.2%}"), ("CAGR", "cagr", "{:.2%}"), ("Volatility", "volatility", "{:.2%}"),
    ("Sharpe ratio", "sharpe_ratio", "{:.2f}"), ("Sortino ratio", "sortino_ratio", "{:.2f}"),
    ("Calmar ratio", "calmar_ratio", "{:.2f}"), ("Max drawdown", "max_drawdown", "{:.2%}"),
    ("Win rate", "win_rate", "{:.2%}"), ("Profit factor", "profit_factor", "{:.2f}"),
    ("Trades", "total_trades", "{:d}"),
)


def report_of(result: BacktestResult, about: dict[str, Any]) -> dict[str, Any]:
    """One flat JSON object: the metrics at the top level, then what was run on what."""
    return {
        **result.metrics, "strategy": result.strategy, "data_source": result.source,
        "initial_capital": result.initial_capital, "final_equity": round(float(result.equity[-1]), 2),
        "counts": result.counts, "warnings": list(result.warnings), **about,
    }


def write_results(result: BacktestResult, directory: Path, about: dict[str, Any]) -> list[Path]:
    """Write ``equity_curve.csv, trades.csv, backtest_report.json, backtest_report.csv, metrics_summary.txt``."""
    report = report_of(result, about)
    files = {
        "equity_curve.csv": _equity_csv(result),
        "trades.csv": _trades_csv(result),
        "backtest_report.json": json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n",
        "backtest_report.csv": _report_csv(report),
        "metrics_summary.txt": summary_text(result),
    }
    for name, text in files.items():
        atomic_write_text(directory / name, text)
    return [directory / name for name in files]


def summary_text(result: BacktestResult) -> str:
    """The metrics for a person."""
    lines = [f"Backtest of {result.strategy} on {result.source} bars", ""]
    for title, key, form in _SUMMARY:
        value = result.metrics.get(key)
        lines.append(f"{title:14} {'not defined' if value is None else form.format(value):>14}")
    lines += ["", *(f"{name:14} {number:>14,}" for name, number in result.counts.items())]
    for note in result.metrics.get("notes", []):
        lines.append(f"note: {note}")
    lines += [f"warning: {text}" for text in result.warnings]
    return "\n".join(lines) + "\n"


def _equity_csv(result: BacktestResult) -> str:
    peak = result.initial_capital
    rows = ["timestamp,equity,drawdown"]
    for ts, equity in zip(result.equity_ts_ns.tolist(), result.equity.tolist(), strict=True):
        peak = max(peak, equity)
        rows.append(f"{iso(ts)},{equity:.2f},{equity / peak - 1:.6f}")
    return "\n".join(rows) + "\n"


def _trades_csv(result: BacktestResult) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["symbol", "side", "quantity", "entry_time", "entry_price", "exit_time", "exit_price", "pnl",
                     "fees", "bars_held", "exit_reason", "strategy"])
    for t in result.trades:
        writer.writerow([t.symbol, t.side, f"{t.quantity:g}", iso(t.entry_ts), f"{t.entry_price:.4f}", iso(t.exit_ts),
                         f"{t.exit_price:.4f}", f"{t.pnl:.2f}", f"{t.fees:.2f}", t.bars_held, t.exit_role, t.strategy])
    return text.getvalue()


def _report_csv(report: dict[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["metric", "value"])
    for key, value in sorted(report.items()):
        writer.writerow([key, json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else value])
    return text.getvalue()
