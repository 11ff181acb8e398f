"""Alpaca's addresses, and which one a client means."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

PAPER_URL = "https://paper-api.alpaca.markets"
LIVE_URL = "https://api.alpaca.markets"


def addresses(base_url: str | None, data_url: str | None) -> tuple[str, str | None]:
    """The trading address without ``/v2``, and that of market data; None leaves the latter to alpaca-py.

    What is not given comes from ``ALPACA_BASE_URL`` and ``ALPACA_DATA_URL``, else it is Alpaca's paper address; a
    server that is not Alpaca's serves market data at its trading address.
    """
    base = (base_url or os.environ.get("ALPACA_BASE_URL") or PAPER_URL).rstrip("/").removesuffix("/v2")
    foreign = not (urlsplit(base).hostname or "").endswith("alpaca.markets")
    return base, data_url or os.environ.get("ALPACA_DATA_URL") or (base if foreign else None)
