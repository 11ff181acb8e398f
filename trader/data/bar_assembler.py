"""Minute bars into bars of the decision's size, aligned on the session's opening; the time is passed in."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from trader.core.clock import MINUTE_NS
from trader.core.sessions import session_of, session_open_close
from trader.data.live_bars import StreamBar


class Assembled(NamedTuple):
    """A finished bar; ``corrected``: it was handed out before, with other values."""

    bar: StreamBar
    corrected: bool


@dataclass(slots=True)
class _Bucket:
    end_ns: int
    minutes: dict[int, StreamBar] = field(default_factory=dict)
    done: bool = False


class BarAssembler:
    """Builds bars of ``minutes`` from one-minute bars.

    A bar is done when its last minute arrives, when a later bar of its symbol has begun, or by `tick` once its end
    and ``grace_ns`` have passed: a minute without a trade has no bar, so the last minute may never come. Minutes that
    are corrected or late after that rebuild the bar, for the latest ``keep`` bars. Minutes outside of the regular
    session are left out and counted.
    """

    def __init__(self, minutes: int = 15, *, grace_ns: int = 5_000_000_000, keep: int = 4) -> None:
        if not 1 <= minutes <= 390:
            raise ValueError(f"bars of {minutes} minutes cannot be built inside a session; choose 1 to 390")
        self._step_ns = minutes * MINUTE_NS
        self._grace_ns = grace_ns
        self._keep = keep
        self._buckets: dict[str, dict[int, _Bucket]] = {}
        self.outside = 0

    def offer(self, bar: StreamBar) -> list[Assembled]:
        """Take in one minute (new, late or corrected); the bars that it finishes or changes, oldest first."""
        place = self._place(bar.ts_ns)
        if place is None:
            self.outside += 1
            return []
        start, end = place
        buckets = self._buckets.setdefault(bar.symbol, {})
        finished = self._finish(bar.symbol, (s for s, b in buckets.items() if s < start and not b.done))
        if start not in buckets and buckets and start < min(buckets):
            return finished                                     # older than anything that is still kept
        bucket = buckets.setdefault(start, _Bucket(end))
        bucket.minutes[bar.ts_ns] = bar
        if bucket.done:
            return [*finished, Assembled(_build(bar.symbol, start, bucket), True)]
        if bar.ts_ns + MINUTE_NS >= end:
            finished += self._finish(bar.symbol, [start])
        return finished

    def tick(self, now_ns: int) -> list[Assembled]:
        """The bars whose time and grace are over at ``now_ns``, oldest first."""
        finished: list[Assembled] = []
        for symbol, buckets in self._buckets.items():
            due = [s for s, b in buckets.items() if not b.done and now_ns >= b.end_ns + self._grace_ns]
            finished += self._finish(symbol, due)
        return sorted(finished, key=lambda done: done.bar.ts_ns)

    def _finish(self, symbol: str, starts: Iterable[int]) -> list[Assembled]:
        buckets = self._buckets[symbol]
        finished = []
        for start in sorted(starts):
            buckets[start].done = True
            finished.append(Assembled(_build(symbol, start, buckets[start]), False))
        for start in sorted(s for s, b in buckets.items() if b.done)[: -self._keep]:
            del buckets[start]
        return finished

    def _place(self, ts_ns: int) -> tuple[int, int] | None:
        """Start and end of the bar that a moment belongs to; None outside of regular sessions."""
        day = session_of(ts_ns)
        hours = None if day is None else session_open_close(day)
        if hours is None:
            return None
        start = hours[0] + (ts_ns - hours[0]) // self._step_ns * self._step_ns
        return start, min(start + self._step_ns, hours[1])


def _build(symbol: str, start: int, bucket: _Bucket) -> StreamBar:
    minutes = [bucket.minutes[ts] for ts in sorted(bucket.minutes)]
    volume = math.fsum(bar.volume for bar in minutes)
    weighted = math.fsum(bar.vwap * bar.volume for bar in minutes)
    return StreamBar(
        symbol, start, minutes[0].open, max(bar.high for bar in minutes), min(bar.low for bar in minutes),
        minutes[-1].close, volume, weighted / volume if volume else math.nan,
        math.fsum(bar.trade_count for bar in minutes),
    )
