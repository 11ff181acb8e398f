"""The book: exact money, average cost, executions counted once, and identities that random trading cannot break."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.core import events as ev
from trader.core.book import Book
from trader.core.orders import OrderState

D = Decimal


def book_with(symbols=("AAPL", "MSFT"), cash=D(100_000)):
    book = Book(symbols, cash)
    book.apply(ev.SessionStarted(ts=1, run_id="r", mode="sim", account="a", symbols=symbols, timeframe="15Min",
                                 source="real", cash=cash, strategy="s"))
    return book


def order(book, cid, side="buy", quantity=D(10), symbol="AAPL", role="entry"):
    book.apply(ev.OrderIntent(ts=2, client_order_id=cid, symbol=symbol, side=side, quantity=quantity, role=role,
                              strategy="s", signal_price=100.0))
    book.apply(ev.RiskVerdict(ts=2, client_order_id=cid, symbol=symbol, action="allow", quantity_asked=quantity,
                              quantity=quantity, checks=()))
    book.apply(ev.OrderSubmitting(ts=2, client_order_id=cid))
    book.apply(ev.OrderAccepted(ts=3, client_order_id=cid, broker_order_id=f"b-{cid}"))


def fill(book, cid, quantity, price, execution, side="buy", symbol="AAPL", commission=D(0)):
    book.apply(ev.OrderFilled(ts=4, client_order_id=cid, execution_id=execution, symbol=symbol, side=side,
                              quantity=D(quantity), price=D(price), commission=commission))


def test_partial_fills_average_and_an_execution_counts_once():
    book = book_with()
    order(book, "o1")
    fill(book, "o1", 4, "100.00", "x1", commission=D("0.02"))
    assert book.orders["o1"].state is OrderState.PARTIAL
    fill(book, "o1", 6, "101.00", "x2", commission=D("0.03"))
    fill(book, "o1", 6, "101.00", "x2", commission=D("0.03"))
    assert book.orders["o1"].state is OrderState.FILLED
    assert book.positions["AAPL"].quantity == 10
    assert book.positions["AAPL"].average_price == D("100.6")
    assert book.cash == D(100_000) - D(400) - D(606) - D("0.05")
    assert "o1" not in book.open_orders


def test_a_round_trip_becomes_a_trade_net_of_fees():
    book = book_with()
    order(book, "o1")
    fill(book, "o1", 10, "100", "x1", commission=D("0.05"))
    order(book, "o2", side="sell", role="exit")
    fill(book, "o2", 10, "103", "x2", side="sell", commission=D("0.05"))
    trade, = book.closed_trades
    assert (trade.side, trade.exit_role) == ("long", "exit")
    assert (trade.pnl, trade.fees) == (pytest.approx(29.9), pytest.approx(0.1))
    assert book.positions == {}
    assert book.cash == D("100029.90")


def test_a_fill_that_turns_a_position_closes_one_trade_and_opens_the_next():
    book = book_with()
    order(book, "o1")
    fill(book, "o1", 10, "100", "x1")
    order(book, "o2", side="sell", quantity=D(15))
    fill(book, "o2", 15, "102", "x2", side="sell")
    assert len(book.closed_trades) == 1
    assert book.positions["AAPL"].quantity == -5
    assert book.positions["AAPL"].average_price == 102


def test_money_moves_even_when_the_order_is_not_known():
    book = book_with()
    fill(book, "nobody", 5, "10", "x9")
    assert book.positions["AAPL"].quantity == 5
    assert book.cash == D(99_950)


def test_a_late_fill_after_a_cancel_counts():
    book = book_with()
    order(book, "o1")
    book.apply(ev.OrderCanceled(ts=5, client_order_id="o1"))
    assert book.orders["o1"].state is OrderState.CANCELED
    fill(book, "o1", 10, "100", "x1")
    assert book.orders["o1"].state is OrderState.FILLED
    assert book.quantity("AAPL") == 10


def test_vetoed_intents_are_denied_and_never_open():
    book = book_with()
    book.apply(ev.OrderIntent(ts=2, client_order_id="o1", symbol="AAPL", side="buy", quantity=D(10), role="entry",
                              strategy="s"))
    check = ev.RuleCheck(1, "position", "veto", "POSITION_LIMIT", 0.3, 0.2, "%")
    book.apply(ev.RiskVerdict(ts=2, client_order_id="o1", symbol="AAPL", action="veto", quantity_asked=D(10),
                              quantity=D(0), checks=(check,)))
    assert book.orders["o1"].state is OrderState.DENIED
    assert book.open_orders == {}


def test_a_new_day_starts_from_the_equity_of_the_last_slice():
    book = book_with(("AAPL",))
    order(book, "o1")
    fill(book, "o1", 10, "100", "x1")

    def closed(ts, day, price):
        book.apply(ev.SliceClosed(ts=ts, index=ts, bar_ts=ts, day=day, open=[price], high=[price], low=[price],
                                  close=[price], volume=[1.0]))

    closed(10, 20240102, 101.0)
    assert book.day_start_equity == 100_000
    closed(20, 20240103, 105.0)
    assert book.day_start_equity == pytest.approx(100_010)
    assert book.equity == pytest.approx(100_050)


def test_what_was_carried_over_goes_on():
    book = Book(("AAPL",))
    leg = ev.CarriedOrder(client_order_id="leg", symbol="AAPL", side="sell", quantity=D(10), order_type="stop",
                          state="working", role="stop_loss", broker_order_id="b1", parent_client_order_id="p",
                          stop_price=D(95), executions=("x1",))
    held = ev.CarriedPosition(symbol="AAPL", quantity=D(10), average_price=D(99))
    book.apply(ev.SessionStarted(
        ts=1, run_id="r2", mode="sim", account="a", symbols=("AAPL",), timeframe="15Min", source="real", cash=D(500),
        strategy="s", orders=(leg,), positions=(held,)))
    assert book.equity == pytest.approx(500 + 990)
    assert book.by_broker_id == {"b1": "leg"}
    fill(book, "leg", 10, "95", "x1", side="sell")          # counted by the earlier session already
    assert book.quantity("AAPL") == 10
    fill(book, "leg", 10, "95", "x2", side="sell")
    assert book.quantity("AAPL") == 0


trades = st.lists(st.tuples(st.sampled_from(["buy", "sell"]), st.integers(1, 50), st.integers(100, 20_000),
                            st.integers(0, 50)), min_size=1, max_size=60)


@settings(max_examples=60)
@given(trades)
def test_cash_and_profit_are_conserved(sequence):
    book = book_with(("AAPL",))
    cash, shares = D(100_000), D(0)
    for number, (side, quantity, cents, fee) in enumerate(sequence):
        price, commission = D(cents) / 100, D(fee) / 100
        order(book, f"o{number}", side=side, quantity=D(quantity))
        fill(book, f"o{number}", quantity, price, f"x{number}", side=side, commission=commission)
        sign = 1 if side == "buy" else -1
        cash -= sign * quantity * price + commission
        shares += sign * quantity
    assert book.cash == cash
    assert book.quantity("AAPL") == shares
    held = book.positions.get("AAPL")
    cost = held.quantity * held.average_price if held else D(0)
    # cash + cost of what is held = deposit + realized profit − fees
    assert abs(book.cash + cost - (D(100_000) + book.realized - book.fees)) < D("1e-15")
    closed = sum(D(str(round(t.pnl, 9))) for t in book.closed_trades)
    open_realized = (held.realized - held.fees) if held else D(0)
    assert abs(closed + open_realized - (book.realized - book.fees)) < D("1e-6")
