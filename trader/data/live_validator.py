"""Bars just arrived: may they be traded on? A frame for people, a slice for the engine, one set of limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trader.core.clock import SECOND_NS, Clock, SystemClock, iso
from trader.core.panel import FloatArray, IntArray, Slice

if TYPE_CHECKING:
    import pandas as pd

ERROR, WARNING = "error", "warning"
PRICES = ("open", "high", "low", "close")
_KEYS = ("volume", "timestamp", "symbol")


@dataclass(frozen=True, slots=True)
class ValidationIssue:
    """One thing wrong with one symbol's bar: what was seen and which limit it broke."""

    type: str                   # price_spike, stale_data, low_volume, ohlc_invalid, not_finite, …
    symbol: str
    value: float
    limit: float
    message: str
    severity: str = ERROR       # a warning leaves the data valid

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """``is_valid`` is False as soon as one issue is an error; ``issues`` holds warnings too."""

    is_valid: bool
    issues: list[ValidationIssue] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.is_valid


class LiveDataValidator:
    """Spikes, staleness, volume, OHLC, NaN/inf/negative values and time running backwards.

    Parameters
    ----------
    max_price_change_pct : float
        Largest believable move from one close to the next, as a fraction (0.10 is 10 %).
    min_volume : float
        Bars with fewer shares get a warning; they stay valid.
    max_staleness_seconds : float
        How old the newest bar may be when it is looked at, counted from the end of the bar.
    symbols : tuple of str
        Names of the columns of the slices given to `check_slice`.
    clock : Clock
        Who is asked for the time by `validate`; `check_slice` is told it.
    """

    def __init__(
        self, max_price_change_pct: float = 0.10, min_volume: float = 1000, max_staleness_seconds: float = 60, *,
        symbols: tuple[str, ...] = (), clock: Clock | None = None,
    ) -> None:
        if not max_price_change_pct > 0 or min_volume < 0 or not max_staleness_seconds > 0:
            raise ValueError(
                "max_price_change_pct and max_staleness_seconds must be above zero and min_volume not below it; got "
                f"{max_price_change_pct}, {max_staleness_seconds} and {min_volume}"
            )
        self.max_price_change_pct = max_price_change_pct
        self.min_volume = min_volume
        self.max_staleness_seconds = max_staleness_seconds
        self.symbols = symbols
        self.clock = clock or SystemClock()

    def check_slice(
        self, slice: Slice, previous_close: FloatArray, now_ns: int
    ) -> tuple[NDArray[np.bool_], list[ValidationIssue]]:
        """The engine's path: one bar of all symbols, arrays of shape (n_symbols,).

        A bar that is NaN throughout is missing, which is no issue and not ok either. ``previous_close`` may hold NaN
        where no bar has been seen. The mask says which symbols may be traded on.
        """
        o, h, l, c, v = slice.open, slice.high, slice.low, slice.close, slice.volume
        # A comparison with NaN is false, so a missing bar fails the first test without a warning. The sum of all
        # five is finite only when each of them is; the greatest of open and close must not exceed the high.
        ok = (np.minimum(o, c) >= l) & (np.maximum(o, c) <= h) & (l > 0.0) & (v >= 0.0)
        ok &= np.isfinite(h + v)
        change = np.abs(c - previous_close)
        ok &= ~(change > self.max_price_change_pct * previous_close)
        stale = now_ns - slice.available_ns > self.max_staleness_seconds * SECOND_NS
        fine = ok & (v >= self.min_volume)
        if not stale and bool(fine.all()):
            return ok, []
        missing = np.isnan(np.fmax(np.fmax(o, c), np.fmax(np.fmax(h, l), v)))       # NaN only where all five are
        if not stale and bool((fine | missing).all()):
            return ok, []
        return self._explained(slice, previous_close, now_ns, ok, missing, stale)

    def validate(self, df: pd.DataFrame, *, now_ns: int | None = None) -> ValidationResult:
        """A DataFrame with ``open, high, low, close, volume`` and perhaps ``symbol`` and ``timestamp``.

        Every bar is checked, each symbol by itself; staleness looks at each symbol's newest bar, whose end is taken
        to be one bar later than its start (by the distance between bars). Without timestamps (column or
        index) staleness and order are not checked.
        """
        missing = [name for name in (*PRICES, "volume") if name not in df]
        if missing:
            issue = ValidationIssue("missing_column", "", float("nan"), float("nan"), f"no column {', '.join(missing)}")
            return ValidationResult(False, [issue])
        if not len(df):
            return ValidationResult(False, [ValidationIssue("no_data", "", 0.0, 1.0, "no bars arrived")])
        doubled = sorted({str(name) for name in df.columns[df.columns.duplicated()]} & {*PRICES, *_KEYS})
        if doubled:
            text = f"two columns {', '.join(doubled)}"
            return ValidationResult(False, [ValidationIssue("doubled_column", "", 2.0, 1.0, text)])
        now = self.clock.now_ns() if now_ns is None else now_ns
        names = df["symbol"].astype(str).to_numpy() if "symbol" in df else np.full(len(df), "")
        values = {name: _numbers(df[name]) for name in (*PRICES, "volume")}     # no number becomes NaN: an issue
        try:
            starts = _starts(df)
        except (ValueError, TypeError, OverflowError) as error:
            issue = ValidationIssue("time_unreadable", "", float("nan"), float("nan"), f"the times: {error}"[:200])
            return ValidationResult(False, [issue])
        issues = []
        for name in dict.fromkeys(names):
            rows = names == name
            own = {key: column[rows] for key, column in values.items()}
            issues += self._frame_issues(str(name), own, None if starts is None else starts[rows], now)
        return ValidationResult(not any(i.severity == ERROR for i in issues), issues)

    def _frame_issues(
        self, symbol: str, bars: dict[str, FloatArray], starts: IntArray | None, now_ns: int
    ) -> list[ValidationIssue]:
        previous = np.concatenate([[np.nan], bars["close"][:-1]])
        issues = []
        for row in np.flatnonzero(self._suspect(bars, previous)).tolist():
            bar = [float(bars[name][row]) for name in (*PRICES, "volume")]
            issues += self._bar_issues(symbol, bar, float(previous[row]))
        if starts is not None:
            backwards = np.flatnonzero(np.diff(starts) <= 0)
            if len(backwards):
                seconds = float(np.diff(starts)[backwards[0]] / SECOND_NS)
                text = f"the bar at {iso(int(starts[backwards[0] + 1]))} is not newer than the one before"
                issues.append(ValidationIssue("time_backwards", symbol, seconds, 0.0, text))
            step = int(np.median(np.diff(starts))) if len(starts) > 1 else 0
            issues += self._staleness(symbol, int(starts.max()) + max(step, 0), now_ns)
        return issues

    def _suspect(self, bars: dict[str, FloatArray], previous: FloatArray) -> NDArray[np.bool_]:
        """Bars that deserve a closer look; NumPy's extremes hand a NaN on, and no comparison with it is true."""
        o, h, l, c, v = (bars[name] for name in (*PRICES, "volume"))
        fine = (l <= np.minimum(o, c)) & (np.maximum(o, c) <= h) & (l > 0) & (v >= self.min_volume)
        fine &= np.isfinite(h) & np.isfinite(v)
        suspect: NDArray[np.bool_] = ~fine | (np.abs(c - previous) > self.max_price_change_pct * previous)
        return suspect

    def _explained(
        self, slice: Slice, previous_close: FloatArray, now_ns: int, ok: NDArray[np.bool_],
        missing: NDArray[np.bool_], stale: bool,
    ) -> tuple[NDArray[np.bool_], list[ValidationIssue]]:
        """The slow half of `check_slice`: words for what was wrong."""
        issues: list[ValidationIssue] = []
        bars = np.stack([slice.open, slice.high, slice.low, slice.close, slice.volume])
        for column in np.flatnonzero(~missing & ~(ok & (slice.volume >= self.min_volume))).tolist():
            issues += self._bar_issues(self._name(column), bars[:, column].tolist(), float(previous_close[column]))
        if stale:
            for column in np.flatnonzero(~missing).tolist():
                issues += self._staleness(self._name(column), slice.available_ns, now_ns)
            ok = np.zeros_like(ok)
        return ok, issues

    def _bar_issues(self, symbol: str, bar: list[float], previous: float) -> list[ValidationIssue]:
        o, h, l, c, v = bar
        if not np.isfinite(bar).all():
            bad = next(x for x in bar if not np.isfinite(x))
            return [ValidationIssue("not_finite", symbol, bad, np.inf, f"a field is {bad}; numbers are expected")]
        issues = []
        if min(bar[:4]) <= 0:
            issues.append(ValidationIssue("price_not_positive", symbol, min(bar[:4]), 0.0, "a price is not above zero"))
        if v < 0:
            issues.append(ValidationIssue("negative_volume", symbol, v, 0.0, "the volume is below zero"))
        if h < max(o, c, l):
            issues.append(ValidationIssue("ohlc_invalid", symbol, h, max(o, c, l), "the high is below another price"))
        if l > min(o, c, h):
            issues.append(ValidationIssue("ohlc_invalid", symbol, l, min(o, c, h), "the low is above another price"))
        if previous > 0 and abs(c - previous) > self.max_price_change_pct * previous:
            change = c / previous - 1
            text = f"moved {change:+.1%} in one bar, believable is {self.max_price_change_pct:.0%}"
            issues.append(ValidationIssue("price_spike", symbol, abs(change), self.max_price_change_pct, text))
        if 0 <= v < self.min_volume:
            text = f"{v:g} shares, usual is {self.min_volume:g} at least"
            issues.append(ValidationIssue("low_volume", symbol, v, float(self.min_volume), text, WARNING))
        return issues

    def _staleness(self, symbol: str, end_ns: int, now_ns: int) -> list[ValidationIssue]:
        age = (now_ns - end_ns) / SECOND_NS
        if age <= self.max_staleness_seconds:
            return []
        text = f"the newest bar ended {age:.0f} s ago, allowed are {self.max_staleness_seconds:g} s"
        return [ValidationIssue("stale_data", symbol, age, float(self.max_staleness_seconds), text)]

    def _name(self, column: int) -> str:
        return self.symbols[column] if column < len(self.symbols) else f"#{column}"


def _numbers(column: pd.Series) -> FloatArray:
    import pandas as pd

    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)


def _starts(df: pd.DataFrame) -> IntArray | None:
    """ValueError or TypeError for times that cannot be read."""
    import pandas as pd

    if "timestamp" in df:
        if pd.api.types.is_numeric_dtype(df["timestamp"]):
            raise ValueError("numbers are no times; give datetimes")
        index = pd.DatetimeIndex(pd.to_datetime(df["timestamp"], utc=True))
    elif isinstance(df.index, pd.DatetimeIndex):
        index = df.index if df.index.tz is not None else df.index.tz_localize("UTC")
    else:
        return None
    if index.hasnans:
        raise ValueError(f"row {int(np.argmax(index.isna()))} has none")
    return index.as_unit("ns").asi8
