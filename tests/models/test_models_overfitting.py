"""The probability of backtest overfitting against a plain loop, and on cases whose answer is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import rankdata

from trader.models.overfitting import probability_of_overfitting


def test_equals_a_plain_loop():
    returns = np.random.default_rng(0).normal(0.0005, 0.01, (203, 7))
    edges = np.arange(9) * 25                     # equal blocks: three periods are left out
    logits = []
    for inside in combinations(range(8), 4):
        rows = np.concatenate([np.arange(edges[k], edges[k + 1]) for k in inside])
        seen, unseen = returns[rows], np.delete(returns[:200], rows, axis=0)
        best = np.argmax(seen.mean(axis=0) / seen.std(axis=0))
        omega = rankdata(unseen.mean(axis=0) / unseen.std(axis=0))[best] / 8
        logits.append(np.log(omega / (1 - omega)))
    found = probability_of_overfitting(returns, 8)
    np.testing.assert_allclose(found.logits, logits, atol=1e-9)
    assert found.probability == pytest.approx(np.mean(np.array(logits) <= 0))


@pytest.mark.parametrize(("n", "n_trials", "n_blocks"), [(200, 8, 8), (320, 20, 16), (203, 6, 10)])
def test_equals_phacker(n, n_trials, n_blocks):
    reference = pytest.importorskip("phacker.cscv", reason="phacker is not installed: pip install phacker")
    returns = np.random.default_rng(n).normal(0.0005, 0.01, (n, n_trials))
    expected, logits = reference.cscv(returns, n_blocks)
    found = probability_of_overfitting(returns, n_blocks)
    assert found.probability == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(np.sort(found.logits), np.sort(logits), atol=1e-9)


@pytest.mark.parametrize(("n", "n_trials", "n_blocks"), [(200, 8, 8), (320, 20, 16)])
def test_equals_purgedcv(n, n_trials, n_blocks):
    reference = pytest.importorskip("purgedcv", reason="purgedcv is not installed: pip install purgedcv")
    returns = np.random.default_rng(n).normal(0.0005, 0.01, (n, n_trials))
    expected = reference.probability_of_backtest_overfitting(returns.T, n_blocks)
    assert probability_of_overfitting(returns, n_blocks).probability == pytest.approx(expected.pbo, abs=1e-12)


def test_skill_is_not_overfitting_and_noise_is():
    rng = np.random.default_rng(1)
    noise = rng.normal(0.0, 0.01, (1000, 20))
    skilled = noise.copy()
    skilled[:, 3] += 0.004
    assert probability_of_overfitting(skilled).probability < 0.01
    assert len(probability_of_overfitting(noise).logits) == 12_870
    worthless = [np.random.default_rng(k).normal(0, 0.01, (400, 10)) for k in range(30)]
    found = [probability_of_overfitting(returns, 8).probability for returns in worthless]
    assert np.mean(found) == pytest.approx(0.5, abs=0.12)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="two trials"):
        probability_of_overfitting(np.zeros((50, 1)))
    with pytest.raises(ValueError, match="n_blocks must be even"):
        probability_of_overfitting(np.zeros((20, 3)))
