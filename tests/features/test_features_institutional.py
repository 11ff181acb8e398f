"""The guide's engine for one frame of bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trader.features.feature_set import default_features
from trader.features.institutional import InstitutionalFeatureEngine


@pytest.fixture(scope="module")
def df(probe) -> pd.DataFrame:
    frame = pd.DataFrame({name: getattr(probe, name)[:1500, 0] for name in ("open", "high", "low", "close", "volume")})
    frame.insert(0, "timestamp", pd.to_datetime(probe.ts_ns[:1500], utc=True))
    return frame


def test_the_guides_snippet(df):
    engine = InstitutionalFeatureEngine()
    given = df.copy()
    features = engine.generate_all_features(df)
    pd.testing.assert_frame_equal(df, given)
    assert len(features.columns) > 30
    assert {"ffd_close", "vpin", "kyle_lambda", "regime_calm", "spread_roll"} <= set(features.columns.tolist())
    pd.testing.assert_index_equal(features.index, df.index)


def test_unfitted_it_estimates_nothing_on_what_it_is_shown(df):
    engine = InstitutionalFeatureEngine()
    whole, part = engine.generate_all_features(df), engine.generate_all_features(df.iloc[:900])
    np.testing.assert_allclose(whole.iloc[:900], part, rtol=1e-9, atol=1e-12)


def test_fitted_on_training_bars_it_is_the_feature_set(df, probe):
    engine = InstitutionalFeatureEngine().fit(df.iloc[:1000])
    expected = engine.feature_set.transform(probe.rows(0, 1500))[:, 0]
    own = [k for k, name in enumerate(engine.feature_set.names) if not name.startswith("rank_")]
    np.testing.assert_array_equal(engine.generate_all_features(df).to_numpy()[:, own], expected[:, own])


def test_times_in_the_index_and_daily_bars(df):
    indexed = df.set_index("timestamp")
    pd.testing.assert_frame_equal(
        InstitutionalFeatureEngine().generate_all_features(indexed).reset_index(drop=True),
        InstitutionalFeatureEngine().generate_all_features(df),
    )
    daily = df.copy()
    daily["timestamp"] = pd.date_range("2015-01-01", periods=len(df), freq="D")
    assert tuple(InstitutionalFeatureEngine().generate_all_features(daily).columns) == default_features("1Day").names


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda d: d.drop(columns=["volume", "high"]), "lacks high, volume"),
    (lambda d: d.drop(columns="timestamp"), "no times"),
    (lambda d: d.assign(timestamp="yesterday-ish"), "timestamps cannot be read"),
    (lambda d: d.iloc[::-1], "row 1 is not later"),
    (lambda d: pd.concat([d.iloc[:5], d.iloc[4:8]]), "row 5 is not later"),
    (lambda d: d.assign(close="dear"), "must be numbers"),
    (lambda d: d.assign(close=d["close"].where(d.index != 3, -1.0)), "close must be above 0; row 3 holds -1"),
    (lambda d: d.assign(volume=-1.0), "volume must not be negative"),
])
def test_malformed_frames_are_named(df, spoil, words):
    with pytest.raises(ValueError, match=words):
        InstitutionalFeatureEngine().generate_all_features(spoil(df))


def test_few_rows_give_a_frame_of_nan_and_infinite_prices_stay_local(df):
    for n in (0, 1, 3):
        assert InstitutionalFeatureEngine().generate_all_features(df.iloc[:n]).shape[0] == n
    spoilt = df.copy()
    spoilt.loc[700, "high"] = np.inf
    values = InstitutionalFeatureEngine().generate_all_features(spoilt)
    assert values.iloc[700].isna().all()
    assert values.iloc[760].notna().mean() > 0.9
