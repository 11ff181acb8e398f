"""Snapshots: the fold of all events is the fold of a snapshot and what follows it, wherever the cut is."""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from pathlib import Path

import pytest
from engine_world import round_trip_and_refusal, short, submits
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.core import events as ev
from trader.core import fold_state, snapshots
from trader.core.fold import Fold
from trader.core.fold_state import Assembly, FoldState
from trader.core.journal import Journal, check, read_events
from trader.core.snapshots import Snapshots, recover
from trader.utils.errors import UserError


@lru_cache(maxsize=1)
def story() -> tuple[ev.AnyEvent, ...]:
    """Entries with brackets, an exit through cancels, a refusal, a replaced leg, predictions, gaps, a halt."""
    world = round_trip_and_refusal()
    second = world.hold("AAPL", price=50.0)
    leg = world.book.orders[second.client_order_id].legs[0]
    old = world.book.orders[leg]
    world.engine.on_event(ev.OrderReplaced(
        ts=world.now, client_order_id=leg, new_client_order_id="new-leg", new_broker_order_id="b-new",
        quantity=old.quantity, limit_price=old.limit_price, stop_price=old.stop_price))
    for value in (0.4, None, 0.6):
        world.play()
        world.engine.record(ev.Predictions(
            ts=world.now, model_id="m", p_loss=[0.3, None], p_neutral=[0.3, None], p_profit=[value, None]))
    world.engine.record(ev.SliceClosed(
        ts=world.now + 1, index=world.index + 1, bar_ts=world.now, day=20240103, open=[None, 1.0], high=[None, 1.0],
        low=[None, 1.0], close=[None, 1.0], volume=[None, 1.0]))
    world.engine.record(ev.Predictions(
        ts=world.now + 1, model_id="m", p_loss=[0.1, 0.1], p_neutral=[0.2, 0.2], p_profit=[0.7, 0.7]))
    world.play(short("MSFT"))
    close, = [c for c in submits(world.engine.halt("key", "f12", world.now)) if c.symbol == "AAPL"][:1] or [None]
    if close is not None:
        world.accept(close)
        world.fill(close.client_order_id)
    world.engine.note("info", "test", "the end")
    return tuple(world.events)


def folded(events: tuple[ev.AnyEvent, ...], fold: Fold | None = None) -> Fold:
    fold = fold or Fold()
    for event in events:
        fold.apply(event)
    return fold


def whole(fold: Fold) -> FoldState:
    return fold_state.state_of(fold)


def through_the_wire(fold: Fold, since: int = 0, trades: int = 0) -> FoldState:
    return fold_state.decode(fold_state.encode(fold_state.state_of(fold, since, trades)))


def indexes(fold: Fold) -> tuple[object, ...]:
    """What is derived and not part of a state."""
    book = fold.book
    return (book.by_broker_id, list(book.orders), list(book.open_orders), list(book.positions),
            {symbol: [o.client_order_id for o in book.open_orders_of(symbol)] for symbol in book.symbols},
            {symbol: o.client_order_id for symbol, o in book.stopped_entries.items()})


def test_every_cut_gives_the_fold_of_all_events() -> None:
    events = story()
    want = folded(events)
    for cut in range(1, len(events)):
        assembly = Assembly()
        assembly.add(through_the_wire(folded(events[:cut])))
        again = folded(events[cut:], assembly.fold())
        assert whole(again) == whole(want), cut
        assert indexes(again) == indexes(want), cut


@settings(max_examples=40)
@given(st.sets(st.integers(1, 10_000), min_size=1, max_size=6))
def test_a_chain_of_snapshots_holds_what_changed_between_them(marks: set[int]) -> None:
    events = story()
    cuts = sorted({1 + mark % (len(events) - 1) for mark in marks})
    fold, assembly, since, trades = Fold(), Assembly(), 0, 0
    for cut in cuts:
        folded(events[since:cut], fold)
        assembly.add(through_the_wire(fold, since, trades))
        since, trades = cut, len(fold.book.closed_trades)
        fold.touched.clear()
    again = folded(events[since:], assembly.fold())
    assert whole(again) == whole(folded(events))
    assert indexes(again) == indexes(folded(events))


