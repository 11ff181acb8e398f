"""Frames: immutable pictures of the fold; parts that did not change stay the same objects."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trader.backtest.engine import BacktestEngine
from trader.core import events as ev
from trader.core.fold import Fold
from trader.core.journal import read_events
from trader.data.catalog import load_panel
from trader.framing import CLOSED_ORDERS_SHOWN, EQUITY_POINTS_SHOWN, Framer, Surroundings
from trader.strategy.registry import make_strategy


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[ev.AnyEvent]:
    """The journal of a month's backtest."""
    folder = tmp_path_factory.mktemp("run")
    panel = load_panel(folder, ["AAPL", "MSFT"], "15Min", "2012-05-01", "2012-07-20", synth_seed=7)
    BacktestEngine().run(make_strategy("trend"), panel, "2012-06-15", journal=folder / "j.sqlite")
    return [event for _, event in read_events(folder / "j.sqlite")]


def test_a_frame_is_the_same_whether_frames_were_made_before_or_not(events: list[ev.AnyEvent]) -> None:
    """Parts are kept between frames; what is kept must never be stale."""
    often, once = Fold(), Fold()
    framer = Framer(often)
    for i, event in enumerate(events):
        often.apply(event)
        once.apply(event)
        if i % 7 == 0:
            framer.frame()
        if i % 401 == 0:
            fresh = Framer(once).frame()
            assert replace(framer.frame(), seq=fresh.seq) == fresh


def test_what_did_not_change_is_the_same_object(events: list[ev.AnyEvent]) -> None:
    fold = Fold()
    framer = Framer(fold)
    for event in events[:1500]:
        fold.apply(event)
    first, second = framer.frame(), framer.frame()
    for part in ("status", "halt", "degradation", "account", "positions", "orders", "risk", "breakers", "slippage",
                 "models", "log", "fills", "equity", "candles"):
        assert getattr(first, part) is getattr(second, part), part
    assert second.seq == first.seq + 1


def test_the_account_line_adds_up(events: list[ev.AnyEvent]) -> None:
    fold = Fold()
    framer = Framer(fold)
    for event in events:
        fold.apply(event)
        if isinstance(event, ev.OrderFilled):
            row = framer.frame().account
            assert row.equity == pytest.approx(100_000 + row.realized_pnl + row.unrealized_pnl, abs=0.01)
            assert row.equity == pytest.approx(row.cash + row.net_exposure, abs=0.01)
            assert 0 <= row.drawdown < 1
    frame = framer.frame()
    assert frame.account.trades == len(fold.book.closed_trades)
    assert frame.account.wins == sum(trade.pnl > 0 for trade in fold.book.closed_trades)
    assert sum(p.market_value for p in frame.positions) == pytest.approx(frame.account.net_exposure, abs=0.01)


def test_rows_are_bounded_and_open_orders_come_first(events: list[ev.AnyEvent]) -> None:
    fold = Fold()
    for event in events:
        fold.apply(event)
        if fold.book.open_orders and len(fold.book.orders) > 80:
            break
    frame = Framer(fold).frame()
    opened = [row.is_open for row in frame.orders]
    assert opened == sorted(opened, reverse=True)
    assert opened.count(False) <= CLOSED_ORDERS_SHOWN
    assert len(frame.equity) <= EQUITY_POINTS_SHOWN + 1
    assert frame.equity[-1][1] == pytest.approx(fold.book.equity)


def test_a_position_row_shows_its_exits(events: list[ev.AnyEvent]) -> None:
    fold = Fold()
    for event in events:
        fold.apply(event)
        if fold.book.positions and any(o.role == "stop_loss" and o.is_open for o in fold.book.open_orders.values()):
            rows = [row for row in Framer(fold).frame().positions if row.stop_loss and row.take_profit]
            if rows:
                break
    row = rows[0]
    low, high = sorted((row.stop_loss, row.take_profit))
    assert low < row.average_price < high


def test_surroundings_are_the_hosts_word() -> None:
    frame = Framer(Fold()).frame(Surroundings(now_ns=7, market_open=True, data_age_s=1.5, loop_lag_ms=2.0, speed="×9"))
    assert (frame.now_ns, frame.status.market_open, frame.status.speed) == (7, True, "×9")
    assert (frame.status.data_age_s, frame.status.loop_lag_ms) == (1.5, 2.0)
    assert frame.positions == ()
