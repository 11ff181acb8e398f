"""Halts: volatility pauses that come and go by themselves, and the bars that a symbol which stands still leaves out.

What the market's data hold of a halt has not happened: those bars are a gap, in the streams, in every answer, in
prices and statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from trader.core.panel import BarPanel
from trader.exchange.luld import PAUSE_NS, Pause, outside_bands
from trader.exchange.splits import learn_anew

if TYPE_CHECKING:
    from trader.exchange.venue import Venue

VALUES = ("open", "high", "low", "close", "volume", "vwap", "trade_count")


class Standstill(msgspec.Struct, frozen=True):
    """A symbol's bars ``first <= i < stop``, which a halt left out."""

    symbol: str
    first: int
    stop: int


def stand_still(venue: Venue, i: int) -> None:
    """Leave bar ``i`` out for every halted symbol, before it is played."""
    venue.own_bars()
    lasting = {still.symbol: place for place, still in enumerate(venue.standstills) if still.stop == i}
    for symbol in sorted(venue.halted):
        _leave_out(venue.panel, Standstill(symbol, i, i + 1))
        place = lasting.get(symbol)
        if place is None:
            venue.standstills.append(Standstill(symbol, i, i + 1))
        else:
            venue.standstills[place] = Standstill(symbol, venue.standstills[place].first, i + 1)


def learn_of_standstill(venue: Venue, symbol: str) -> None:
    """Let a symbol's statistics leave out what its halt, which ends now, left out."""
    for still in venue.standstills:
        if still.symbol == symbol and still.stop == venue.index:
            learn_anew(venue, venue.panel.column(symbol), still.first)


def put_standstills(venue: Venue, standstills: list[Standstill]) -> None:
    """Leave out of a fresh venue's bars what an earlier life's halts left out; after its splits."""
    venue.standstills = standstills
    if standstills:
        venue.own_bars()
    for still in standstills:
        _leave_out(venue.panel, still)
    for symbol in sorted({still.symbol for still in standstills}):
        first = min(still.first for still in standstills if still.symbol == symbol)
        learn_anew(venue, venue.panel.column(symbol), first)


def watch_bands(venue: Venue, i: int) -> None:
    """Pause what opens beyond its price bands; a symbol's opening, and its first bar after a halt, set new ones."""
    panel, hours = venue.panel, venue.hours
    if hours.opens[i] or not hours.regular[i]:
        return
    start, first = int(panel.ts_ns[i]), i
    for column, band in outside_bands(panel, i):
        symbol = panel.symbols[column]
        while not hours.opens[first]:
            first -= 1
        opened = not np.isnan(panel.close[first:i, column]).all()
        if opened and symbol not in venue.halted and venue.reopened.get(symbol) != i:
            venue.halt(symbol)
            venue.paused[symbol] = start + PAUSE_NS
            venue.pauses.append(Pause(symbol, start, band))


def end_pauses(venue: Venue, *, closes: bool) -> None:
    """Let go on what has paused for long enough; at the regular ``closes`` everything, for the closing auction."""
    for symbol, due in tuple(venue.paused.items()):
        if closes or due <= venue.now_ns:
            venue.resume(symbol)
            venue.pauses.append(Pause(symbol, venue.now_ns))


def _leave_out(panel: BarPanel, still: Standstill) -> None:
    column = panel.column(still.symbol)
    for name in VALUES:
        values = getattr(panel, name)
        if values is not None:
            values[still.first : still.stop, column] = np.nan
