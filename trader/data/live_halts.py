"""Which symbols stand still, by the trading statuses of the stream and by the bars that prove otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

from trader.data.live_bars import read_time

# Codes of the tapes: A and B (CTA) have digits, C and O (UTP) letters. All others leave a symbol as it is.
HALTED = frozenset({"2", "H", "P"})
TRADING = frozenset({"3", "T"})


class LiveHalts:
    """The symbols that are halted now, each with the moment from which on, ns.

    A resumption that nobody heard shows in the first bar that began after the halt.
    """

    def __init__(self) -> None:
        self._since: dict[str, int] = {}

    def status(self, raw: Mapping[str, Any]) -> None:
        """A trading status of the stream; ValueError names what cannot be read."""
        try:
            symbol, code, moment = str(raw["S"]), str(raw["sc"]), read_time(raw["t"])
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"status without a readable field ({type(error).__name__}: {error}): {raw!r:.160}"
            ) from None
        if code in HALTED:
            self._since[symbol] = moment
        elif code in TRADING:
            self._since.pop(symbol, None)

    def bar(self, symbol: str, ts_ns: int) -> None:
        """A bar that began at a moment: whoever has one trades again, unless the halt came within it."""
        if self._since.get(symbol, ts_ns + 1) <= ts_ns:
            del self._since[symbol]

    def all_of(self, symbols: Iterable[str]) -> bool:
        """Whether all these symbols stand still."""
        return self._since.keys() >= set(symbols)

    def through(self, ts_ns: int) -> Set[str]:
        """The symbols that have not traded since a moment: no bar from it on can be theirs."""
        return {symbol for symbol, since in self._since.items() if since <= ts_ns}

    @property
    def symbols(self) -> list[str]:
        """Those that stand still."""
        return sorted(self._since)
