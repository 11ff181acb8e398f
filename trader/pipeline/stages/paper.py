"""paper: what paper trading needs, how long it has run, what still keeps live trading locked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trader.core.clock import SystemClock
from trader.pipeline.context import Context, StageResult
from trader.pipeline.readiness import PAPER_DAYS, live_refusals, traded_days
from trader.pipeline.terms import terms_of
from trader.pipeline.verdict import read_validation


def settings(context: Context) -> Mapping[str, Any]:
    """Nothing: the stage looks at the present."""
    return {}


def run(context: Context) -> StageResult:
    """Look at keys, verdict and runs."""
    now_ns = SystemClock().now_ns()
    validation = read_validation(context.home)
    missing = []
    if not context.loaded.secrets.complete:
        missing.append(f"ALPACA_API_KEY and ALPACA_SECRET_KEY of a paper account, in {context.home / '.env'} "
                       "or in the environment")
    if validation is None or not validation.passed:
        missing.append("a validation that has passed: alphatrade pipeline --stage validate")
    days = traded_days(context.home, "paper", now_ns)
    loaded = context.loaded
    refusals = live_refusals(
        context.home, now_ns, terms_of(loaded, timeframe=loaded.settings.timeframe, symbols=loaded.symbols))
    said = f"paper trading has run on {len(days)} of {PAPER_DAYS} trading days"
    if missing:
        text = f"{said}; it needs {'; '.join(missing)}"
    else:
        text = f"{said}; start it: alphatrade-tui --mode paper"
    facts = {
        "paper_days": len(days), "needed_days": PAPER_DAYS, "days": [day.isoformat() for day in days],
        "missing": missing, "live_locked_by": list(refusals), "command": "alphatrade-tui --mode paper",
    }
    return StageResult(text, (), facts, ok=not missing)
