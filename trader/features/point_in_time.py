"""Features of a DataFrame, refused where they look ahead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trader.core.panel import FloatArray, IntArray
from trader.features.sessions import new_york_clock
from trader.features.verification import (
    Finding,
    ImpureFeatureError,
    LookAheadBiasError,
    LookbackError,
    verify,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ImpureFeatureError", "LookAheadBiasError", "LookbackError", "PointInTimeFeatureEngine"]


@dataclass(frozen=True, slots=True)
class PointInTimeFeature:
    """A calculation and the memory declared for it."""

    name: str
    calculation: Callable[[pd.DataFrame], Any]
    lookback: int | None


class PointInTimeFeatureEngine:
    """Computes features and proves that each value rests on bars up to its own.

    Examples
    --------
    >>> engine = PointInTimeFeatureEngine()
    >>> engine.add_feature("sma_20", lambda df: df["close"].rolling(20).mean(), lookback=20)
    >>> engine.names
    ('sma_20',)
    """

    def __init__(self) -> None:
        self._features: dict[str, PointInTimeFeature] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The features, in the order in which they were added."""
        return tuple(self._features)

    def add_feature(
        self, name: str, calculation: Callable[[pd.DataFrame], Any], lookback: int | None = None,
    ) -> None:
        """Add a calculation.

        Parameters
        ----------
        name
            Its column in the result.
        calculation
            From the frame of bars to one value for each row (Series or array).
        lookback
            How many bars before the current one a value may depend on; None for infinite memory (an
            exponential average), which is then not checked.

        Raises
        ------
        ValueError
            For a name taken already, or a negative lookback.
        """
        if name in self._features:
            raise ValueError(f"a feature {name!r} has been added already; give this one another name")
        if not callable(calculation):
            raise ValueError(f"feature {name!r}: calculation must be a function of the frame, got {calculation!r}")
        if lookback is not None and (not isinstance(lookback, (int, np.integer)) or lookback < 0):
            raise ValueError(f"feature {name!r}: lookback must be a whole number of bars from 0 up, got {lookback!r}")
        self._features[name] = PointInTimeFeature(name, calculation, lookback)

    def compute_all(self, df: pd.DataFrame, validate: bool = True) -> pd.DataFrame:
        """All features: a frame with the index of ``df`` and one column for each.

        Parameters
        ----------
        df
            Bars, oldest first; times in a column ``timestamp`` or in the index. It is never altered. A column
            ``available_at`` says when each row may be used (a bar's end; default: rows become known one by one, in
            order): the future of a row is then what is available later than it, so rows of several symbols at
            one moment may be compared with each other, and a late row is the future until it comes.
        validate
            Whether to verify each feature first: later bars withheld at several cuts, later bars altered, earlier
            bars cut off at the declared lookback, the same input twice.

        Raises
        ------
        LookAheadBiasError
            Naming the feature, the first bar whose value changed and the likely cause.
        LookbackError, ImpureFeatureError
            For more memory than declared; for an altered input or a second answer.
        """
        import pandas as pd

        if validate:
            for finding in self.verify(df):
                raise finding.error()
        columns = {name: _values(feature, df.copy()) for name, feature in self._features.items()}
        return pd.DataFrame(columns, index=df.index)

    def verify(self, df: pd.DataFrame) -> list[Finding]:
        """Findings for all features, without raising; those of one feature do not hide another's."""
        if len(df) < 2:
            raise ValueError(f"{len(df)} rows cannot show whether a feature looks ahead; give at least 2, better 200")
        table = FrameTable(df)
        times = table.times
        if times is not None and "available_at" not in df.columns and np.any(np.diff(times) < 0):
            raise ValueError("the rows are not in the order of time; sort the frame by its timestamps first")
        available = _available(df, times)
        found: list[Finding] = []
        for name, feature in self._features.items():
            def run(part: FrameTable, feature: PointInTimeFeature = feature) -> FloatArray:
                return _values(feature, part.frame)[:, None]

            found += verify(run, table, [name], feature.lookback, available)
        return found


class FrameTable:
    """A DataFrame as a `Table`."""

    def __init__(self, frame: pd.DataFrame, times: IntArray | None = None) -> None:
        self.frame = frame
        self.times = _times(frame) if times is None else times

    def __len__(self) -> int:
        return len(self.frame)

    def rows(self, start: int, stop: int) -> FrameTable:
        times = None if self.times is None else self.times[start:stop]
        return FrameTable(self.frame.iloc[start:stop].copy(), times)

    def altered(self, start: int, factors: FloatArray) -> FrameTable:
        frame = self.frame.copy()
        for name in frame.columns:
            values = frame[name].to_numpy()
            if values.dtype.kind in "fiu":
                changed = values.copy()
                changed[start:] = (values[start:] * factors).astype(values.dtype)
                frame[name] = changed
        return FrameTable(frame, self.times)

    def same_as(self, other: FrameTable) -> bool:
        return self.frame.equals(other.frame)

    def sessions(self) -> IntArray | None:
        return None if self.times is None else new_york_clock(self.times)[0]

    def label(self, row: int) -> str:
        if self.times is None:
            return ""
        return f"{np.datetime_as_string(self.times[row].astype('datetime64[ns]'), unit='m')} UTC"


def _times(frame: pd.DataFrame) -> IntArray | None:
    import pandas as pd

    source = frame["timestamp"] if "timestamp" in frame.columns else frame.index
    if not isinstance(source, pd.DatetimeIndex) and not pd.api.types.is_datetime64_any_dtype(source):
        return None
    index = pd.DatetimeIndex(source)
    if index.hasnans:
        raise ValueError("a timestamp is missing; drop the rows without one")
    index = index.tz_localize("UTC") if index.tz is None else index.tz_convert("UTC")
    return index.as_unit("ns").asi8


def _available(frame: pd.DataFrame, times: IntArray | None) -> IntArray | None:
    """When each row may be used, by the column ``available_at``; None where there is none."""
    import pandas as pd

    if "available_at" not in frame.columns:
        return None
    try:
        moments = pd.DatetimeIndex(pd.to_datetime(frame["available_at"], utc=True)).as_unit("ns")
    except (TypeError, ValueError) as error:
        raise ValueError(f"the column available_at does not hold times: {error}") from None
    if moments.hasnans:
        raise ValueError("available_at must be known for every row; drop the rows without it")
    known = moments.asi8
    if times is not None and np.any(known < times):
        row = int(np.argmax(known < times))
        raise ValueError(f"row {row} says that it was available before its own timestamp; available_at is a bar's end")
    if np.any(np.diff(known) < 0):
        raise ValueError("the rows are not in the order of available_at; sort the frame by it first")
    return known


def _values(feature: PointInTimeFeature, frame: pd.DataFrame) -> FloatArray:
    answer = feature.calculation(frame)
    try:
        values = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"feature {feature.name!r} must return numbers, got {type(answer).__name__}") from None
    if values.ndim != 1:
        raise ValueError(f"feature {feature.name!r} must return one value for each row, got shape {values.shape}")
    return values
