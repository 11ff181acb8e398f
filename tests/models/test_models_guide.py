"""The guide's model training, step by step, with its spelling."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from trader.models.calibration import ProbabilityCalibrationManager
from trader.models.ensemble import EnsembleModel
from trader.models.meta_labeling import TripleBarrierLabeler
from trader.models.ml_model import CatBoostModel


def test_label_train_evaluate_calibrate():
    rng = np.random.default_rng(0)
    df = pd.DataFrame({"close": 100 * np.exp(np.cumsum(0.005 * rng.standard_normal(700)))})
    labels = TripleBarrierLabeler(profit_taking=0.02, stop_loss=0.01, max_holding_periods=20).fit_transform(df)
    assert labels.value_counts().sum() == labels.notna().sum() > 650
    ahead = df["close"].shift(-5).ffill()
    features = pd.DataFrame({"lead": ahead / df["close"] + 0.01 * rng.standard_normal(700), "noise": rng.random(700)})

    X_train, X_val, y_train, y_val = train_test_split(features, labels, test_size=0.2, shuffle=False)
    model = CatBoostModel(task="classification", iterations=60, learning_rate=0.05, depth=4)
    model.fit(X_train, y_train, validation_data=(X_val, y_val), early_stopping_rounds=50)
    ensemble = EnsembleModel(models=["catboost", "xgboost", "lightgbm"], voting="soft", iterations=30)
    ensemble.fit(X_train, y_train)
    predictions = ensemble.predict(X_val)
    accuracy = (predictions == y_val).mean()
    assert accuracy > (y_val == y_train.mode()[0]).mean()

    calibrator = ProbabilityCalibrationManager(auto_select=True)
    val_probs = model.predict_proba(X_val)[:, 2]
    calibrator.fit(val_probs, (y_val == 2).astype(int))
    calibrated = calibrator.calibrate(model.predict_proba(X_val)[:, 2])
    assert calibrated.shape == val_probs.shape
    metrics = calibrator.get_metrics()
    assert 0 <= metrics.expected_calibration_error <= 1
    assert 0 <= metrics.brier_score <= 1
