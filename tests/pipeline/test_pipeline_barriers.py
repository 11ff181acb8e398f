"""The calibration of barriers: costs, uneven distances, and what a choice is worth where it was not made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from test_pipeline_train import panel

from trader.pipeline.barriers import calibrate_barriers


def skewed(n: int, seed: int) -> np.ndarray:
    """A path whose falls are rare and large and whose rises are frequent and small."""
    rng = np.random.default_rng(seed)
    falls = rng.random(n) < 0.08
    return 100.0 * np.exp(np.cumsum(np.where(falls, -0.008, 0.0007) + 0.0004 * rng.standard_normal(n)))


def test_barriers_keep_away_from_costs_and_are_judged_by_stretches_that_did_not_choose_them():
    bars = panel(n_bars=1500)
    cheap, dear = calibrate_barriers(bars, cost_bps=0.0), calibrate_barriers(bars, cost_bps=60.0)
    assert (cheap.cost_bps, dear.cost_bps) == (0.0, 60.0)
    for name, own in cheap.symbols.items():
        other = dear.symbols[name]
        assert own.cost_share == 0.0 < other.cost_share
        assert other.profit_taking + other.stop_loss > own.profit_taking + own.stop_loss
        assert 0.3 < own.validated_score < 1.0
        assert 0.0 <= own.agreement <= 1.0
        assert max(own.profit_taking, own.stop_loss) <= 2 * min(own.profit_taking, own.stop_loss)


def test_barriers_lean_where_the_path_does():
    bars = panel(n_bars=2500, n_symbols=1)
    close = skewed(2500, 1)[:, None]
    leaning = replace(bars, open=close, high=close, low=close, close=close)
    own = calibrate_barriers(leaning).symbols["AAA"]
    assert own.profit_taking != own.stop_loss
    assert min(own.class_shares) > 0.05
