"""Where a session's events go: the fold, the journal, and the log files."""

from __future__ import annotations

import json
import logging
from itertools import islice
from typing import Any

from trader.core import events as ev
from trader.core.fold import Fold
from trader.core.journal import Journal
from trader.core.snapshots import Snapshots

# Event log source → logger; everything else goes to the trading log.
LOGGERS = {
    "fill": "alphatrade.execution", "order": "alphatrade.execution", "reconcile": "alphatrade.execution",
    "risk 1": "alphatrade.risk", "risk 2": "alphatrade.risk", "risk 3": "alphatrade.risk",
    "risk 4": "alphatrade.risk", "breaker": "alphatrade.risk", "halt": "alphatrade.risk",
}
LEVELS = {"warning": logging.WARNING, "error": logging.ERROR, "halt": logging.WARNING}

# Orders, money and halts: a run that holds none of them has not begun.
MATTERS = tuple(kind for kind in ev.DURABLE if kind not in (ev.SessionStarted, ev.SessionEnded))


class Recorder:
    """Folds and journals every event; ``commit`` before any effect."""

    def __init__(self, journal: Journal, fold: Fold) -> None:
        self.journal = journal
        self.fold = fold
        self.traded = False                     # whether it holds anything that the next session must know
        self._logged = 0
        self._snapshots = Snapshots(journal)

    def sink(self, event: ev.AnyEvent) -> None:
        """Keep an event that has just been folded."""
        self.journal.append(event)
        self.traded = self.traded or isinstance(event, MATTERS)
        if self.fold.log_count > self._logged:
            self._log()

    def _log(self) -> None:
        fresh = self.fold.log_count - self._logged
        lines = list(islice(reversed(self.fold.log), fresh))
        for _, _, level, source, text in reversed(lines):
            logging.getLogger(LOGGERS.get(source, "alphatrade.trading")).log(
                LEVELS.get(level, logging.INFO), "%s: %s", source, text)
        self._logged = self.fold.log_count

    def commit(self) -> None:
        """Everything recorded so far is on the disk when this returns; sqlite3.Error when it cannot be."""
        self.journal.commit()
        self._snapshots.offer(self.fold)

    def store_summary(self, summary: dict[str, Any]) -> None:
        """The word that ``alphatrade status`` and ``runs`` read."""
        self.journal.set_meta("summary", json.dumps(summary))
