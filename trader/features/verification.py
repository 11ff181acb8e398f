"""Proof that a calculation sees no future, keeps to its declared memory and leaves its input alone.

Three experiments on one calculation and one table of bars: withhold the future and compare *every* row of what is
left (a chikou span or a back-fill shows in the last rows only, a day's close on its earlier bars only when the cut
falls inside the day); change the future and compare the past; start later by the declared memory and compare what
follows. And it is run twice on the same input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np

from trader.core.panel import FloatArray, IntArray

LOOK_AHEAD, LOOKBACK, IMPURE, SHAPE = "look-ahead", "lookback", "impure", "shape"
RTOL = 1e-9
RTOL_HISTORY = 1e-7         # library rolling sums keep the rounding of bars that left the window
FRACTIONS = (0.31, 0.38, 0.45, 0.52, 0.58, 0.64, 0.7, 0.76, 0.82, 0.87, 0.92, 0.96)


class FeatureVerificationError(ValueError):
    """A calculation failed its verification. ``finding`` says where and, as far as can be told, why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding
        self.feature = finding.feature
        self.bar = finding.bar
        self.cause = finding.cause


class LookAheadBiasError(FeatureVerificationError):
    """Values changed when later bars were withheld or altered."""


class LookbackError(FeatureVerificationError):
    """Values depend on bars further back than declared."""


class ImpureFeatureError(FeatureVerificationError):
    """The calculation altered its input, gave another answer the second time, or another number of rows."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One failed experiment: which feature, the first bar that differed, and the likely cause."""

    feature: str
    kind: str
    bar: int
    when: str
    cause: str

    def __str__(self) -> str:
        place = f" first at bar {self.bar}{f' ({self.when})' if self.when else ''}" if self.bar >= 0 else ""
        return f"feature {self.feature!r}: {self.kind}{place}: {self.cause}"

    def error(self) -> FeatureVerificationError:
        """The exception that fits the kind."""
        return _ERRORS[self.kind](self)


_ERRORS: dict[str, type[FeatureVerificationError]] = {
    LOOK_AHEAD: LookAheadBiasError, LOOKBACK: LookbackError, IMPURE: ImpureFeatureError, SHAPE: ImpureFeatureError,
}


class Table(Protocol):
    """Bars in any form that can be cut, altered and compared."""

    def __len__(self) -> int: ...

    def rows(self, start: int, stop: int) -> Self:
        """A copy of some rows that shares nothing with the original."""
        ...

    def altered(self, start: int, factors: FloatArray) -> Self:
        """A copy whose values from ``start`` on are multiplied by ``factors``, one for each row."""
        ...

    def same_as(self, other: Self) -> bool:
        """Whether both hold the same values."""
        ...

    def sessions(self) -> IntArray | None:
        """Session id of each row, None where rows have no time."""
        ...

    def label(self, row: int) -> str:
        """The row's time in words; empty where it has none."""
        ...


T = TypeVar("T", bound=Table)


