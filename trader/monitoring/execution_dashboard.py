"""How well orders are executed: slippage, fill rate, VWAP and latency, with alerts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from trader.core.clock import SECOND_NS, Clock, SystemClock
from trader.utils.slippage_stats import SIGN, quantile, slippage_bps

KEEP = 10_000                     # executions remembered
KEEP_ALERTS = 1_000
HOUR_NS = 3600 * SECOND_NS


@dataclass(slots=True)
class Execution:
    """One order on its way. Prices in dollars."""

    order_id: str
    symbol: str
    side: str
    target_quantity: float
    target_price: float
    vwap_benchmark: float | None
    started_ns: int
    filled_quantity: float = 0.0
    filled_value: float = 0.0
    fills: int = 0
    first_fill_ns: int | None = None
    finished_ns: int | None = None

    @property
    def average_price(self) -> float | None:
        """Mean price of the fills."""
        return self.filled_value / self.filled_quantity if self.filled_quantity else None

    @property
    def fill_rate(self) -> float:
        """Filled over target quantity."""
        return self.filled_quantity / self.target_quantity

    @property
    def slippage_bps(self) -> float | None:
        """Against the target price; positive costs money."""
        price = self.average_price
        return None if price is None else slippage_bps(self.side, price, self.target_price)

    @property
    def slippage_cost(self) -> float:
        """Dollars lost against the target price."""
        return SIGN[self.side] * (self.filled_value - self.filled_quantity * self.target_price)

    @property
    def beat_vwap(self) -> bool | None:
        """Whether the mean price is better than the benchmark."""
        price = self.average_price
        if price is None or self.vwap_benchmark is None:
            return None
        return SIGN[self.side] * (price - self.vwap_benchmark) < 0.0


@dataclass(frozen=True, slots=True)
class ExecutionAlert:
    """Something that a person should look at. ``kind``: slippage | fill_rate."""

    ts_ns: int
    kind: str
    order_id: str
    symbol: str
    value: float
    limit: float
    message: str


@dataclass(frozen=True, slots=True)
class ExecutionReport:
    """Execution quality over a period. Rates are fractions; None: nothing to judge by."""

    period_hours: float
    total_executions: int
    total_fills: int
    avg_slippage_bps: float
    median_slippage_bps: float
    p95_slippage_bps: float
    total_slippage_cost: float
    avg_fill_rate: float
    pct_beat_vwap: float
    avg_latency_ms: float | None                # start → first fill
    alerts: tuple[ExecutionAlert, ...]


class ExecutionMonitor:
    """Follows executions and judges them.

    Parameters
    ----------
    slippage_alert_threshold_bps : mean slippage of an execution that alerts.
    fill_rate_alert_threshold : an execution that ends below this share alerts.
    clock : tells the time; the machine's unless given.
    on_alert : called with every alert.
    """

    def __init__(
        self,
        slippage_alert_threshold_bps: float = 10.0,
        fill_rate_alert_threshold: float = 0.8,
        *,
        clock: Clock | None = None,
        on_alert: Callable[[ExecutionAlert], None] | None = None,
    ) -> None:
        self.slippage_alert_threshold_bps = slippage_alert_threshold_bps
        self.fill_rate_alert_threshold = fill_rate_alert_threshold
        self.alerts: list[ExecutionAlert] = []
        self._clock = clock or SystemClock()
        self._on_alert = on_alert
        self._executions: OrderedDict[str, Execution] = OrderedDict()

    def start_execution(
        self, order_id: str, symbol: str, side: str, target_quantity: float, target_price: float,
        vwap_benchmark: float | None = None,
    ) -> Execution:
        """Begin to follow an order."""
        if side not in SIGN:
            raise ValueError(f"side of {order_id} is {side!r}; expected buy or sell")
        if not (target_quantity > 0 and target_price > 0):
            raise ValueError(
                f"target of {order_id} is {target_quantity} at {target_price}; expected a positive quantity and price")
        if order_id in self._executions:
            raise ValueError(f"execution {order_id} was started already")
        execution = Execution(
            order_id, symbol, side, target_quantity, target_price, vwap_benchmark, self._clock.now_ns())
        self._executions[order_id] = execution
        if len(self._executions) > KEEP:
            self._executions.popitem(last=False)
        return execution

    def record_fill(self, order_id: str, fill_quantity: float, fill_price: float) -> Execution:
        """Add a fill; the last one finishes the execution."""
        execution = self._find(order_id)
        if not (fill_quantity > 0 and fill_price > 0):
            raise ValueError(f"fill of {order_id} is {fill_quantity} at {fill_price}; expected positive numbers")
        now = self._clock.now_ns()
        execution.fills += 1
        execution.filled_quantity += fill_quantity
        execution.filled_value += fill_quantity * fill_price
        if execution.first_fill_ns is None:
            execution.first_fill_ns = now
        if execution.filled_quantity >= execution.target_quantity - 1e-9:
            self.finish_execution(order_id)
        return execution

    def finish_execution(self, order_id: str) -> Execution:
        """The order will not fill any more; judge it. Finishing twice changes nothing."""
        execution = self._find(order_id)
        if execution.finished_ns is not None:
            return execution
        execution.finished_ns = self._clock.now_ns()
        slippage = execution.slippage_bps
        if slippage is not None and slippage > self.slippage_alert_threshold_bps:
            self._alert("slippage", execution, slippage, self.slippage_alert_threshold_bps,
                        f"{execution.symbol} {execution.side} slipped {slippage:.1f} bps")
        if execution.fill_rate < self.fill_rate_alert_threshold:
            self._alert("fill_rate", execution, execution.fill_rate, self.fill_rate_alert_threshold,
                        f"{execution.symbol} {execution.side} filled {execution.fill_rate:.0%}")
        return execution

    def generate_report(self, period_hours: float = 24) -> ExecutionReport:
        """Quality of the executions that were started within the last ``period_hours``."""
        since = self._clock.now_ns() - int(period_hours * HOUR_NS)
        chosen = [e for e in self._executions.values() if e.started_ns >= since]
        slips = sorted(s for e in chosen if (s := e.slippage_bps) is not None)
        beats = [b for e in chosen if (b := e.beat_vwap) is not None]
        waits = [(e.first_fill_ns - e.started_ns) / 1e6 for e in chosen if e.first_fill_ns is not None]
        return ExecutionReport(
            period_hours=period_hours,
            total_executions=len(chosen),
            total_fills=sum(e.fills for e in chosen),
            avg_slippage_bps=sum(slips) / len(slips) if slips else 0.0,
            median_slippage_bps=quantile(slips, 0.5) if slips else 0.0,
            p95_slippage_bps=quantile(slips, 0.95) if slips else 0.0,
            total_slippage_cost=sum(e.slippage_cost for e in chosen),
            avg_fill_rate=sum(e.fill_rate for e in chosen) / len(chosen) if chosen else 0.0,
            pct_beat_vwap=sum(beats) / len(beats) if beats else 0.0,
            avg_latency_ms=sum(waits) / len(waits) if waits else None,
            alerts=tuple(a for a in self.alerts if a.ts_ns >= since),
        )

    def _find(self, order_id: str) -> Execution:
        try:
            return self._executions[order_id]
        except KeyError:
            raise ValueError(f"execution {order_id} was never started (or is older than the last {KEEP})") from None

    def _alert(self, kind: str, execution: Execution, value: float, limit: float, message: str) -> None:
        alert = ExecutionAlert(self._clock.now_ns(), kind, execution.order_id, execution.symbol, value, limit, message)
        self.alerts.append(alert)
        del self.alerts[:-KEEP_ALERTS]
        if self._on_alert is not None:
            self._on_alert(alert)
