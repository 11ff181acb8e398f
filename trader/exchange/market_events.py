"""What happens to a market besides its bars: halts, gaps, splits, corrections; by the control API or a fault script.

Gaps and splits change the bars that are still to come, corrections the last one; the venue has bars of its own from
then on. What changed them is kept, and a venue that comes back finds the same market. The bars of a halt are left out
as they come due (`trader.exchange.halts`).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, get_args

import msgspec
import numpy as np
from msgspec import Meta

from trader.exchange.data_messages import (
    Message,
    Outgoing,
    SliceMessages,
    bar_ticks,
    cancel_message,
    correction_message,
    status_message,
)
from trader.exchange.desk import ACCOUNT
from trader.exchange.errors import refusal
from trader.exchange.luld import Pause, is_wide, luld_band
from trader.exchange.splits import learn_anew, note_split
from trader.exchange.types import Split
from trader.exchange.venue import Venue

PAUSE = "LUDP"                      # the reason of a volatility pause
PRICES = ("open", "high", "low", "close")


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="event"):
    """What all events share."""

    symbol: str


class Halt(Event, frozen=True, tag="halt"):
    """Trading stops, and bars are left out until it goes on; ``reason`` is the tape's code, LUDP a volatility pause."""

    reason: str = PAUSE


class Resume(Event, frozen=True, tag="resume"):
    """Trading goes on."""


class Gap(Event, frozen=True, kw_only=True, tag="gap"):
    """All prices from the next bar on are ``percent`` higher (negative: lower)."""

    percent: Annotated[float, Meta(gt=-99.0, le=1000.0)]


class SplitShares(Event, frozen=True, kw_only=True, tag="split"):
    """``ratio`` new shares for one, between two sessions; what becomes of orders says `trader.exchange.splits`."""

    ratio: Annotated[float, Meta(ge=0.001, le=1000.0)]


class Correct(Event, frozen=True, kw_only=True, tag="correct"):
    """A trade of the last bar was reported wrongly: its close becomes ``close``, its extremes follow."""

    close: Annotated[float, Meta(ge=0.0001, le=10_000_000.0)]


class CancelTrade(Event, frozen=True, tag="cancel_trade"):
    """The last trade of the last bar is taken back: from then on REST says so; the bar stays."""


AnyEvent = Halt | Resume | Gap | SplitShares | Correct | CancelTrade
EVENTS: dict[str, type[Event]] = {str(kind.__struct_config__.tag): kind for kind in get_args(AnyEvent)}


def read_event(name: str, arguments: dict[str, Any]) -> AnyEvent:
    """An event by its name; ValueError names what is wrong."""
    if name not in EVENTS:
        raise ValueError(f"there is no event {name!r}; the events are {', '.join(EVENTS)}")
    try:
        event: AnyEvent = msgspec.convert({**arguments, "event": name}, AnyEvent)
    except msgspec.ValidationError as error:
        raise ValueError(f"{name}: {error}") from None
    return event


class Entry(msgspec.Struct, frozen=True):
    """An event that changed bars, those from ``index`` on, or the last trade of that one."""

    index: int
    event: AnyEvent


