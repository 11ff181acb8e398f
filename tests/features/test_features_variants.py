"""EDGE, Student's VPIN, minutes, entropies, half days, one user's cross-section: against loops and other libraries."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trader.core.panel import BarPanel
from trader.core.sessions import bar_grid, session_open_close
from trader.data.timeframe import available_at, parse_timeframe
from trader.features.calendar_time import TimeOfDay
from trader.features.columns import Columns, symbol_columns
from trader.features.entropy import MatchEntropy, SignEntropy, SizeEntropy, match_lengths
from trader.features.feature_set import FeatureSet, default_features
from trader.features.fracdiff import ffd, minimum_d
from trader.features.live import LiveFeatures
from trader.features.regime import log_likelihood
from trader.features.spreads import edge
from trader.features.user_features import load_user_features
from trader.features.vpin import VPIN, buy_volume, sample_at
from trader.utils.errors import UserError

ORACLES = Path(__file__).parents[1] / "oracles"


@pytest.fixture(scope="module")
def columns(probe) -> Columns:
    return symbol_columns(probe)[0][1]


def traded(spread: float, bars: int = 400, trades: int = 60, seed: int = 1) -> list[np.ndarray]:
    """Open, high, low and close of a walk that is traded at the bid or the ask."""
    rng = np.random.default_rng(seed)
    fair = 100 * np.exp(np.cumsum(rng.normal(0, 0.0004, bars * trades))).reshape(bars, trades)
    paid = fair * (1 + 0.5 * spread * rng.choice([-1.0, 1.0], fair.shape))
    return [paid[:, 0], paid.max(axis=1), paid.min(axis=1), paid[:, -1]]


def edge_by_the_paper(o, h, l, c) -> float:
    """The closed form on one window of n bars (n - 1 pairs)."""
    o, h, l, c = (np.log(x) for x in (o, h, l, c))
    m = (h + l) / 2
    h1, l1, c1, m1 = h[:-1], l[:-1], c[:-1], m[:-1]
    o, h, l, m = o[1:], h[1:], l[1:], m[1:]
    r1, r2, r3, r4, r5 = m - o, o - m1, m - c1, c1 - m1, o - c1
    tau = (h != l) | (l != c1)
    po, pc = (tau & (o != h)).mean() + (tau & (o != l)).mean(), (tau & (c1 != h1)).mean() + (tau & (c1 != l1)).mean()
    d1, d3, d5 = (r - tau * r.mean() / tau.mean() for r in (r1, r3, r5))
    x1, x2 = -4 / po * d1 * r2 - 4 / pc * d3 * r4, -4 / po * d1 * r5 - 4 / pc * d5 * r4
    v1, v2 = x1.var(), x2.var()
    return float(np.sqrt(abs((v2 * x1.mean() + v1 * x2.mean()) / (v1 + v2))))


def test_edge_equals_the_closed_form_in_every_window():
    bars = [np.round(x, 2) for x in traded(0.001)]              # on cents many opens and closes are extremes
    found = edge(*bars, 50, np.zeros(400, bool))
    assert np.isnan(found[:49]).all()
    expected = [edge_by_the_paper(*(x[i - 50 : i + 1] for x in bars)) for i in range(50, 400)]
    np.testing.assert_allclose(found[50:], expected, rtol=1e-7)


def test_edge_equals_the_authors_library():
    bidask = pytest.importorskip("bidask")
    bars = [np.round(x, 2) for x in traded(0.002, seed=5)]
    found = edge(*bars, 120, np.zeros(400, bool))
    expected = [bidask.edge(*(x[i - 120 : i + 1] for x in bars)) for i in range(120, 400, 7)]
    np.testing.assert_allclose(found[120::7], expected, rtol=1e-7)


@pytest.mark.parametrize("spread", [0.001, 0.005])
def test_edge_finds_a_planted_spread(spread):
    found = edge(*traded(spread, 3000), 2900, np.zeros(3000, bool))[-1]
    assert found == pytest.approx(spread, rel=0.12)


def test_edge_leaves_nights_out_and_knows_when_it_knows_nothing():
    o, h, l, c = traded(0.002)
    breaks = np.arange(400) % 26 == 0
    night = np.repeat(np.random.default_rng(3).lognormal(0, 0.05, 400 // 26 + 1), 26)[:400]
    lifted = edge(o * night, h * night, l * night, c * night, 78, breaks)
    np.testing.assert_allclose(lifted, edge(o, h, l, c, 78, breaks), rtol=1e-6)
    still = np.full(100, 7.0)
    assert np.isnan(edge(still, still, still, still, 20, np.zeros(100, bool))).all()


def test_student_vpin_calls_large_moves_less_certain(columns):
    from scipy.stats import t

    change, volume, sigma = np.array([-3.0, -0.5, 0.0, 0.5, 3.0]), np.full(5, 100.0), np.ones(5)
    np.testing.assert_allclose(buy_volume(change, volume, sigma, 0.25), 100 * t.cdf(change, 0.25), rtol=1e-12)
    normal, student = VPIN().compute(columns), VPIN(degrees=0.25).compute(columns)
    both = np.isfinite(normal) & np.isfinite(student)
    assert both.sum() > 500
    assert student[both].mean() < normal[both].mean()
    assert VPIN(degrees=0.25).names == ("vpin_t",)


def test_vpin_of_minutes_is_read_at_the_quarters():
    start = session_open_close(pd.Timestamp("2024-11-25").date())[0]
    ts, rng = bar_grid(start, start + 9 * 86_400 * 10**9, 1), np.random.default_rng(4)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.0005, (len(ts), 1)), axis=0))
    panel = BarPanel(("A",), "1Min", ts, available_at(ts, parse_timeframe("1m")), close, close, close, close,
                     rng.lognormal(8, 0.5, close.shape))
    values = FeatureSet([VPIN.of_minutes()]).transform(panel)[:, 0, 0]
    assert np.isfinite(values[-1])
    quarters = bar_grid(start, start + 9 * 86_400 * 10**9, 15)
    ends = available_at(quarters, parse_timeframe("15m"))
    read = sample_at(values, panel.available_ns, ends)
    for i in (-1, -10, -20):
        assert np.isfinite(read[i])
        assert read[i] == values[np.flatnonzero(panel.available_ns == ends[i])[0]]
    assert np.isnan(sample_at(values, panel.available_ns, ts[:1])).all()
    assert VPIN.of_minutes() in default_features("1Min").features
    assert len(set(default_features("1Min").names)) == len(default_features("1Min").names)


def test_match_lengths_equal_a_search_in_text():
    letters = np.random.default_rng(2).integers(0, 2, 300)
    text = "".join(map(str, letters))
    reach = np.minimum(np.arange(300) + 1, 9)
    found = match_lengths(letters, 2, reach, 60, 9)
    for i in range(300):
        longest = 0
        for k in range(1, int(reach[i]) + 1):
            ends = [j for j in range(max(i - 60, k - 1), i) if text[j - k + 1 : j + 1] == text[i - k + 1 : i + 1]]
            if not ends:
                break
            longest = k
        assert found[i] == longest, i


def walk(steps: np.ndarray) -> Columns:
    """One long session of bars with these log returns."""
    close = 100 * np.exp(np.cumsum(steps))
    open_ = close / np.exp(steps)
    zeros = np.zeros(len(steps), np.int64)
    return Columns(open_, np.maximum(open_, close), np.minimum(open_, close), close, np.ones(len(steps)),
                   np.arange(len(steps)) * 900 * 10**9, zeros, zeros, True)


@pytest.mark.parametrize(("kind", "chance"), [(SignEntropy(), 0.96), (SizeEntropy(), 0.85), (MatchEntropy(), 0.85)])
def test_entropies_tell_order_from_chance(kind, chance):
    rng = np.random.default_rng(6)
    coins = kind.compute(walk(rng.normal(0, 0.001, 1500)))[400:]
    order = kind.compute(walk(np.tile([0.001, -0.001, 0.001, 0.003, -0.004, 0.001], 250)))[400:]
    assert coins.mean() > chance
    assert np.nanmax(order) < 0.8 * coins.mean()
    assert np.isfinite(coins).all()


def test_size_entropy_equals_a_count_of_pairs(columns):
    kind, found = SizeEntropy(window=60), SizeEntropy(window=60).compute(columns)
    usual = pd.Series(columns.step**2).rolling(kind.usual, min_periods=kind.usual - 1).mean().to_numpy()
    for i in (300, 411, 900):
        pairs = [
            tuple((columns.step[k] > 0, columns.step[k] ** 2 > 0.5 * usual[k]) for k in (j - 1, j))
            for j in range(i - 59, i + 1) if columns.day[j] == columns.day[j - 1]
        ]
        share = np.array([len(list(same)) for _, same in groupby(sorted(pairs))]) / len(pairs)
        assert found[i] == pytest.approx(-(share * np.log2(share)).sum() / 4, rel=1e-9)


def test_time_of_day_knows_half_days():
    def share(day: str) -> np.ndarray:
        open_, close = session_open_close(pd.Timestamp(day).date())
        ts = bar_grid(open_, close, 15)
        flat = np.ones((len(ts), 1))
        panel = BarPanel(("A",), "15Min", ts, ts + 1, flat, flat, flat, flat, flat)
        return FeatureSet([TimeOfDay()]).transform(panel)[:, 0, 0]

    np.testing.assert_allclose(share("2024-11-27"), np.arange(26) / 26)
    np.testing.assert_allclose(share("2024-11-29"), np.arange(14) / 14)


CROSS = """
import numpy as np
from trader.features.feature import cross_feature

