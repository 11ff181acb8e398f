"""The market's last prices, and which bars make a session."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from trader.core.days import days_of
from trader.core.panel import BarPanel, IntArray
from trader.exchange.errors import refusal

DAILY = "1Day"


class Prices:
    """Last prices as exact decimals, remembered until the next bar.

    ``session`` holds the running number of each bar's session.
    """

    def __init__(self, panel: BarPanel, session: list[int]) -> None:
        self._panel = panel
        self._session = session
        self._known: dict[int, Decimal] = {}
        self._at = -1

    def last(self, column: int, played: int) -> Decimal:
        """The last close among ``played`` bars, else the open of the symbol's first bar; VenueError when none."""
        if self._at != played:
            self._at = played
            self._known.clear()
        price = self._known.get(column)
        if price is None:
            price = self._known[column] = self._find(column, played)
        return price

    def of_session_before(self, column: int, played: int) -> Decimal | None:
        """The close of the session before that of the last played bar."""
        current = self._session[played - 1] if played else 0
        for i in range(played - 1, -1, -1):
            if self._session[i] < current:
                price = float(self._panel.close[i, column])
                if price == price:
                    return Decimal(repr(price))
        return None

    def _find(self, column: int, played: int) -> Decimal:
        closes = self._panel.close
        for i in range(played - 1, -1, -1):
            price = float(closes[i, column])
            if price == price:
                return Decimal(repr(price))
        ahead = self._panel.open[played:, column]
        known = np.flatnonzero(~np.isnan(ahead))
        if not known.size:
            raise refusal("unprocessable", detail=f"{self._panel.symbols[column]} has no price")
        return Decimal(repr(float(ahead[known[0]])))


def session_numbers(panel: BarPanel) -> IntArray:
    """The running number of each bar's session: New York's day; every daily bar is a session of its own."""
    if panel.timeframe == DAILY:
        return np.arange(len(panel), dtype=np.int64)
    days = days_of(panel.available_ns)
    return np.cumsum(np.diff(days, prepend=days[:1]) != 0).astype(np.int64)
