"""The guide's thresholds, and the record of a backtest judged by them; light, because the live gate reads it."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from trader.pipeline.terms import Terms
from trader.utils.atomic import atomic_write_bytes

VERDICT_FILE = Path("state") / "validation.json"
FORMAT = 2
REAL = "real"                   # the data source of bars that were traded


@dataclass(frozen=True, slots=True)
class Threshold:
    """A figure of the report and the bound that it must pass."""

    key: str
    title: str
    passes: Callable[[float, float], bool]
    sign: str
    minimum: float
    ideal: float
    form: str

    def words(self, value: float | None) -> str:
        """The figure beside its bound."""
        shown = "not defined" if value is None else self.form.format(value)
        return f"{self.title} {shown}, must be {self.sign} {self.form.format(self.minimum)}"


THRESHOLDS = (
    Threshold("sharpe_ratio", "Sharpe ratio", operator.gt, ">", 1.0, 1.5, "{:.2f}"),
    Threshold("max_drawdown", "max drawdown", operator.lt, "<", 0.20, 0.10, "{:.1%}"),
    Threshold("win_rate", "win rate", operator.gt, ">", 0.48, 0.52, "{:.1%}"),
    Threshold("profit_factor", "profit factor", operator.gt, ">", 1.2, 1.5, "{:.2f}"),
)


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """``<home>/state/validation.json``: which backtest was judged, and by which figures."""

    passed: bool
    failed: tuple[str, ...]
    remarks: tuple[str, ...]
    figures: dict[str, float | None]
    data_source: str
    in_sample: bool
    terms: Terms
    run_id: str
    report_sha256: str
    settings_hash: str
    period: tuple[str, str] | None = None
    format: int = FORMAT

    @property
    def synthetic(self) -> bool:
        """Whether the prices were made, not traded."""
        return self.data_source != REAL

    @property
    def shut_out(self) -> tuple[str, ...]:
        """Why this backtest can never open the live gate, whatever its figures."""
        reasons = []
        if self.synthetic:
            reasons.append(f"the validated backtest ran on {self.data_source} prices, which prove nothing about a "
                           "market; import real bars (alphatrade data import FILE) and run the pipeline on them")
        if self.in_sample:
            reasons.append("the validated backtest is in-sample: its model had seen those bars; backtest later ones")
        return tuple(reasons)


def figures_of(report: Mapping[str, Any]) -> dict[str, float | None]:
    """The judged figures of a ``backtest_report.json``; a profit factor without any loss is infinite, kept as None."""
    return {t.key: None if report.get(t.key) is None else float(report[t.key]) for t in THRESHOLDS}


def failures(report: Mapping[str, Any]) -> tuple[str, ...]:
    """Every threshold that the report does not pass, in words; a figure without a value does not pass."""
    found = []
    for threshold in THRESHOLDS:
        value = _value(report, threshold.key)
        if value is None or not threshold.passes(value, threshold.minimum):
            found.append(threshold.words(value))
    return tuple(found)


def remarks(report: Mapping[str, Any]) -> tuple[str, ...]:
    """What a careful reader would add to the figures."""
    found = [str(note) for note in report.get("notes", ())]
    low = report.get("sharpe_ci_low")
    if low is not None and low < 1.0 < (report.get("sharpe_ratio") or 0.0):
        found.append(f"the Sharpe ratio's 95 % interval reaches down to {low:.2f}")
    short = [t.words(v) for t in THRESHOLDS
             if (v := _value(report, t.key)) is not None and t.passes(v, t.minimum) and not t.passes(v, t.ideal)]
    return tuple(found + [f"passed, short of the ideal: {text}" for text in short])


def read_validation(home: Path) -> Validation | None:
    """The last record, None where none was made; ValueError where it cannot be read."""
    path = home / VERDICT_FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Validation)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if found.format != FORMAT:
        raise ValueError(f"{path} has format {found.format}; this version reads {FORMAT}")
    return found


def write_validation(home: Path, found: Validation) -> Path:
    """Replace the record in one step; returns its path."""
    path = home / VERDICT_FILE
    atomic_write_bytes(path, msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    return path


def _value(report: Mapping[str, Any], key: str) -> float | None:
    value = report.get(key)
    if value is None and key == "profit_factor" and report.get("winning_trades") and not report.get("losing_trades", 1):
        return math.inf
    return None if value is None else float(value)
