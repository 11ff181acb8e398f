"""Deterministic UUIDs: two venues with the same seed give the same ids in the same order."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from uuid import NAMESPACE_DNS, uuid5

ASSETS = uuid5(NAMESPACE_DNS, "assets.alphatrade")

_BLOCK = 256                # ids that share one hash
_HEADS = tuple(f"{place * 0x9E37 % 0x10000:04x}" for place in range(_BLOCK))      # tell a block's ids apart


class IdSource:
    """Counts up; the counter is stored with the venue, so that a restart never gives an id twice."""

    __slots__ = ("_rest", "_until", "count", "seed")

    def __init__(self, seed: int, count: int = 0) -> None:
        self.go_on(seed, count)

    def go_on(self, seed: int, count: int) -> None:
        """Continue where another source with this seed has given ``count`` ids."""
        self.seed = seed
        self.count = count
        self._until = -1            # the count at which the next hash is due
        self._rest = ""

    def next(self) -> str:
        """The next UUID, in the layout of version 4."""
        count = self.count
        self.count = count + 1
        if count >= self._until:
            block = count // _BLOCK
            self._until = (block + 1) * _BLOCK
            digits = blake2b(b"%d:%d" % (self.seed, block), digest_size=13).hexdigest()
            self._rest = f"{digits[:4]}-{digits[4:8]}-4{digits[8:11]}-a{digits[11:14]}-{digits[14:]}"
        return _HEADS[count % _BLOCK] + self._rest


@lru_cache(maxsize=10_000)
def asset_id(symbol: str) -> str:
    """A symbol's asset id, the same at every venue."""
    return str(uuid5(ASSETS, symbol))
