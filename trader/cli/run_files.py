"""The runs that a home holds, as their ``run.json`` and the last summary in their journal tell them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from trader.utils.errors import UserError
from trader.utils.run_dir import JOURNAL_FILE, RUN_FILE, read_facts


def list_runs(home: Path) -> list[dict[str, Any]]:
    """All runs, newest first: the facts of ``run.json`` with ``run_id`` and ``path``; unreadable ones are left out."""
    runs = []
    for file in (home / "runs").glob(f"*/{RUN_FILE}"):
        facts = read_facts(file.parent)
        if facts is not None:
            runs.append({"run_id": file.parent.name, **facts, "path": str(file.parent)})
    return sorted(runs, key=lambda facts: _started(facts), reverse=True)


def last_summary(journal: Path) -> dict[str, Any] | None:
    """The summary that a session wrote last, or None where the journal is missing or has none."""
    from trader.core.journal import read_meta

    with contextlib.suppress(UserError, ValueError):
        summary = json.loads(read_meta(journal).get("summary", "null"))
        return summary if isinstance(summary, dict) else None
    return None


def journal_of(run: Path) -> Path:
    """The journal in a run's folder."""
    return run / JOURNAL_FILE


def _started(facts: dict[str, Any]) -> int:
    started = facts.get("started_ns", 0)
    return started if isinstance(started, int) else 0
