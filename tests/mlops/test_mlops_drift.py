"""Drift measures against known answers, and the alarms they raise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trader.mlops.drift import DriftReference, PageHinkley, kolmogorov_smirnov, population_stability_index

ORACLES = Path(__file__).parent.parent / "oracles"


def test_known_answers():
    case = json.loads((ORACLES / "D01_psi_ks.json").read_text())
    reference, current = (np.loadtxt(ORACLES / f"drift_{n}.csv", skiprows=1) for n in ("ref", "cur"))
    expected = case["expected"]
    assert population_stability_index(reference, current) == pytest.approx(expected["psi_deciles"], abs=1e-9)
    statistic, p_value = kolmogorov_smirnov(reference, current)
    assert statistic == pytest.approx(expected["ks_stat"], abs=1e-9)
    assert p_value == pytest.approx(expected["ks_p"], rel=1e-6)


def test_the_reference_names_what_drifted_and_survives_json():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(5000, 3))
    reference = DriftReference.fit(("a", "b", "c"), train, window=500)
    again = DriftReference.from_dict(json.loads(json.dumps(reference.to_dict())))
    live = rng.normal(size=(500, 3))
    assert again.drifted(live) == ()
    live[:, 1] += 1.0
    live[:200, 2] = np.nan
    assert again.drifted(live) == ("b", "c") or again.drifted(live) == ("c", "b")
    np.testing.assert_array_equal(reference.index(live), again.index(live))


def test_a_slow_feature_gets_the_room_it_needs():
    rng = np.random.default_rng(0)
    slow = np.cumsum(rng.normal(size=5000))[:, None]
    reference = DriftReference.fit(("slow",), slow, window=500)
    assert reference.limits[0] > 1.0
    assert reference.drifted(slow[1000:1500]) == ()


def test_constant_features_do_not_drift():
    reference = DriftReference.fit(("flat",), np.ones((100, 1)), window=50)
    assert reference.drifted(np.ones((50, 1))) == ()


def test_page_hinkley_finds_a_fallen_hit_rate_and_seldom_cries_wolf():
    false_alarms, delays = 0, []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        watch = PageHinkley()
        false_alarms += min(1, sum(watch.update(float(miss)) for miss in rng.random(1000) < 0.44))
        delays.append(next(i for i in range(5000) if watch.update(float(rng.random() < 0.60))))
    assert false_alarms <= 7
    assert np.median(delays) < 250
