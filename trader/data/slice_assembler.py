"""Bars of many symbols into slices of one time; the time is passed in."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from trader.core.panel import FIELDS, Slice
from trader.data.live_bars import StreamBar
from trader.data.timeframe import Timeframe, available_at


@dataclass(slots=True)
class _Pending:
    first_seen_ns: int
    bars: dict[str, StreamBar] = field(default_factory=dict)


class SliceAssembler:
    """Hands out the slice of a time as soon as every symbol's bar is there, or ``grace_ns`` after its first one.

    Slices come in the order of their times: a complete one pushes out older ones as they are. A bar for a time
    that was handed out already is kept in ``late`` (see `take_late`) and changes nothing. ``now_ns`` may be any
    clock that runs on (a monotonic one in live sessions): only differences count.
    """

    def __init__(
        self, symbols: Sequence[str], timeframe: Timeframe, grace_ns: int = 2_000_000_000, *, next_index: int = 0
    ) -> None:
        self.symbols = tuple(symbols)
        self._column = {symbol: column for column, symbol in enumerate(self.symbols)}
        self._timeframe = timeframe
        self._grace_ns = grace_ns
        self._pending: dict[int, _Pending] = {}
        self._index = next_index
        self._last_ts = -1
        self._late: list[StreamBar] = []

    def offer(self, bar: StreamBar, now_ns: int, absent: Set[str] = frozenset()) -> list[Slice]:
        """Take in one bar; the slices that it completes, for which those ``absent`` are not waited for.

        Symbols that are not asked for are ignored.
        """
        if bar.symbol not in self._column:
            return []
        if bar.ts_ns <= self._last_ts:
            self._late.append(bar)
            return []
        pending = self._pending.setdefault(bar.ts_ns, _Pending(now_ns))
        pending.bars[bar.symbol] = bar
        complete = len(pending.bars) == len(self.symbols) or self._column.keys() <= pending.bars.keys() | absent
        return self.flush(bar.ts_ns) if complete else []

    def tick(self, now_ns: int) -> list[Slice]:
        """The slices whose grace is over."""
        due = [ts for ts, pending in self._pending.items() if now_ns - pending.first_seen_ns >= self._grace_ns]
        return self.flush(max(due)) if due else []

    def flush(self, ts_ns: int) -> list[Slice]:
        """Everything up to and including ``ts_ns`` as it is; symbols that are missing are NaN."""
        return [self._emit(ts, self._pending.pop(ts).bars) for ts in sorted(t for t in self._pending if t <= ts_ns)]

    def empty(self, ts_ns: int) -> Slice:
        """The slice of a time at which no symbol had a bar."""
        return self._emit(ts_ns, {})

    def arrived(self, ts_ns: int) -> frozenset[str]:
        """The symbols whose bar of a time is waiting."""
        pending = self._pending.get(ts_ns)
        return frozenset() if pending is None else frozenset(pending.bars)

    def take_late(self) -> list[StreamBar]:
        """The bars that came too late since the last call."""
        late, self._late = self._late, []
        return late

    def _emit(self, ts_ns: int, bars: dict[str, StreamBar]) -> Slice:
        columns = np.full((len(FIELDS), len(self.symbols)), np.nan)
        for symbol, bar in bars.items():
            columns[:, self._column[symbol]] = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        self._last_ts = ts_ns
        self._index += 1
        available = int(available_at(np.array([ts_ns], dtype=np.int64), self._timeframe)[0])
        return Slice(self._index - 1, ts_ns, available, *columns)
