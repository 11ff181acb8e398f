"""The bundled sample and the split table."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from trader.core.sessions import session_index, session_open_close
from trader.data.adjust import Split, apply_splits, read_splits
from trader.data.sample import SYMBOLS, daily_panel
from trader.utils.errors import UserError
from trader.utils.paths import bundled_dir


def returns_on(panel, symbol, day):
    row = int(np.searchsorted(panel.ts_ns, session_open_close(day)[0]))
    column = panel.column(symbol)
    return panel.close[row, column] / panel.close[row - 1, column] - 1


def test_days_are_sessions_and_bars_are_valid():
    panel = daily_panel()
    assert panel.symbols == SYMBOLS
    assert len(panel) == 3270
    assert (np.diff(session_index(panel.ts_ns)) == 1).all()         # not one session is missing
    there = np.isfinite(panel.close)
    assert dict(zip(SYMBOLS, there.sum(axis=0).tolist(), strict=True)) == {
        "AAPL": 3270, "FB": 196, "GOOG": 2148, "IBM": 3270, "MSFT": 3270,
    }
    assert (panel.low <= np.minimum(panel.open, panel.close))[there].all()
    assert (panel.high >= np.maximum(panel.open, panel.close))[there].all()
    assert panel.source == "real"


@pytest.mark.parametrize(("symbol", "day"), [
    ("AAPL", date(2000, 6, 21)), ("AAPL", date(2005, 2, 28)), ("MSFT", date(2003, 2, 18)),
])
def test_splits_leave_the_returns_of_other_days_alone(symbol, day):
    raw, adjusted = daily_panel(adjusted=False), daily_panel()
    assert returns_on(raw, symbol, day) < -0.4
    assert abs(returns_on(adjusted, symbol, day)) < 0.15
    assert 1 + returns_on(adjusted, symbol, day) == pytest.approx(2 * (1 + returns_on(raw, symbol, day)), rel=1e-12)
    turnover = [p.close[:, p.column(symbol)] * p.volume[:, p.column(symbol)] for p in (raw, adjusted)]
    np.testing.assert_allclose(*turnover, rtol=1e-12)


def test_the_real_crash_survives():
    assert returns_on(daily_panel(), "AAPL", date(2000, 9, 29)) == pytest.approx(-0.5187, abs=1e-3)


def test_only_jumps_of_the_ratio_to_the_vendors_prices_are_splits():
    import pyarrow.parquet as pq

    table = pq.read_table(bundled_dir("data/sample") / "daily.parquet").to_pandas()
    found = set()
    for symbol, rows in table.groupby("symbol", observed=True):
        step = (rows["close"] / rows["adj_close"]).pct_change()
        found |= {(symbol, day) for day in rows["date"][step < -0.3]}
    assert found == {(s.symbol, s.ex_date) for s in read_splits(bundled_dir("data/sample") / "splits.csv")}


def test_a_split_after_the_day_of_knowledge_is_not_applied():
    raw = daily_panel(["AAPL"], adjusted=False)
    splits = read_splits(bundled_dir("data/sample") / "splits.csv")
    known = apply_splits(raw, splits, as_of_ns=session_open_close(date(2001, 1, 3))[0])
    before = slice(0, 50)
    np.testing.assert_array_equal(known.close[before], raw.close[before] / 2)
    np.testing.assert_array_equal(daily_panel(["AAPL"]).close[before], raw.close[before] / 4)
    assert known.volume[0, 0] == raw.volume[0, 0] * 2


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match=r"NVDA: not in the bundled sample, which holds AAPL, FB"):
        daily_panel(["NVDA"])
    bad = tmp_path / "splits.csv"
    bad.write_text("symbol,ex_date,new_shares,old_shares\nAAPL,2005-02-30,2,1\n")
    with pytest.raises(UserError, match=r"line 2"):
        read_splits(bad)
    with pytest.raises(ValueError, match="this day has none"):
        apply_splits(daily_panel(["IBM"]), [Split("IBM", date(2005, 2, 27), 2, 1)])
