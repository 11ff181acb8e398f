"""Backtests: the live engine over stored bars and an in-process venue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from trader.backtest.blocks import BlockValidator, foreseen
from trader.backtest.kernel import play
from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.core import events as ev
from trader.core.book import Book, ClosedTrade
from trader.core.collector import without_collector
from trader.core.days import days_of
from trader.core.history import History
from trader.core.ids import ClientIds
from trader.core.journal import Journal
from trader.core.panel import BarPanel, IntArray
from trader.exchange.types import VenueRules
from trader.exchange.venue import Venue
from trader.utils.errors import UserError
from trader.wiring import Parts, bars_per_day, build_engine

if TYPE_CHECKING:
    import pandas as pd

    from trader.prediction import BatchPredictor
    from trader.risk.params import RiskParams
    from trader.strategy.base_strategy import BaseStrategy

CLIENT_ID_PREFIX = "bt"


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """What a backtest gave. Equity has one point a slice; ``metrics`` follow the guide's names.

    ``sharpe_ratio`` and the other ratios come from daily equity; None where the run is too short for one.
    """

    initial_capital: float
    equity_ts_ns: IntArray
    equity: np.ndarray[Any, np.dtype[np.float64]]
    trades: tuple[ClosedTrade, ...]
    metrics: dict[str, Any]
    counts: dict[str, int]
    source: str
    strategy: str
    journal: Path | None = None
    warnings: tuple[str, ...] = field(default_factory=tuple)

    def __getattr__(self, name: str) -> Any:
        """Metrics as attributes: ``result.sharpe_ratio``."""
        if name.startswith("_") or name not in self.metrics:
            raise AttributeError(f"a backtest result has no {name!r}; it has {', '.join(sorted(self.metrics))}")
        value = self.metrics[name]
        return float("nan") if value is None else value


class BacktestEngine:
    """Runs strategies over bars with the session's own engine, risk layers and fills.

    Parameters
    ----------
    initial_capital : float
        Dollars.
    fill_simulator : RealisticFillSimulator | None
        Prices every execution; the default simulator when None.
    risk_params : RiskParams | None
        The limits; defaults when None.
    margin : float
        Buying power as a multiple of equity.
    """

    def __init__(
        self, initial_capital: float = 100_000, fill_simulator: RealisticFillSimulator | None = None, *,
        risk_params: RiskParams | None = None, margin: float = 2.0,
    ) -> None:
        from trader.risk.params import RiskParams

        if not initial_capital > 0:
            raise ValueError(f"initial_capital must be above 0, not {initial_capital}")
        self.initial_capital = initial_capital
        self.fill_simulator = fill_simulator or RealisticFillSimulator()
        self.risk_params = risk_params or RiskParams()
        self.margin = margin

    def run(
        self, strategy: BaseStrategy, data: BarPanel | pd.DataFrame | Mapping[str, pd.DataFrame],
        start_date: str | None = None, end_date: str | None = None, *, predictor: BatchPredictor | None = None,
        monitor: Any = None, journal: Path | None = None, run_id: str = "backtest", settings_hash: str = "",
        on_slice: Callable[[int], None] | None = None, model: ev.ModelLoaded | None = None,
        warnings: tuple[str, ...] = (),
    ) -> BacktestResult:
        """Play the bars from ``start_date`` to ``end_date`` (inclusive days); earlier bars are history.

        Parameters
        ----------
        data
            A panel, a frame of one symbol or with a ``symbol`` column, or frames by symbol.
        journal
            Where to write the journal; None keeps nothing but the result.

        Raises
        ------
        UserError
            No bars in the range, malformed dates or data.
        """
        from trader.analytics.performance import performance_report
        from trader.data.catalog import parse_range
        from trader.data.frames import panel_from

        panel = data if isinstance(data, BarPanel) else panel_from(data)
        start_ns, end_ns = parse_range(start_date, end_date)
        panel = panel.between(None, end_ns)
        first = 0 if start_ns is None else int(np.searchsorted(panel.ts_ns, start_ns))
        if first >= len(panel):
            raise UserError(f"there are no bars from {start_date} to {end_date}; nothing to backtest")
        days = days_of(panel.available_ns)
        book = Book(panel.symbols, Decimal(str(self.initial_capital)))
        book.lean = True
        kept = Journal(journal, durable=False) if journal is not None else None
        venue = Venue(
            panel, start_index=first, cash=book.cash, fill_model=self.fill_simulator,
            rules=VenueRules(margin_multiplier=Decimal(str(self.margin))),
        )
        parts = Parts(panel.symbols, panel.timeframe, strategy, self.risk_params, predictor=predictor, monitor=monitor)
        engine = build_engine(
            parts, book=book, apply=book.apply, sink=kept.append if kept else _forget,
            history=History.over(panel, days, bars_per_day(panel.timeframe), seen=first),
            ids=ClientIds(CLIENT_ID_PREFIX),
        )
        engine.validator = BlockValidator(engine.validator, panel)
        engine.foresight = foreseen(engine.strategy, panel)
        begin = int(panel.ts_ns[first])
        engine.start(ev.SessionStarted(
            ts=begin, run_id=run_id, mode="backtest", account="backtest", symbols=panel.symbols,
            timeframe=panel.timeframe, source=panel.source, cash=book.cash, strategy=strategy.name,
            margin=self.margin, settings_hash=settings_hash, limits=engine.risk.limits(),
        ))
        if model is not None:
            engine.record(msgspec.structs.replace(model, ts=begin))
        equity = np.empty(len(panel) - first)

        def after(played: int) -> None:
            equity[played - 1] = book.equity
            if on_slice is not None:
                on_slice(played)

        try:
            with without_collector():
                played = play(engine, venue, after)
            engine.record(ev.SessionEnded(ts=engine.now_ns, reason="all bars played"))
        finally:
            if kept is not None:
                kept.close()
        stamps = panel.available_ns[first:first + played]
        metrics = performance_report(
            stamps, equity[:played], tuple(book.closed_trades), float(self.initial_capital), days[first:first + played])
        return BacktestResult(
            initial_capital=float(self.initial_capital), equity_ts_ns=stamps, equity=equity[:played],
            trades=tuple(book.closed_trades), metrics=metrics, counts=count(book, played), source=panel.source,
            strategy=strategy.name, journal=journal, warnings=warnings,
        )


class InstitutionalBacktestEngine(BacktestEngine):
    """The guide's name for the engine with microstructure: here every backtest has it."""


def count(book: Book, slices: int) -> dict[str, int]:
    """How much happened."""
    return {
        "slices": slices,
        **msgspec.structs.asdict(book.counts()),
        "trades": len(book.closed_trades),
        "open_positions": len(book.positions),
    }


def _forget(event: ev.AnyEvent) -> None:
    """No journal was asked for."""