def test_orders_that_are_still_open_are_the_ones_in_the_table() -> None:
    assembly = Assembly()
    assembly.add(through_the_wire(folded(story()[:30])))
    book = assembly.fold().book
    assert book.open_orders
    assert all(book.orders[key] is order for key, order in book.open_orders.items())


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal with a snapshot every 15 events."""
    path = tmp_path / "j.sqlite"
    kept, fold = Journal(path), Fold()
    keeper = Snapshots(kept, every=15)
    for event in story():
        fold.apply(event)
        kept.append(event)
        kept.commit()
        keeper.offer(fold)
    kept.close()
    return path


def snapshots_in(path: Path) -> list[int]:
    return [row[0] for row in sqlite3.connect(path).execute("SELECT seq FROM snapshots ORDER BY seq")]


def spoil(path: Path, statement: str, *values: object) -> None:
    db = sqlite3.connect(path)
    db.execute(statement, values)
    db.commit()
    db.close()


def test_reading_back_starts_at_the_last_snapshot(journal: Path) -> None:
    found = recover(journal)
    assert found.start == snapshots_in(journal)[-1] > len(story()) - 15
    assert found.mended is None
    assert whole(found.fold) == whole(folded(story()))
    assert check(journal) is None


@pytest.mark.parametrize(("statement", "first_good"), [
    ("UPDATE snapshots SET body = substr(body, 1, 100) WHERE seq = (SELECT max(seq) FROM snapshots)", -2),
    ("UPDATE snapshots SET digest = 'x' WHERE seq = (SELECT max(seq) FROM snapshots)", -2),
    ("UPDATE snapshots SET fold = 'another version'", None),
    ("UPDATE snapshots SET since = 3 WHERE seq = (SELECT min(seq) FROM snapshots)", None),
    ("DELETE FROM snapshots WHERE seq = (SELECT min(seq) FROM snapshots)", None),
    ("DROP TABLE snapshots", None),
])
def test_a_snapshot_that_does_not_fit_is_passed_over(journal: Path, statement: str, first_good: int | None) -> None:
    seqs = snapshots_in(journal)
    spoil(journal, statement)
    found = recover(journal)
    assert found.start == (0 if first_good is None else seqs[first_good])
    assert whole(found.fold) == whole(folded(story()))


def test_a_snapshot_belongs_to_its_event(journal: Path) -> None:
    last = snapshots_in(journal)[-1]
    event = dict(read_events(journal))[last]
    spoil(journal, "UPDATE events SET body = ? WHERE seq = ?",
          ev.encode(ev.Note(ts=event.ts, level="info", source="x", text="another")).decode(), last)
    assert recover(journal).start < last


def test_a_damaged_tail_is_mended_and_all_is_folded_anew(journal: Path) -> None:
    spoil(journal, "UPDATE events SET body = '{' WHERE seq = ?", len(story()) - 1)
    found = recover(journal)
    assert found.mended is not None
    assert found.start == 0
    assert whole(found.fold) == whole(folded(story()[:-2]))


def test_there_must_be_a_journal(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no journal"):
        recover(tmp_path / "none.sqlite")


def test_a_gap_before_the_snapshot_is_damage(journal: Path) -> None:
    spoil(journal, "DELETE FROM events WHERE seq = 7")
    found = recover(journal)
    assert found.mended is not None
    assert whole(found.fold) == whole(folded(story()[:6]))


def test_a_fold_that_is_not_at_the_journals_end_is_not_kept(tmp_path: Path) -> None:
    kept, fold = Journal(tmp_path / "j.sqlite"), Fold()
    keeper = Snapshots(kept, every=5)
    for event in story()[:20]:
        fold.apply(event)
        kept.append(event)
    assert not keeper.offer(fold)                       # nothing is committed yet
    fold.apply(story()[20])                             # and now the fold is ahead
    kept.commit()
    assert not keeper.offer(fold)
    kept.close()
    assert recover(tmp_path / "j.sqlite").start == 0


def test_without_source_there_are_no_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: Path) -> None:
    monkeypatch.setattr(snapshots, "fold_version", lambda: "")
    kept = Journal(tmp_path / "k.sqlite")
    kept.append(story()[0])
    kept.commit()
    assert not Snapshots(kept, every=1).offer(folded(story()[:1]))
    kept.close()
    assert recover(journal).start == 0
