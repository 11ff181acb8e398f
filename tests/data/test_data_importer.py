"""Users' files: many spellings, zones, epochs, bar labels; everything left out is counted, every mistake named."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.core.clock import MINUTE_NS
from trader.core.sessions import bar_grid, session_open_close
from trader.data.importer import import_files
from trader.data.store import BarStore
from trader.utils.errors import UserError

OPEN, _ = session_open_close(date(2024, 11, 27))
_, CLOSE = session_open_close(date(2024, 12, 2))        # with Thanksgiving shut and a half day after it
GRID = bar_grid(OPEN, CLOSE, 15)


def frame(starts=GRID):
    n = len(starts)
    mid = 100 + np.arange(n) * 0.25
    return pd.DataFrame({
        "timestamp": pd.to_datetime(starts, utc=True), "open": mid, "high": mid + 1.0, "low": mid - 1.0,
        "close": mid + 0.5, "volume": np.arange(n) + 1000.0,
    })


def imported(path, home, **options):
    (result,) = import_files([path], home, **options)
    return result, BarStore(home).bars(result.symbol, result.timeframe)


def write(tmp_path, table, name="MSFT_15m.csv", **options):
    path = tmp_path / name
    table.to_csv(path, index=False, **options)
    return path


def assert_whole(result, bars):
    assert (result.symbol, result.timeframe, result.rows_written) == ("MSFT", "15Min", 26 + 14 + 26)
    np.testing.assert_array_equal(bars.ts_ns, GRID)
    np.testing.assert_array_equal(bars.close, frame()["close"])


STYLES = {
    "iso with Z": lambda t: t.assign(timestamp=t.timestamp.dt.strftime("%Y-%m-%dT%H:%M:%SZ")),
    "New York with offset": lambda t: t.assign(timestamp=t.timestamp.dt.tz_convert("America/New_York").astype(str)),
    "New York bare": lambda t: t.assign(
        timestamp=t.timestamp.dt.tz_convert("America/New_York").dt.strftime("%m/%d/%Y %H:%M")),
    "UTC bare": lambda t: t.assign(timestamp=t.timestamp.dt.strftime("%Y-%m-%d %H:%M:%S")),
    "seconds": lambda t: t.assign(timestamp=GRID // 10**9),
    "milliseconds": lambda t: t.assign(timestamp=GRID // 10**6),
    "microseconds": lambda t: t.assign(timestamp=GRID // 10**3),
    "nanoseconds": lambda t: t.assign(timestamp=GRID),
    "short names": lambda t: t.rename(columns=dict(zip(t.columns, list("tohlcv"), strict=True))),
    "numbered names": lambda t: t.rename(columns=dict(zip(
        t.columns, ["Date Time", "1. open", "2. high", "3. low", "4. close", "5. volume"], strict=True))),
    "date and time": lambda t: t.assign(
        Date=t.timestamp.dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d"),
        Time=t.timestamp.dt.tz_convert("America/New_York").dt.strftime("%H:%M"),
    ).drop(columns="timestamp"),
    "labelled by the end": lambda t: t.assign(timestamp=t.timestamp + pd.Timedelta(minutes=15)),
    "newest first": lambda t: t.iloc[::-1],
    "symbol column": lambda t: t.assign(ticker="msft"),
}


@pytest.mark.parametrize("style", STYLES)
def test_styles_of_csv(style, tmp_path, home):
    assert_whole(*imported(write(tmp_path, STYLES[style](frame())), home))


def test_semicolons_and_decimal_commas(tmp_path, home):
    assert_whole(*imported(write(tmp_path, frame(), sep=";", decimal=","), home))


@settings(max_examples=15)
@given(style=st.sampled_from([s for s in STYLES if s != "labelled by the end"]), data=st.data())
def test_any_order_and_any_repetition_gives_the_same_bars(style, data, tmp_path_factory):
    table = STYLES[style](frame())
    order = data.draw(st.permutations(range(len(table))))
    order += data.draw(st.lists(st.sampled_from(order), max_size=5))
    place = tmp_path_factory.mktemp("import")
    result, bars = imported(write(place, table.iloc[order]), place / "home")
    assert_whole(result, bars)
    assert result.dropped.get("repeated start", 0) == len(order) - len(table)


def test_regular_hours_by_the_calendar(tmp_path, home):
    starts = np.arange(OPEN - 5 * 3600 * 10**9, CLOSE + 4 * 3600 * 10**9, 15 * MINUTE_NS)
    path = write(tmp_path, frame(starts))
    result, bars = imported(path, home)
    np.testing.assert_array_equal(bars.ts_ns, GRID)
    assert result.dropped == {"outside regular hours": len(starts) - len(GRID)}
    everything, _ = imported(path, home / "other", session="all")
    assert everything.rows_written == len(starts)


def test_what_is_no_bar_is_dropped_and_counted(tmp_path, home):
    table = frame().astype({"volume": object})
    table.loc[3, "open"] = np.nan
    table.loc[4, "high"] = 1.0
    table.loc[5, "low"] = -1.0
    table.loc[6, "volume"] = -5
    table.loc[7, "timestamp"] += pd.Timedelta(minutes=4)
    result, bars = imported(write(tmp_path, table), home)
    assert result.dropped == {
        "off the grid": 1, "missing price": 1, "price not above zero": 1, "high below low, open or close": 1,
        "volume missing or negative": 1,
    }
    assert len(bars) == len(GRID) - 5


def test_parquet_with_vwap_and_metadata(tmp_path, home):
    table = frame().assign(vwap=100.0, trade_count=5)
    said = {"source": "synthetic bars of mine", "adjustment": "split", "symbol": "TEST"}
    path = tmp_path / "file.parquet"
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(arrow.replace_schema_metadata({b"alphatrade": json.dumps(said).encode()}), path)
    result, bars = imported(path, home)
    info = BarStore(home).info("TEST", "15Min")
    assert (result.symbol, info.source, info.adjustment, info.origin) == (
        "TEST", "synthetic-intraday", "split", "synthetic bars of mine",
    )
    assert bars.vwap.tolist() == [100.0] * len(GRID)
    assert bars.trade_count.tolist() == [5.0] * len(GRID)


@pytest.mark.parametrize("labels", ["2024-11-27", "2024-11-27T05:00:00Z", "2024-11-27T00:00:00-05:00", 20241127])
def test_daily_bars_start_with_their_session(labels, tmp_path, home):
    days = pd.DatetimeIndex(["2024-11-27", "2024-11-28", "2024-11-29", "2024-12-02"])
    if isinstance(labels, int):
        stamps = days.strftime("%Y%m%d")
    else:
        stamps = days.strftime("%Y-%m-%d") + labels[10:]
    result, bars = imported(write(tmp_path, frame(GRID[:4]).assign(timestamp=stamps), "IBM.csv"), home)
    assert result.timeframe == "1Day"
    assert bars.ts_ns.tolist() == [
        session_open_close(date(2024, *day))[0] for day in ((11, 27), (11, 29), (12, 2))
    ]
    assert result.dropped == {"no session that day": 1}         # Thanksgiving


def test_importing_twice_adds_nothing(tmp_path, home):
    path = write(tmp_path, frame())
    import_files([path], home)
    (again,) = import_files([path], home)
    assert again.rows_written == 0
    assert "in the store already" in again.notes[-1]


def test_many_symbols_in_one_file(tmp_path, home):
    both = pd.concat([frame().assign(symbol="A"), frame().assign(symbol="B")])
    assert [r.symbol for r in import_files([write(tmp_path, both, "x.csv")], home)] == ["A", "B"]


HEAD = "timestamp,open,high,low,close,volume\n"
GOOD = "2024-11-27T14:30:00Z,1,2,0.5,1,10\n2024-11-27T14:45:00Z,1,2,0.5,1,10\n"
MISTAKES = {
    "A_word.csv": (HEAD + GOOD + "2024-11-27T15:00:00Z,1,2,1,oops,1\n", "line 4, column close: 'oops' is not"),
    "A_time.csv": (HEAD + GOOD + "yesterday,1,2,0.5,1,10\n", "line 4, column timestamp: 'yesterday' has no time zone"),
    "A_clock.csv": (HEAD + GOOD.replace("2024-11-27T14:30:00Z", "2024-31-27T14:30:00Z"), "line 2, column timestamp"),
    "A_header.csv": (GOOD, "line 1: there is no header"),
    "A_column.csv": (HEAD.replace("volume", "weight") + GOOD, "no column for volume"),
    "A_twice.csv": (HEAD.replace("volume", "last") + GOOD, "two columns read as close"),
    "A_rows.csv": (HEAD, "no rows below the header"),
    "A_empty.csv": ("", "empty"),
    "12345.csv": (HEAD + GOOD, "say it with --symbol"),
    "A_night.csv": (HEAD + GOOD.replace("T14", "T04"), "no bar of A is left (2 outside regular hours)"),
    "A_zone.csv": (HEAD + GOOD.replace("T14", " 02").replace("Z", ""), "say which with --tz"),
    "A_size.csv": (HEAD + GOOD.replace("14:45:00", "14:30:10"), "bars of 10 seconds"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name, tmp_path, home):
    content, words = MISTAKES[name]
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        import_files([path], home)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert not (home / "data").exists()             # nothing half-written


def test_other_mistakes(tmp_path, home):
    with pytest.raises(UserError, match="no such file"):
        import_files([tmp_path / "none.csv"], home)
    path = write(tmp_path, frame())
    with pytest.raises(UserError, match="15Min, not 5Min"):
        import_files([path], home, timeframe="5m")
    with pytest.raises(UserError, match="session 'day' is unknown"):
        import_files([path], home, session="day")
    bare = write(tmp_path, STYLES["UTC bare"](frame()))
    with pytest.raises(UserError, match="time zone 'Mars/Olympus' is unknown"):
        import_files([bare], home, tz="Mars/Olympus")
    broken = tmp_path / "A.parquet"
    broken.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        import_files([path, broken], home)
    assert BarStore(home).datasets() == []          # the good file before the bad one was not written either
