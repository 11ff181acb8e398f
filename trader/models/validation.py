"""Cross-validation for labels that overlap in time: purged k-fold, combinatorial, walk-forward.

A label begins at ``t0`` (the bar whose close it is taken at) and ends at ``t1`` (the bar that decided it),
in any integer unit: bar numbers or nanoseconds. Both are required: without label ends nothing can be
purged. Samples need not be sorted, and samples that begin together (many symbols at one bar) always fall in
the same block.

Two labels overlap when the half-open spans ``[t0, t1)`` meet: a label that ends at the very price another one
starts from shares no return with it. References: López de Prado (2018), chapters 7 and 12.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]
Split = tuple[IntArray, IntArray]


class _Purged:
    """Blocks of time and the purge between them."""

    def __init__(self, t0: ArrayLike, t1: ArrayLike, n_splits: int, embargo: int) -> None:
        self.t0, self.t1 = np.asarray(t0, dtype=np.int64), np.asarray(t1, dtype=np.int64)
        if self.t0.shape != self.t1.shape or self.t0.ndim != 1:
            raise ValueError(f"t0 and t1 need one shape (n,); got {self.t0.shape}, {self.t1.shape}")
        if np.any(self.t1 < self.t0):
            raise ValueError(f"label {int(np.argmax(self.t1 < self.t0))} ends before it begins")
        times = np.unique(self.t0)
        if not 2 <= n_splits <= len(times):
            raise ValueError(f"n_splits must lie in 2..{len(times)} (distinct starts); got {n_splits}")
        if embargo < 0:
            raise ValueError(f"embargo must not be negative; got {embargo}")
        self.n_splits, self.embargo = n_splits, embargo
        blocks = np.array_split(times, n_splits)
        self._edges = [(int(b[0]), int(b[-1])) for b in blocks]
        self._block = np.searchsorted([last for _, last in self._edges], self.t0)

    def _check(self, X: Any) -> None:
        if X is not None and len(X) != len(self.t0):
            raise ValueError(f"the splitter knows {len(self.t0)} labels; got {len(X)} rows")

    def _clear_of(self, blocks: tuple[int, ...]) -> NDArray[np.bool_]:
        """Samples outside the blocks whose labels overlap none of theirs and that no embargo covers."""
        free = ~np.isin(self._block, blocks)
        for block in blocks:
            first, last = self._edges[block]
            ends = int(self.t1[self._block == block].max())
            free &= (self.t1 <= first) | (self.t0 >= max(ends, last + 1))
            free &= (self.t0 < first) | (self.t0 > last + self.embargo)
        return free


class PurgedKFold(_Purged):
    """Contiguous blocks of time in turn as test; scikit-learn's splitter interface.

    Parameters
    ----------
    t0, t1 : label starts and ends, integers, shape ``(n,)``
    n_splits : number of blocks
    embargo : samples starting within so many units after a test block are not trained on
    """

    def __init__(self, t0: ArrayLike, t1: ArrayLike, n_splits: int = 5, embargo: int = 0) -> None:
        super().__init__(t0, t1, n_splits, embargo)

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Pairs of increasing row numbers ``(train, test)``."""
        self._check(X)
        for block in range(self.n_splits):
            yield np.flatnonzero(self._clear_of((block,))), np.flatnonzero(self._block == block)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        return self.n_splits


class CombinatorialPurgedCV(_Purged):
    """Every choice of ``n_test`` blocks as test (AFML 12.4); arguments as for ``PurgedKFold``."""

    def __init__(
        self, t0: ArrayLike, t1: ArrayLike, n_splits: int = 6, n_test: int = 2, embargo: int = 0
    ) -> None:
        super().__init__(t0, t1, n_splits, embargo)
        if not 1 <= n_test < n_splits:
            raise ValueError(f"n_test must lie in 1..{n_splits - 1}; got {n_test}")
        self.n_test = n_test

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Pairs of increasing row numbers ``(train, test)``."""
        self._check(X)
        for blocks in combinations(range(self.n_splits), self.n_test):
            yield np.flatnonzero(self._clear_of(blocks)), np.flatnonzero(np.isin(self._block, blocks))

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        from math import comb

        return comb(self.n_splits, self.n_test)

    @property
    def n_paths(self) -> int:
        """How many whole out-of-sample paths the splits can be joined to."""
        from math import comb

        return comb(self.n_splits - 1, self.n_test - 1)


class WalkForward(_Purged):
    """Train on the past, test on the block after it.

    Parameters
    ----------
    t0, t1 : label starts and ends, integers, shape ``(n,)``
    n_splits : number of blocks; the first is only trained on, so there are ``n_splits - 1`` splits
    embargo : gap in units of ``t0`` between the last training label's end and the test block
    max_train_blocks : roll over so many blocks; expanding when None
    """

    def __init__(
        self, t0: ArrayLike, t1: ArrayLike, n_splits: int = 5, embargo: int = 0,
        max_train_blocks: int | None = None,
    ) -> None:
        super().__init__(t0, t1, n_splits, embargo)
        self.max_train_blocks = max_train_blocks

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[Split]:
        """Pairs of increasing row numbers ``(train, test)``, in time order."""
        self._check(X)
        for block in range(1, self.n_splits):
            oldest = 0 if self.max_train_blocks is None else max(0, block - self.max_train_blocks)
            past = (self._block < block) & (self._block >= oldest)
            past &= self.t1 + self.embargo <= self._edges[block][0]
            yield np.flatnonzero(past), np.flatnonzero(self._block == block)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        return self.n_splits - 1


def purged_holdout(t0: ArrayLike, t1: ArrayLike, share: float) -> Split:
    """The last ``share`` of the label starts as test, and the samples whose labels ended before it."""
    starts, ends = np.asarray(t0, dtype=np.int64), np.asarray(t1, dtype=np.int64)
    times = np.unique(starts)
    cut = times[min(len(times) - 1, int(len(times) * (1.0 - share)))]
    return np.flatnonzero(ends <= cut), np.flatnonzero(starts >= cut)
