"""What a backtest works out over many bars at once; the answers are those that a bar alone would have given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trader.core.engine import Strategy, Validator
from trader.core.foresight import Foresight
from trader.core.panel import BarPanel, FloatArray, Slice

ROWS = 512


class BlockValidator:
    """The session's validator over a panel, asked once a block.

    A check looks at each symbol's bar by itself, so a block of bars laid end to end is to it a slice of many
    symbols. Where it has nothing to say about the whole block, every bar in it is sound or missing, and the
    mask is that of the bar alone; else the bars are shown to it one by one.

    Parameters
    ----------
    validator : the session's.
    panel : the bars; slices carry their row in it as ``index``.
    """

    def __init__(self, validator: Validator, panel: BarPanel) -> None:
        self._validator = validator
        self._panel = panel
        self._start = self._stop = 0
        self._masks: NDArray[np.bool_] | None = None

    def check_slice(
        self, bar: Slice, previous_close: FloatArray, now_ns: int,
    ) -> tuple[NDArray[np.bool_], Sequence[Any]]:
        """As :meth:`trader.core.engine.Validator.check_slice`."""
        row = bar.index
        if not self._start <= row < self._stop:
            self._open(row)
        if self._masks is None or now_ns != bar.available_ns or row == self._start:
            return self._validator.check_slice(bar, previous_close, now_ns)
        return self._masks[row - self._start], ()

    def _open(self, row: int) -> None:
        """Judge a block; its first bar's predecessor is the caller's to know, so that bar is asked by itself."""
        panel = self._panel
        self._start, self._stop = row, min(row + ROWS, len(panel))
        cut = np.s_[row:self._stop]
        before = np.vstack([panel.close[row:row + 1], panel.close[row:self._stop - 1]])
        flat = Slice(row, 0, 0, *(array[cut].ravel() for array in (
            panel.open, panel.high, panel.low, panel.close, panel.volume)))
        masks, issues = self._validator.check_slice(flat, before.ravel(), 0)
        self._masks = None if issues else np.reshape(masks, (self._stop - row, len(panel.symbols)))


def foreseen(strategy: Strategy, panel: BarPanel) -> Foresight | None:
    """The strategy's foresight of a panel; None where it offers none.

    A subclass with an ``on_slice`` of its own does not inherit the foresight: that speaks of another method.
    """
    for kind in type(strategy).__mro__:
        if "foresee" in vars(kind):
            foresight: Foresight = vars(kind)["foresee"](strategy, panel)
            return foresight
        if "on_slice" in vars(kind):
            break
    return None
