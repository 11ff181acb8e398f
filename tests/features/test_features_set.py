"""The set as a whole: shapes, fitting, storage, fingerprint, missing bars, sessions."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from trader.core.panel import BarPanel
from trader.features.feature import feature
from trader.features.feature_set import FeatureSet, default_features
from trader.features.fracdiff import FracDiff
from trader.features.regime import HMMRegime
from trader.features.returns import OvernightGap, SessionReturns


def without(panel: BarPanel, rows: np.ndarray, column: int) -> BarPanel:
    """A panel in which one symbol lacks some bars."""
    changed = {}
    for name in ("open", "high", "low", "close", "volume"):
        values = getattr(panel, name).copy()
        values[rows, column] = np.nan
        changed[name] = values
    return replace(panel, **changed)


def test_default_set_has_the_promised_columns(fitted, probe):
    values = fitted.transform(probe)
    assert values.shape == (len(probe), 2, len(fitted.names))
    assert 30 <= len(fitted.names) <= 50
    assert not np.isinf(values).any()
    late = values[fitted.warmup + 60 :]
    share = np.isnan(late).mean(axis=(0, 1))
    assert share.max() < 0.08, dict(zip(fitted.names, share, strict=True))


def test_no_feature_is_constant_on_real_shapes(fitted, probe):
    spread = np.nanstd(fitted.transform(probe), axis=(0, 1))
    assert (spread > 0).all(), [n for n, s in zip(fitted.names, spread, strict=True) if not s > 0]


def test_a_missing_bar_leaves_the_other_symbol_alone(fitted, probe):
    own = [k for k, name in enumerate(fitted.names) if not name.startswith("rank_")]
    before = fitted.transform(probe)
    holes = np.arange(1500, 1530)
    after = fitted.transform(without(probe, holes, 1))
    np.testing.assert_array_equal(before[:, 0, own], after[:, 0, own])
    assert np.isnan(after[holes, 1]).all()
    assert np.isfinite(after[1600:, 1]).mean() > 0.9


def test_fit_uses_only_the_panel_it_is_given(probe):
    train = probe.rows(0, 1200)
    assert default_features().fit(train).fingerprint() == default_features().fit(train).fingerprint()
    fitted = {type(f): f for f in default_features().fit(train).features}
    assert 0.1 <= fitted[FracDiff].d <= 1.0
    regime = fitted[HMMRegime]
    assert np.all(np.diff([row[0] for row in regime.variances]) >= 0)
    np.testing.assert_allclose(np.sum(regime.transition, axis=1), 1.0, atol=1e-12)
    assert regime.transition != HMMRegime().transition


def test_storage_round_trip(fitted, probe):
    again = FeatureSet.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again.fingerprint() == fitted.fingerprint()
    np.testing.assert_array_equal(again.transform(probe.rows(0, 900)), fitted.transform(probe.rows(0, 900)))


def test_stored_user_features_must_be_given_again():
    @feature(lookback=0)
    def body(bars):
        return bars.close - bars.open

    stored = default_features(extra=[body]).to_dict()
    assert FeatureSet.from_dict(stored, extra=[body]).names[-1] == "body"
    with pytest.raises(ValueError, match=r"needs the user feature body.*features\.extra"):
        FeatureSet.from_dict(stored)
    with pytest.raises(ValueError, match="reads format"):
        FeatureSet.from_dict({"format": 99, "features": []})


def test_fingerprint_tells_parameters_and_fitted_values_apart():
    base = FeatureSet([SessionReturns(), FracDiff()])
    prints = {
        base.fingerprint(),
        FeatureSet([SessionReturns((1, 2)), FracDiff()]).fingerprint(),
        FeatureSet([SessionReturns(), FracDiff(d=0.5)]).fingerprint(),
        FeatureSet([FracDiff(), SessionReturns()]).fingerprint(),
    }
    assert len(prints) == 4
    assert base.fingerprint() == FeatureSet([SessionReturns(), FracDiff()]).fingerprint()


def test_doubled_names_and_unknown_sources_are_refused():
    with pytest.raises(ValueError, match="two features have the name ffd_close"):
        FeatureSet([FracDiff(), FracDiff(d=0.5)])
    from trader.features.cross_section import CrossSectionalRank

    with pytest.raises(ValueError, match="ranks 'nothing'"):
        FeatureSet([CrossSectionalRank("nothing")])


def test_the_night_enters_only_where_it_is_declared(fitted, probe):
    """Lifting all of one session's prices changes no feature that says it does not span sessions."""
    day = (probe.ts_ns - 4 * 3_600_000_000_000) // 86_400_000_000_000
    later = day >= day[1800]
    lifted = {}
    for name in ("open", "high", "low", "close"):
        values = getattr(probe, name).copy()
        values[later] *= 1.25
        lifted[name] = values
    # dollars per volume feel the level itself, so volume falls as prices rise
    volume = probe.volume.copy()
    volume[later] /= 1.25
    before, after = fitted.transform(probe), fitted.transform(replace(probe, volume=volume, **lifted))
    for f in fitted.own:
        if "volume" not in f.inputs:
            span = fitted.spans[f]
            same = np.allclose(before[:, :, span], after[:, :, span], rtol=1e-6, atol=1e-7, equal_nan=True)
            assert same != f.spans_sessions, f.names


def test_overnight_gap_and_session_return_by_hand(probe):
    values = FeatureSet([OvernightGap()]).transform(probe)[:, 0]
    opens = np.flatnonzero(np.diff(probe.ts_ns) > 3_600_000_000_000) + 1
    checked = 0
    for i in opens[3:20]:
        if np.isfinite(probe.close[i - 1 : i + 3, 0]).all():
            gap = np.log(probe.open[i, 0] / probe.close[i - 1, 0])
            np.testing.assert_allclose(values[i : i + 3, 0], gap, rtol=1e-9)
            np.testing.assert_allclose(values[i + 2, 1], np.log(probe.close[i + 2, 0] / probe.open[i, 0]), atol=1e-14)
            checked += 1
    assert checked > 8


def test_daily_returns_span_the_night(daily):
    values = default_features("1Day").transform(daily)
    column = default_features("1Day").names.index("ret_1")
    aapl = daily.close[:, daily.column("AAPL")]
    np.testing.assert_allclose(values[1:, daily.column("AAPL"), column], np.diff(np.log(aapl)), rtol=1e-9, atol=1e-15)
