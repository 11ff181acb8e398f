"""Deterministic UUIDs: two venues with the same seed give the same ids in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from hashlib import blake2b
from itertools import chain, repeat
from operator import add, length_hint
from uuid import NAMESPACE_DNS, uuid5

ASSETS = uuid5(NAMESPACE_DNS, "assets.alphatrade")

_BLOCK = 256                # ids that share one hash
_HEADS = tuple(f"{place * 0x9E37 % 0x10000:04x}" for place in range(_BLOCK))      # tell a block's ids apart


class IdSource:
    """Counts up; the counter is stored with the venue, so that a restart never gives an id twice.

    Attributes
    ----------
    next
        Gives the next UUID, in the layout of version 4.
    """

    __slots__ = ("_heads", "_until", "next", "seed")

    next: Callable[[], str]

    def __init__(self, seed: int, count: int = 0) -> None:
        self.go_on(seed, count)

    def go_on(self, seed: int, count: int) -> None:
        """Continue where another source with this seed has given ``count`` ids."""
        self.seed = seed
        self._until = count                             # ids that are given when the block is
        self._heads: Iterator[str] = iter(())           # of the ids that are left in the block
        self.next = chain.from_iterable(self._blocks(count)).__next__

    @property
    def count(self) -> int:
        """Ids given so far."""
        return self._until - length_hint(self._heads)

    def _blocks(self, count: int) -> Iterator[Iterator[str]]:
        block, place = divmod(count, _BLOCK)
        while True:
            digits = blake2b(b"%d:%d" % (self.seed, block), digest_size=13).hexdigest()
            tail = f"{digits[:4]}-{digits[4:8]}-4{digits[8:11]}-a{digits[11:14]}-{digits[14:]}"
            block += 1
            self._heads, self._until = iter(_HEADS[place:]), block * _BLOCK
            place = 0
            yield map(add, self._heads, repeat(tail))


@lru_cache(maxsize=10_000)
def asset_id(symbol: str) -> str:
    """A symbol's asset id, the same at every venue."""
    return str(uuid5(ASSETS, symbol))
