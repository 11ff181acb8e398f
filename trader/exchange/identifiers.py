"""Deterministic UUIDs: two venues with the same seed give the same ids in the same order."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from uuid import NAMESPACE_DNS, uuid5

ASSETS = uuid5(NAMESPACE_DNS, "assets.alphatrade")


_A_BLOCK = 4                # ids that one hash gives


class IdSource:
    """Counts up; the counter is stored with the venue, so that a restart never gives an id twice."""

    __slots__ = ("_block", "_digits", "count", "seed")

    def __init__(self, seed: int, count: int = 0) -> None:
        self.seed = seed
        self.count = count
        self._block = (-1, -1)
        self._digits = ""

    def next(self) -> str:
        """The next UUID, in the layout of version 4."""
        block, place = divmod(self.count, _A_BLOCK)
        self.count += 1
        if self._block != (self.seed, block):
            self._block = (self.seed, block)
            self._digits = blake2b(b"%d:%d" % self._block, digest_size=64).hexdigest()
        digest = self._digits[32 * place : 32 * place + 32]
        return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:]}"


@lru_cache(maxsize=10_000)
def asset_id(symbol: str) -> str:
    """A symbol's asset id, the same at every venue."""
    return str(uuid5(ASSETS, symbol))
