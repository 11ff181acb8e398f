"""Market regimes: a hidden Markov model, fitted on training bars, read by the forward filter only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, log
from typing import Any

import numpy as np

from trader.core.panel import FloatArray
from trader.features.columns import Columns
from trader.features.feature import StatefulFeature
from trader.features.rolling import rolling_mean, rolling_sum

Row = tuple[float, ...]
MAX_FIT_BARS = 20_000


def emission_logs(x: FloatArray, means: FloatArray, variances: FloatArray) -> FloatArray:
    """Log densities ``(n, states)`` of observations ``(n, k)`` under Gaussians with diagonal covariances."""
    gap = x[:, None, :] - means[None, :, :]
    logs: FloatArray = -0.5 * np.sum(gap * gap / variances + np.log(2.0 * np.pi * variances), axis=2)
    return logs


def emission_likelihoods(x: FloatArray, means: FloatArray, variances: FloatArray) -> FloatArray:
    """Gaussian likelihoods ``(n, states)`` of observations ``(n, k)``, each row over its largest."""
    logs = emission_logs(x, means, variances)
    likelihoods: FloatArray = np.exp(logs - logs.max(axis=1, keepdims=True))
    return likelihoods


def forward_filter(likelihoods: FloatArray, start: Sequence[float], transition: FloatArray) -> FloatArray:
    """Filtered state probabilities ``(n, states)``: each row knows the observations up to its own, none after.

    ``alpha_t`` is proportional to ``(alpha_{t-1} A) b(x_t)`` (Hamilton 1989). ``start`` is the distribution
    before the first observation. Smoothed probabilities and Viterbi paths, which see the whole series, are never used.
    """
    states = range(len(start))
    columns = [[float(transition[i, j]) for i in states] for j in states]
    prior = list(start)
    out = []
    for row in likelihoods.tolist():
        joint = [p * b for p, b in zip(prior, row, strict=True)]
        total = sum(joint)
        if total > 0.0:
            alpha = [value / total for value in joint]
        else:                               # the observation is impossible under every reachable state
            alpha = [value / sum(prior) for value in prior]
        out.append(alpha)
        prior = [sum([a * t for a, t in zip(alpha, column, strict=True)]) for column in columns]
    return np.array(out).reshape(len(out), len(start))


def log_likelihood(
    x: FloatArray, means: FloatArray, variances: FloatArray, start: Sequence[float], transition: FloatArray,
) -> float:
    """Log likelihood of a series of observations ``(n, k)``: the sum of the filter's one-step densities."""
    logs = emission_logs(x, means, variances)
    largest = logs.max(axis=1, keepdims=True)
    likelihoods = np.exp(logs - largest)
    filtered = forward_filter(likelihoods, start, transition)
    prior = np.concatenate([np.asarray(start, dtype=np.float64)[None, :], filtered[:-1] @ transition])
    return float(np.sum(largest[:, 0] + np.log(np.sum(prior * likelihoods, axis=1))))


