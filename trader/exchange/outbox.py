"""What a server has decided to tell and does not tell before it is durable, in order over both streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from trader.exchange.data_stream import DataStream
from trader.exchange.trading_stream import TradingStream
from trader.exchange.types import VenueEvent

Act = Callable[[], None]


class Outbox:
    """Trade updates and acts on connections; the data stream keeps its own messages, which take their place here."""

    def __init__(self, trading: TradingStream, data: DataStream) -> None:
        self._trading = trading
        self._data = data
        self._waiting: list[list[VenueEvent] | Act] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def tell(self, events: Iterable[VenueEvent]) -> None:
        """Tell trade updates, after what was said before; together with those that they follow."""
        self._seal()
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, list):
            last.extend(events)
        else:
            self._waiting.append(list(events))

    def then(self, act: Act) -> None:
        """Do something when all that was said before has been sent."""
        self._seal()
        self._waiting.append(act)

    def send(self) -> None:
        """Send all of it."""
        self._seal()
        waiting, self._waiting = self._waiting, []
        for told in waiting:
            if isinstance(told, list):
                self._trading.publish(told)
            else:
                told()

    def _seal(self) -> None:
        said = self._data.seal()
        if said is not None:
            self._waiting.append(said)
