from trader.models.calibration import ProbabilityCalibrationManager

calibrator = ProbabilityCalibrationManager(
    auto_select=True  # Automatically select best method
)

# Fit on validation set
val_probs = model.predict_proba(X_val)[:, 2]  # Probability of class 2
calibrator.fit(val_probs, (y_val == 2).astype(int))

# Use in production
raw_prob = model.predict_proba(X_new)[:, 2]
calibrated_prob = calibrator.calibrate(raw_prob)

# Check calibration quality
metrics = calibrator.get_metrics()
print(f"ECE (Expected Calibration Error): {metrics.expected_calibration_error:.4f}")
print(f"Brier Score: {metrics.brier_score:.4f}")
