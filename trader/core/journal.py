"""The journal: every event of a session in one append-only SQLite file.

Tables: ``events(seq, ts, type, body)`` with bodies in JSON, ``meta(key, value)``, ``snapshots``
(`trader.core.snapshots`), and ``quarantine`` for rows that a damaged file still gave up but that no longer decode.
WAL; one writer; ``synchronous=FULL`` while a batch holds an event that must be durable before its effect (orders,
fills, the halt), NORMAL otherwise.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from trader.core.events import DURABLE, SCHEMA_VERSION, AnyEvent, decode, encode
from trader.utils.errors import UserError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY, ts INTEGER NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS snapshots (
    seq INTEGER PRIMARY KEY, since INTEGER NOT NULL, fold TEXT NOT NULL, body BLOB NOT NULL, digest TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS quarantine (seq INTEGER, ts INTEGER, type TEXT, body BLOB, reason TEXT);
"""
_INSERT = "INSERT INTO events (seq, ts, type, body) VALUES (?, ?, ?, ?)"
_COUNT = "SELECT count(*), min(seq) FROM events WHERE seq <= ?"
_SET_META = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"

_SYNCED = frozenset(DURABLE)
BULK = 1_000                    # events that a backtest keeps in memory before it writes them


class Journal:
    """Appends events; nothing is on the disk before ``commit``.

    ``durable=False`` is for backtests: bulk transactions by itself, one fsync at the close. One thread appends; any
    may commit.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        self.seq = 0
        self.must_sync = False
        self._durable = durable
        self._rows: list[tuple[int, int, str, str]] = []
        self._bulk: list[AnyEvent] = []             # a backtest's, encoded when they are written
        self._writing = threading.Lock()            # a signal's last commit may meet the engine's
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            if not durable:
                self._db.execute("PRAGMA page_size=16384")     # half the time a row; a commit in WAL writes whole pages
            self._db.execute(f"PRAGMA journal_mode={'WAL' if durable else 'OFF'}")
            self._db.execute(f"PRAGMA synchronous={'NORMAL' if durable else 'OFF'}")
            self._db.executescript(_SCHEMA)
            self._db.execute(_SET_META, ("schema", str(SCHEMA_VERSION)))
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"cannot write the journal {path}: {error}; choose a writable --home") from error

    def append(self, event: AnyEvent) -> None:
        """Put an event into the next commit."""
        self.seq += 1
        if self._durable:
            self._rows.append((self.seq, event.ts, type(event).__name__, encode(event).decode()))
            if type(event) in _SYNCED:
                self.must_sync = True
            return
        self._bulk.append(event)
        if len(self._bulk) >= BULK:
            self.commit()

    @property
    def pending(self) -> int:
        """Events that are not on the disk yet."""
        return len(self._rows) + len(self._bulk)

    def commit(self) -> None:
        """Write what is pending in one transaction; fsynced when an event in it asks for that."""
        if self.pending:
            with self._writing:
                self._write()

    def _write(self) -> None:
        rows, self._rows = self._rows, []
        sync, self.must_sync = self.must_sync, False
        if self._bulk:
            events, self._bulk = self._bulk, []
            rows += [(seq, event.ts, type(event).__name__, encode(event).decode())
                     for seq, event in enumerate(events, self.seq - len(events) + 1)]
        if sync:
            self._db.execute("PRAGMA synchronous=FULL")
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_INSERT, rows)
            self._db.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            self._rows = rows + self._rows
            self.must_sync = self.must_sync or sync
            raise
        finally:
            if sync:
                self._db.execute("PRAGMA synchronous=NORMAL")

    def put_snapshot(
        self, seq: int, since: int, version: str, body: bytes, seal: Callable[[str], str],
    ) -> None:
        """Keep a fold at a committed event; ``seal`` makes the digest from that event's body."""
        event = self._db.execute("SELECT body FROM events WHERE seq = ?", (seq,)).fetchone()[0]
        self._db.execute("INSERT INTO snapshots VALUES (?, ?, ?, ?, ?)", (seq, since, version, body, seal(event)))

    def set_meta(self, key: str, value: str) -> None:
        """A word beside the events, such as the summary for ``alphatrade status``."""
        self._db.execute(_SET_META, (key, value))

    def close(self) -> None:
        """Commit and close; the file is then complete without its WAL, and on the disk."""
        try:
            self.commit()
        finally:
            self._db.close()
        if not self._durable:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())


