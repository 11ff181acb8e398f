"""A venue on disk: SQLite, one transaction a change, so that a killed server comes back to the same moment.

Write-ahead log with ``synchronous=NORMAL``: what was committed survives the death of the process at any instant.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import msgspec

from trader.exchange.desk import ACCOUNT
from trader.exchange.snapshot import VenueState, check_market, put_state, take_state
from trader.exchange.types import Activity, Split, VenueOrder
from trader.exchange.venue import Venue
from trader.exchange.views import EquityPoint
from trader.utils.errors import UserError

_TABLES = """
CREATE TABLE IF NOT EXISTS state      (id INTEGER PRIMARY KEY CHECK (id = 1), body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS orders     (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS activities (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS equity     (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
"""
_PUT_STATE = "INSERT INTO state VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
_PUT_ORDER = "INSERT INTO orders VALUES (?, ?) ON CONFLICT (number) DO UPDATE SET body = excluded.body"

_encode = msgspec.msgpack.Encoder().encode


class Surroundings(Protocol):
    """What a server keeps together with its venue."""

    def value(self) -> bytes:
        """It as it stands."""

    def take_up(self, value: bytes, splits: list[Split]) -> None:
        """Be what it was; called before a venue of these splits is set back."""


class VenueStore:
    """The file of one venue; one process at a time.

    Attributes
    ----------
    surroundings
        What is kept with the venue, if anything.

    Raises
    ------
    UserError
        When the file cannot be opened, is no venue's, is in use, or belongs to another market.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.surroundings: Surroundings | None = None
        self._activities = 0
        self._equity = 0
        self.index = -1             # the bar index of the last saved state
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=1.0, check_same_thread=False)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise UserError(
                f"cannot keep the exchange in {path}: {error}; "
                "name a writable file that no other exchange uses, or move this one away"
            ) from error

    def load(self, venue: Venue) -> bool:
        """Set a fresh venue back into the stored state; False when the file is new."""
        row = self._db.execute("SELECT body FROM state").fetchone()
        if row is None:
            return False
        try:
            state = msgspec.msgpack.decode(row[0], type=VenueState)
            check_market(venue, state)
            orders = self._rows("orders", VenueOrder)
            activities = self._rows("activities", Activity)
            equity = self._rows("equity", EquityPoint)
            self._activities, self._equity = len(activities), len(equity)
            if self.surroundings is not None and state.surroundings:
                self.surroundings.take_up(state.surroundings, state.splits)
            put_state(venue, state, orders, activities, equity)
            self.index = venue.index
        except (ValueError, sqlite3.Error) as error:      # msgspec's errors are ValueErrors
            raise UserError(f"cannot go on with the exchange in {self.path}: {error}") from error
        return True

    def save(self, venue: Venue) -> None:
        """Make everything that changed since the last call durable, in one transaction; OSError when it cannot be."""
        desk, db = venue.desk, self._db
        activities = desk.activities
        try:
            db.execute("BEGIN IMMEDIATE")
            for order_id in desk.dirty - {ACCOUNT}:
                order = desk.orders[order_id]
                db.execute(_PUT_ORDER, (order.number, _encode(order)))
            for number in range(self._activities, len(activities)):
                db.execute("INSERT INTO activities VALUES (?, ?)", (number, _encode(activities[number])))
            for number in range(self._equity, len(venue.equity_history)):
                db.execute("INSERT INTO equity VALUES (?, ?)", (number, _encode(venue.equity_history[number])))
            around = b"" if self.surroundings is None else self.surroundings.value()
            db.execute(_PUT_STATE, (_encode(take_state(venue, around)),))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:                   # a full disk may have ended it already
                db.execute("ROLLBACK")
            raise OSError(f"cannot keep the exchange in {self.path}: {error}") from error
        desk.dirty.clear()
        self.index = venue.index
        self._activities = len(activities)
        self._equity = len(venue.equity_history)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> VenueStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rows(self, table: str, kind: Any) -> list[Any]:
        decoder = msgspec.msgpack.Decoder(kind)
        query = f"SELECT body FROM {table} ORDER BY number"      # table names are ours
        return [decoder.decode(body) for (body,) in self._db.execute(query)]
