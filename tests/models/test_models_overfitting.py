"""The probability of backtest overfitting against a plain loop, and on cases whose answer is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import rankdata

from trader.models.overfitting import probability_of_overfitting


def test_equals_a_plain_loop():
    returns = np.random.default_rng(0).normal(0.0005, 0.01, (203, 7))
    edges = np.linspace(0, 203, 9).astype(int)
    logits = []
    for inside in combinations(range(8), 4):
        rows = np.concatenate([np.arange(edges[k], edges[k + 1]) for k in inside])
        seen, unseen = returns[rows], np.delete(returns, rows, axis=0)
        best = np.argmax(seen.mean(axis=0) / seen.std(axis=0))
        omega = rankdata(unseen.mean(axis=0) / unseen.std(axis=0))[best] / 8
        logits.append(np.log(omega / (1 - omega)))
    found = probability_of_overfitting(returns, 8)
    np.testing.assert_allclose(found.logits, logits, atol=1e-9)
    assert found.probability == pytest.approx(np.mean(np.array(logits) <= 0))


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
