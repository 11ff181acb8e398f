"""The matching core in process, on one core: events a second for mixes of bars and orders.

``python -m tests.bench.bench_matching``. An event is one symbol's bar played, one order request taken (submit,
replace or cancel) or one order update told. The floor of every mix is a bare loop over the same bars that looks
whether any of them trades through a level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pytest

from tests.bench.bench_data import bars
from tests.bench.bench_table import interleave, table
from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core.panel import BarPanel
from trader.exchange.types import OrderRequest, VenueRules
from trader.exchange.venue import Venue

TARGET = 200_000            # events a second
STEPS = 1_000
CASH = Decimal(10**9)
SHARES, ONE = Decimal(100), Decimal(1)
MEANING = "an event: one symbol's bar played, one order request taken, or one order update told"


class Counts(NamedTuple):
    """What a run did."""

    bars: int
    requests: int
    updates: int

    @property
    def events(self) -> int:
        """All three together."""
        return sum(self)


@lru_cache(maxsize=4)
def market(symbols: int, daily: bool = False) -> BarPanel:
    """So many symbols' bars, those of the set ``s`` over and over; ``daily`` makes every bar a day."""
    panel = bars("s").rows(0, STEPS)
    chosen = [k % len(panel.symbols) for k in range(symbols)]
    fields = (np.ascontiguousarray(getattr(panel, name)[:, chosen]) for name in ("open", "high", "low", "close"))
    volume = np.ascontiguousarray(panel.volume[:, chosen]) * 100.0
    days = panel.ts_ns[0] + np.arange(STEPS) * 86_400_000_000_000
    starts, ends = (days, days + 23_400_000_000_000) if daily else (panel.ts_ns, panel.available_ns)
    names = tuple(f"S{k:02d}" for k in range(symbols))
    return BarPanel(names, "1Day" if daily else panel.timeframe, starts, ends, *fields, volume)


@lru_cache(maxsize=16)
def prices(panel_of: tuple[int, bool], factor: str) -> list[list[Decimal]]:
    """Every bar's closes times ``factor`` in cents: prices for clients who have worked them out already."""
    exact = Decimal(factor)
    cent = Decimal("0.01")
    closes = market(*panel_of).close.tolist()
    return [[(Decimal(repr(price)) * exact).quantize(cent) for price in row] for row in closes]


# A mix's client: called after every bar with the venue, the bar's number and the symbols; yields once a request.
Client = Callable[[Venue, int, tuple[str, ...]], Iterator[None]]


def idle(venue: Venue, i: int, symbols: tuple[str, ...]) -> Iterator[None]:
    """Nothing."""
    return iter(())


def market_orders(venue: Venue, i: int, symbols: tuple[str, ...]) -> Iterator[None]:
    """A market order in every symbol, bought and sold in turn."""
    side = "sell" if i % 2 else "buy"
    for symbol in symbols:
        if side == "buy" or venue.accounts_book.quantity(symbol):
            venue.submit(OrderRequest(symbol=symbol, side=side, qty=SHARES, time_in_force="gtc"))
            yield


def near_limits(venue: Venue, i: int, symbols: tuple[str, ...]) -> Iterator[None]:
    """A limit order in every symbol that the next bar fills, bought and sold in turn."""
    side, factor = ("sell", "0.9") if i % 2 else ("buy", "1.1")
    levels = prices((len(symbols), False), factor)[i]
    for symbol, level in zip(symbols, levels, strict=True):
        if side == "buy" or venue.accounts_book.quantity(symbol):
            venue.submit(OrderRequest(
                symbol=symbol, side=side, qty=SHARES, type="limit", limit_price=level, time_in_force="gtc",
            ))
            yield


def brackets(venue: Venue, i: int, symbols: tuple[str, ...], every: int = 1) -> Iterator[None]:
    """A bracket in every symbol that is flat, looked at every so many bars; its exits are hit some bars later."""
    above, below = (prices((len(symbols), False), factor)[i] for factor in ("1.004", "0.996"))
    for column, symbol in enumerate(symbols):
        if (i + column) % every == 0 and not venue.accounts_book.quantity(symbol):
            venue.submit(OrderRequest(
                symbol=symbol, side="buy", qty=SHARES, time_in_force="gtc", order_class="bracket",
                take_profit=above[column], stop_loss=below[column],
            ))
            yield


def strategy(venue: Venue, i: int, symbols: tuple[str, ...]) -> Iterator[None]:
    """What a strategy asks for: a bracket now and then, in each symbol at most every eighth bar."""
    return brackets(venue, i, symbols, every=8)


def changes(venue: Venue, i: int, symbols: tuple[str, ...]) -> Iterator[None]:
    """A far limit order in every symbol, replaced and cancelled before the next bar, while the market is open."""
    if not venue.in_session:
        return
    first, second = (prices((len(symbols), False), factor)[i] for factor in ("0.5", "0.6"))
    for column, symbol in enumerate(symbols):
        order = venue.submit(OrderRequest(symbol=symbol, side="buy", qty=ONE, type="limit", limit_price=first[column]))
        yield
        order = venue.replace(order.id, limit_price=second[column])
        yield
        venue.cancel(order.id)
        yield


