"""Does a VaR hold what it promises? Tests on the series of its breaches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class CoverageTest:
    """A likelihood ratio and its p-value; small p: the VaR is rejected."""

    name: str
    breaches: int
    observations: int
    expected_rate: float
    likelihood_ratio: float
    p_value: float

    def rejected(self, level: float = 0.05) -> bool:
        """Whether the hypothesis of correct coverage falls at this level."""
        return self.p_value < level


def kupiec_test(breaches: int, observations: int, expected_rate: float) -> CoverageTest:
    """Proportion of failures (Kupiec 1995), chi-square with one degree of freedom."""
    if not 0 <= breaches <= observations or observations == 0:
        raise ValueError(f"breaches ({breaches}) must lie in 0…observations ({observations}), observations above 0")
    rate = breaches / observations
    promised = _log_likelihood(breaches, observations, expected_rate)
    ratio = max(-2.0 * (promised - _log_likelihood(breaches, observations, rate)), 0.0)
    return CoverageTest("kupiec", breaches, observations, expected_rate, ratio, math.erfc(math.sqrt(ratio / 2.0)))


def christoffersen_test(breached: Sequence[bool], expected_rate: float) -> CoverageTest:
    """Coverage and independence together (Christoffersen 1998), chi-square with two degrees of freedom."""
    hits = [bool(hit) for hit in breached]
    if len(hits) < 2:
        raise ValueError(f"independence needs at least 2 observations, got {len(hits)}")
    counts = {(a, b): 0 for a in (False, True) for b in (False, True)}
    for pair in pairwise(hits):
        counts[pair] += 1
    calm, stressed = counts[False, False] + counts[False, True], counts[True, False] + counts[True, True]
    after_calm, after_stressed = counts[False, True], counts[True, True]
    pooled = (after_calm + after_stressed) / (calm + stressed)
    alone = _log_likelihood(after_calm + after_stressed, calm + stressed, pooled)
    chained = (
        _log_likelihood(after_calm, calm, after_calm / calm if calm else 0.0)
        + _log_likelihood(after_stressed, stressed, after_stressed / stressed if stressed else 0.0)
    )
    unconditional = kupiec_test(sum(hits), len(hits), expected_rate).likelihood_ratio
    ratio = unconditional + max(-2.0 * (alone - chained), 0.0)
    return CoverageTest("christoffersen", sum(hits), len(hits), expected_rate, ratio, math.exp(-ratio / 2.0))


def _log_likelihood(hits: int, n: int, rate: float) -> float:
    """Bernoulli log likelihood with 0 ln 0 = 0."""
    misses = n - hits
    return (hits * math.log(rate) if hits else 0.0) + (misses * math.log1p(-rate) if misses else 0.0)