def read_only(path: Path) -> sqlite3.Connection:
    """A read-only connection to a journal; UserError when there is none or it is not one."""
    if not path.is_file():
        raise UserError(f"there is no journal at {path}; `alphatrade runs` lists what can be opened")
    try:
        address = f"{path.absolute().as_uri()}?mode=ro"
        db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        db.execute("SELECT seq FROM events LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise UserError(f"{path} is not a readable journal ({error}); name a run of `alphatrade runs`") from error
    return db


def read_events(path: Path, after: int = 0) -> Iterator[tuple[int, AnyEvent]]:
    """``(seq, event)`` in order, from ``seq > after``; stops at the first row that does not decode."""
    db = read_only(path)
    try:
        for seq, body in db.execute("SELECT seq, body FROM events WHERE seq > ? ORDER BY seq", (after,)):
            yield seq, decode(body)
    except (sqlite3.DatabaseError, msgspec.DecodeError):
        return
    finally:
        db.close()


def read_meta(path: Path) -> dict[str, str]:
    """All words beside the events."""
    with contextlib.closing(read_only(path)) as db:
        return dict(db.execute("SELECT key, value FROM meta"))


def check(path: Path, start: int = 0, apply: Callable[[AnyEvent], None] | None = None) -> str | None:
    """What is wrong with a journal, or None: SQLite's own check, gaps in ``seq``, rows that do not decode.

    Up to ``start``, the event of a snapshot, the rows are counted and not decoded; the events behind it are handed
    to ``apply`` as they are read, up to the first that is damaged.
    """
    try:
        with contextlib.closing(read_only(path)) as db:
            verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                return str(verdict)
            expected = 1
            if start and db.execute(_COUNT, (start,)).fetchone() != (start, 1):
                return f"of the first {start} events some are missing"
            expected = start + 1
            for seq, body in db.execute("SELECT seq, body FROM events WHERE seq >= ? ORDER BY seq", (expected,)):
                if seq != expected:
                    return f"event {expected} is missing"
                event = decode(body)
                if apply is not None:
                    apply(event)
                expected += 1
    except (UserError, sqlite3.DatabaseError) as error:
        return str(error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"event {expected} does not decode: {error}"
    return None


def mend(path: Path) -> str | None:
    """Check a journal and put a damaged tail into quarantine; says what was done, None when all is well.

    The damaged file is kept beside as ``<name>.damaged``; the sound head becomes the journal again.
    """
    trouble = check(path)
    if trouble is None:
        return None
    kept = path.with_name(path.name + ".damaged")
    number = 1
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}.damaged{number}")
    fresh = path.with_name(path.name + ".mending")
    fresh.unlink(missing_ok=True)
    target = Journal(fresh)
    quarantined = 0
    rows = _salvage(path)
    for seq, ts, kind, body in rows:
        sound = False
        if quarantined == 0 and seq == target.seq + 1:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, TypeError):
                target.append(decode(body))
                sound = True
        if not sound:
            quarantined += 1
            target._db.execute("INSERT INTO quarantine VALUES (?, ?, ?, ?, ?)", (seq, ts, kind, body, trouble))
    sound_events = target.seq
    target.close()
    for suffix in ("-wal", "-shm"):
        side = path.with_name(path.name + suffix)
        if side.exists():
            os.replace(side, kept.with_name(kept.name + suffix))
    os.replace(path, kept)
    os.replace(fresh, path)
    return (f"the journal {path.name} was damaged ({trouble}): {sound_events} events are sound, "
            f"{quarantined} went into quarantine, the damaged file is kept as {kept.name}")


def _salvage(path: Path) -> list[tuple[int, int, str, bytes]]:
    rows: list[tuple[int, int, str, bytes]] = []
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as db:
        db.text_factory = bytes
        for seq, ts, kind, body in db.execute("SELECT seq, ts, type, body FROM events ORDER BY seq"):
            rows.append((seq, ts, kind.decode(errors="replace"), body))
    return rows
