"""Cross-validation for labels that overlap in time: purged k-fold, combinatorial, walk-forward.

A label begins at ``t0`` (the bar whose close it is taken at) and ends at ``t1`` (the bar that decided it),
in any integer unit: bar numbers or nanoseconds. Both are required: without label ends nothing can be
purged. Samples need not be sorted, and samples that begin together (many symbols at one bar) always fall in
the same block.

Two labels overlap when the half-open spans ``[t0, t1)`` meet: a label that ends at the very price another one
starts from shares no return with it. References: López de Prado (2018), chapters 7 and 12.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]
Split = tuple[IntArray, IntArray]


class _Purged:
    """Blocks of time and the purge between them; works on samples in time order, whatever order they came in."""

    def __init__(self, t0: ArrayLike, t1: ArrayLike, n_splits: int, embargo: int) -> None:
        starts, ends = np.asarray(t0, dtype=np.int64), np.asarray(t1, dtype=np.int64)
        if starts.shape != ends.shape or starts.ndim != 1:
            raise ValueError(f"t0 and t1 need one shape (n,); got {starts.shape}, {ends.shape}")
        if np.any(ends < starts):
            raise ValueError(f"label {int(np.argmax(ends < starts))} ends before it begins")
        self._order: IntArray | None = None
        if np.any(starts[1:] < starts[:-1]):
            self._order = np.argsort(starts, kind="stable")
            starts, ends = starts[self._order], ends[self._order]
        self.t0, self.t1 = starts, ends
        first = np.concatenate(([0], np.flatnonzero(starts[1:] != starts[:-1]) + 1))[:len(starts)]
        if not 2 <= n_splits <= len(first):
            raise ValueError(f"n_splits must lie in 2..{len(first)} (distinct starts); got {n_splits}")
        if embargo < 0:
            raise ValueError(f"embargo must not be negative; got {embargo}")
        self.n_splits, self.embargo = n_splits, embargo
        whole, more = divmod(len(first), n_splits)      # the first blocks are the longer ones, as in array_split
        cuts = [block * whole + min(block, more) for block in range(n_splits)]
        rows = [*first[cuts].tolist(), len(starts)]
        self._rows = list(pairwise(rows))
        self._edges = [(int(starts[low]), int(starts[high - 1])) for low, high in self._rows]
        self._latest = np.maximum.accumulate(ends)      # the label open longest among those begun so far
        self._reach = [int(ends[low:high].max()) for low, high in self._rows]
        self._places = np.arange(len(starts))

    def block_rows(self, block: int) -> IntArray:
        """Increasing row numbers of a block's samples."""
        return self._rows_of(self._places[slice(*self._rows[block])].copy())

    def _check(self, X: Any) -> None:
        if X is not None and len(X) != len(self.t0):
            raise ValueError(f"the splitter knows {len(self.t0)} labels; got {len(X)} rows")

    def _clear_of(self, blocks: tuple[int, ...]) -> IntArray:
        """Samples outside the blocks whose labels overlap none of theirs and that no embargo covers."""
        if len(blocks) == 1:
            low, after = self._gap(blocks[0])
            early = self._ended(0, low, self._edges[blocks[0]][0])
            return self._rows_of(np.concatenate((*early, self._places[after:])))
        free = np.ones(len(self.t0), dtype=bool)
        for block in blocks:
            low, after = self._gap(block)
            free[:low] &= self.t1[:low] <= self._edges[block][0]
            free[low:after] = False
        return self._rows_of(np.flatnonzero(free))

    def _gap(self, block: int) -> tuple[int, int]:
        """Where a block begins, and where the first sample begins that is clear of it and of its embargo."""
        clear = max(self._reach[block], self._edges[block][1] + 1 + self.embargo)
        return self._rows[block][0], int(np.searchsorted(self.t0, clear))

    def _ended(self, low: int, high: int, by: int) -> tuple[IntArray, IntArray]:
        """Places from ``low`` to ``high`` whose labels ended by a time: a run without exception, then some."""
        sure = min(max(int(np.searchsorted(self._latest, by, side="right")), low), high)
        return self._places[low:sure], sure + np.flatnonzero(self.t1[sure:high] <= by)

    def _rows_of(self, places: IntArray) -> IntArray:
        """Increasing row numbers of samples named by their place in time."""
        return places if self._order is None else np.sort(self._order[places])


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
            yield self._clear_of((block,)), self.block_rows(block)

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
            tested = np.concatenate([self._places[slice(*self._rows[block])] for block in blocks])
            yield self._clear_of(blocks), self._rows_of(tested)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        return comb(self.n_splits, self.n_test)

    @property
    def n_paths(self) -> int:
        """How many whole out-of-sample paths the splits can be joined to."""
        return comb(self.n_splits - 1, self.n_test - 1)

    def path_splits(self) -> IntArray:
        """Which split predicts each block on each path, shape ``(n_paths, n_splits)``; each is used once."""
        choices = list(combinations(range(self.n_splits), self.n_test))
        return np.array([
            [number for number, blocks in enumerate(choices) if block in blocks] for block in range(self.n_splits)
        ]).T

    def join_paths(self, predicted: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Whole out-of-sample paths from what each split predicted of its test rows, in the order of `split`.

        Returns
        -------
        Shape ``(n_paths, n, …)`` for predictions of shape ``(n_test, …)``.
        """
        if len(predicted) != self.get_n_splits():
            raise ValueError(f"predictions of {self.get_n_splits()} splits expected; got {len(predicted)}")
        whole = np.empty((self.get_n_splits(), len(self.t0), *predicted[0].shape[1:]), dtype=predicted[0].dtype)
        for number, (_, test) in enumerate(self.split()):
            whole[number, test] = predicted[number]
        paths = np.empty((self.n_paths, *whole.shape[1:]), dtype=whole.dtype)
        for path, splits in enumerate(self.path_splits()):
            for block, number in enumerate(splits.tolist()):
                rows = self.block_rows(block)
                paths[path, rows] = whole[number, rows]
        return paths


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
            low, high = self._rows[oldest][0], self._rows[block][0]
            past = np.concatenate(self._ended(low, high, self._edges[block][0] - self.embargo))
            yield self._rows_of(past), self.block_rows(block)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        return self.n_splits - 1


def purged_holdout(t0: ArrayLike, t1: ArrayLike, share: float) -> Split:
    """The last ``share`` of the label starts as test, and the samples whose labels ended before it."""
    starts, ends = np.asarray(t0, dtype=np.int64), np.asarray(t1, dtype=np.int64)
    times = np.unique(starts)
    cut = times[min(len(times) - 1, int(len(times) * (1.0 - share)))]
    return np.flatnonzero(ends <= cut), np.flatnonzero(starts >= cut)
