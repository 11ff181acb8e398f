from trader.data.live_validator import LiveDataValidator

validator = LiveDataValidator(
    max_price_change_pct=0.10,  # 10% max change
    min_volume=1000,
    max_staleness_seconds=60
)

# Validate incoming data
result = validator.validate(df)

if not result.is_valid:
    print(f"Validation failed: {result.issues}")
    # Issues could be: price spike, stale data, volume anomaly
else:
    print("Data validation passed")
