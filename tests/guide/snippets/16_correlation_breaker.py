from trader.risk.correlation_breaker import CorrelationCircuitBreaker

# Initialize with baseline correlation from training period
circuit_breaker = CorrelationCircuitBreaker(
    baseline_correlation=baseline_corr_matrix,
    correlation_spike_threshold=0.25,  # 25% increase = warning
    crisis_threshold=0.40,             # 40% increase = crisis
    first_pc_threshold=0.55            # First PC > 55% = warning
)

# Check on each bar
triggered, alert = circuit_breaker.check(recent_returns)

if triggered:
    print(f"Circuit breaker triggered: {alert.state.value}")
    print(f"Action: {alert.action.value}")

    # Get position multiplier
    multiplier = circuit_breaker.get_position_multiplier()
    # Returns: 1.0 (normal), 0.5 (elevated), 0.25 (crisis), 0.0 (flatten)

    # Reduce all positions
    for position in active_positions:
        new_size = int(position.quantity * multiplier)
        if new_size < position.quantity:
            await reduce_position(position, new_size)
