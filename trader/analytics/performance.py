"""The performance of a run as one JSON-safe dictionary, from its equity curve and its closed trades."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trader.core.clock import iso
from trader.utils import metrics

FEW_TRADES = 100                  # below, a win rate says little


class ClosedTradeLike(Protocol):
    """What the report reads of a trade."""

    @property
    def pnl(self) -> float: ...
    @property
    def fees(self) -> float: ...
    @property
    def entry_ts(self) -> int: ...
    @property
    def exit_ts(self) -> int: ...


def performance_report(
    equity_ts_ns: ArrayLike, equity: ArrayLike, trades: Sequence[ClosedTradeLike], initial_capital: float,
    days: ArrayLike,
) -> dict[str, Any]:
    """Every metric of a run.

    Ratios come from **daily** equity (the last point of each session) and 252 sessions a year.

    Parameters
    ----------
    equity_ts_ns : shape (n,), nanoseconds UTC, increasing.
    equity : shape (n,), dollars.
    trades : closed round trips; ``pnl`` net of fees.
    initial_capital : dollars before the first point.
    days : shape (n,), the session (yyyymmdd) of each point.

    Returns
    -------
    A flat dictionary without infinities or NaN: what has no value is None, and ``notes`` says why.
    ``max_drawdown`` is the depth as a positive fraction, over all points and not only daily ones.
    """
    curve = np.asarray(equity, np.float64)
    stamps = np.asarray(equity_ts_ns, np.int64)
    sessions = np.asarray(days, np.int64)
    if not (len(curve) == len(stamps) == len(sessions)):
        raise ValueError(
            f"equity_ts_ns, equity and days differ in length: {len(stamps)}, {len(curve)}, {len(sessions)}")
    if not initial_capital > 0:
        raise ValueError(f"initial_capital is {initial_capital}; expected a positive amount")
    daily = daily_equity(curve, sessions)
    returns = np.diff(np.concatenate(([initial_capital], daily))) / np.concatenate(([initial_capital], daily[:-1]))
    profits = [float(trade.pnl) for trade in trades]
    final = float(curve[-1]) if len(curve) else initial_capital
    low, high = metrics.sharpe_interval(returns)
    depth = -metrics.max_drawdown(np.concatenate(([initial_capital], curve)))
    growth = metrics.cagr(returns)
    won, lost = [p for p in profits if p > 0], [p for p in profits if p < 0]
    values: dict[str, float | int | None] = {
        "sharpe_ratio": metrics.sharpe_ratio(returns),
        "sortino_ratio": metrics.sortino_ratio(returns),
        "max_drawdown": depth,
        "win_rate": metrics.win_rate(profits),
        "profit_factor": metrics.profit_factor(profits),
        "total_trades": len(profits),
        "calmar_ratio": growth / depth if depth > 0 else math.nan,
        "total_return": final / initial_capital - 1.0,
        "cagr": growth,
        "volatility": metrics.annual_volatility(returns),
        "initial_capital": float(initial_capital),
        "final_equity": final,
        "net_profit": final - initial_capital,
        "probabilistic_sharpe_ratio": metrics.probabilistic_sharpe_ratio(returns),
        "sharpe_ci_low": low,
        "sharpe_ci_high": high,
        "trading_days": len(daily),
        "winning_trades": len(won),
        "losing_trades": len(lost),
        "average_win": sum(won) / len(won) if won else math.nan,
        "average_loss": sum(lost) / len(lost) if lost else math.nan,
        "expectancy": sum(profits) / len(profits) if profits else math.nan,
        "total_fees": float(sum(trade.fees for trade in trades)),
        "average_holding_hours": _mean_hours(trades),
        "best_day": float(returns.max()) if len(returns) else math.nan,
        "worst_day": float(returns.min()) if len(returns) else math.nan,
    }
    report: dict[str, Any] = {name: _safe(value) for name, value in values.items()}
    report["start"] = iso(int(stamps[0])) if len(stamps) else None
    report["end"] = iso(int(stamps[-1])) if len(stamps) else None
    report["notes"] = _notes(values, len(daily), len(profits))
    return report


def daily_equity(equity: NDArray[np.float64], days: NDArray[np.int64]) -> NDArray[np.float64]:
    """The last equity of each session; ``days`` does not decrease."""
    if not len(equity):
        return equity
    last = np.flatnonzero(np.append(days[1:] != days[:-1], True))
    return equity[last]


def _mean_hours(trades: Sequence[ClosedTradeLike]) -> float:
    if not trades:
        return math.nan
    return sum(trade.exit_ts - trade.entry_ts for trade in trades) / len(trades) / 3.6e12


def _safe(value: float | int | None) -> float | int | None:
    return value if value is None or isinstance(value, int) or math.isfinite(value) else None


def _notes(values: dict[str, float | int | None], n_days: int, n_trades: int) -> list[str]:
    notes = []
    if values["profit_factor"] == math.inf:
        notes.append("profit_factor: no losing trade")
    if values["sortino_ratio"] == math.inf:
        notes.append("sortino_ratio: no losing day")
    empty = sorted(name for name, value in values.items() if isinstance(value, float) and math.isnan(value))
    if empty:
        notes.append(f"no value from {n_days} days and {n_trades} trades: {', '.join(empty)}")
    if n_trades < FEW_TRADES:
        notes.append(f"{n_trades} trades are few: below {FEW_TRADES} the trade statistics are rough")
    return notes
