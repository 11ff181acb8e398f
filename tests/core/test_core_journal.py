"""The journal: durable batches, order, damage found and quarantined, never an event lost in silence."""

import sqlite3
import subprocess
import sys

import pytest

from trader.core import events as ev
from trader.core import journal as journal_module
from trader.core.journal import Journal, check, mend, read_events, read_meta
from trader.utils.errors import UserError


def note(number):
    return ev.Note(ts=number, level="info", source="test", text=f"event {number}")


def test_events_come_back_as_they_went_in(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    for number in range(1, 50):
        journal.append(note(number))
    journal.set_meta("summary", "{}")
    journal.close()
    assert [event.ts for _, event in read_events(tmp_path / "j.sqlite")] == list(range(1, 50))
    assert [seq for seq, _ in read_events(tmp_path / "j.sqlite", after=45)] == [46, 47, 48, 49]
    assert read_meta(tmp_path / "j.sqlite")["summary"] == "{}"
    assert check(tmp_path / "j.sqlite") is None
    assert mend(tmp_path / "j.sqlite") is None


def test_nothing_is_on_the_disk_before_the_commit_and_all_of_it_after(tmp_path):
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    journal.append(note(1))
    assert list(read_events(path)) == []
    journal.commit()
    assert len(list(read_events(path))) == 1
    assert journal.pending == 0


def test_orders_are_committed_with_full_sync_and_notes_are_not(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    statements = []
    journal._db.set_trace_callback(statements.append)
    journal.append(note(1))
    journal.commit()
    assert not any("FULL" in s for s in statements)
    journal.append(ev.OrderSubmitting(ts=2, client_order_id="o1"))
    journal.commit()
    assert statements.index("PRAGMA synchronous=FULL") < statements.index("COMMIT", statements.index("COMMIT") + 1)


def test_a_commit_that_fails_keeps_its_events_for_the_next(tmp_path):
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    other = sqlite3.connect(path, isolation_level=None)
    journal._db.execute("PRAGMA busy_timeout=0")
    other.execute("BEGIN IMMEDIATE")
    journal.append(ev.OrderSubmitting(ts=1, client_order_id="o1"))
    with pytest.raises(sqlite3.OperationalError):
        journal.commit()
    assert journal.pending == 1
    assert journal.must_sync
    other.execute("ROLLBACK")
    journal.commit()
    assert len(list(read_events(path))) == 1


def test_a_row_that_does_not_decode_sends_the_tail_into_quarantine(tmp_path):
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    for number in range(1, 11):
        journal.append(note(number))
    journal.close()
    db = sqlite3.connect(path)
    db.execute("UPDATE events SET body = '{\"type\": \"Note\", \"ts\": 7, \"le' WHERE seq = 7")
    db.commit()
    db.close()
    assert "event 7" in check(path)
    said = mend(path)
    assert "6 events are sound" in said
    assert "4 went into quarantine" in said
    assert [seq for seq, _ in read_events(path)] == list(range(1, 7))
    assert check(path) is None
    assert sqlite3.connect(path).execute("SELECT count(*) FROM quarantine").fetchone()[0] == 4
    assert (tmp_path / "j.sqlite.damaged").is_file()


def test_a_missing_event_is_damage(tmp_path):
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    for number in range(1, 6):
        journal.append(note(number))
    journal.close()
    db = sqlite3.connect(path)
    db.execute("DELETE FROM events WHERE seq = 3")
    db.commit()
    db.close()
    assert check(path) == "event 3 is missing"
    mend(path)
    assert [seq for seq, _ in read_events(path)] == [1, 2]


@pytest.mark.parametrize("damage", ["tail", "middle"])
def test_torn_pages_are_survived(tmp_path, damage):
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    for number in range(1, 3000):
        journal.append(note(number))
    journal.close()
    raw = bytearray(path.read_bytes())
    if damage == "tail":
        raw = raw[: len(raw) - 4096 * 3 - 100]
    else:
        middle = len(raw) // 2 // 4096 * 4096
        raw[middle:middle + 4096] = b"\x5a" * 4096
    path.write_bytes(bytes(raw))
    said = mend(path)
    assert said is not None
    assert "quarantine" in said
    assert check(path) is None
    kept = [seq for seq, _ in read_events(path)]
    assert kept == list(range(1, len(kept) + 1))


def test_committed_events_survive_a_kill(tmp_path):
    path = tmp_path / "j.sqlite"
    script = f"""
import os, signal
from pathlib import Path
from trader.core import events as ev
from trader.core.journal import Journal
journal = Journal(Path({str(path)!r}))
for n in range(1, 200):
    journal.append(ev.OrderSubmitting(ts=n, client_order_id=str(n)))
    journal.commit()
journal.append(ev.OrderSubmitting(ts=200, client_order_id="never committed"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    assert check(path) is None
    assert [event.ts for _, event in read_events(path)] == list(range(1, 200))


def test_clear_errors_for_what_is_no_journal(tmp_path):
    with pytest.raises(UserError, match="no journal"):
        list(read_events(tmp_path / "none.sqlite"))
    (tmp_path / "text.sqlite").write_text("hello, I am not a database at all, really not" * 50)
    with pytest.raises(UserError, match="not a readable journal"):
        list(read_events(tmp_path / "text.sqlite"))
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="cannot write the journal"):
        Journal(blocked / "j.sqlite")


def test_every_event_type_survives_the_round_trip():
    for kind in ev.AnyEvent.__args__:
        assert kind.__name__ in {t.__name__ for t in ev.AnyEvent.__args__}
        assert issubclass(kind, ev.Event)
    assert journal_module.decode(journal_module.encode(note(1))) == note(1)
