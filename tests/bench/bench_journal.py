"""The journal: encoding, appending, committing, reading back and folding, against bare SQLite in the same run.

``python -m tests.bench.bench_journal [events]``
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.bench.bench_table import interleave, ratio, table
from trader.core import events as ev
from trader.core.collector import without_collector
from trader.core.fold import Fold
from trader.core.journal import Journal, read_events
from trader.core.snapshots import Snapshots, recover

SYMBOLS = tuple(f"SYM{k:02d}" for k in range(7))
INSERT = "INSERT INTO events (seq, ts, type, body) VALUES (?, ?, ?, ?)"


def session(count: int) -> list[ev.AnyEvent]:
    """A session's events in about the mixture of a backtest: slices, and now and then an order with all its news."""
    events: list[ev.AnyEvent] = [ev.SessionStarted(
        ts=0, run_id="bench", mode="backtest", account="bench", symbols=SYMBOLS, timeframe="15Min", source="real",
        cash=Decimal(10_000_000), strategy="bench",
    )]
    events.append(ev.RiskRules(ts=0, tables={
        "entry": tuple(ev.RuleName(1 + k // 8, f"rule_{k}", "%") for k in range(29))}))
    used, limits = [0.0123456789 * k for k in range(29)], [0.25] * 29
    slices = 0
    while len(events) < count:
        slices += 1
        ts = slices * 900_000_000_000
        close = [100.0 + 0.01 * ((slices * 7 + k) % 997) for k in range(7)]
        events.append(ev.SliceClosed(
            ts=ts, index=slices, bar_ts=ts - 900_000_000_000, day=20240102, open=close, high=close, low=close,
            close=close, volume=[10_000.0 + k for k in range(7)]))
        if slices % 5 == 0:
            events += _order(slices, ts, "buy" if slices % 10 else "sell", used, limits)
    return events


def _order(number: int, ts: int, side: str, used: list[float], limits: list[float]) -> list[ev.AnyEvent]:
    model = ev.RuleCheck(4, "model", "allow", "NO_MODEL", 0, 3, "level")
    key, symbol, shares = f"bt-e{number}", SYMBOLS[number % 7], Decimal(100)
    return [
        ev.OrderIntent(ts=ts, client_order_id=key, symbol=symbol, side=side, quantity=shares, role="entry",
                       strategy="bench", signal_price=100.0, reason="fast mean above slow"),
        ev.RiskVerdict(ts=ts, client_order_id=key, symbol=symbol, action="allow", quantity_asked=shares,
                       quantity=shares, checks=(model,), rules="entry", used=used, limits=limits),
        ev.OrderSubmitting(ts=ts, client_order_id=key),
        ev.OrderAccepted(ts=ts, client_order_id=key, broker_order_id=f"b{number}"),
        ev.OrderFilled(ts=ts, client_order_id=key, execution_id=f"x{number}", symbol=symbol, side=side,
                       quantity=shares, price=Decimal("100.05"), commission=Decimal("0.5")),
    ]


def _bare(path: Path, rows: list[tuple[Any, ...]], batch: int, sync: str) -> None:
    """SQLite alone with rows that are ready: what no journal in it can beat."""
    _fresh(path)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute(f"PRAGMA synchronous={sync}")
    db.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, ts INTEGER, type TEXT, body TEXT)")
    for start in range(0, len(rows), batch):
        db.execute("BEGIN IMMEDIATE")
        db.executemany(INSERT, rows[start:start + batch])
        db.execute("COMMIT")
    db.close()


def _ours(path: Path, events: list[ev.AnyEvent], batch: int, durable: bool) -> None:
    _fresh(path)
    journal = Journal(path, durable=durable)
    for start in range(0, len(events), batch):
        for event in events[start:start + batch]:
            journal.append(event)
        journal.commit()
    journal.close()


def _with_snapshots(path: Path, events: list[ev.AnyEvent]) -> None:
    """A session's journal: folded as it is written, with the snapshots that a session writes."""
    _fresh(path)
    journal, fold = Journal(path), Fold()
    snapshots = Snapshots(journal)
    for number, event in enumerate(events, 1):
        fold.apply(event)
        journal.append(event)
        if number % 100 == 0:
            journal.commit()
            snapshots.offer(fold)
    journal.close()


def _fresh(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _folded(path: Path) -> Fold:
    fold = Fold()
    with without_collector():
        for _, event in read_events(path):
            fold.apply(event)
    return fold


def measure(count: int = 50_000, rounds: int = 5) -> tuple[str, dict[str, Any]]:
    """The table, and each contestant's last result."""
    events = session(count)
    rows = [(k, e.ts, type(e).__name__, ev.encode(e).decode()) for k, e in enumerate(events, 1)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        stored = place / "stored.db"
        _ours(stored, events, 10_000, durable=False)
        kept = place / "kept.db"
        _with_snapshots(kept, events)
        times = interleave({
            "bare SQLite, one transaction": lambda: _bare(place / "a.db", rows, len(rows), "OFF"),
            "bare SQLite, 100 a commit, FULL": lambda: _bare(place / "b.db", rows, 100, "FULL"),
            "encode": lambda: [ev.encode(event) for event in events],
            "decode": lambda: [ev.decode(row[3]) for row in rows],
            "journal of a backtest": lambda: _ours(place / "c.db", events, len(events), durable=False),
            "journal of a session, 100 a commit": lambda: _ours(place / "d.db", events, 100, durable=True),
            "read back": lambda: sum(1 for _ in read_events(stored)),
            "read back and fold": lambda: _folded(stored),
            "check, read back and fold": lambda: recover(stored).fold,
            "the same from the last snapshot": lambda: recover(kept).fold,
            "fold, journal and snapshots of a session": lambda: _with_snapshots(place / "e.db", events),
        }, rounds)
    lines = [
        (name, timing.median, len(events) / timing.median, ratio(times, name, "bare SQLite, one transaction"))
        for name, timing in times.items()
    ]
    text = table(f"journal, {len(events):,} events; CPU seconds, median of {rounds}",
                 ("contestant", "s", "events/s", "× bare SQLite"), lines)
    return text, {name: timing.result for name, timing in times.items()} | {"events": len(events)}


@pytest.mark.bench
def test_the_journal_gives_back_what_it_took() -> None:
    text, results = measure(20_000, rounds=3)
    print(text)
    assert results["read back"] == results["read back and fold"].events == results["events"]
    assert results["the same from the last snapshot"].events == results["events"]


if __name__ == "__main__":
    print(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)[0])
