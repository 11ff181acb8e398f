# Solution: Use point-in-time feature engine
from trader.features.point_in_time import PointInTimeFeatureEngine

engine = PointInTimeFeatureEngine()
# This engine automatically validates for future data leakage

# Common causes of look-ahead bias:
# - Using future data in feature calculation
# - Fitting models on entire dataset then testing on same data
# - Not respecting time ordering in train/test split
