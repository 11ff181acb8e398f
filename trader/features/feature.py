"""What a feature is: one definition, declared memory, the same numbers in batch and live."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from trader.core.panel import FloatArray
from trader.features.columns import Columns


class Feature:
    """A frozen dataclass whose fields are its parameters, fitted ones included.

    Subclasses set ``names`` and ``lookback`` (as fields, class attributes or properties) and write `compute`.

    Attributes
    ----------
    names : tuple of str
        The columns that `compute` returns, in order.
    inputs : tuple of str
        Which of ``open high low close volume ts_ns session_id`` it reads.
    lookback : int or None
        How many bars before the current one a value may depend on. None: all of them (infinite memory).
    warmup : int
        Bars before the first value; ``lookback`` where that is finite, unless a shorter history is good for a value.
    memory : int
        Bars before the current one after which older ones change a value by less than 1e-9 of its size.
        Equals ``lookback`` where that is finite; must be declared where it is not.
    spans_sessions : bool
        Whether it lets the overnight gap in.
    """

    names: tuple[str, ...]
    inputs: tuple[str, ...] = ("close",)
    lookback: int | None
    spans_sessions: bool = False
    cross_sectional: ClassVar[bool] = False
    carries_state: ClassVar[bool] = False

    @property
    def warmup(self) -> int:
        if self.lookback is None:
            raise TypeError(f"{type(self).__name__} has infinite memory and must declare its warmup")
        return self.lookback

    @property
    def memory(self) -> int:
        if self.lookback is None:
            raise TypeError(f"{type(self).__name__} has infinite memory and must declare its memory")
        return self.lookback

    def compute(self, columns: Columns) -> FloatArray:
        """Values at every bar of one symbol: ``(n,)``, or ``(n, len(names))`` for several names."""
        raise TypeError(f"{type(self).__name__} does not define compute")

    def fit(self, history: Sequence[Columns]) -> Feature:
        """A copy with everything estimated from training bars, one `Columns` a symbol; itself where nothing is."""
        return self

    def params(self) -> dict[str, Any]:
        """Parameters and fitted values, JSON-able."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    def source(self) -> str:
        """The text of the file that defines the feature: a part of the fingerprint."""
        return module_source(inspect.getsourcefile(type(self)))


class StatefulFeature(Feature):
    """A feature whose recursion is carried from bar to bar when live, instead of run again over a ring buffer."""

    carries_state: ClassVar[bool] = True
    step_lookback: int          # bars before the current one that `advance` reads

    def begin(self, columns: Columns) -> Any:
        """The state after these bars."""
        raise TypeError(f"{type(self).__name__} does not define begin")

    def advance(self, state: Any, columns: Columns) -> tuple[Any, FloatArray]:
        """The state and the values after the last bar of ``columns``.

        ``columns`` holds at least ``step_lookback + 1`` bars, or all there are.
        """
        raise TypeError(f"{type(self).__name__} does not define advance")


class CrossSectionalFeature(Feature):
    """A feature over all symbols at one moment; it reads other features' columns, never other moments."""

    cross_sectional: ClassVar[bool] = True
    lookback: int | None = 0
    of: str                     # the column that is read

    def combine(self, of: FloatArray) -> FloatArray:
        """``(n_bars, n_symbols)`` of the column named by ``of`` to ``(n_bars, n_symbols)``."""
        raise TypeError(f"{type(self).__name__} does not define combine")


@dataclass(frozen=True)
class FunctionCrossFeature(CrossSectionalFeature):
    """A cross-sectional feature made of a function; see `cross_feature`."""

    name: str
    of: str
    function: Callable[[FloatArray], FloatArray]

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.name,)

    def combine(self, of: FloatArray) -> FloatArray:
        return self.function(of)

    def params(self) -> dict[str, Any]:
        return {**super().params(), "function": _name_of(self.function)}

    def source(self) -> str:
        return module_source(inspect.getsourcefile(self.function))


def cross_feature(of: str) -> Callable[[Callable[[FloatArray], FloatArray]], FunctionCrossFeature]:
    """Turn a function of one column over all symbols, ``(n_bars, n_symbols)`` to the same shape, into a feature.

    ``of`` names the column; symbols without a value are NaN in it. Each row must be answered from that row alone.

    Examples
    --------
    >>> @cross_feature(of="ret_26")
    ... def over_mean(values):
    ...     return values - np.nanmean(values, axis=1, keepdims=True)
    >>> over_mean.names
    ('over_mean',)
    """
    def wrap(function: Callable[[FloatArray], FloatArray]) -> FunctionCrossFeature:
        return FunctionCrossFeature(function.__name__, of, function)

    return wrap


@dataclass(frozen=True)
class FunctionFeature(Feature):
    """A feature made of a function of `Columns`; see `feature`."""

    names: tuple[str, ...]
    function: Callable[[Columns], FloatArray]
    lookback: int | None
    inputs: tuple[str, ...] = ("open", "high", "low", "close", "volume")
    spans_sessions: bool = False
    declared_warmup: int | None = None
    declared_memory: int | None = None

    @property
    def warmup(self) -> int:
        return self.lookback if self.lookback is not None else self.declared_warmup or 0

    @property
    def memory(self) -> int:
        return self.lookback if self.lookback is not None else self.declared_memory or self.warmup

    def compute(self, columns: Columns) -> FloatArray:
        return self.function(columns)

    def params(self) -> dict[str, Any]:
        values = super().params()
        values["function"] = _name_of(self.function)
        return values

    def source(self) -> str:
        return module_source(inspect.getsourcefile(self.function))


def feature(
    lookback: int | None, *, names: Sequence[str] | None = None, warmup: int | None = None,
    memory: int | None = None, spans_sessions: bool = False,
) -> Callable[[Callable[[Columns], FloatArray]], FunctionFeature]:
    """Turn a function of `Columns` into a feature.

    Parameters
    ----------
    lookback
        Bars before the current one that a value may depend on; None for infinite memory, which then needs
        ``warmup`` (bars before the first value) and ``memory`` (bars after which older ones no longer matter).
    names
        Columns returned; by default one, named like the function.

    Examples
    --------
    >>> @feature(lookback=0)
    ... def body_share(bars):
    ...     return (bars.close - bars.open) / bars.close
    >>> body_share.names
    ('body_share',)
    """
    if lookback is None and (warmup is None or memory is None):
        raise ValueError("a feature with lookback=None needs warmup= and memory= (bars)")
    if lookback is not None and lookback < 0:
        raise ValueError(f"lookback must be 0 or more bars, got {lookback}")

    def wrap(function: Callable[[Columns], FloatArray]) -> FunctionFeature:
        return FunctionFeature(
            tuple(names) if names else (function.__name__,), function, lookback,
            spans_sessions=spans_sessions, declared_warmup=warmup, declared_memory=memory,
        )

    return wrap


def _name_of(function: Any) -> str:
    name: str = getattr(function, "__qualname__", type(function).__qualname__)
    return name


def module_source(path: str | None) -> str:
    """The text of a source file, line ends normalised; empty where there is none."""
    if path is None:
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()
