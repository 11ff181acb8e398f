"""The exchange calendar against known days, and its fast answers against a plain search."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader.core import sessions
from trader.core.clock import MINUTE_NS, to_ns

ORACLE = json.loads((Path(__file__).parents[1] / "oracles" / "D05_sessions.json").read_text())["expected"]


def ns(text: str) -> int:
    return to_ns(datetime.fromisoformat(text))


@pytest.mark.parametrize(("day", "expected"), ORACLE["sessions"].items())
def test_known_sessions(day, expected):
    when = date.fromisoformat(day)
    if expected == "closed":
        assert sessions.session_open_close(when) is None
        assert sessions.bars_per_session(when) == 0
        assert not sessions.is_open(ns(f"{day}T16:00:00+00:00"))
    else:
        assert sessions.session_open_close(when) == (ns(expected["open"]), ns(expected["close"]))
        assert sessions.bars_per_session(when, 15) == expected["bars_15min"]


@pytest.mark.parametrize("year", [2024, 2025])
def test_sessions_of_a_year(year):
    start, end = to_ns(datetime(year, 1, 1, tzinfo=UTC)), to_ns(datetime(year + 1, 1, 1, tzinfo=UTC))
    found = sessions.sessions_between(start, end)
    assert len(found) == ORACLE[f"n_sessions_{year}"]
    grid = sessions.bar_grid(start, end, 15)
    assert len(grid) == sum((close - open_) // (15 * MINUTE_NS) for _, open_, close in found)
    assert (np.diff(grid) > 0).all()
    assert (sessions.session_index(grid) >= 0).all()
    if year == 2024:
        assert len(grid) == ORACLE["total_15min_bars_2024"]


def test_edges_of_a_session():
    open_, close = sessions.session_open_close(date(2024, 7, 3))
    assert sessions.is_open(open_)
    assert not sessions.is_open(open_ - 1)
    assert not sessions.is_open(close)
    assert sessions.next_open(open_ - 1) == open_
    assert sessions.next_open(open_) == sessions.session_open_close(date(2024, 7, 5))[0]    # over Independence Day
    assert sessions.next_close(close - 1) == close
    assert sessions.next_close(close) == sessions.session_open_close(date(2024, 7, 5))[1]
    assert sessions.session_of(close - 1) == date(2024, 7, 3)
    assert sessions.session_of(close) is None
    assert sessions.sessions_between(close, open_) == []


def test_hourly_bars_end_with_a_short_one():
    assert sessions.bars_per_session(date(2024, 3, 11), 60) == 7
    assert sessions.bars_per_session(date(2024, 7, 3), 60) == 4


@given(st.integers(to_ns(datetime(1999, 1, 1, tzinfo=UTC)), to_ns(datetime(2030, 1, 1, tzinfo=UTC))))
def test_scalar_and_vector_answers_agree(moment):
    row = int(sessions.session_index(np.array([moment]))[0])
    assert sessions.is_open(moment) == (row >= 0)
    assert sessions.session_of(moment) == (sessions.session_date(row) if row >= 0 else None)
    table = sessions.session_table()
    assert sessions.next_open(moment) == int(table.opens[table.opens > moment][0])
    assert sessions.next_close(moment) == int(table.closes[table.closes > moment][0])


def test_days_outside_the_calendar_are_refused():
    with pytest.raises(ValueError, match="outside the exchange calendar"):
        sessions.session_open_close(date(1950, 1, 3))
    with pytest.raises(ValueError, match="no later session"):
        sessions.next_open(to_ns(datetime(2046, 1, 1, tzinfo=UTC)))


def test_import_is_cheap():
    code = "import sys, trader.core.sessions; sys.exit('pandas' in sys.modules or 'exchange_calendars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