def trailing(venue: Venue, i: int, symbols: tuple[str, ...]) -> Iterator[None]:
    """Shares bought at the market whenever there are none, sold by a trailing stop."""
    for symbol in symbols:
        if venue.accounts_book.quantity(symbol):
            if not venue.desk.side(venue.column(symbol) or 0, "sell").orders:
                venue.submit(OrderRequest(
                    symbol=symbol, side="sell", qty=SHARES, type="trailing_stop", trail_percent=ONE,
                    time_in_force="gtc",
                ))
                yield
        elif i % 4 == 0:
            venue.submit(OrderRequest(symbol=symbol, side="buy", qty=SHARES))
            yield


class Mix(NamedTuple):
    """A market and what its client does; ``resting`` orders far below the market lie there from the start."""

    symbols: int
    client: Client
    resting: int = 0
    daily: bool = False


MIXES = {
    "steps alone, 1 symbol": Mix(1, idle),
    "steps alone, 7 symbols": Mix(7, idle),
    "steps alone, 30 symbols": Mix(30, idle),
    "steps, 1,000 orders rest, 1 symbol": Mix(1, idle, 1_000),
    "steps, 1,000 orders rest, 7 symbols": Mix(7, idle, 1_000),
    "daily steps, 1,000 orders rest, 1 symbol": Mix(1, idle, 1_000, daily=True),
    "market orders, 1 symbol": Mix(1, market_orders),
    "market orders, 7 symbols": Mix(7, market_orders),
    "market orders, 7 symbols, 1,000 rest": Mix(7, market_orders, 1_000),
    "limit orders that fill, 7 symbols": Mix(7, near_limits),
    "brackets, 1 symbol": Mix(1, brackets),
    "brackets, 7 symbols": Mix(7, brackets),
    "brackets now and then, 7 symbols": Mix(7, strategy),
    "brackets now and then, 30 symbols": Mix(30, strategy),
    "limit + replace + cancel, 1 symbol": Mix(1, changes),
    "limit + replace + cancel, 7 symbols": Mix(7, changes),
    "trailing stops, 7 symbols": Mix(7, trailing),
}


def play(mix: Mix) -> Counts:
    """One run of a mix over the whole market; opening the venue counts too."""
    panel = market(mix.symbols, mix.daily)
    symbols, client = panel.symbols, mix.client
    # The resting orders are the same client's, and stay to the end.
    rules = VenueRules(wash_trades=not mix.resting, gtc_days=10_000)
    venue = Venue(panel, cash=CASH, fill_model=RealisticFillSimulator(), rules=rules)
    requests, updates = mix.resting, 0
    for k in range(mix.resting):
        venue.submit(OrderRequest(
            symbol=symbols[k % len(symbols)], side="buy", qty=ONE, type="limit", time_in_force="gtc",
            limit_price=ONE + k % 300 * Decimal("0.01"),
        ))
    for i in range(len(panel)):
        venue.step()
        for _ in client(venue, i, symbols):
            requests += 1
        updates += len(venue.drain())
    return Counts(len(panel) * len(symbols), requests, updates)


def bare_loop(symbols: int) -> int:
    """The floor: every bar of every symbol against a level that none reaches."""
    panel = market(symbols)
    found = 0
    for i in range(len(panel)):
        for low, high in zip(panel.low[i].tolist(), panel.high[i].tolist(), strict=True):
            if low <= 0.0 or high >= 1e9:
                found += 1
    return found


def measure(rounds: int = 5) -> tuple[str, dict[str, Counts]]:
    """The table, and what was counted."""
    contestants: dict[str, Callable[[], object]] = {name: (lambda mix=mix: play(mix)) for name, mix in MIXES.items()}
    floors = {f"bare loop over the bars, {n} symbol{'s' * (n > 1)}": n for n in (1, 7, 30)}
    contestants.update({name: (lambda n=n: bare_loop(n)) for name, n in floors.items()})
    times = interleave(contestants, rounds)
    rows = []
    for name, timing in times.items():
        counts = Counts(STEPS * floors[name], 0, 0) if name in floors else timing.result
        speed = counts.events / timing.median
        rows.append((name, *counts, counts.events, timing.median, speed, speed / TARGET))
    text = table(
        f"matching core, {STEPS:,} bars; CPU seconds, median of {rounds}; × of {TARGET:,} events/s\n{MEANING}",
        ("mix", "bars", "requests", "updates", "events", "s", "events/s", "×"), rows,
    )
    return text, {name: times[name].result for name in MIXES}


@pytest.mark.bench
def test_every_mix_does_its_work() -> None:
    text, counts = measure(rounds=2)
    print(text)
    for name, mix in MIXES.items():
        assert counts[name].bars == STEPS * mix.symbols
        assert counts[name].requests >= (mix.resting or (mix.client is not idle) * 100)
        assert counts[name].updates >= counts[name].requests


if __name__ == "__main__":
    print(measure()[0])
