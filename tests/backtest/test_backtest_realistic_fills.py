"""The fill model: its parts, its bounds, the shapes of bars that it takes."""

from __future__ import annotations

import math
from collections import namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader.backtest.realistic_fills import RealisticFillSimulator

BAR = {"open": 175.0, "high": 176.0, "low": 174.0, "close": 175.0, "volume": 1_000_000.0}


def test_square_root_impact_matches_the_worked_example() -> None:
    # 1,000 shares of an ADV of 5,000,000 at 2 % a day: the sqrt term is 2.828 bps
    fill = RealisticFillSimulator().simulate_fill(
        "AAPL", "buy", 1000, 175.5, BAR, adv=5_000_000, volatility=0.02
    )
    assert fill.permanent_impact_bps == pytest.approx(0.2828, abs=1e-4)
    assert fill.temporary_impact_bps == pytest.approx(0.5657, abs=1e-4)
    assert fill.slippage_bps == pytest.approx(2.3485, abs=1e-4)
    assert (fill.fill_price - 175.5) * 1000 == pytest.approx(41.22, abs=0.01)
    assert fill.commission == pytest.approx(5.0)


def test_a_mapping_a_pandas_row_and_a_namedtuple_give_the_same_fill() -> None:
    import pandas as pd

    row = next(pd.DataFrame([BAR]).itertuples(index=False))
    bars = [BAR, pd.Series(BAR), namedtuple("Bar", BAR)(**BAR), row]
    simulator = RealisticFillSimulator()
    fills = [simulator.simulate_fill("AAPL", "sell", 500, 175.0, bar) for bar in bars]
    assert all(fill == fills[0] for fill in fills)


def test_a_large_order_fills_partly_and_a_small_tail_is_taken_along() -> None:
    simulator = RealisticFillSimulator(max_participation=0.1, min_fill_rate=0.85)
    big = simulator.simulate_fill("AAPL", "buy", 250_000, 175.0, BAR)
    assert big.filled_quantity == 100_000
    assert big.is_partial
    assert big.participation_rate == pytest.approx(0.1)
    nearly = simulator.simulate_fill("AAPL", "buy", 110_000, 175.0, BAR)
    assert nearly.filled_quantity == 110_000
    assert not nearly.is_partial


def test_adverse_selection_is_paid_only_when_the_market_moves_with_the_trade() -> None:
    simulator = RealisticFillSimulator()
    rising = {**BAR, "close": 176.0}
    right = simulator.simulate_fill("AAPL", "buy", 100_000, 175.0, rising)
    wrong = simulator.simulate_fill("AAPL", "sell", 100_000, 175.0, rising)
    assert right.adverse_selection_bps == pytest.approx(0.5 * 1e4 * (176 / 175 - 1))
    assert wrong.adverse_selection_bps == 0.0


def test_a_signal_price_that_never_traded_is_brought_into_the_bar() -> None:
    fill = RealisticFillSimulator(slippage_model="none").simulate_fill("AAPL", "buy", 10, 170.0, BAR)
    assert fill.fill_price == 174.0
    assert fill.delay_bps == pytest.approx(1e4 * 4 / 170)


def test_models_differ_as_stated() -> None:
    fixed = RealisticFillSimulator(slippage_model="fixed", fixed_slippage_bps=5)
    assert fixed.simulate_fill("A", "sell", 10, 175, BAR).slippage_bps == pytest.approx(5.0)
    linear = RealisticFillSimulator(slippage_model="linear_impact")
    square = RealisticFillSimulator()
    size = {"adv": 1e6, "volatility": 0.02}
    small, large = (m.simulate_fill("A", "buy", 100, 175, BAR, **size) for m in (linear, square))
    assert small.market_impact_bps == pytest.approx(0.3 * 200 * 1e-4)
    assert large.market_impact_bps == pytest.approx(0.3 * 200 * 1e-2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slippage_model", "magic"), ("permanent_impact_coef", -0.1),
        ("min_fill_rate", 0.0), ("min_fill_rate", 1.5),
        ("max_participation", math.nan), ("commission_per_share", math.inf), ("bars_per_day", 0.0),
    ],
)
def test_parameters_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        RealisticFillSimulator(**{name: value})


@pytest.mark.parametrize(
    ("side", "quantity", "price"), [("hold", 1, 1.0), ("buy", 0, 1.0), ("buy", 1, math.nan)]
)
def test_bad_orders_are_refused(side: str, quantity: float, price: float) -> None:
    with pytest.raises(ValueError, match=r"expected"):
        RealisticFillSimulator().simulate_fill("AAPL", side, quantity, price, BAR)


@given(
    side=st.sampled_from(["buy", "sell"]),
    quantity=st.floats(1, 1e7),
    signal=st.floats(1, 1e4),
    close=st.floats(0.5, 2.0),
    volume=st.floats(0, 1e9),
)
def test_parts_add_up_and_costs_never_help(
    side: str, quantity: float, signal: float, close: float, volume: float
) -> None:
    bar = {"high": signal * 2.5, "low": signal * 0.4, "close": signal * close, "volume": volume}
    fill = RealisticFillSimulator().simulate_fill("AAPL", side, quantity, signal, bar)
    parts = fill.delay_bps + fill.spread_bps + fill.market_impact_bps + fill.adverse_selection_bps
    assert fill.slippage_bps == pytest.approx(parts, abs=1e-6)
    assert min(fill.spread_bps, fill.market_impact_bps, fill.adverse_selection_bps) >= 0
    assert 0 <= fill.filled_quantity <= quantity
    assert fill.filled_quantity <= max(1.0, 0.1 / 0.85 * volume) + 1e-6
