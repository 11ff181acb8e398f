"""Live equals batch: every feature, bar by bar, whatever the history that the session started from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trader.core.panel import BarPanel
from trader.features.feature_set import FeatureSet, default_features
from trader.features.live import LiveFeatures
from trader.features.probe import probe_panel

Array = np.ndarray


def assert_equal(feature_set: FeatureSet, live: Array, batch: Array, scale: Array, where: int) -> None:
    """Equal to 1e-9 of a value's size, or of the column's usual size where a value is near zero."""
    missing = np.isnan(live) != np.isnan(batch)
    assert not missing.any(), (where, [feature_set.names[k] for k in np.unique(np.nonzero(missing)[1])])
    error = np.abs(live - batch) / np.maximum(np.maximum(np.abs(batch), scale), 1e-300)
    worst = np.nanmax(np.where(np.isnan(error), 0.0, error), axis=0)
    assert worst.max() < 1e-9, (where, dict(zip(feature_set.names, worst, strict=True)))


def compare(feature_set: FeatureSet, panel: BarPanel, first: int, start: int, stop: int) -> None:
    """Push the bars ``start..stop`` after a history ``first..start`` and compare with the whole panel's batch."""
    batch = feature_set.transform(panel)
    scale = np.nan_to_num(np.nanmedian(np.abs(batch), axis=(0, 1)))
    live = LiveFeatures(feature_set, panel.rows(first, start))
    for i in range(start, stop):
        assert_equal(feature_set, live.push(panel.slice(i)), batch[i], scale, i)


def test_from_the_first_bar_with_no_history(fitted, probe):
    compare(fitted, probe.rows(0, 560), 0, 0, 560)


def test_from_a_history_of_just_the_declared_lookback(fitted, probe):
    # a symbol lacks one bar in a hundred, so the same number of its own bars takes some more rows
    start = 2300
    compare(fitted, probe, start - int(fitted.lookback * 1.03), start, 2400)


def test_ring_survives_being_moved(fitted, probe):
    short = FeatureSet([f for f in fitted.features if not f.cross_sectional and f.memory < 100])
    compare(short, probe.rows(0, 700), 0, 300, 700)


def test_unfitted_set_runs_live_too(probe):
    compare(default_features(), probe, 0, 1500, 1560)


def test_daily_bars_of_the_sample(daily):
    feature_set = default_features("1Day").fit(daily.rows(0, 1500))
    compare(feature_set, daily, 0, 3000, 3060)


def test_real_bars_with_half_days_and_a_missing_session(real):
    feature_set = default_features().fit(real.rows(0, 2600))
    days = real.ts_ns // 86_400_000_000_000
    half = int(np.flatnonzero(days == np.datetime64("2024-11-29").astype(int))[0])
    lacking = int(np.flatnonzero(days == np.datetime64("2025-08-07").astype(int))[0])
    compare(feature_set, real, 0, half - 10, half + 30)
    compare(feature_set, real, lacking - int(1.2 * feature_set.lookback), lacking - 5, lacking + 35)


@settings(max_examples=8)
@given(seed=st.integers(0, 2**20), start=st.integers(0, 700))
def test_any_bars_any_start(seed, start):
    compare(default_features(), probe_panel(720, seed), 0, start, min(start + 20, 720))


def test_a_bar_that_is_not_later_is_refused(fitted, probe):
    live = LiveFeatures(fitted, probe.rows(0, 500))
    with pytest.raises(ValueError, match="not later than the last"):
        live.push(probe.slice(499))


def test_a_symbol_without_a_bar_keeps_its_state(fitted, probe):
    live = LiveFeatures(fitted, probe.rows(0, 500))
    bar = probe.slice(500)
    nothing = np.full(2, np.nan)
    row = live.push(bar._replace(open=nothing, high=nothing, low=nothing, close=nothing, volume=nothing))
    assert np.isnan(row).all()
    continued = live.push(probe.slice(501))
    skipped = LiveFeatures(fitted, probe.rows(0, 500)).push(probe.slice(501))
    np.testing.assert_array_equal(continued, skipped)
