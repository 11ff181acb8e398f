"""The venue's numbers: rounding of floats, ids, rows of a panel, the books at a reversal."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal as D

import numpy as np
import pytest
from exchange_markets import walk_panel
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trader.core.panel import FIELDS
from trader.exchange.account import Account
from trader.exchange.decimals import rounded
from trader.exchange.identifiers import IdSource
from trader.exchange.path import END, bar_path, price_at
from trader.exchange.rows import Rows
from trader.exchange.venue import Venue


@settings(max_examples=500)
@given(st.floats(1e-6, 1e9), st.sampled_from((2, 4, 6)))
@example(0.12345, 4)        # halves as they print go to the even digit
@example(0.12355, 4)
@example(3.595, 2)
@example(1_234_567.000_05, 4)
def test_rounding_a_float_is_rounding_what_it_prints_as(number: float, places: int) -> None:
    quantum = D(1).scaleb(-places)
    got = rounded(number, places)
    assert got == D(repr(number)).quantize(quantum)
    assert got.as_tuple().exponent == quantum.as_tuple().exponent


@given(st.integers(0, 2**40), st.integers(0, 1_000), st.integers(0, 600))
def test_ids_go_on_where_another_source_stopped(seed: int, first: int, second: int) -> None:
    source = IdSource(seed)
    told = [source.next() for _ in range(first)]
    assert source.count == first
    other = IdSource(seed, source.count)
    expected = [source.next() for _ in range(second)]
    assert [other.next() for _ in range(second)] == expected
    assert other.count == source.count == first + second
    assert len({*told, *expected}) == first + second


def test_rows_are_the_panels_in_any_order_and_after_a_change() -> None:
    panel = walk_panel(("A", "B"), 200)
    rows = Rows(panel)
    for i in (0, 1, 63, 64, 199, 5, 198):
        assert rows.at(i) == [[getattr(panel, name)[i, column] for name in FIELDS] for column in range(2)]
    rows.forget()
    for i in (5, 6):
        panel.close[i] *= 2.0
        assert rows.at(i)[1][3] == panel.close[i, 1]
    panel.close[6, 0] = math.nan
    rows.forget()
    assert math.isnan(rows.at(6)[0][3])


def test_the_price_at_a_position_lies_on_the_path() -> None:
    path = bar_path(100.0, 104.0, 99.0, 102.0)
    assert path == (100.0, 99.0, 104.0, 102.0)
    assert [price_at(path, at) for at in (0.0, 0.5, 1.0, 1.5, END)] == [100.0, 99.5, 99.0, 101.5, 102.0]


@pytest.mark.parametrize(("held", "traded", "realized", "cost"), [
    ("10", "-4", "40", "600"), ("10", "-10", "100", None), ("10", "-14", "100", "-440"),
    ("-10", "4", "-40", "-600"), ("-10", "10", "-100", None), ("-10", "14", "-100", "440"),
    ("10", "5", "0", "1550"), ("-10", "-5", "0", "-1550"),
])
def test_books_of_a_second_trade(held: str, traded: str, realized: str, cost: str | None) -> None:
    book = Account(D(10_000))
    book.book_fill("A", D(held), D(100), D(0))
    assert book.book_fill("A", D(traded), D(110), D(1)) == D(held) + D(traded) == book.quantity("A")
    assert book.realized == D(realized)
    assert (book.holdings["A"].cost if cost else None) == (D(cost) if cost else None)
    assert ("A" in book.holdings) is (cost is not None)
    open_cost = sum((holding.cost for holding in book.holdings.values()), D(0))
    assert book.cash + open_cost == book.deposited + book.realized - book.fees


def test_a_step_says_which_bar_it_played(market: Callable[..., Venue]) -> None:
    venue = market([(100, 101, 99, 100)] * 3)
    first = venue.index
    assert [venue.step() for _ in range(2)] == [first, first + 1]
    assert np.isclose(venue.panel.slice(first).close[0], 100.0)