@cross_feature(of="ret_26")
def over_mean(values):
    known = np.isfinite(values)
    count = known.sum(axis=1, keepdims=True)
    return values - np.where(known, values, 0.0).sum(axis=1, keepdims=True) / np.maximum(count, 1)

@cross_feature(of="ret_26")
def over_all_days(values):
    return values - np.nanmean(values)

@cross_feature(of="ret_26")
def too_narrow(values):
    return values[:, 0]

@cross_feature(of="no_such_column")
def of_nothing(values):
    return values
"""


def test_a_user_feature_may_look_across_symbols(tmp_path, probe):
    (tmp_path / "mine.py").write_text(CROSS)
    extra = load_user_features(["mine.py:over_mean"], tmp_path)
    feature_set = default_features(extra=extra)
    assert feature_set.verify(probe.rows(0, 900)) == []
    batch = feature_set.transform(probe)
    known = np.isfinite(batch[800, :, -1])
    assert known.sum() == 2
    assert batch[800, :, -1].sum() == pytest.approx(0.0, abs=1e-12)
    live = LiveFeatures(feature_set, probe.rows(0, 800)).push(probe.slice(800))[:, -1]
    np.testing.assert_allclose(live, batch[800, :, -1], rtol=1e-9)
    again = FeatureSet.from_dict(json.loads(json.dumps(feature_set.to_dict())), extra)
    assert again.fingerprint() == feature_set.fingerprint()


@pytest.mark.parametrize(("name", "words"), [
    ("over_all_days", "look-ahead"), ("too_narrow", "a value for each symbol"),
])
def test_a_cross_section_over_time_is_refused(tmp_path, name, words):
    (tmp_path / "mine.py").write_text(CROSS)
    with pytest.raises(UserError, match=words):
        load_user_features([f"mine.py:{name}"], tmp_path)


def test_a_cross_section_of_nothing_is_refused(tmp_path):
    (tmp_path / "mine.py").write_text(CROSS)
    with pytest.raises(ValueError, match="ranks 'no_such_column'"):
        default_features(extra=load_user_features(["mine.py:of_nothing"], tmp_path))


@pytest.mark.filterwarnings("ignore::FutureWarning")      # statsmodels announces another shape of its answer
def test_order_search_by_akaike_passes_later():
    case = json.loads((ORACLES / "F03_adf_min_d.json").read_text())
    log_price = np.log(pd.read_csv(ORACLES / "bars.csv")["close"].to_numpy())
    assert minimum_d(log_price, 1e-3, aic=True) == case["expected"]["min_d_p05_aic"]
    from statsmodels.tsa.stattools import adfuller

    for row in case["expected"]["table"]:
        values = ffd(log_price, row["d"], 1e-3)
        values = values[np.isfinite(values)]
        statistic, p, lags = adfuller(values, regression="c", autolag="AIC")[:3]
        assert statistic == pytest.approx(row["adf_aic"], abs=1e-6)
        assert p == pytest.approx(row["p_aic"], abs=1e-6)
        assert lags == row["lag_aic"]
        assert np.corrcoef(values, log_price[-len(values) :])[0, 1] == pytest.approx(row["corr"], abs=1e-9)


def test_log_likelihood_of_the_filter():
    case = json.loads((ORACLES / "F08_hmm_filtered.json").read_text())
    r = 100.0 * np.diff(np.log(pd.read_csv(ORACLES / "bars.csv")["close"].to_numpy()))[:400]
    given = case["inputs"]
    found = log_likelihood(
        np.stack([r, np.abs(r)], axis=1), np.array(given["means"]), np.array(given["diag_covars"]), given["startprob"],
        np.array(given["transmat"]))
    assert found == pytest.approx(case["expected"]["loglik"], abs=1e-8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:fracdiff")
def test_ffd_equals_another_library():
    fracdiff = pytest.importorskip("fracdiff")
    from trader.features.fracdiff import ffd_weights

    log_price = np.log(pd.read_csv(ORACLES / "bars.csv")["close"].to_numpy())
    width = len(ffd_weights(0.4, 1e-4))
    theirs = fracdiff.fdiff(log_price, 0.4, window=width, mode="valid")
    np.testing.assert_allclose(ffd(log_price, 0.4, 1e-4)[width - 1 :], theirs, rtol=1e-9)
