"""How an engine is put together; a backtest and a session get the same one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trader.core.book import Book
from trader.core.engine import Engine, EngineSettings, Monitor, Predictor
from trader.core.events import AnyEvent
from trader.core.history import History
from trader.core.ids import ClientIds
from trader.core.ladder import DegradationLadder
from trader.data.live_validator import LiveDataValidator
from trader.execution.impact_model import AlmgrenChrissModel
from trader.risk.params import RiskParams
from trader.risk.pipeline import RiskPipeline
from trader.risk.position_sizer import PositionSizer
from trader.strategy.base_strategy import BaseStrategy, StrategyContext

DAILY = "1Day"


@dataclass(frozen=True, slots=True)
class Parts:
    """What decides, apart from the engine's plumbing."""

    symbols: tuple[str, ...]
    timeframe: str
    strategy: BaseStrategy
    risk_params: RiskParams
    flatten_on_halt: bool = True
    max_staleness_s: float = 60.0           # of the newest bar, on the session's clock
    predictor: Predictor | None = None
    monitor: Monitor | None = None


def bars_per_day(timeframe: str) -> float:
    """Bars of a full session: 26 of 15 minutes, one of a day."""
    if timeframe == DAILY:
        return 1.0
    return 390.0 / int(timeframe.removesuffix("Min"))


def bar_span_ns(timeframe: str) -> int:
    """Length of a bar; a daily bar's is the session's, 6.5 hours."""
    minutes = 390 if timeframe == DAILY else int(timeframe.removesuffix("Min"))
    return minutes * 60 * 1_000_000_000


def build_engine(
    parts: Parts, *, book: Book, apply: Callable[[AnyEvent], None], sink: Callable[[AnyEvent], None],
    history: History, ids: ClientIds,
) -> Engine:
    """An engine over a book; ``apply`` folds an event (into the book at least), ``sink`` keeps it."""
    params = parts.risk_params
    impact = AlmgrenChrissModel(
        permanent_impact_coef=params.permanent_impact_coef, temporary_impact_coef=params.temporary_impact_coef)
    risk = RiskPipeline(params, parts.symbols, impact)
    risk.system.bar_span_s = bar_span_ns(parts.timeframe) / 1e9
    daily = parts.timeframe == DAILY
    validator = LiveDataValidator(max_price_change_pct=0.60 if daily else 0.25, min_volume=0 if daily else 1,
        max_staleness_seconds=parts.max_staleness_s,
        symbols=parts.symbols)
    return Engine(
        book=book, apply=apply, sink=sink, history=history, ids=ids, validator=validator, risk=risk,
        sizer=PositionSizer(params, facts=risk.facts), strategy=parts.strategy, context=StrategyContext,
        ladder=DegradationLadder(),
        settings=EngineSettings(protect=params.require_bracket, flatten_on_halt=parts.flatten_on_halt),
        predictor=parts.predictor, monitor=parts.monitor,
    )
