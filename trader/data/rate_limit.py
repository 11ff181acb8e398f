"""Requests a minute, shared by everything in this process that asks the same service under the same key."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

DEFAULT_PER_MINUTE = 200.0      # Alpaca's limit of the free plan
_BURST_S = 6.0                  # what may go out at once: the allowance of so many seconds


class TokenBucket:
    """A bucket of requests, safe under threads: `take` waits until there is one.

    A full bucket and what flows in afterwards stay together within ``per_minute`` in any 60 seconds.

    Parameters
    ----------
    per_minute : float
        How many requests a minute may go out.
    now, sleep : callables
        Seconds of a clock that never runs backwards, and how to wait.
    """

    def __init__(
        self, per_minute: float = DEFAULT_PER_MINUTE, *, now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0 < per_minute < float("inf"):
            raise ValueError(f"requests per minute must be above zero, got {per_minute}")
        self.capacity = max(1.0, per_minute * _BURST_S / 60.0)
        # capacity + rate * 60 s = per_minute; a bucket of one cannot hold less, and flows at the plain rate
        self.rate = max(per_minute - self.capacity, 0.5 * per_minute) / 60.0
        self._now, self._sleep = now, sleep
        self._tokens, self._at = self.capacity, now()
        self._lock = threading.Lock()

    def take(self) -> float:
        """Wait for a request's turn; returns the seconds waited."""
        with self._lock:        # a turn is handed out under the lock, the waiting happens outside of it
            now = self._now()
            self._tokens = min(self.capacity, self._tokens + (now - self._at) * self.rate) - 1.0
            self._at = now
            wait = max(0.0, -self._tokens / self.rate)
        if wait > 0.0:
            self._sleep(wait)
        return wait


_BUCKETS: dict[tuple[str, str, float], TokenBucket] = {}
_BUCKETS_LOCK = threading.Lock()


def shared_bucket(address: str, key: str, per_minute: float = DEFAULT_PER_MINUTE) -> TokenBucket:
    """The one bucket of this process for an address and a key."""
    with _BUCKETS_LOCK:
        return _BUCKETS.setdefault((address, key, per_minute), TokenBucket(per_minute))
