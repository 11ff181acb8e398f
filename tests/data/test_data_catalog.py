"""One place where bars come from: store, sample, cache, and clear words when there are none."""

from __future__ import annotations

import numpy as np
import pytest

from trader.core.panel import FIELDS
from trader.data.bars import SymbolBars, split_panel
from trader.data.catalog import available, load_panel, parse_range
from trader.data.sample import daily_panel
from trader.data.store import BarStore
from trader.data.timeframe import parse_timeframe
from trader.utils.errors import UserError

WEEK = ("2012-06-04", "2012-06-08")


def some_bars(n=5, first=0):
    starts = load_grid()[first : first + n]
    flat = np.full(n, 100.0)
    return SymbolBars(starts, flat, flat + 1, flat - 1, flat, flat * 10)


def load_grid():
    return daily_panel(["IBM"]).ts_ns[-60:]


@pytest.mark.parametrize(("text", "name"), [
    ("15Min", "15Min"), ("15m", "15Min"), ("15", "15Min"), ("1h", "60Min"), ("1d", "1Day"), ("1Day", "1Day"),
    ("daily", "1Day"), ("min", "1Min"),
])
def test_spellings_of_timeframes(text, name):
    assert parse_timeframe(text).name == name


@pytest.mark.parametrize("text", ["", "15x", "0m", "2000m", "two days"])
def test_timeframes_that_are_none(text):
    with pytest.raises(UserError, match="is not a bar size"):
        parse_timeframe(text)


def test_sample_answers_an_empty_home(home):
    daily = load_panel(home, ["AAPL", "MSFT"], "1d", *WEEK)
    bars = load_panel(home, ["AAPL", "MSFT"], "15m", *WEEK)
    assert (len(daily), daily.source) == (5, "real")
    assert (len(bars), bars.source) == (130, "synthetic-intraday")
    assert bars.close[-1].tolist() == daily.close[-1].tolist()


def test_cache_gives_the_same_panel_and_forgives_damage(home):
    fresh = load_panel(home, ["AAPL"], "15m", *WEEK)
    (cached,) = (home / "data" / "cache").iterdir()
    again = load_panel(home, ["AAPL"], "15m", *WEEK)
    cached.write_bytes(b"PK not really")
    mended = load_panel(home, ["AAPL"], "15m", *WEEK)
    for panel in (again, mended):
        for name in ("ts_ns", "available_ns", *FIELDS):
            np.testing.assert_array_equal(getattr(panel, name), getattr(fresh, name))
    assert load_panel(home, ["AAPL"], "15m", *WEEK, synth_seed=8).close.tolist() != fresh.close.tolist()


def test_the_cache_does_not_grow_for_ever(home):
    for day in range(4, 16):
        load_panel(home, ["IBM"], "15m", "2012-06-01", f"2012-06-{day:02}")
    kept = list((home / "data" / "cache").iterdir())
    assert len(kept) == 8


