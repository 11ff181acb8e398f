"""Small samples whose cause is known, and learners that are quick to fit."""

from __future__ import annotations

import numpy as np

SMALL = {"iterations": 15, "learning_rate": 0.2, "depth": 3}


def planted(n: int = 900, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Class by the second of four features; the first is a copy of it under noise, the rest say nothing."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    X[:, 0] = X[:, 1] + rng.normal(size=n)
    return X, np.digitize(X[:, 1] + 0.4 * rng.normal(size=n), [-0.5, 0.5])
