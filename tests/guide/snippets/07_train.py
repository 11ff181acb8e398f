from trader.models.ml_model import CatBoostModel
from trader.models.ensemble import EnsembleModel
from sklearn.model_selection import train_test_split

# Prepare data
X_train, X_val, y_train, y_val = train_test_split(
    features, labels, test_size=0.2, shuffle=False  # Time series - no shuffle!
)

# Single model training
model = CatBoostModel(
    task='classification',
    iterations=500,
    learning_rate=0.05,
    depth=6
)

model.fit(
    X_train, y_train,
    validation_data=(X_val, y_val),
    early_stopping_rounds=50
)

# Ensemble model (recommended)
ensemble = EnsembleModel(
    models=['catboost', 'xgboost', 'lightgbm'],
    voting='soft'  # Probability averaging
)
ensemble.fit(X_train, y_train)

# Evaluate
predictions = ensemble.predict(X_val)
accuracy = (predictions == y_val).mean()
print(f"Validation Accuracy: {accuracy:.2%}")
