"""What must have happened before real money: a validation that passed, and two weeks of paper trading."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from trader.core.sessions import session_date, session_rows, session_table
from trader.pipeline.terms import Terms, differences
from trader.pipeline.verdict import VERDICT_FILE, read_validation
from trader.utils.run_dir import JOURNAL_FILE, RUN_FILE, read_facts

PAPER_DAYS = 10                 # trading days: two weeks
FIRST_LIVE_DAYS = 10            # at the smaller size
_COUNTS = 0.5                   # of a session's hours that runs must cover for its day to count


def live_refusals(home: Path, now_ns: int, wanted: Terms) -> tuple[str, ...]:
    """Why live trading on these terms is locked, one clear line each; empty when it is not."""
    try:
        found = read_validation(home)
    except ValueError as error:
        return (f"{error}; run `alphatrade pipeline --stage validate --force`", *_paper(home, now_ns))
    if found is None:
        return (
            "no backtest has been validated yet; run `alphatrade pipeline --stage validate`", *_paper(home, now_ns))
    reasons = list(found.shut_out)
    if found.failed:
        reasons.append(f"the last validation failed ({'; '.join(found.failed)}); see {home / VERDICT_FILE}")
    other = differences(found.terms, wanted)
    if other:
        reasons.append(f"the last validation was of something else: live would trade {', '.join(other)}; go back to "
                       "what was validated, or run `alphatrade pipeline --stage validate` on what shall trade")
    return (*reasons, *_paper(home, now_ns))


def traded_days(home: Path, mode: str, now_ns: int) -> list[date]:
    """The sessions of the exchange that runs of a mode covered for at least half of their hours, oldest first."""
    covered: dict[int, int] = {}
    for file in sorted((home / "runs").glob(f"*/{RUN_FILE}")):
        facts = read_facts(file.parent) or {}
        span = _span(file.parent, facts, now_ns) if facts.get("mode") == mode else None
        if span is None:
            continue
        table = session_table()
        for row in session_rows(*span):
            shared = min(span[1], table.close_list[row]) - max(span[0], table.open_list[row])
            covered[row] = covered.get(row, 0) + shared
    if not covered:
        return []
    table = session_table()
    return [
        session_date(row) for row, ns in sorted(covered.items())
        if ns >= _COUNTS * (table.close_list[row] - table.open_list[row])
    ]


def _paper(home: Path, now_ns: int) -> tuple[str, ...]:
    days = len(traded_days(home, "paper", now_ns))
    if days >= PAPER_DAYS:
        return ()
    return (f"paper trading has run on {days} of {PAPER_DAYS} trading days (two weeks); "
            "run `alphatrade-tui --mode paper`",)


def _span(run: Path, facts: dict[str, Any], now_ns: int) -> tuple[int, int] | None:
    """When a run began and ended; one that was killed ended when its journal was last written."""
    started, ended = facts.get("started_ns"), facts.get("ended_ns")
    if not isinstance(started, int):
        return None
    if not isinstance(ended, int):
        try:
            ended = (run / JOURNAL_FILE).stat().st_mtime_ns
        except OSError:
            return None
    ended = min(ended, now_ns)
    return (started, ended) if started < ended else None
