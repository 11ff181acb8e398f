"""`alphatrade data check`: every dataset against the calendar, the arithmetic of bars and its own habits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trader.core.clock import iso
from trader.core.panel import REAL
from trader.data.bars import SymbolBars, split_panel
from trader.data.catalog import available, load_panel
from trader.data.check_pairs import compare
from trader.data.check_rules import EXAMPLES, RULES, Finding
from trader.data.store import BarStore, DatasetInfo
from trader.data.timeframe import DAILY, parse_timeframe
from trader.utils.atomic import atomic_write_bytes
from trader.utils.errors import UserError

REPORT = Path("results") / "data_quality_report.json"


def check_bars(bars: SymbolBars, timeframe: str) -> list[Finding]:
    """All rules of `check_rules` on one symbol's bars; nothing found gives an empty list.

    Unlike everywhere else the starts need not be increasing here: repeated and unordered ones are findings.
    """
    frame = parse_timeframe(timeframe)
    return [finding for rule in RULES for finding in rule(bars, frame)]


def check_home(
    home: Path, symbols: Sequence[str] | None = None, timeframe: str | None = None, *, now_ns: int
) -> dict[str, Any]:
    """Check what is stored (or, with an empty store, the bundled sample) and write the report under ``home``.

    Returns
    -------
    dict
        ``ok`` (no errors), ``summary`` (counts), ``datasets`` (per symbol and timeframe: what it is and ``findings``,
        each with ``check, severity, count, share, examples, advice``), ``report`` (where it was written).
    """
    chosen = _chosen(home, symbols, timeframe)
    datasets = []
    for info in chosen:
        bars = _bars(home, info)
        findings = [*_damage(home, info), *check_bars(bars, info.timeframe), *_beside_daily(home, info, bars)]
        datasets.append({**info.as_dict(), "findings": [f.as_dict() for f in findings]})
    counts = {
        severity: sum(f["severity"] == severity for d in datasets for f in d["findings"])
        for severity in ("error", "warning", "info")
    }
    report = {
        "generated_at": iso(now_ns), "ok": counts["error"] == 0,
        "summary": {"datasets": len(datasets), "bars": sum(d.rows for d in chosen), **counts},
        "datasets": datasets, "report": str(home / REPORT),
    }
    atomic_write_bytes(home / REPORT, json.dumps(report, indent=1).encode())
    return report


def _damage(home: Path, info: DatasetInfo) -> list[Finding]:
    """Files whose bars are not those that were written."""
    files = BarStore(home).damaged(info.symbol, info.timeframe) if info.place == "store" else []
    if not files:
        return []
    advice = f"the disk or another program changed them: remove {info.symbol}'s {info.timeframe} bars, fetch them again"
    return [Finding("damaged_file", "error", len(files), 1.0, files[:EXAMPLES], advice)]


def _beside_daily(home: Path, info: DatasetInfo, bars: SymbolBars) -> list[Finding]:
    """Intraday bars beside the stored daily bars of the same symbol, where both are real."""
    store, frame = BarStore(home), parse_timeframe(info.timeframe)
    daily = None if frame.daily or info.place != "store" or info.source != REAL else store.info(info.symbol, DAILY.name)
    if daily is None or daily.source != REAL:
        return []
    return compare(store.bars(info.symbol, DAILY.name), bars, frame)


def _chosen(home: Path, symbols: Sequence[str] | None, timeframe: str | None) -> list[DatasetInfo]:
    everything = BarStore(home).datasets() or available(home)
    name = None if timeframe is None else parse_timeframe(timeframe).name
    wanted = None if symbols is None else [s.upper() for s in symbols]
    found = [d for d in everything if name in (None, d.timeframe) and (wanted is None or d.symbol in wanted)]
    missing = [s for s in wanted or () if s not in {d.symbol for d in found}]
    if missing or not found:
        there = ", ".join(sorted({f"{d.symbol} {d.timeframe}" for d in everything}))
        raise UserError(f"no {name or ''} bars of {', '.join(missing) or 'any symbol'} to check; there are {there}")
    return found


def _bars(home: Path, info: DatasetInfo) -> SymbolBars:
    if info.place == "store":
        return BarStore(home).bars(info.symbol, info.timeframe)
    return split_panel(load_panel(home, [info.symbol], info.timeframe))[info.symbol]