@dataclass(frozen=True)
class HMMRegime(StatefulFeature):
    """Probabilities of the calm, the usual and the wild regime.

    Observations are the drift and the volatility of the last ``short`` bars, both relative to the volatility of the
    last ``window``, so that one model serves all symbols. The values before `fit` are a plain prior: half, one and
    twice the usual volatility, each lasting some 50 bars.
    """

    window: int = 130
    short: int = 13
    start: Row = (1 / 3, 1 / 3, 1 / 3)
    transition: tuple[Row, ...] = ((0.98, 0.015, 0.005), (0.01, 0.98, 0.01), (0.005, 0.015, 0.98))
    means: tuple[Row, ...] = ((0.0, -0.6), (0.0, 0.0), (0.0, 0.6))
    variances: tuple[Row, ...] = ((0.25, 0.08), (1.0, 0.08), (4.0, 0.08))
    seed: int = 7
    inputs = ("open", "close", "session_id")
    names = ("regime_calm", "regime_usual", "regime_wild")
    lookback = None

    @property
    def warmup(self) -> int:
        return self.window

    @property
    def step_lookback(self) -> int:  # type: ignore[override]
        return self.window

    @property
    def memory(self) -> int:
        """The window plus the time in which the chain forgets its start to 1e-12."""
        second = float(np.sort(np.abs(np.linalg.eigvals(np.array(self.transition))))[-2])
        forget = ceil(log(1e-12) / log(min(max(second, 1e-3), 0.995)))
        return self.window + max(forget, 100)

    def observe(self, columns: Columns) -> FloatArray:
        """Observations ``(n, 2)``: drift and log volatility of the last ``short`` bars, NaN before bar ``window``.

        Single returns would make states that last one bar, told apart by the size of that bar alone.
        """
        squares = columns.step ** 2
        usual = np.sqrt(rolling_mean(squares, self.window))
        recent = np.sqrt(rolling_mean(squares, self.short))
        with np.errstate(invalid="ignore", divide="ignore"):
            drift = rolling_sum(columns.step, self.short) / (usual * np.sqrt(self.short))
            ratio = np.log(recent / usual)
        # one print must not decide between states by underflow; where nothing moves, nothing is unusual
        x = np.stack([np.clip(drift, -6.0, 6.0), np.clip(ratio, -4.0, 4.0)], axis=1)
        x[usual == 0.0] = 0.0
        return x

    def _filter(self, x: FloatArray, start: Sequence[float]) -> FloatArray:
        likelihoods = emission_likelihoods(x, np.array(self.means), np.array(self.variances))
        return forward_filter(likelihoods, start, np.array(self.transition))

    def compute(self, columns: Columns) -> FloatArray:
        out = np.full((len(columns), len(self.start)), np.nan)
        if len(columns) > self.window:
            out[self.window :] = self._filter(self.observe(columns)[self.window :], self.start)
        return out

    def begin(self, columns: Columns) -> Any:
        return self.compute(columns)[-1] if len(columns) > self.window else None

    def advance(self, state: Any, columns: Columns) -> tuple[Any, FloatArray]:
        if len(columns) <= self.window:
            return None, np.full(len(self.start), np.nan)
        x = self.observe(columns.tail(self.window + 1))[-1:]
        prior = self.start if state is None else state @ np.array(self.transition)
        alpha = self._filter(x, list(prior))[0]
        return alpha, alpha

    def fit(self, history: Sequence[Columns]) -> HMMRegime:
        """EM (Baum-Welch) on the last bars of every symbol, 20,000 in all; states ordered by variance."""
        share = MAX_FIT_BARS // max(len(history), 1)
        parts = [x[self.window :][-share:] for x in map(self.observe, history) if len(x) > self.window + 100]
        if not parts:
            return self
        from hmmlearn.hmm import GaussianHMM

        model = GaussianHMM(
            len(self.start), covariance_type="diag", n_iter=25, tol=1e-1, init_params="", random_state=self.seed,
            covars_prior=1e-2,
        )
        model.startprob_, model.transmat_ = np.array(self.start), np.array(self.transition)
        model.means_, model.covars_ = np.array(self.means), np.array(self.variances)
        x = np.concatenate(parts)
        model.fit(x, [len(part) for part in parts])
        variances = np.array([np.diag(matrix) for matrix in model.covars_])
        order = np.argsort(variances[:, 0])
        # a state that training bars never left or entered would make later bars impossible
        transition = np.maximum(model.transmat_[np.ix_(order, order)], 1e-5)
        transition /= transition.sum(axis=1, keepdims=True)
        fitted = replace(
            self,
            start=_row(np.full(len(order), 1.0 / len(order))),
            transition=tuple(_row(row) for row in transition),
            means=tuple(_row(row) for row in model.means_[order]),
            variances=tuple(_row(row) for row in np.maximum(variances[order], 1e-4)),
        )
        # EM that broke down (a state without bars, a failed inversion) must not replace the prior
        return fitted if fitted.fits(parts) > self.fits(parts) else self

    def fits(self, parts: Sequence[FloatArray]) -> float:
        """Log likelihood of series of observations under these parameters; minus infinity where they are no numbers."""
        means, variances, transition = np.array(self.means), np.array(self.variances), np.array(self.transition)
        if not (np.isfinite(means).all() and np.isfinite(variances).all() and np.isfinite(transition).all()):
            return -np.inf
        return sum(log_likelihood(part, means, variances, self.start, transition) for part in parts)


def _row(values: FloatArray) -> Row:
    return tuple(float(value) for value in values)
