"""The fixture that builds a venue from bars; asynchronous tests run on the exchange's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from decimal import Decimal

import pytest
from exchange_markets import FREE, panel_of

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.exchange.loop import new_event_loop
from trader.exchange.venue import Venue


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"exchange": new_event_loop}


@pytest.fixture
def market() -> Callable[..., Venue]:
    """Build a venue from bars; free fills unless a model is given; one bar is history."""

    def build(
        bars: dict[str, list[tuple[float, ...]]] | list[tuple[float, ...]], *, per_day: int = 26,
        model: RealisticFillSimulator = FREE, cash: int = 100_000, start_index: int = 1, **settings: object,
    ) -> Venue:
        table = bars if isinstance(bars, dict) else {"AAPL": bars}
        return Venue(
            panel_of(table, per_day), start_index=start_index, cash=Decimal(cash), fill_model=model, **settings
        )

    return build
