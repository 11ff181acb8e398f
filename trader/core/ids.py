"""Identifiers: unique for ever at the broker, the same in every run of the same session."""

from __future__ import annotations

import secrets
import time


class ClientIds:
    """Client order ids ``<run>-<role letter><number>``; a new run has a new prefix, so no id ever returns."""

    def __init__(self, run_id: str) -> None:
        self._prefix = run_id
        self._count = 0

    def next(self, role: str) -> str:
        """The next id; the letter tells the role when one reads a broker's page."""
        self._count += 1
        return f"{self._prefix}-{role[0]}{self._count}"


def new_run_id(mode: str, now_s: float | None = None) -> str:
    """``sim-20250102-093000-3fa9``: mode, start in UTC, four random hex digits against a tie."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now_s))
    return f"{mode}-{stamp}-{secrets.token_hex(2)}"
