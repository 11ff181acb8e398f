"""Profit taken apart: the parts are those of the reference cases and add up."""

import json
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader.analytics.attribution import ExitReason, PnLAttribution, Trade, TradeSide, attribute, trade_of
from trader.core.book import ClosedTrade

M05 = json.loads((Path(__file__).parent.parent / "oracles" / "M05_attribution.json").read_text())["expected"]["cases"]
START, END = datetime(2024, 1, 15, 10, 30), datetime(2024, 1, 15, 14, 30)


def trade(side=1, q=100.0, entry=175.0, exit=178.5, **more) -> Trade:
    return Trade("t", "AAPL", "momentum", TradeSide(side), START, entry, q, END, exit, q, **more)


@pytest.mark.parametrize("case", M05)
def test_reference_cases(case):
    given_ = dict(case["inp"])
    baseline = given_.pop("baseline_q", None)
    result = attribute(trade(**given_, baseline_quantity=baseline))
    for name in ("direction_alpha", "timing_alpha", "sizing_alpha", "gross_pnl", "net_pnl"):
        assert getattr(result, name) == pytest.approx(case["out"][name], abs=1e-9)


price = st.floats(0.5, 5000)


@given(st.sampled_from([1, -1]), st.integers(1, 10_000), price, price, price, price, st.integers(0, 10_000),
       st.floats(0, 50))
def test_the_parts_add_up(side, q, entry, exit_, entry_vwap, exit_vwap, baseline, commission):
    a = attribute(trade(side, q, entry, exit_, entry_vwap=entry_vwap, exit_vwap=exit_vwap, baseline_quantity=baseline,
                        commission=commission, decision_price=entry_vwap, spread_bps=2.0, impact_bps=1.0))
    assert a.direction_alpha + a.timing_alpha + a.sizing_alpha == pytest.approx(a.gross_pnl, abs=0.005)
    assert a.gross_pnl - a.commission_cost == pytest.approx(a.net_pnl, abs=1e-6)
    paper = side * q * (exit_ - entry_vwap)
    assert a.paper_pnl == pytest.approx(paper, abs=0.005)


def test_execution_costs_explain_the_distance_from_paper():
    a = attribute(trade(decision_price=174.8, exit_decision_price=178.6, spread_bps=2.0, impact_bps=0.5))
    assert a.paper_pnl == pytest.approx(100 * (178.6 - 174.8))
    assert a.spread_cost == pytest.approx(100 * (175 + 178.5) * 1e-4)
    assert attribute(trade()).slippage_cost == 0.0


def test_portfolio_sums_within_its_dates():
    book = PnLAttribution()
    book.add_trade(trade(commission=1.0, exit_reason=ExitReason.TAKE_PROFIT))
    book.add_trade(trade(-1, exit=176.0, commission=1.0))
    late = Trade("x", "MSFT", "trend", TradeSide.LONG, START, 10.0, 5, datetime(2025, 1, 1), 11.0, 5)
    book.add_trade(late)
    report = book.get_portfolio_attribution(start_date=datetime(2024, 1, 1), end_date=datetime(2024, 6, 30))
    assert report.total_trades == 2
    assert report.net_pnl == pytest.approx(349 - 101)
    assert report.win_rate == 0.5
    assert report.profit_factor == pytest.approx(349 / 101)
    assert report.net_by_exit_reason == {"exit": pytest.approx(-101), "take_profit": pytest.approx(349)}
    everything = book.get_portfolio_attribution()
    assert everything.total_trades == 3
    assert sum(everything.net_by_symbol.values()) == pytest.approx(everything.net_pnl)
    assert PnLAttribution().get_portfolio_attribution().win_rate == 0.0


def test_a_trade_of_the_book_keeps_its_net():
    closed = ClosedTrade("AAPL", "short", 10.0, 100.0, 98.0, 0, 10**15, 19.0, 1.0, "trend", "stop_loss", 3, 100.5)
    result = attribute(trade_of(closed, 4))
    assert result.net_pnl == pytest.approx(closed.pnl)
    assert result.trade.exit_reason is ExitReason.STOP_LOSS
    assert result.slippage_cost == pytest.approx(5.0)


def test_impossible_trades_are_refused():
    with pytest.raises(ValueError, match="exit_quantity"):
        Trade("t", "A", "s", TradeSide.LONG, START, 1.0, 5, END, 1.0, 6)
    with pytest.raises(ValueError, match="above 0"):
        trade(entry=0.0)
