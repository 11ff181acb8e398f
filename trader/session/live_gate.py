"""The gate before real money: a validation that has passed and two weeks of paper, or a risk accepted by name."""

from __future__ import annotations

import time
from pathlib import Path

from trader.pipeline.readiness import FIRST_LIVE_DAYS, live_refusals, traded_days
from trader.pipeline.terms import Terms
from trader.utils.errors import UserError

OVERRIDE = "I-ACCEPT-THE-RISK"
FIRST_LIVE_SIZE = 0.25


def require_gate(
    home: Path, wanted: Terms, override: str | None = None, *, now_ns: int | None = None,
) -> tuple[str, ...]:
    """Refuse live trading until validation and paper trading have passed.

    Parameters
    ----------
    wanted : the terms on which the session would trade
    override : `OVERRIDE` opens the gate whatever is missing; any other text is a mistake

    Returns
    -------
    What was overridden, one line each, to be logged; empty when the gate is open.

    Raises
    ------
    UserError
        Live trading is locked; the line says by what, all of it.
    """
    if override not in (None, OVERRIDE):
        raise UserError(f"the live gate opens by the exact words {OVERRIDE}, not {override!r}")
    refusals = live_refusals(home, time.time_ns() if now_ns is None else now_ns, wanted)
    if refusals and override is None:
        raise UserError(f"live trading is locked: {'; and '.join(refusals)}")
    return refusals


def size_factor(home: Path, *, now_ns: int | None = None) -> float:
    """Share of the intended size for live orders: a quarter until live has run on ten trading days, then all."""
    days = traded_days(home, "live", time.time_ns() if now_ns is None else now_ns)
    return FIRST_LIVE_SIZE if len(days) < FIRST_LIVE_DAYS else 1.0
