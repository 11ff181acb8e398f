"""A pane's rows as CSV and JSON files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def write(directory: Path, name: str, records: Iterable[Mapping[str, Any]],
          now: datetime | None = None) -> tuple[Path, Path]:
    """Write ``name-<time>.csv`` and ``.json`` below ``directory``; nested values are JSON inside the CSV's cell."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = [dict(record) for record in records]
    stem = f"{name}-{(now or datetime.now(UTC)):%Y%m%dT%H%M%SZ}"
    as_csv, as_json = directory / f"{stem}.csv", directory / f"{stem}.json"
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with as_csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({column: json.dumps(value) if isinstance(value, (list, tuple, dict)) else value
                          for column, value in row.items()} for row in rows)
    as_json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return as_csv, as_json
