"""Snapshots in a journal: the fold at one of its events, so that reading it back starts there and not at the first.

Table ``snapshots(seq, since, fold, body, digest)``: ``body`` is a :class:`trader.core.fold_state.FoldState` at event
``seq`` with the orders and trades that changed after the snapshot ``since``; ``fold`` is a hash of the code that
folded it; ``digest`` seals the row together with the event that it stands at. What does not fit (another version's, a
damaged one, one of another journal) and all that builds on it is passed over: events are the only truth, a snapshot
saves time.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import logging
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from trader.core import book, candles, events, fold_state, orders
from trader.core import fold as fold_module
from trader.core.collector import without_collector
from trader.core.fold import Fold
from trader.core.fold_state import Assembly, FoldState
from trader.core.journal import Journal, check, mend, read_events, read_only
from trader.utils import slippage_stats

EVERY = 20_000                          # events from one snapshot to the next

_SELECT = "SELECT seq, since, fold, body, digest FROM snapshots ORDER BY seq"
_EVENT = "SELECT body FROM events WHERE seq = ?"


@lru_cache(maxsize=1)
def fold_version() -> str:
    """A hash of the code that folds; empty where its source cannot be read, and then no snapshot fits."""
    digest = hashlib.sha256()
    for module in (book, candles, events, fold_module, fold_state, orders, slippage_stats):
        try:
            digest.update(Path(str(module.__file__)).read_bytes())
        except OSError:
            return ""
    return digest.hexdigest()


def _seal(seq: int, since: int, version: str, body: bytes, event: str | bytes) -> str:
    parts = (str(seq), str(since), version, event if isinstance(event, bytes) else event.encode(), body)
    digest = hashlib.sha256()
    for part in parts:
        raw = part if isinstance(part, bytes) else part.encode()
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()


class Snapshots:
    """Writes a session's snapshots; a failure to write one costs the next start time and nothing else."""

    def __init__(self, journal: Journal, every: int = EVERY) -> None:
        self._journal = journal
        self._every = every
        self._last = 0
        self._trades = 0

    def offer(self, fold: Fold) -> bool:
        """Write a snapshot when it is time. The fold stands at the journal's last event, and that is committed."""
        seq = self._journal.seq
        ready = fold.events == seq and not self._journal.pending and bool(fold_version())
        if seq - self._last < self._every or not ready:
            return False
        body = fold_state.encode(fold_state.state_of(fold, self._last, self._trades))
        try:
            self._journal.put_snapshot(
                seq, self._last, fold_version(), body,
                lambda event: _seal(seq, self._last, fold_version(), body, event))
        except sqlite3.Error as error:
            logging.getLogger(__name__).warning("no snapshot at event %d: %s", seq, error)
            return False
        self._last, self._trades = seq, len(fold.book.closed_trades)
        fold.touched.clear()
        return True


class Waypoints:
    """Snapshots in memory, for whoever walks through events forth and back: a way back begins near its end."""

    def __init__(self, every: int = EVERY) -> None:
        self._every = every
        self._places: list[int] = []
        self._bodies: list[bytes] = []
        self._trades = 0

    def offer(self, fold: Fold) -> None:
        """Keep the fold where it stands when the last one kept lies far enough behind."""
        last = self._places[-1] if self._places else 0
        if fold.events - last < self._every:
            return
        self._bodies.append(fold_state.encode(fold_state.state_of(fold, last, self._trades)))
        self._places.append(fold.events)
        self._trades = len(fold.book.closed_trades)
        fold.touched.clear()

    def before(self, event: int) -> Fold:
        """A fold at the last place up to ``event``; an empty one where there is none."""
        count = bisect.bisect_right(self._places, event)
        if not count:
            return Fold()
        assembly = Assembly()
        for body in self._bodies[:count]:
            assembly.add(fold_state.decode(body))
        return assembly.fold()


class Recovered(NamedTuple):
    """A journal read back: its fold, the event at which reading began, and what was mended."""

    fold: Fold
    start: int
    mended: str | None


def recover(path: Path) -> Recovered:
    """Check a journal, put a damaged tail into quarantine, and fold it: the last snapshot that fits and what follows.

    Raises
    ------
    UserError
        There is no journal, or it is not one.
    """
    with without_collector():
        start, fold = latest(path)
        if check(path, start, fold.apply) is None:
            return Recovered(fold, start, None)
        mended, fold = mend(path), Fold()
        for _, event in read_events(path):
            fold.apply(event)
        return Recovered(fold, 0, mended)


def latest(path: Path) -> tuple[int, Fold]:
    """The event of the last snapshot that fits, and the fold there; 0 and an empty fold where none does."""
    assembly, start = Assembly(), 0
    try:
        with contextlib.closing(read_only(path)) as db:
            for seq, state in _fitting(db):
                assembly.add(state)
                start = seq
    except sqlite3.Error:
        pass                                            # without the table, or damaged: what was read before it holds
    return (start, assembly.fold()) if start else (0, Fold())


def _fitting(db: sqlite3.Connection) -> Iterator[tuple[int, FoldState]]:
    """The chain of snapshots from the first on, up to the first that does not fit."""
    before = 0
    for seq, since, version, body, digest in db.execute(_SELECT).fetchall():
        event = db.execute(_EVENT, (seq,)).fetchone()
        if since != before or version != fold_version() or event is None:
            return
        if digest != _seal(seq, since, version, body, event[0]):
            return
        try:
            state = fold_state.decode(body)
        except msgspec.DecodeError:
            return
        if state.events != seq:
            return
        yield seq, state
        before = seq
