"""Execution quality of a run: its journal's fills, judged by the `ExecutionMonitor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from trader.core import events as ev
from trader.core.clock import SECOND_NS, VirtualClock, iso
from trader.core.fold import Fold, reference_price
from trader.monitoring.execution_dashboard import Execution, ExecutionMonitor

ALERTS_SHOWN = 20
HOUR_NS = 3600 * SECOND_NS
BENCHMARK = "typical price (high + low + close) / 3 of the bars in which the order filled"
_DONE = (ev.OrderCanceled, ev.OrderExpired, ev.OrderRejected)


class Reader:
    """Hears a run's events and follows its executions.

    An order of ours is followed from its submission, a bracket's exit from its first fill: most exits are there in
    order not to fill.
    """

    def __init__(self, fold: Fold, hours: float | None = None) -> None:
        self._fold = fold
        self._hours = hours
        self._clock = VirtualClock()
        self._monitor = ExecutionMonitor(clock=self._clock)
        self._followed: dict[str, Execution] = {}
        self._waiting: list[ev.OrderFilled] = []        # fills whose bar has not closed yet
        self._weights: dict[str, tuple[float, float]] = {}      # order: filled quantity, quantity × typical price

    def take(self, event: ev.AnyEvent) -> None:
        """One event, after the fold has it."""
        self._clock.advance_to(event.ts)
        match event:
            case ev.OrderSubmitting():
                self._follow(event.client_order_id)
            case ev.OrderFilled():
                self._fill(event)
            case ev.SliceClosed():
                self._benchmark(event)
            case _ if isinstance(event, _DONE) and event.client_order_id in self._followed:
                self._monitor.finish_execution(event.client_order_id)

    def report(self) -> dict[str, Any]:
        """Figures under the guide's names; basis points where positive costs money, rates as fractions."""
        fold = self._fold
        first = fold.session.ts if fold.session else fold.now_ns
        whole = (fold.now_ns - first) / HOUR_NS + 1.0
        found = self._monitor.generate_report(self._hours or whole)
        compared = [e for e in self._followed.values() if e.beat_vwap is not None]
        judged = asdict(found)
        alerts = judged.pop("alerts")
        impact = fold.gauges.get((1, "impact"))
        return {
            "avg_slippage": found.avg_slippage_bps, "fill_rate": found.avg_fill_rate,
            "vwap_performance": found.pct_beat_vwap if compared else None, "vwap_benchmark": BENCHMARK,
            **judged, "period_hours": round(found.period_hours, 2),
            "slippage_alert_threshold_bps": self._monitor.slippage_alert_threshold_bps,
            "fill_rate_alert_threshold": self._monitor.fill_rate_alert_threshold,
            "impact_estimate_bps": impact.used if impact else None,
            "impact_limit_bps": impact.limit if impact else None,
            "recommendation": self._advice(found.total_executions, found.avg_slippage_bps, found.avg_fill_rate),
            "by_symbol": [line._asdict() for line in fold.slippage.rows() if line.symbol != "ALL"],
            "alert_count": len(alerts),
            "alerts": [{**alert, "time": iso(alert["ts_ns"])} for alert in alerts[-ALERTS_SHOWN:]],
        }

    def _follow(self, client_order_id: str) -> None:
        order = self._fold.book.orders.get(client_order_id)
        price = reference_price(order)
        if order is not None and price and client_order_id not in self._followed:
            self._followed[client_order_id] = self._monitor.start_execution(
                client_order_id, order.symbol, order.side, float(order.quantity), price)

    def _fill(self, event: ev.OrderFilled) -> None:
        self._follow(event.client_order_id)
        if event.client_order_id in self._followed:
            self._monitor.record_fill(event.client_order_id, float(event.quantity), float(event.price))
            self._waiting.append(event)

    def _benchmark(self, bar: ev.SliceClosed) -> None:
        """The bar that has closed is the one in which the fills before it happened."""
        columns = {symbol: k for k, symbol in enumerate(self._fold.book.symbols)}
        for fill in self._waiting:
            k = columns.get(fill.symbol)
            prices = (None,) if k is None else (bar.high[k], bar.low[k], bar.close[k])
            if None in prices:
                continue
            quantity, value = self._weights.get(fill.client_order_id, (0.0, 0.0))
            quantity += float(fill.quantity)
            value += float(fill.quantity) * sum(p for p in prices if p is not None) / 3.0
            self._weights[fill.client_order_id] = quantity, value
            self._followed[fill.client_order_id].vwap_benchmark = value / quantity
        self._waiting.clear()

    def _advice(self, executions: int, slippage: float, fill_rate: float) -> str:
        if not executions:
            return "nothing was executed in this period; there is nothing to judge"
        words = []
        if slippage > self._monitor.slippage_alert_threshold_bps:
            words.append("slippage is high: compare it with the impact estimate, trade smaller or more slowly "
                         "(max_participation, max_impact_bps in risk_params.yaml)")
        if fill_rate < self._monitor.fill_rate_alert_threshold:
            words.append("orders end unfilled: they are large for the bars they trade in")
        return "; ".join(words) or "execution is within its limits"


def lines(facts: dict[str, Any]) -> list[str]:
    """The same for people."""
    vwap, wait = facts["vwap_performance"], facts["avg_latency_ms"]
    rows = [
        ("executions", f"{facts['total_executions']:,} ({facts['total_fills']:,} fills)"),
        ("avg slippage", f"{facts['avg_slippage']:.2f} bps, median {facts['median_slippage_bps']:.2f}, "
                         f"95 % {facts['p95_slippage_bps']:.2f}; it cost ${facts['total_slippage_cost']:,.2f}"),
        ("fill rate", f"{facts['fill_rate']:.1%}"),
        ("beat VWAP", "–" if vwap is None else f"{vwap:.1%} of executions ({facts['vwap_benchmark']})"),
        ("first fill", "–" if wait is None else f"{wait / 1000:,.1f} s after the submission, on average"),
        ("alerts", f"{facts['alert_count']} (above {facts['slippage_alert_threshold_bps']:g} bps, or filled below "
                   f"{facts['fill_rate_alert_threshold']:.0%})"),
    ]
    if facts["impact_estimate_bps"] is not None:
        rows.append(("impact", f"largest estimate of the last day {facts['impact_estimate_bps']:.1f} bps, "
                               f"limit {facts['impact_limit_bps']:.1f}"))
    text = [f"{name:<13}{value}" for name, value in rows]
    if facts["by_symbol"]:
        text += ["", f"{'symbol':<8}{'fills':>7}{'mean bps':>10}{'median':>9}{'95 %':>9}{'cost $':>12}{'filled':>9}"]
        text += [
            f"{row['symbol']:<8}{row['executions']:>7}{row['mean_bps']:>10.2f}{row['median_bps']:>9.2f}"
            f"{row['p95_bps']:>9.2f}{row['cost']:>12,.2f}{row['fill_rate']:>9.1%}" for row in facts["by_symbol"]]
    return [*text, "", facts["recommendation"]]
