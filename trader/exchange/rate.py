"""The limit of requests a minute for each key, as Alpaca counts and tells it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

from trader.exchange.errors import VenueError
from trader.exchange.http import Response

WINDOW = 60
ALPACAS = 200                       # requests a minute
MAX_KEYS = 10_000                   # counted at once; a flood of invented keys starts the count anew
Headers = tuple[tuple[str, str], ...]


@lru_cache(maxsize=1_024)
def rate_headers(limit: int, remaining: int, reset: int) -> Headers:
    """Alpaca's three headers; ``reset`` is in Unix seconds."""
    return (
        ("X-RateLimit-Limit", str(limit)), ("X-RateLimit-Remaining", str(remaining)), ("X-RateLimit-Reset", str(reset)),
    )


class RateLimiter:
    """``limit`` requests for each key in every minute of the clock.

    Unless ``enforced`` it is only told, and nobody is refused: one request is always left.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.time, *, enforced: bool = True) -> None:
        self.limit = limit
        self._enforced = enforced
        self._clock = clock
        self._begin = self._reset = 0   # of the minute, in Unix seconds
        self._used: dict[str, int] = {}

    def count(self, key: str) -> tuple[Headers, VenueError | None]:
        """Count one request; the headers of its answer, and the refusal when it is one too many."""
        now, counts = self._clock(), self._used
        if not self._begin <= now < self._reset or len(counts) > MAX_KEYS:
            self._begin = int(now) // WINDOW * WINDOW
            self._reset = self._begin + WINDOW
            counts.clear()
        used = counts[key] = counts.get(key, 0) + 1
        left = self.limit - used
        if left > 0:
            return rate_headers(self.limit, left, self._reset), None
        if not self._enforced:
            return rate_headers(self.limit, 1, self._reset), None
        over = VenueError(429, 42910000, "rate limit exceeded") if left < 0 else None
        return rate_headers(self.limit, 0, self._reset), over


def with_headers(response: Response, headers: Headers) -> Response:
    """An answer with more headers."""
    told = (*response.headers, *headers) if response.headers else headers
    return Response(response.status, response.body, response.content_type, told)
