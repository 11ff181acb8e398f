"""Deterministic UUIDs: two venues with the same seed give the same ids in the same order."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from uuid import NAMESPACE_DNS, uuid5

ASSETS = uuid5(NAMESPACE_DNS, "assets.alphatrade")


class IdSource:
    """Counts up; the counter is stored with the venue, so that a restart never gives an id twice."""

    __slots__ = ("count", "seed")

    def __init__(self, seed: int, count: int = 0) -> None:
        self.seed = seed
        self.count = count

    def next(self) -> str:
        """The next UUID, in the layout of version 4."""
        self.count += 1
        digest = blake2b(b"%d:%d" % (self.seed, self.count), digest_size=16).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:]}"


@lru_cache(maxsize=10_000)
def asset_id(symbol: str) -> str:
    """A symbol's asset id, the same at every venue."""
    return str(uuid5(ASSETS, symbol))
