"""The execution monitor on the guide's example, on alerts and on periods."""

import pytest

from trader.core.clock import SECOND_NS, VirtualClock
from trader.monitoring.execution_dashboard import ExecutionMonitor

HOUR = 3600 * SECOND_NS


def test_the_guides_example():
    clock = VirtualClock()
    monitor = ExecutionMonitor(slippage_alert_threshold_bps=10.0, fill_rate_alert_threshold=0.8, clock=clock)
    monitor.start_execution(order_id="ord_123", symbol="AAPL", side="buy", target_quantity=100, target_price=175.50,
                            vwap_benchmark=175.40)
    clock.advance_to(40_000_000)
    monitor.record_fill(order_id="ord_123", fill_quantity=50, fill_price=175.55)
    monitor.record_fill(order_id="ord_123", fill_quantity=50, fill_price=175.52)
    report = monitor.generate_report(period_hours=24)
    slip = (175.535 / 175.50 - 1) * 1e4
    assert report.total_executions == 1
    assert report.total_fills == 2
    assert report.avg_slippage_bps == pytest.approx(slip)
    assert report.median_slippage_bps == report.p95_slippage_bps == pytest.approx(slip)
    assert report.avg_fill_rate == 1.0
    assert report.pct_beat_vwap == 0.0
    assert report.total_slippage_cost == pytest.approx(3.5)
    assert report.avg_latency_ms == pytest.approx(40.0)
    assert report.alerts == ()


def test_alerts_on_slippage_and_on_poor_fills_once():
    heard = []
    monitor = ExecutionMonitor(5.0, 0.8, clock=VirtualClock(), on_alert=heard.append)
    monitor.start_execution("a", "AAPL", "sell", 100, 100.0)
    monitor.record_fill("a", 60, 99.90)
    monitor.finish_execution("a")
    monitor.finish_execution("a")
    assert [a.kind for a in heard] == ["slippage", "fill_rate"]
    assert heard[0].value == pytest.approx(10.0)
    assert list(monitor.generate_report().alerts) == heard


def test_reports_look_back_their_period_only():
    clock = VirtualClock()
    monitor = ExecutionMonitor(clock=clock)
    monitor.start_execution("old", "A", "buy", 1, 10.0)
    clock.advance_to(30 * HOUR)
    monitor.start_execution("new", "A", "buy", 1, 10.0, vwap_benchmark=10.2)
    monitor.record_fill("new", 1, 10.1)
    report = monitor.generate_report(24)
    assert report.total_executions == 1
    assert report.pct_beat_vwap == 1.0
    assert monitor.generate_report(48).total_executions == 2
    assert ExecutionMonitor(clock=clock).generate_report().avg_slippage_bps == 0.0


def test_mistakes_are_named():
    monitor = ExecutionMonitor(clock=VirtualClock())
    monitor.start_execution("a", "A", "buy", 1, 10.0)
    for call, words in [
        (lambda: monitor.start_execution("a", "A", "buy", 1, 10.0), "started already"),
        (lambda: monitor.start_execution("b", "A", "hold", 1, 10.0), "side"),
        (lambda: monitor.start_execution("b", "A", "buy", 0, 10.0), "target"),
        (lambda: monitor.record_fill("zz", 1, 10.0), "never started"),
        (lambda: monitor.record_fill("a", -1, 10.0), "positive"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