def test_a_home_that_cannot_be_written_costs_only_time(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert len(load_panel(blocked / "home", ["AAPL"], "15m", *WEEK)) == 130


def test_the_store_comes_first_and_is_never_mixed(home):
    store = BarStore(home)
    store.write("NVDA", "1Day", some_bars(), source="real", adjustment="raw", origin="a.csv")
    assert load_panel(home, None, "1d").symbols == ("NVDA",)
    assert load_panel(home, ["ibm"], "1d").symbols == ("IBM",)
    with pytest.raises(UserError, match=r"no one place has 1Day bars of them all .* never mixed"):
        load_panel(home, ["NVDA", "IBM"], "1d")
    assert {(d.symbol, d.place) for d in available(home)} >= {("NVDA", "store"), ("IBM", "sample")}


def test_a_range_may_start_within_a_day(home):
    whole = load_panel(home, ["AAPL"], "15m", "2012-06-04", "2012-06-04")
    part = load_panel(home, ["AAPL"], "15m", "2012-06-04T15:00", "2012-06-04T16:00")
    assert len(part) == 4
    assert part.close.tolist() == whole.between(int(part.ts_ns[0]), int(part.ts_ns[-1]) + 1).close.tolist()


@pytest.mark.parametrize(("arguments", "words"), [
    ((["NVDA", "AAPL"], "15m"), "no 15Min bars of NVDA: the store holds none, the bundled sample AAPL, FB"),
    ((["AAPL"], "1h"), "no 60Min bars of AAPL"),
    ((["AAPL"], "1d", "2020-01-01"), "there are bars from 2000-03-01 to 2013-03-01"),
    ((["AAPL"], "1d", "2012-06-02", "2012-06-03"), "no 1Day bars of AAPL from 2012-06-02 to 2012-06-03"),
    ((["AAPL"], "1d", "12.6.2012"), "start '12.6.2012' is not a date"),
    ((["AAPL"], "1d", "2012-06-04", "2012-06-31"), "end '2012-06-31' is not a date"),
    ((["AAPL"], "1d", "2012-06-04", "2012-06-01"), "the start must come before the end"),
    (([], "1d"), "no symbols were given"),
])
def test_mistakes_are_named(home, arguments, words):
    with pytest.raises(UserError) as caught:
        load_panel(home, *arguments)
    assert words in str(caught.value)


def test_a_bare_end_includes_its_day():
    start, end = parse_range("2012-06-04", "2012-06-04")
    assert end - start == 86_400 * 10**9


class TestStore:
    def test_bars_come_back_as_they_were(self, home):
        bars = split_panel(daily_panel(["IBM"]))["IBM"]
        info = BarStore(home).write("IBM", "1d", bars, source="real", adjustment="split", origin="x")
        back = BarStore(home).bars("IBM", "1Day")
        for name in ("ts_ns", *FIELDS):
            np.testing.assert_array_equal(getattr(back, name), getattr(bars, name))
        assert (info.rows, info.first_ns) == (len(bars), int(bars.ts_ns[0]))
        assert BarStore(home).datasets() == [info]

    def test_appending_leaves_parts_alone_and_takes_only_what_is_new(self, home):
        store = BarStore(home)
        about = {"source": "real", "adjustment": "raw", "origin": "x"}
        store.write("A", "1d", some_bars(5, 10), **about)
        before = {p: p.read_bytes() for p in store.root.rglob("*.parquet")}
        info = store.write("A", "1d", some_bars(30, 0), **about)
        assert all(path.read_bytes() == content for path, content in before.items())
        assert info.rows == 30
        assert store.bars("A", "1d").ts_ns.tolist() == load_grid()[:30].tolist()
        assert store.write("A", "1d", some_bars(30, 0), **about) == info

    def test_sources_and_adjustments_do_not_mix(self, home):
        store = BarStore(home)
        store.write("A", "1d", some_bars(), source="real", adjustment="raw", origin="x")
        for other in ({"source": "synthetic-intraday", "adjustment": "raw"}, {"source": "real", "adjustment": "split"}):
            with pytest.raises(UserError, match="must not be mixed"):
                store.write("A", "1d", some_bars(5, 20), **other, origin="x")

    def test_what_cannot_be(self, home):
        store = BarStore(home)
        about = {"source": "real", "adjustment": "raw", "origin": "x"}
        with pytest.raises(UserError, match="not a ticker"):
            store.write("../A", "1d", some_bars(), **about)
        with pytest.raises(ValueError, match="strictly increasing"):
            store.write("A", "1d", some_bars().take(slice(None, None, -1)), **about)
        with pytest.raises(KeyError, match="no 1Day bars of B"):
            store.read(["B"], "1d")

    def test_a_damaged_part_is_named(self, home):
        store = BarStore(home)
        store.write("A", "1d", some_bars(), source="real", adjustment="raw", origin="x")
        (part,) = store.root.rglob("*.parquet")
        part.write_bytes(b"nothing")
        with pytest.raises(UserError, match=r"part-.*cannot be read"):
            store.bars("A", "1d")

    def test_a_crash_before_the_manifest_leaves_the_old_state(self, home, monkeypatch):
        store = BarStore(home)
        about = {"source": "real", "adjustment": "raw", "origin": "x"}
        old = store.write("A", "1d", some_bars(), **about)
        monkeypatch.setattr("trader.data.store.json.dumps", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.write("A", "1d", some_bars(5, 20), **about)
        monkeypatch.undo()
        assert BarStore(home).datasets() == [old]
        assert len(store.bars("A", "1d")) == old.rows

    def test_removing(self, home):
        store = BarStore(home)
        store.write("A", "1d", some_bars(), source="real", adjustment="raw", origin="x")
        store.remove("A", "1d")
        assert store.datasets() == []
