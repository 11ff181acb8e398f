"""What the pipeline remembers between commands: choices, and of every finished stage the hashes that it went by."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from trader.utils.atomic import atomic_write_text

STATE_FILE = Path("state") / "pipeline.json"
FORMAT = 1


class Choices(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What flags chose; kept for the commands after them, so that each stage need not be told again."""

    symbols: tuple[str, ...] | None = None
    timeframe: str | None = None
    start: str | None = None            # first day of the training
    split: str | None = None            # first day of the backtest; training sees nothing from it on
    end: str | None = None              # last day of the backtest, inclusive
    strategy: str | None = None
    initial_capital: float = 100_000.0
    search: int = 0                     # trials; 0 takes the settings as they are

    def updated(self, given: dict[str, Any]) -> Choices:
        """These, with what was given (not None) instead."""
        return msgspec.structs.replace(self, **{name: value for name, value in given.items() if value is not None})


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """A stage that ran to its end. What depends on the clock is kept here alone: reports and results do not."""

    ok: bool                            # False: it ran, and its verdict was no
    text: str                           # one line for a person
    inputs: dict[str, str]              # what it depended on: name → hash
    outputs: dict[str, str]             # path (relative to the home) → SHA-256
    facts: dict[str, Any]
    finished_at: str
    seconds: float
    reason: str = ""                    # why it ran
    note: str = ""                      # what was particular about that run


class PipelineState(msgspec.Struct, kw_only=True):
    """``<home>/state/pipeline.json``."""

    format: int = FORMAT
    choices: Choices = Choices()
    stages: dict[str, Finished] = {}


def load_state(home: Path) -> PipelineState:
    """The stored state; a fresh one where there is none that can be read (every stage then runs again)."""
    try:
        state = msgspec.json.decode((home / STATE_FILE).read_bytes(), type=PipelineState)
    except (OSError, msgspec.DecodeError):
        return PipelineState()
    return state if state.format == FORMAT else PipelineState()


def save_state(home: Path, state: PipelineState) -> None:
    """Replace the file in one step."""
    atomic_write_text(home / STATE_FILE, json.dumps(msgspec.to_builtins(state), indent=1) + "\n")


def file_hash(path: Path) -> str | None:
    """SHA-256 of a file; None where there is none to read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def value_hash(value: Any) -> str:
    """SHA-256 over a JSON-able value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=msgspec.to_builtins)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def code_hash(patterns: tuple[str, ...]) -> str:
    """SHA-256 over the source files that patterns relative to the package name, as they were when first asked."""
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in package.glob(pattern)}):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
