"""What every strategy is: a name, a warm-up, parameters, and signals from a slice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from trader.core.book import Book
from trader.core.history import History
from trader.core.panel import FloatArray, Slice
from trader.core.signals import Signal


class StrategyParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a strategy's parameters; a subclass adds fields with defaults and ranges."""


@dataclass(frozen=True, slots=True)
class StrategyContext:
    """What a strategy sees at a slice. Nothing in it is from after the slice.

    ``probabilities`` has shape (n_symbols, 3): loss, neutral, profit, calibrated; NaN where there is none.
    ``ok`` marks the symbols with a sound bar. ``opinion`` is what the rule behind a meta-model says, side times
    strength, shape (n_symbols,), 0 where it would not enter: then the classes are those of that side; None otherwise.
    """

    slice: Slice
    history: History
    book: Book
    probabilities: FloatArray | None
    ok: NDArray[np.bool_]
    opinion: FloatArray | None = None


class BaseStrategy(ABC):
    """From a slice to signals.

    Subclasses set ``name`` and ``Params`` and implement :meth:`on_slice`. They look at arrays over all
    symbols and make a Python object only for a signal. A signal in the direction already held is not needed.

    Parameters
    ----------
    params : an instance of ``Params``; None: its defaults.
    """

    name: ClassVar[str] = ""
    Params: ClassVar[type[StrategyParams]] = StrategyParams
    needs_model: ClassVar[bool] = False
    model_name: ClassVar[str] = "ml_momentum"       # of the model it needs, where the settings name none
    judges_bets: ClassVar[bool] = False             # needs a model that was trained with meta.primary

    def __init__(self, params: StrategyParams | None = None) -> None:
        self.params = self.Params() if params is None else params

    @property
    def warmup(self) -> int:
        """Bars of history needed before the first signal."""
        return 0

    @abstractmethod
    def on_slice(self, ctx: StrategyContext) -> list[Signal]:
        """The signals of this slice; empty most of the time."""

    def generate_signals(self, ctx: StrategyContext) -> list[Signal]:
        """The same by the name that the main loop uses."""
        return self.on_slice(ctx)


def held_directions(book: Book, symbols: tuple[str, ...]) -> NDArray[np.int8]:
    """+1 long, -1 short, 0 flat, shape (n_symbols,)."""
    positions = book.positions
    return np.array([
        0 if (held := positions.get(symbol)) is None or not held.quantity else 1 if held.quantity > 0 else -1
        for symbol in symbols
    ], np.int8)
