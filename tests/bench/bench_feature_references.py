"""Single features beside what one would use instead: ``python -m tests.bench.bench_feature_references``."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from tests.bench.bench_table import interleave, table
from trader.core.panel import FloatArray
from trader.features.fracdiff import ffd, ffd_weights
from trader.features.microstructure import kyle_lambda, tick_signs
from trader.features.regime import emission_likelihoods, forward_filter
from trader.features.spreads import edge
from trader.features.vpin import buy_volume, vpin_buckets

SCALE = 100_000


def measure(rounds: int = 3, n: int = SCALE) -> tuple[str, dict[str, tuple[Any, Any]]]:
    """The table, and for each task the last values of ours and of the reference over the same input."""
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, n)))
    long = np.log(100) + np.cumsum(rng.normal(0, 0.002, 10 * n))
    volume = rng.lognormal(10, 0.5, n)
    small = min(n, 2_000)
    x = rng.normal(0, 1, (1_000, 2))
    model = _hmm()
    bars = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, small)))
    high, low = bars * 1.002, bars * 0.998
    opened = bars * np.exp(rng.normal(0, 0.0005, small))
    contests = {
        f"FFD, {10 * n:,} points, {len(ffd_weights(0.4, 1e-5)):,} weights": (
            lambda: ffd(long, 0.4, 1e-5), 10 * n, "fracdiff-modern", lambda: _fracdiff(long[:n]), n),
        f"VPIN, {n:,} bars": (
            lambda: _vpin(close, volume), n, "bookkeeping loop",
            lambda: _vpin_loop(close[:small], volume[:small]), small),
        f"Kyle's lambda, {n:,} bars": (
            lambda: kyle_lambda(close, volume)[0], n, "statsmodels OLS a window",
            lambda: _kyle_ols(close[:600], volume[:600]), 600),
        "HMM filter, 1,000 steps": (
            lambda: forward_filter(emission_likelihoods(x, model.means_, model.raw), model.startprob_, model.transmat_),
            1_000, "hmmlearn on every prefix", lambda: _prefixes(model, x[:60]), 60),
        f"EDGE, {small:,} bars": (
            lambda: edge(opened, high, low, bars, 50, np.zeros(small, bool)), small, "bidask a window",
            lambda: _bidask(opened[:300], high[:300], low[:300], bars[:300]), 300),
    }
    rows, ends = [], {}
    for task, (ours, work, name, theirs, part) in contests.items():
        times = interleave({"ours": ours, name: theirs}, rounds)
        each = [times[k].median / count * 1e6 for k, count in (("ours", work), (name, part))]
        rows.append((task, times["ours"].median * 1e3, each[0], name, each[1], each[1] / each[0]))
        ends[task] = times["ours"].result, times[name].result
    head = ("task", "ms", "µs each", "reference", "µs each", "× faster")
    return table(f"features beside other code; CPU, median of {rounds}", head, rows), ends


def _fracdiff(series: FloatArray) -> FloatArray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from fracdiff import fdiff

    return np.asarray(fdiff(series, 0.4, window=len(ffd_weights(0.4, 1e-5)), mode="valid"))


def _vpin(close: FloatArray, volume: FloatArray) -> FloatArray:
    change = np.diff(close, prepend=close[0])
    buys = buy_volume(change, volume, np.full(len(close), 0.2))
    return vpin_buckets(volume, buys, 5.2 * volume[:1_000].mean())


def _vpin_loop(close: FloatArray, volume: FloatArray) -> FloatArray:
    """Fill buckets bar by bar, splitting bars over the edges."""
    from scipy.stats import norm

    size, left, bought, imbalances, out = 5.2 * volume[:1_000].mean(), 0.0, 0.0, [], []
    left = size
    for i in range(len(close)):
        share = norm.cdf((close[i] - close[i - 1]) / 0.2) if i else 0.5
        rest = volume[i]
        while rest >= left:
            bought += left * share
            imbalances.append(abs(2 * bought - size))
            rest, left, bought = rest - left, size, 0.0
            if len(imbalances) >= 50:
                out.append(sum(imbalances[-50:]) / (50 * size))
        left, bought = left - rest, bought + rest * share
    return np.array(out)


def _kyle_ols(close: FloatArray, volume: FloatArray) -> FloatArray:
    import statsmodels.api as sm

    change = np.concatenate([[np.nan], np.diff(close)])
    signed = tick_signs(change) * volume
    return np.array([
        sm.OLS(change[i - 49 : i + 1], sm.add_constant(signed[i - 49 : i + 1])).fit().params[1]
        for i in range(50, len(close))
    ])


def _hmm() -> Any:
    from hmmlearn.hmm import GaussianHMM

    model = GaussianHMM(3, covariance_type="diag")
    model.startprob_ = np.full(3, 1 / 3)
    model.transmat_ = np.array([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.01, 0.01, 0.98]])
    model.means_, model.raw = np.zeros((3, 2)), np.array([[0.5, 0.5], [1.0, 1.0], [2.0, 2.0]])
    model.covars_ = model.raw
    model.n_features = 2
    return model


def _prefixes(model: Any, x: FloatArray) -> FloatArray:
    return np.array([model.predict_proba(x[: i + 1])[-1] for i in range(len(x))])


def _bidask(*bars: FloatArray) -> FloatArray:
    from bidask import edge as by_the_authors

    return np.array([by_the_authors(*(b[i - 50 : i + 1] for b in bars)) for i in range(50, len(bars[0]))])


@pytest.mark.bench
def test_ours_and_the_references_agree() -> None:
    pytest.importorskip("fracdiff")
    pytest.importorskip("bidask")
    text, ends = measure(rounds=2, n=20_000)
    print(text)
    fracdiff, vpin, kyle, hmm, spread = ends.values()
    width = len(ffd_weights(0.4, 1e-5))
    np.testing.assert_allclose(fracdiff[0][width - 1 : 20_000], fracdiff[1], rtol=1e-9)
    np.testing.assert_allclose(vpin[0][: len(vpin[1])], vpin[1], rtol=1e-9)
    np.testing.assert_allclose(kyle[0][50:600], kyle[1], rtol=1e-7)
    np.testing.assert_allclose(hmm[0][:60], hmm[1], atol=1e-9)
    np.testing.assert_allclose(spread[0][50:300], spread[1], rtol=1e-7)


if __name__ == "__main__":
    print(measure()[0])
