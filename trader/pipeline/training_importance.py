"""Which features a training lives on: gain of its trees, and log-loss lost out of fold when one is shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trader.core.panel import FloatArray, IntArray
from trader.models.base import Learner
from trader.models.importance import Importance, correlated_families, lucky, one_by_one, ranked, shuffled_rises
from trader.pipeline.training_samples import Samples
from trader.pipeline.training_settings import TrainingSettings


def fold_rises(
    model: Learner, samples: Samples, test: IntArray, settings: TrainingSettings, seed: int
) -> FloatArray:
    """What a fold's model loses on its test rows: one number a feature, then one a family of correlated features.

    The shuffles depend on seed and fold alone, never on who does the work.
    """
    wanted = settings.importance
    rows = test[_evenly(len(test), wanted.max_rows)]
    groups = [*one_by_one(samples.X), *families_of(samples, settings)]
    rng = np.random.default_rng([seed, int(test[0])])
    return shuffled_rises(model, samples.X[rows], samples.y[rows], groups, rng, wanted.repeats)


def families_of(samples: Samples, settings: TrainingSettings) -> list[list[int]]:
    """Columns that say nearly the same, judged without labels on rows spread over all samples."""
    return correlated_families(samples.X[_evenly(len(samples), settings.importance.max_rows)])


def importance_facts(
    names: Sequence[str], gain: dict[str, float], rises: FloatArray, families: list[list[int]]
) -> dict[str, Any]:
    """What the manifest keeps; JSON-able.

    Parameters
    ----------
    names : of the samples' columns
    gain : share of the final trees' gain by feature, largest first
    rises : of each fold, as `fold_rises` gives them; no rows: only the gain is known
    families : as `families_of` gives them

    Returns
    -------
    ``gain`` ``[[feature, share], …]``; ``mda`` ``[[feature, mean, standard error], …]``; ``families`` ``[[[features],
    mean, standard error], …]``; ``features``, how many there are; ``beyond_noise``, whose mean is more than two
    standard errors; ``by_luck``, how many of worthless features that would be among so few folds.
    """
    facts: dict[str, Any] = {"gain": [[name, share] for name, share in gain.items()], "features": len(names)}
    if not len(rises):
        return facts
    single = ranked(names, rises[:, :len(names)])
    labels = [str(k) for k in range(len(families))]
    joint = ranked(labels, rises[:, len(names):]) if families else {}
    return facts | {
        "folds": len(rises),
        "mda": [[name, found.mean, found.error] for name, found in single.items()],
        "families": [[[names[k] for k in families[int(label)]], *found] for label, found in joint.items()],
        "beyond_noise": _beyond(single), "by_luck": lucky(len(names), len(rises)),
        "families_beyond_noise": _beyond(joint),
    }


def importance_verdict(facts: dict[str, Any]) -> str:
    """One honest sentence."""
    if "mda" not in facts:
        return "not judged out of fold (importance.mda is off)"
    return (f"{facts['beyond_noise']} of {facts['features']} features beyond noise, {facts['by_luck']:.1f} expected by "
            f"luck between {facts['folds']} folds")


def _beyond(found: dict[str, Importance]) -> int:
    return sum(own.beyond_noise for own in found.values())


def _evenly(n: int, most: int) -> IntArray:
    """At most so many of ``n`` rows, evenly spread."""
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).round().astype(np.int64)
