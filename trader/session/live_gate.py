"""The gate before real money: a validation that has passed, on record."""

from __future__ import annotations

import json
from pathlib import Path

from trader.utils.errors import UserError

VERDICT_FILE = "validation.json"


def verdict_path(home: Path) -> Path:
    """Where the validation stage records its verdict."""
    return home / "state" / VERDICT_FILE


def require_gate(home: Path) -> None:
    """Refuse live trading until the validation has passed."""
    path = verdict_path(home)
    try:
        verdict = json.loads(path.read_text(encoding="utf-8"))
        passed = bool(verdict["passed"])
    except FileNotFoundError:
        raise UserError(
            "live trading is locked: no validation has passed yet; run a backtest of what you will trade, then "
            "`alphatrade pipeline --stage validate`") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"live trading is locked: {path} cannot be read; run `alphatrade pipeline --stage validate`") \
            from None
    if not passed:
        failed = "; ".join(str(reason) for reason in verdict.get("failed", [])) or "see the file"
        raise UserError(f"live trading is locked: the last validation failed ({failed}); see {path}")
