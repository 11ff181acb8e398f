"""Where a symbol stands among the others at the same bar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trader.core.panel import FloatArray
from trader.features.feature import CrossSectionalFeature


def rank_shares(values: FloatArray) -> FloatArray:
    """Ranks along the last axis as shares in [0, 1], ties averaged; NaN stays NaN, a symbol alone stands at 0.5."""
    known = np.isfinite(values)
    below = np.sum(values[:, :, None] > values[:, None, :], axis=2)
    equal = np.sum(values[:, :, None] == values[:, None, :], axis=2)
    others = known.sum(axis=1)[:, None] - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (below + 0.5 * (equal - 1)) / others
    return np.where(known, np.where(others > 0, share, 0.5), np.nan)


@dataclass(frozen=True)
class CrossSectionalRank(CrossSectionalFeature):
    """Rank of another feature's value among the symbols that have one."""

    of: str

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return (f"rank_{self.of}",)

    def combine(self, of: FloatArray) -> FloatArray:
        return rank_shares(of)
