"""Slippage statistics: signs, exact counts, bounded memory."""

import numpy as np
import pytest

from trader.utils.slippage_stats import RECENT, SlippageBook


def test_costs_are_positive_for_both_sides_and_all_comes_first():
    book = SlippageBook()
    assert book.rows() == ()
    book.on_fill("MSFT", "buy", 10, 101.0, 100.0, 102.0)
    book.on_fill("AAPL", "sell", 20, 99.0, 100.0, 98.0)
    book.on_fill("AAPL", "sell", 20, 100.5, 100.0)
    book.on_fill("AAPL", "buy", 1, 100.0, 0.0)
    book.on_order_done("AAPL", 50, 40)
    rows = {row.symbol: row for row in book.rows()}
    assert list(rows) == ["ALL", "AAPL", "MSFT"]
    assert rows["ALL"].executions == 3
    assert rows["MSFT"].mean_bps == pytest.approx(100.0)
    assert rows["MSFT"].cost == pytest.approx(10.0)
    assert rows["MSFT"].beat_vwap == 1.0
    assert rows["AAPL"].mean_bps == pytest.approx((100 - 50) / 2)
    assert rows["AAPL"].cost == pytest.approx(20.0 - 10.0)
    assert rows["AAPL"].beat_vwap == 1.0
    assert rows["AAPL"].fill_rate == pytest.approx(0.8)


def test_counts_stay_exact_while_memory_is_bounded():
    book, rng = SlippageBook(), np.random.default_rng(0)
    prices = 100 + rng.normal(0, 0.1, 5000)
    for price in prices.tolist():
        book.on_fill("A", "buy", 1, price, 100.0)
    row = book.rows()[1]
    bps = (prices / 100 - 1) * 1e4
    assert row.executions == 5000
    assert row.mean_bps == pytest.approx(bps.mean())
    assert row.median_bps == pytest.approx(np.median(bps[-RECENT:]))
    assert row.p95_bps == pytest.approx(np.quantile(bps[-RECENT:], 0.95))
    assert book.rows()[1] is row
