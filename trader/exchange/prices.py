"""The market's last prices as exact decimals, in today's shares."""

from __future__ import annotations

import math
from decimal import Decimal
from math import nan

import numpy as np

from trader.core.money import CENT, SUB_DOLLAR_TICK, to_tick
from trader.core.panel import BarPanel
from trader.exchange.decimals import exact
from trader.exchange.errors import refusal
from trader.exchange.rows import Row, Rows
from trader.exchange.types import Split


def quote_around(last: Decimal, half_spread_bps: float) -> tuple[Decimal, Decimal]:
    """Bid and ask, outward on the tick."""
    price, half = float(last), half_spread_bps / 1e4
    unit, tick = (100, CENT) if price >= 1 else (10_000, SUB_DOLLAR_TICK)
    return Decimal(math.floor(price * (1 - half) * unit + 1e-6)) * tick, ask_above(last, half_spread_bps)


def ask_above(last: Decimal, half_spread_bps: float) -> Decimal:
    """The ask alone."""
    price = float(last)
    unit, tick = (100, CENT) if price >= 1 else (10_000, SUB_DOLLAR_TICK)
    return Decimal(math.ceil(price * (1 + half_spread_bps / 1e4) * unit - 1e-6)) * tick


class Prices:
    """Last prices, remembered until the next bar.

    ``session`` holds the running number of each bar's session, ``regular`` whether it is of regular hours. A price
    from before a split is divided by its ratio.
    """

    def __init__(self, panel: BarPanel, rows: Rows, session: list[int], regular: list[bool]) -> None:
        self._panel = panel
        self._rows = rows
        self._session = session
        self._regular = regular
        self._known: dict[int, Decimal] = {}
        self._at = -1
        self._row: Row | None = None                    # the last played, once somebody asks for a price of it
        self._splits: dict[int, list[Split]] = {}

    def split(self, column: int, split: Split) -> None:
        """Count a split of a symbol from now on."""
        self._splits.setdefault(column, []).append(split)
        self._at = -1

    def forget(self) -> None:
        """Look for the last prices again."""
        self._at = -1

    def last(self, column: int, played: int) -> Decimal:
        """The last close among ``played`` bars, else the open of the symbol's first bar; VenueError when none."""
        known = self.known(played)
        price = known.get(column)
        if price is None:
            row = self._row
            if row is None:
                row = self._row = self._rows.at(played - 1) if played else []
            close = row[column][3] if played else nan
            if close != close or self._splits:
                price = self._find(column, played)
            else:
                price = exact(close)
            known[column] = price
        return price

    def known(self, played: int) -> dict[int, Decimal]:
        """The last prices that somebody has asked for already since the last of ``played`` bars, by column."""
        if self._at != played:
            self._at = played
            self._known = {}
            self._row = None
        return self._known

    def quote(self, column: int, played: int, half_spread_bps: float) -> tuple[Decimal, Decimal]:
        """Bid and ask: the spread model's quote around the last price, outward on the tick."""
        return quote_around(self.last(column, played), half_spread_bps)

    def of_session_before(self, column: int, played: int) -> Decimal | None:
        """The regular close of the session before that of the last played bar."""
        current = self._session[played - 1] if played else 0
        for i in range(played - 1, -1, -1):
            if self._session[i] < current and self._regular[i]:
                price = float(self._panel.close[i, column])
                if price == price:
                    return self.in_todays_shares(price, column, i, played)
        return None

    def _find(self, column: int, played: int) -> Decimal:
        closes = self._panel.close
        for i in range(played - 1, -1, -1):
            price = closes.item(i, column)
            if price == price:
                return self.in_todays_shares(price, column, i, played)
        ahead = self._panel.open[played:, column]
        known = np.flatnonzero(~np.isnan(ahead))
        if not known.size:
            raise refusal("unprocessable", detail=f"{self._panel.symbols[column]} has no price")
        return exact(float(ahead[known[0]]))

    def in_todays_shares(self, price: float, column: int, bar: int, played: int) -> Decimal:
        """A price of a bar, divided by the ratios of the splits since."""
        todays = exact(price)
        for split in self._splits.get(column, ()):
            if bar < split.index <= played:
                todays = to_tick(todays / split.ratio)
        return todays