def verify(
    run: Callable[[T], FloatArray], table: T, names: Sequence[str], memory: int | None,
    available: IntArray | None = None,
) -> list[Finding]:
    """Run all experiments on a calculation.

    Parameters
    ----------
    run
        The calculation: a table of ``n`` rows to an array ``(n, len(names))``.
    table
        Bars to try it on; long enough that values stand after the warm-up.
    memory
        Bars before the current one on which a value may depend; None skips the experiment that checks it.
    available
        When each row may be used, never decreasing; rows of one moment are known together and never cut apart. None
        where every row has a moment of its own.

    Returns
    -------
    list of Finding
        At most one for each name and kind, the first bar that differs in any experiment; empty when all is well.
    """
    n = len(table)
    given = table.rows(0, n)
    full = run(given)
    if full.shape != (n, len(names)):
        shape = f"returned {full.shape[0]} rows for {n} bars; it must return one value for each bar"
        return [Finding(", ".join(names), SHAPE, -1, "", shape)]
    found: dict[tuple[str, str], Finding] = {}

    def note(kind: str, column: int, bar: int, cause: str) -> None:
        found.setdefault((names[column], kind), Finding(names[column], kind, bar, table.label(bar), cause))

    if not given.same_as(table):
        return [Finding(", ".join(names), IMPURE, -1, "", "it altered the bars that it was given; work on a copy")]
    scale = _scale(full)
    again = run(table.rows(0, n))
    for k, bar, _ in _differences(full, again, scale, RTOL):
        note(IMPURE, k, bar, "a second run on the same bars gave other values: random numbers, or state kept in it")
    if found:
        return list(found.values())

    sessions = table.sessions()
    cuts = choose_cuts(n, sessions)
    if available is not None:
        opening = np.flatnonzero(np.diff(available) > 0) + 1        # rows that are known later than the row before
        cuts = sorted({int(opening[np.abs(opening - cut).argmin()]) for cut in cuts}) if len(opening) else []
    for cut in cuts:
        part = run(table.rows(0, cut))
        if part.shape[0] != cut:
            return [Finding(", ".join(names), SHAPE, -1, "", f"returned {part.shape[0]} rows for {cut} bars")]
        for k, bar, where in _differences(full[:cut], part, scale, RTOL):
            note(LOOK_AHEAD, k, bar, likely_cause(where, full[:cut, k], part[:, k], sessions))
    for cut in cuts:
        part = run(table.altered(cut, other_future(n, cut)))[:cut]
        for k, bar, _ in _differences(full[:cut], part, scale, RTOL):
            note(LOOK_AHEAD, k, bar, f"it changed when only bars from {cut} on were altered: it reads later bars")
    if memory is not None:
        for start in (n - memory - 1) * np.array((0.25, 0.5, 0.8)) if n > memory + 1 else ():
            first = int(start)
            stop = min(first + memory + max(60, n // 8), n)
            part = run(table.rows(first, stop))
            for k, bar, _ in _differences(full[first + memory : stop], part[memory:], scale, RTOL_HISTORY):
                note(LOOKBACK, k, first + memory + bar,
                     f"it depends on more than the {memory} bars before the current one that are declared; "
                     "declare a longer lookback, or None for infinite memory")
    leaking = {name for name, kind in found if kind == LOOK_AHEAD}
    return [f for (name, kind), f in found.items() if kind != LOOKBACK or name not in leaking]


def choose_cuts(n: int, sessions: IntArray | None) -> list[int]:
    """Where to withhold the future: inside sessions where these have several bars, and before the last bar."""
    cuts = set()
    for fraction in FRACTIONS:
        cut = int(n * fraction)
        if sessions is not None and 0 < cut < n:
            inside = np.flatnonzero(sessions == sessions[cut])
            if len(inside) > 2:
                cut = int(inside[0] + max(1, int(0.4 * len(inside))))
        cuts.add(cut)
    cuts.add(n - 1)
    return sorted(cut for cut in cuts if 0 < cut < n)


def other_future(n: int, cut: int) -> FloatArray:
    """Factors ``(n - cut,)`` that make the bars from ``cut`` on another story: by turns a wild one and a long slide."""
    if cut % 2:
        wild: FloatArray = np.exp(np.random.default_rng(cut).normal(0.02, 0.05, n - cut))
        return wild
    slide: FloatArray = np.exp(-0.01 * np.minimum(np.arange(1.0, n - cut + 1.0), 200.0))
    return slide


def likely_cause(where: IntArray, full: FloatArray, part: FloatArray, sessions: IntArray | None) -> str:
    """What usually makes such a pattern of differing rows ``where`` in a prefix."""
    cut = len(full)
    reach = cut - int(where[0])
    if np.all(np.isnan(part[where])) and np.any(np.isfinite(full[where])):
        return (f"it needs bars up to {reach} ahead: a negative shift, a centred window, back-filling, or a line drawn "
                "back in time such as the chikou span")
    if sessions is not None:
        start = int(np.flatnonzero(sessions[:cut] == sessions[cut - 1])[0])
        inside = cut - start > 2 and sessions[cut] == sessions[cut - 1]
        if inside and where[0] == start and len(where) >= 0.8 * (cut - start):
            return "a value of the whole session (its close, high, low or total) stands on the session's earlier bars"
    known = max(int(np.sum(np.isfinite(full))), 1)
    if len(where) > 0.4 * known or where[0] < 0.25 * cut:
        return ("a statistic of the whole sample (mean, deviation, rank, scaler, or a model fitted on all bars) "
                "or a smoothed or most likely state path; use a rolling or expanding one, or fit on training bars")
    return f"the last {reach} rows changed with later bars: back-filling, interpolation, smoothing or a forward join"


def _scale(values: FloatArray) -> FloatArray:
    out = np.zeros(values.shape[1])
    for k in range(values.shape[1]):
        known = np.abs(values[np.isfinite(values[:, k]), k])
        out[k] = np.median(known) if len(known) else 0.0
    return out


def _differences(a: FloatArray, b: FloatArray, scale: FloatArray, rtol: float) -> list[tuple[int, int, IntArray]]:
    """(column, first row, all rows) of every column in which two arrays differ."""
    with np.errstate(invalid="ignore"):
        close = np.abs(a - b) <= rtol * np.maximum(np.maximum(np.abs(a), np.abs(b)), scale)
    differ = ~(close | (a == b) | (np.isnan(a) & np.isnan(b)))
    out = []
    for k in np.flatnonzero(differ.any(axis=0)):
        rows = np.flatnonzero(differ[:, k])
        out.append((int(k), int(rows[0]), rows))
    return out
