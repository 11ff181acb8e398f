"""A fold taken apart into one record and put together again, equal to the fold of all events."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from trader.core import events as ev
from trader.core.book import Book, ClosedTrade, Order, Position
from trader.core.candles import CandleState
from trader.core.fold import Fill, Fold, HaltState, RuleTally, SlippageSums


class BookState(msgspec.Struct, gc=False):
    """A book, apart from its orders and closed trades. Orders are named by their client ids."""

    symbols: tuple[str, ...]
    cash: Decimal
    mode_margin: float
    now_ns: int
    day: int
    marks: dict[str, float]
    positions: list[Position]
    open_orders: list[str]
    stopped_entries: dict[str, str]
    rules: dict[str, tuple[ev.RuleName, ...]]
    changes: int
    wins: int
    realized: Decimal
    fees: Decimal
    equity: float
    gross: float
    net: float
    peak_equity: float
    day_start_equity: float
    slices: int


class FoldState(msgspec.Struct, gc=False):
    """A fold at one event. Of orders and closed trades it holds those that came or changed since ``since``."""

    since: int
    book: BookState
    orders: list[Order]
    closed_trades: list[ClosedTrade]
    session: ev.SessionStarted | None
    ended: str
    strategy: str
    now_ns: int
    events: int
    bars: int
    last_slice_ts: int | None
    halt: HaltState
    degradation: ev.DegradationChanged | None
    connections: dict[str, ev.ConnectionChanged]
    gauges: list[ev.Gauge]
    tallies: list[tuple[int, str, RuleTally]]
    breakers: dict[str, ev.BreakerChanged]
    models: dict[str, ev.ModelLoaded]
    health: dict[str, ev.ModelHealth]
    training: ev.TrainingProgress | None
    slippage: dict[str, SlippageSums]
    latencies_ms: dict[str, list[float]]
    fills: list[Fill]
    candles: dict[str, CandleState]
    newest_slice: ev.SliceClosed | None
    equity: list[tuple[int, float]]
    equity_stride: int
    log: list[tuple[int, int, str, str, str]]
    log_count: int
    counts: dict[str, int]


_SAME = ("session", "ended", "strategy", "now_ns", "events", "bars", "last_slice_ts", "halt", "degradation",
         "connections", "breakers", "models", "health", "training", "latencies_ms", "equity", "equity_stride",
         "log_count", "counts")
_SAME_IN_BOOK = ("symbols", "rules", "cash", "mode_margin", "now_ns", "day", "marks", "changes", "wins", "realized",
                 "fees", "equity", "gross", "net", "peak_equity", "day_start_equity", "slices")

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(FoldState).decode


def state_of(fold: Fold, since: int = 0, trades_known: int = 0) -> FoldState:
    """The fold as it stands; orders touched and trades closed since the event ``since`` (0: all of them)."""
    book = fold.book
    orders = book.orders.values() if since == 0 else (o for key, o in book.orders.items() if key in fold.touched)
    candles, newest = fold.charts.kept()
    return FoldState(
        since=since,
        book=BookState(
            positions=list(book.positions.values()), open_orders=list(book.open_orders),
            stopped_entries={symbol: order.client_order_id for symbol, order in book.stopped_entries.items()},
            **{name: getattr(book, name) for name in _SAME_IN_BOOK}),
        orders=list(orders), closed_trades=book.closed_trades[trades_known:],
        gauges=list(fold.gauges.values()),
        tallies=[(layer, rule, tally) for (layer, rule), tally in fold.tallies.items()],
        slippage=fold.slippage.kept(), fills=list(fold.fills), candles=candles, newest_slice=newest,
        log=list(fold.log), **{name: getattr(fold, name) for name in _SAME},
    )


class Assembly:
    """States in their order, each on the one before, made into one fold."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._trades: list[ClosedTrade] = []
        self._last: FoldState | None = None

    def add(self, state: FoldState) -> None:
        """The next state; one that starts from the beginning replaces all before it."""
        if state.since == 0:
            self._orders, self._trades = {}, []
        self._orders.update((order.client_order_id, order) for order in state.orders)
        self._trades += state.closed_trades
        self._last = state

    def fold(self) -> Fold:
        """The fold at the last state; ValueError before the first."""
        state = self._last
        if state is None:
            raise ValueError("no state has been added")
        fold = Fold(self._book(state.book))
        for name in _SAME:
            setattr(fold, name, getattr(state, name))
        fold.gauges = {(gauge.layer, gauge.rule): gauge for gauge in state.gauges}
        fold.tallies = {(layer, rule): tally for layer, rule, tally in state.tallies}
        fold.slippage.restore(state.slippage)
        fold.fills.extend(state.fills)
        fold.restore_charts(state.candles, state.newest_slice)
        fold.log.extend(state.log)
        fold.dirty.update(Fold.PARTS)
        return fold

    def _book(self, state: BookState) -> Book:
        book = Book()
        for name in _SAME_IN_BOOK:
            setattr(book, name, getattr(state, name))
        book.restore(self._orders, state.open_orders, state.stopped_entries, state.positions, self._trades)
        return book
