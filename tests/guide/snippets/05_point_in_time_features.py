from trader.features.point_in_time import PointInTimeFeatureEngine

# This engine guarantees no future data leakage
pit_engine = PointInTimeFeatureEngine()

# Add custom features
pit_engine.add_feature(
    name='sma_20',
    calculation=lambda df: df['close'].rolling(20).mean(),
    lookback=20
)

pit_engine.add_feature(
    name='volatility',
    calculation=lambda df: df['close'].pct_change().rolling(20).std(),
    lookback=20
)

# Compute with automatic validation
features = pit_engine.compute_all(df, validate=True)
# Raises error if look-ahead bias detected
