from trader.monitoring.execution_dashboard import ExecutionMonitor

monitor = ExecutionMonitor(
    slippage_alert_threshold_bps=10.0,
    fill_rate_alert_threshold=0.8
)

# Start tracking an execution
execution = monitor.start_execution(
    order_id='ord_123',
    symbol='AAPL',
    side='buy',
    target_quantity=100,
    target_price=175.50,
    vwap_benchmark=175.40
)

# Record fills as they come in
monitor.record_fill(
    order_id='ord_123',
    fill_quantity=50,
    fill_price=175.55
)

monitor.record_fill(
    order_id='ord_123',
    fill_quantity=50,
    fill_price=175.52
)

# Generate quality report
report = monitor.generate_report(period_hours=24)

print(f"Executions: {report.total_executions}")
print(f"Avg Slippage: {report.avg_slippage_bps:.2f} bps")
print(f"Median Slippage: {report.median_slippage_bps:.2f} bps")
print(f"P95 Slippage: {report.p95_slippage_bps:.2f} bps")
print(f"Avg Fill Rate: {report.avg_fill_rate:.1%}")
print(f"Beat VWAP: {report.pct_beat_vwap:.1%}")
print(f"Total Slippage Cost: ${report.total_slippage_cost:,.2f}")