class MarketEvents:
    """The events of one venue; ``publish`` sends market data messages.

    Attributes
    ----------
    entries : list of Entry
        What has changed the venue's bars, in order.
    """

    def __init__(self, venue: Venue, publish: Callable[[list[Outgoing]], None]) -> None:
        self.entries: list[Entry] = []
        self._venue = venue
        self._publish = publish
        self._acts: dict[type[Event], Callable[[Any], None]] = {
            Halt: self._halt, Resume: self._resume, Gap: self._gap, SplitShares: self._split, Correct: self._correct,
            CancelTrade: self._cancel_trade,
        }

    def take(self, name: str, arguments: dict[str, Any]) -> Event:
        """Let an event happen; VenueError 400 for what is none, 422 for an unknown symbol or no bar yet."""
        try:
            event: Event = read_event(name, arguments)
        except ValueError as error:
            raise refusal("malformed", detail=str(error)) from None
        if self._venue.column(event.symbol) is None:
            raise refusal("unknown_symbol", symbol=event.symbol)
        self._acts[type(event)](event)
        return event

    def replay(self, entries: list[Entry], splits: list[Split]) -> None:
        """Change a fresh venue's bars as an earlier life did; before it is set back, with the ``splits`` it had."""
        self.entries = entries
        if entries:
            self._venue.own_bars()
        for entry in entries:
            event = entry.event
            if isinstance(event, Correct):
                self._revise(event, entry.index)
            elif isinstance(event, CancelTrade):
                self._take_back(event, entry.index)
            else:
                self._change_bars(event, entry.index)
            for split in splits if isinstance(event, SplitShares) else ():
                if (split.symbol, split.index) == (event.symbol, entry.index) and split not in self._venue.splits:
                    note_split(self._venue, split)

    # --- acts -----------------------------------------------------------------------------------------------

    def _halt(self, event: Halt) -> None:
        venue = self._venue
        if event.reason != PAUSE:
            venue.halt(event.symbol)
            self._publish([status_message(event.symbol, "H", event.reason, venue.now_ns)])
            return
        band = luld_band(float(venue.last_price(self._column(event))), wide=is_wide(venue.now_ns))
        venue.halt(event.symbol)                        # not before it has a price, which it may lack
        self._publish(_pause_messages(Pause(event.symbol, venue.now_ns, band)))

    def tell_pauses(self) -> None:
        """Tell the volatility pauses that the venue made by itself."""
        pauses, self._venue.pauses = self._venue.pauses, []
        self._publish([message for pause in pauses for message in _pause_messages(pause)])

    def _resume(self, event: Resume) -> None:
        self._venue.resume(event.symbol)
        self._publish([status_message(event.symbol, "T", "", self._venue.now_ns)])

    def _gap(self, event: Gap) -> None:
        self._keep(event, self._venue.index)
        self._venue.own_bars()
        self._change_bars(event, self._venue.index)

    def _split(self, event: SplitShares) -> None:
        venue = self._venue
        if event.ratio == 1.0 or venue.hours.inside_day(venue.index):
            raise refusal("unprocessable", detail=f"{event.symbol} can split between two sessions, and not one for one")
        venue.last_price(self._column(event))           # refuses what has no bar before anything has changed
        self._keep(event, venue.index)
        venue.own_bars()
        self._change_bars(event, venue.index)
        venue.apply_split(event.symbol, Decimal(repr(event.ratio)))

    def _correct(self, event: Correct) -> None:
        venue, column, i = self._venue, self._column(event), self._last_bar(event)
        said = correction_message(self._last_trade(column, i), event.close, venue.now_ns)
        self._keep(event, i)
        venue.own_bars()
        self._revise(event, i)
        venue.forget_prices()
        bar = SliceMessages(venue.panel, i, venue.fill_model.half_spread_bps).bar(column, 0, "u")
        del bar["seq"]
        self._publish([said, Outgoing("updatedBars", event.symbol, bar)])

    def _cancel_trade(self, event: CancelTrade) -> None:
        venue, column, i = self._venue, self._column(event), self._last_bar(event)
        self._keep(event, i)
        self._take_back(event, i)
        self._publish([cancel_message(self._last_trade(column, i), venue.now_ns)])

    # --- inside ---------------------------------------------------------------------------------------------

    def _column(self, event: Event) -> int:
        column = self._venue.column(event.symbol)
        assert column is not None
        return column

    def _last_trade(self, column: int, i: int) -> Message:
        """The last trade of a bar, as the stream told it."""
        panel, path = self._venue.panel, self._venue.path_of(i, column)
        assert path is not None
        return bar_ticks(panel, i, column, path, panel.volume.item(i, column), 0.0, trades=True, quotes=False)[-1]

    def _last_bar(self, event: Event) -> int:
        """The symbol's last played bar that traded."""
        panel, column = self._venue.panel, self._column(event)
        for i in range(self._venue.index - 1, -1, -1):
            if panel.volume[i, column] >= 1:
                return i
        raise refusal("unprocessable", detail=f"{event.symbol} has not traded yet")

    def _change_bars(self, event: Event, index: int) -> None:
        panel, column = self._venue.panel, self._column(event)
        shares = event.ratio if isinstance(event, SplitShares) else 1.0
        factor = 1 + event.percent / 100 if isinstance(event, Gap) else 1 / shares
        for name in PRICES:
            prices = getattr(panel, name)[index:, column]
            prices[:] = np.maximum(np.round(prices * factor, 2), 0.01)
        if panel.vwap is not None:
            panel.vwap[index:, column] *= factor
        panel.volume[index:, column] = np.round(panel.volume[index:, column] * shares)
        learn_anew(self._venue, column, index)

    def _revise(self, event: Correct, i: int) -> None:
        panel, column = self._venue.panel, self._column(event)
        path = self._venue.path_of(i, column)
        assert path is not None
        self._venue.corrected[i, column] = *path[:3], event.close
        panel.close[i, column] = event.close
        panel.high[i, column] = max(panel.high[i, column], event.close)
        panel.low[i, column] = min(panel.low[i, column], event.close)
        learn_anew(self._venue, column, i)

    def _take_back(self, event: CancelTrade, i: int) -> None:
        self._venue.canceled.add((i, self._column(event)))

    def _keep(self, event: AnyEvent, index: int) -> None:
        self.entries.append(Entry(index, event))
        self._venue.desk.dirty.add(ACCOUNT)


def _pause_messages(pause: Pause) -> list[Outgoing]:
    """The status of a volatility pause and the bands that led to it, or of its end."""
    if pause.band is None:
        return [status_message(pause.symbol, "T", PAUSE, pause.ts_ns)]
    down, up = pause.band
    return [status_message(pause.symbol, "P", PAUSE, pause.ts_ns), Outgoing("lulds", pause.symbol, {
        "T": "l", "S": pause.symbol, "u": up, "d": down, "i": "D", "t": pause.ts_ns, "z": "C",
    })]
