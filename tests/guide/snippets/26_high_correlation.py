# Check correlation circuit breaker
status = circuit_breaker.get_status()

print(f"State: {status['state']}")
print(f"Triggered: {status['is_triggered']}")
print(f"Position Multiplier: {status['position_multiplier']}")

if status['is_triggered']:
    # Correlation spike detected
    # System should automatically reduce positions
    # Check recommended action
    print(f"Action: {status['recommended_action']}")
