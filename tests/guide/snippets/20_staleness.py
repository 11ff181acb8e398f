from trader.mlops.staleness import ModelStalenessDetector

detector = ModelStalenessDetector(
    model_name='momentum_v1',
    model_trained_date=datetime(2024, 10, 1),
    max_age_days=30,
    min_accuracy_threshold=0.52
)

# Record prediction outcomes
detector.record_prediction(
    symbol='AAPL',
    prediction=2,       # Predicted class
    probability=0.68,   # Model confidence
    actual=2            # Actual outcome (from future)
)

# Check staleness (run periodically)
report = detector.check_staleness()

print(f"Model: {report.model_name}")
print(f"Staleness Level: {report.staleness_level.value}")
print(f"Is Stale: {report.is_stale}")

if report.issues:
    print("Issues:")
    for issue in report.issues:
        print(f"  - {issue}")

print(f"Recommendation: {report.recommendation}")
print(f"Retrain Urgency: {report.retrain_urgency}")

# Staleness levels:
# - FRESH: Model performing well
# - AGING: Early signs of degradation
# - STALE: Needs attention
# - CRITICAL: Should not be used
