"""A run's directory under the home: ``runs/<run id>/`` with ``run.json`` and the journal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trader.utils.atomic import atomic_write_text, cannot_write

RUN_FILE = "run.json"
JOURNAL_FILE = "journal.sqlite"


def create_run(home: Path, run_id: str, facts: dict[str, Any]) -> Path:
    """Make the directory and its ``run.json``; UserError when the disk refuses."""
    directory = home / "runs" / run_id
    try:
        directory.mkdir(parents=True, exist_ok=False)
    except OSError as error:
        raise cannot_write(directory, error) from error
    write_facts(directory, {"run_id": run_id, **facts})
    return directory


def write_facts(directory: Path, facts: dict[str, Any]) -> None:
    """Replace ``run.json`` as a whole."""
    atomic_write_text(directory / RUN_FILE, json.dumps(facts, indent=1, sort_keys=True) + "\n")


def read_facts(directory: Path) -> dict[str, Any] | None:
    """What ``run.json`` says, or None where there is nothing readable."""
    try:
        facts = json.loads((directory / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None
