"""The data check on real bars with real traps, and on daily beside intraday bars."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trader.data.bars import split_panel
from trader.data.catalog import synthetic_panel
from trader.data.check import check_home
from trader.data.check_pairs import compare
from trader.data.importer import import_files
from trader.data.sample import daily_panel
from trader.data.store import BarStore
from trader.data.timeframe import FIFTEEN

DATA = Path(os.environ.get("ALPHATRADE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
real = pytest.mark.skipif(not (DATA / "polygon_15m").is_dir(), reason=f"no real bars in {DATA}: ALPHATRADE_TEST_DATA")


def checked(home, *arguments):
    report = check_home(home, *arguments, now_ns=0)
    return report, {d["symbol"]: {f["check"]: f for f in d["findings"]} for d in report["datasets"]}


@real
def test_a_missing_session_is_found_and_half_days_are_none(home):
    import_files([DATA / "polygon_15m" / f"{s}_15m.parquet" for s in ("AAPL", "SPY")], home, timeframe="15Min")
    report, found = checked(home)
    assert report["ok"]                                              # nothing here is an error
    for symbol in ("AAPL", "SPY"):
        assert "2025-08-07" in found[symbol]["missing_sessions"]["examples"]
        halves = ("2024-11-29", "2024-12-24", "2025-07-03")
        said = str(found[symbol].get("missing_bars", {}).get("examples", ""))
        assert not any(day in said for day in halves)
        odd = found[symbol].get("vwap_outside_range")
        assert odd is None or (odd["severity"] == "warning" and odd["share"] < 0.2)
    assert "vwap_outside_range" in found["AAPL"]
    assert "split_not_adjusted" not in found["AAPL"]


@real
def test_the_closing_auction_and_the_hours_around_are_tolerated(home):
    import_files([DATA / "polygon_15m" / "AAPL_15m.parquet"], home, timeframe="15Min", session="all")
    report, found = checked(home)
    assert report["ok"]
    assert found["AAPL"]["outside_regular_hours"]["severity"] == "info"


@real
def test_hours_without_volume_and_strays_are_tolerated(home):
    files = sorted((DATA / "yahoo_15m").glob("*.parquet"))[:3]
    results = import_files(files, home, timeframe="15Min", session="all")
    report, found = checked(home)
    assert report["ok"]
    for result in results:
        assert result.rows_read == result.rows_written + sum(result.dropped.values())
        inside = found[result.symbol].get("zero_volume")
        assert inside is None or inside["share"] < 0.02              # extended hours carry none, and do not count


def days_and_quarters():
    daily = split_panel(daily_panel(["IBM"]).between(1_325_376_000 * 10**9, 1_338_508_800 * 10**9))["IBM"]
    return daily, split_panel(synthetic_panel(["IBM"], "2012-01-01", "2012-05-31"))["IBM"]


def test_bars_that_fill_the_day_give_nothing():
    assert compare(*days_and_quarters(), FIFTEEN) == []


@pytest.mark.parametrize(("change", "check", "severity"), [
    (lambda d: replace(d, volume=d.volume / 0.75), "auctions_not_in_bars", "info"),
    (lambda d: replace(d, volume=d.volume * 30), "volume_below_daily", "warning"),
    (lambda d: replace(d, volume=d.volume / 2), "volume_above_daily", "warning"),
    (lambda d: replace(d, close=d.close / 2), "close_unlike_daily", "warning"),
])
def test_what_does_not_fit_the_day_is_told(change, check, severity):
    daily, quarters = days_and_quarters()
    (finding,) = compare(change(daily), quarters, FIFTEEN)
    assert (finding.check, finding.severity, finding.count) == (check, severity, len(daily))
    assert finding.examples[0].startswith("2012-01-03")


def test_both_in_a_store_are_compared_and_damage_is_an_error(home):
    daily, quarters = days_and_quarters()
    store = BarStore(home)
    about = {"source": "real", "adjustment": "split", "origin": "x"}
    store.write("IBM", "1d", replace(daily, volume=daily.volume / 0.8), **about)
    store.write("IBM", "15m", quarters, **about)
    report, _ = checked(home)
    quarter = next(d for d in report["datasets"] if d["timeframe"] == "15Min")
    assert "auctions_not_in_bars" in [f["check"] for f in quarter["findings"]]
    assert report["ok"]
    assert store.damaged("IBM", "15m") == []
    (part,) = (store.root / "15Min" / "IBM").glob("*.parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(part).to_pandas()
    table.loc[5, "close"] += 0.01
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), part)
    report, _ = checked(home, None, "15m")
    assert not report["ok"]
    assert report["datasets"][0]["findings"][0]["check"] == "damaged_file"
    assert np.isfinite(store.bars("IBM", "15m").close).all()
