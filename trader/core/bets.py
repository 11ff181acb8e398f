"""Bets that a rule names: what a model calls the rule's opinion, and how much to stake on what pays so often."""

from __future__ import annotations

import math

OPINION = "rule_opinion"         # input of a meta-model beside its features: side times strength
_EDGE = 1e-9


def bet_size(probability: float) -> float:
    """Size in [0, 1]: ``2 Φ(z) - 1`` with ``z = (p - ½) / √(p (1 - p))``, 0 below one half.

    López de Prado (2018), 10.3, for two outcomes.
    """
    p = min(max(probability, _EDGE), 1.0 - _EDGE)
    return max(0.0, math.erf((p - 0.5) / math.sqrt(2.0 * p * (1.0 - p))))
