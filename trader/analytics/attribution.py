"""Where a trade's profit came from: direction, timing, size; and what execution cost on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum

from trader.core.book import ClosedTrade
from trader.core.clock import from_ns

BPS = 1e4


class TradeSide(Enum):
    """The side of the entry."""

    LONG = 1
    SHORT = -1


class ExitReason(Enum):
    """What closed the trade."""

    TAKE_PROFIT = "take_profit"
    STOP_LOSS = "stop_loss"
    SIGNAL = "exit"
    FLATTEN = "flatten"
    HALT = "halt"
    PROTECT = "protect"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class Trade:
    """A round trip. Prices in dollars, mean prices of the fills.

    ``entry_vwap`` and ``exit_vwap`` are the market's volume-weighted prices around the fills;
    ``decision_price`` and ``exit_decision_price`` the prices when entry and exit were decided;
    ``baseline_quantity`` the size that an unsized strategy would have traded; ``spread_bps`` and
    ``impact_bps`` what the fill model or the quotes say of a round trip's one side. None: not known.
    """

    trade_id: str
    symbol: str
    strategy: str
    side: TradeSide
    entry_time: datetime
    entry_price: float
    entry_quantity: float
    exit_time: datetime
    exit_price: float
    exit_quantity: float
    exit_reason: ExitReason = ExitReason.SIGNAL
    commission: float = 0.0
    entry_vwap: float | None = None
    exit_vwap: float | None = None
    baseline_quantity: float | None = None
    decision_price: float | None = None
    exit_decision_price: float | None = None
    spread_bps: float = 0.0
    impact_bps: float = 0.0

    def __post_init__(self) -> None:
        if not (self.entry_price > 0 and self.exit_price > 0 and self.entry_quantity > 0):
            raise ValueError(f"trade {self.trade_id}: prices and entry_quantity must be above 0")
        if not 0 < self.exit_quantity <= self.entry_quantity:
            raise ValueError(
                f"trade {self.trade_id}: exit_quantity {self.exit_quantity} must lie above 0 and at most at "
                f"entry_quantity {self.entry_quantity}"
            )


@dataclass(frozen=True, slots=True)
class TradeAttribution:
    """The parts of a trade, dollars.

    ``direction_alpha + timing_alpha + sizing_alpha == gross_pnl`` and ``gross_pnl - commission_cost ==
    net_pnl``. Slippage, spread and impact are inside the fill prices already: they explain what the paper
    portfolio made beyond ``gross_pnl`` and are never taken off again.
    """

    trade: Trade
    gross_pnl: float
    net_pnl: float
    direction_alpha: float
    timing_alpha: float
    sizing_alpha: float
    commission_cost: float
    slippage_cost: float
    spread_cost: float
    market_impact_cost: float

    @property
    def paper_pnl(self) -> float:
        """Profit at the decision prices: gross plus all that execution cost."""
        return self.gross_pnl + self.slippage_cost + self.spread_cost + self.market_impact_cost


PARTS = (
    "gross_pnl", "net_pnl", "direction_alpha", "timing_alpha", "sizing_alpha", "commission_cost", "slippage_cost",
    "spread_cost", "market_impact_cost",
)


@dataclass(frozen=True, slots=True)
class PortfolioAttribution:
    """Sums over trades, dollars; ``profit_factor`` is infinite where nothing was lost."""

    start_date: datetime | None
    end_date: datetime | None
    total_trades: int
    gross_pnl: float
    net_pnl: float
    direction_alpha: float
    timing_alpha: float
    sizing_alpha: float
    commission_cost: float
    slippage_cost: float
    spread_cost: float
    market_impact_cost: float
    win_rate: float
    profit_factor: float
    net_by_symbol: dict[str, float] = field(default_factory=dict)
    net_by_strategy: dict[str, float] = field(default_factory=dict)
    net_by_exit_reason: dict[str, float] = field(default_factory=dict)


def attribute(trade: Trade) -> TradeAttribution:
    """Split one trade (in the manner of Perold 1988 and Brinson): market move, price against it, size."""
    sign = trade.side.value
    quantity = trade.exit_quantity
    baseline = quantity if trade.baseline_quantity is None else trade.baseline_quantity
    entry, exit_ = trade.entry_price, trade.exit_price
    entry_vwap = entry if trade.entry_vwap is None else trade.entry_vwap
    exit_vwap = exit_ if trade.exit_vwap is None else trade.exit_vwap
    direction = sign * baseline * (exit_vwap - entry_vwap)
    timing = sign * baseline * ((entry_vwap - entry) + (exit_ - exit_vwap))
    sizing = sign * (quantity - baseline) * (exit_ - entry)
    gross = sign * quantity * (exit_ - entry)
    turnover = quantity * (entry + exit_) / BPS
    spread, impact = 0.5 * trade.spread_bps * turnover, trade.impact_bps * turnover
    shortfall = _shortfall(trade.decision_price, entry, sign * quantity)
    shortfall += _shortfall(trade.exit_decision_price, exit_, -sign * quantity)
    known = trade.decision_price is not None or trade.exit_decision_price is not None
    return TradeAttribution(
        trade, gross, gross - trade.commission, direction, timing, sizing, trade.commission,
        shortfall - spread - impact if known else 0.0, spread, impact,
    )


def _shortfall(decided: float | None, filled: float, signed: float) -> float:
    return 0.0 if decided is None else signed * (filled - decided)


class PnLAttribution:
    """Collects trades and adds up their parts."""

    def __init__(self) -> None:
        self.attributions: list[TradeAttribution] = []

    def add_trade(self, trade: Trade) -> TradeAttribution:
        """Split a trade and keep it."""
        result = attribute(trade)
        self.attributions.append(result)
        return result

    def get_portfolio_attribution(
        self, start_date: datetime | None = None, end_date: datetime | None = None,
    ) -> PortfolioAttribution:
        """Sums over the trades that were closed in ``start_date … end_date``, both included; naive is UTC."""
        chosen = [
            a for a in self.attributions
            if (start_date is None or _utc(a.trade.exit_time) >= _utc(start_date))
            and (end_date is None or _utc(a.trade.exit_time) <= _utc(end_date))
        ]
        won = sum(a.net_pnl for a in chosen if a.net_pnl > 0)
        lost = -sum(a.net_pnl for a in chosen if a.net_pnl < 0)
        sums = {part: sum(getattr(a, part) for a in chosen) for part in PARTS}
        return PortfolioAttribution(
            start_date, end_date, len(chosen), **sums,
            win_rate=sum(a.net_pnl > 0 for a in chosen) / len(chosen) if chosen else 0.0,
            profit_factor=won / lost if lost else (float("inf") if won else 0.0),
            net_by_symbol=_by(chosen, lambda a: a.trade.symbol),
            net_by_strategy=_by(chosen, lambda a: a.trade.strategy),
            net_by_exit_reason=_by(chosen, lambda a: a.trade.exit_reason.value),
        )


def trade_of(closed: ClosedTrade, number: int = 0) -> Trade:
    """A closed trade of the book as one that can be attributed."""
    reasons = {reason.value: reason for reason in ExitReason}
    return Trade(
        trade_id=f"t{number}", symbol=closed.symbol, strategy=closed.strategy,
        side=TradeSide.LONG if closed.side == "long" else TradeSide.SHORT,
        entry_time=from_ns(closed.entry_ts), entry_price=closed.entry_price, entry_quantity=closed.quantity,
        exit_time=from_ns(closed.exit_ts), exit_price=closed.exit_price, exit_quantity=closed.quantity,
        exit_reason=reasons.get(closed.exit_role, ExitReason.EXTERNAL), commission=closed.fees,
        decision_price=closed.signal_price or None,
    )


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _by(chosen: Iterable[TradeAttribution], key: Callable[[TradeAttribution], str]) -> dict[str, float]:
    out: dict[str, float] = {}
    for attribution in chosen:
        out[key(attribution)] = out.get(key(attribution), 0.0) + attribution.net_pnl
    return dict(sorted(out.items()))
