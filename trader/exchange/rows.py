"""A panel's bars row by row as Python's own numbers, many rows made at once."""

from __future__ import annotations

import numpy as np

from trader.core.panel import FIELDS, BarPanel

# A symbol's open, high, low, close and volume, by column.
Row = list[list[float]]
_BLOCK = 64                 # rows that are made together


class Rows:
    """Gives rows of a panel, fastest in their order. A panel that is going to change must be announced (`forget`)."""

    def __init__(self, panel: BarPanel) -> None:
        self._panel = panel
        self._block = _BLOCK
        self._rows: dict[int, Row] = {}

    def forget(self) -> None:
        """The panel's bars change, or have just changed: from now on every row is made when it is asked for."""
        self._block = 1
        self._rows = {}

    def at(self, i: int) -> Row:
        """Row ``i``: ``[open, high, low, close, volume]`` by column."""
        row = self._rows.get(i)
        if row is None:
            cut = np.s_[i : i + self._block]
            made = np.stack([getattr(self._panel, name)[cut] for name in FIELDS], axis=-1).tolist()
            self._rows = dict(enumerate(made, i))
            row = self._rows[i]
        return row
