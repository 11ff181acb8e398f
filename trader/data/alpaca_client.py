"""Bars and account figures from Alpaca, asynchronously: alpaca-py's REST clients in worker threads.

alpaca-py sets no time-outs and retries by sleeping a fixed time. Here every request (each page, each repetition) waits
for its turn in a bucket shared by the process, has a connect and a read time-out, and only GETs are repeated, with
back-off, by the transport. Nothing here places orders.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from trader.core.clock import from_ns
from trader.core.panel import FIELDS
from trader.core.probe import Health
from trader.data.catalog import parse_range
from trader.data.rate_limit import DEFAULT_PER_MINUTE, TokenBucket, shared_bucket
from trader.data.timeframe import Timeframe, parse_timeframe
from trader.utils.alpaca_urls import addresses
from trader.utils.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

BAR_COLUMNS = ["timestamp", *FIELDS, "vwap", "trade_count"]
_WIRE = {"t": "timestamp", "o": "open", "h": "high", "l": "low", "c": "close", "v": "volume", "vw": "vwap",
         "n": "trade_count"}
FEEDS = ("iex", "sip", "delayed_sip", "otc")
ADJUSTMENTS = ("raw", "split", "dividend", "all")
Result = TypeVar("Result")


class MarketDataError(RuntimeError):
    """Alpaca did not deliver: unreachable, overloaded, or an answer that cannot be read. Worth another try later."""


class AlpacaDataClient:
    """Historical and latest bars, and the account.

    Parameters
    ----------
    api_key, secret_key : str | None
        Default: ``ALPACA_API_KEY`` and ``ALPACA_SECRET_KEY``.
    base_url : str | None
        Trading address, with or without ``/v2``; default ``ALPACA_BASE_URL``, else Alpaca's paper address.
    data_url : str | None
        Market data address; default ``ALPACA_DATA_URL``, else Alpaca's, or ``base_url`` where that is not Alpaca's.
    connect_timeout_s, read_timeout_s : float
        Limits of one silence on the wire.
    retries, backoff_s : int, float
        How often a failed GET (no connection, 429, 5xx) is repeated, and the first pause; pauses double. A
        ``Retry-After`` from the server is obeyed.
    requests_per_minute : float
        Alpaca allows 200 on the free plan. Clients of the same address, key and number share one allowance.
    """

    def __init__(
        self, api_key: str | None = None, secret_key: str | None = None, base_url: str | None = None,
        data_url: str | None = None, *, connect_timeout_s: float = 3.0, read_timeout_s: float = 10.0,
        retries: int = 4, backoff_s: float = 0.5, requests_per_minute: float = DEFAULT_PER_MINUTE,
    ) -> None:
        self._key = api_key if api_key is not None else os.environ.get("ALPACA_API_KEY", "")
        self._secret = secret_key if secret_key is not None else os.environ.get("ALPACA_SECRET_KEY", "")
        self.base_url, self.data_url = addresses(base_url, data_url)
        self._timeout = (connect_timeout_s, read_timeout_s)
        self._retries, self._backoff_s = retries, backoff_s
        self._per_minute = requests_per_minute
        self._clients: dict[str, Any] = {}
        self._one_at_a_time = asyncio.Lock()        # a requests.Session is not promised to be safe across threads

    async def get_historical_bars(
        self, symbol: str, timeframe: str = "15Min", start: str | None = None, end: str | None = None,
        feed: str | None = None, adjustment: str = "split",
    ) -> pd.DataFrame:
        """All bars of a symbol in a range, however many pages that takes.

        Parameters
        ----------
        start, end : str | None
            ISO dates or times, UTC; a bare date as ``end`` includes that day.
        feed : str | None
            ``iex``, ``sip`` …; None leaves it to the account's subscription.
        adjustment : str
            ``raw``, ``split``, ``dividend`` or ``all``.

        Returns
        -------
        DataFrame
            Columns ``timestamp`` (bar start, UTC), ``open, high, low, close, volume, vwap, trade_count``; oldest first.
        """
        _one_of("feed", feed, (None, *FEEDS))
        _one_of("adjustment", adjustment, ADJUSTMENTS)
        size = parse_timeframe(timeframe)
        start_ns, end_ns = parse_range(start, end)

        def fetch(client: Any) -> Any:
            from alpaca.data.enums import Adjustment, DataFeed
            from alpaca.data.requests import StockBarsRequest

            return client.get_stock_bars(StockBarsRequest(
                symbol_or_symbols=symbol, timeframe=_alpaca_timeframe(size),
                feed=None if feed is None else DataFeed(feed), adjustment=Adjustment(adjustment),
                start=None if start_ns is None else from_ns(start_ns),
                end=None if end_ns is None else from_ns(end_ns - 1000),       # Alpaca's end is inclusive
            ))

        answer = await self._call("data", fetch)
        return _frame((answer or {}).get(symbol) or [])

    async def get_latest_bars(self, symbols: Sequence[str], feed: str | None = None) -> pd.DataFrame:
        """The newest minute bar of each symbol: ``symbol`` and the columns of `get_historical_bars`."""
        import pandas as pd

        _one_of("feed", feed, (None, *FEEDS))

        def fetch(client: Any) -> Any:
            from alpaca.data.enums import DataFeed
            from alpaca.data.requests import StockLatestBarRequest

            return client.get_stock_latest_bar(StockLatestBarRequest(
                symbol_or_symbols=list(symbols), feed=None if feed is None else DataFeed(feed),
            ))

        answer = await self._call("data", fetch) or {}
        rows = [(symbol, answer[symbol]) for symbol in symbols if symbol in answer]
        frame = _frame([bar for _, bar in rows])
        return pd.concat([pd.Series([symbol for symbol, _ in rows], name="symbol", dtype="str"), frame], axis=1)

    async def get_account(self) -> Any:
        """alpaca-py's ``TradeAccount``: ``status``, ``buying_power``, ``equity`` and the rest."""
        return await self._call("trading", lambda client: client.get_account())

    async def health_check(self) -> Health:
        """Whether the account and the market data address answer; failures are told, not raised."""
        try:
            await self.get_account()
            await self.get_latest_bars(["AAPL"])
        except (MarketDataError, UserError) as error:
            return Health(False, str(error))
        return Health(True, "account and market data answer")

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client._session.close()
        self._clients.clear()

    async def _call(self, kind: str, work: Callable[[Any], Result]) -> Result:
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._guarded, kind, work)

    def _guarded(self, kind: str, work: Callable[[Any], Result]) -> Result:
        """``work`` on the client, every bad ending as `UserError` (a person can mend it) or `MarketDataError`."""
        import requests
        from alpaca.common.exceptions import APIError

        address = (self.data_url or "Alpaca's market data") if kind == "data" else self.base_url
        try:
            return work(self._client(kind))
        except APIError as error:
            status = error.status_code or 0
            if status in (401, 403):
                raise UserError(
                    f"{address} refused (HTTP {status}: {str(error)[:200]}): check ALPACA_API_KEY and "
                    "ALPACA_SECRET_KEY, that they belong to this address, and that the feed is in your subscription"
                ) from None
            if 400 <= status < 500 and status != 429:
                raise UserError(f"{address} did not understand (HTTP {status}): {str(error)[:200]}") from None
            raise MarketDataError(f"{address} answered HTTP {status}: {str(error)[:200]}") from None
        except requests.exceptions.RequestException as error:
            raise MarketDataError(f"no answer from {address} ({type(error).__name__})") from None
        except (KeyError, TypeError, ValueError) as error:
            raise MarketDataError(f"an answer from {address} cannot be read ({error!r})") from None

    def _client(self, kind: str) -> Any:
        if kind not in self._clients:
            address = (self.data_url or "data") if kind == "data" else self.base_url
            bucket = shared_bucket(address, self._key, self._per_minute)
            self._clients[kind] = self._hardened(self._make(kind), bucket)
        return self._clients[kind]

    def _make(self, kind: str) -> Any:
        if not self._key or not self._secret:
            raise UserError(
                "no Alpaca keys: set ALPACA_API_KEY and ALPACA_SECRET_KEY (in the environment or in .env), "
                "or work on stored bars"
            )
        if kind == "trading":
            from alpaca.trading.client import TradingClient

            return TradingClient(self._key, self._secret, url_override=self.base_url)
        from alpaca.data.historical import StockHistoricalDataClient

        # raw_data: the bars go into arrays, a model object for each would cost more than the download
        return StockHistoricalDataClient(self._key, self._secret, raw_data=True, url_override=self.data_url)

    def _hardened(self, client: Any, bucket: TokenBucket) -> Any:
        from requests.adapters import HTTPAdapter
        from urllib3.util.retry import Retry

        timeout = self._timeout

        class TimedAdapter(HTTPAdapter):
            def send(self, request: Any, **options: Any) -> Any:  # type: ignore[override]
                options["timeout"] = timeout
                bucket.take()
                return super().send(request, **options)

        class PacedRetry(Retry):
            def sleep(self, response: Any = None) -> None:
                super().sleep(response)
                bucket.take()

        retry = PacedRetry(
            total=self._retries, backoff_factor=self._backoff_s, backoff_jitter=self._backoff_s / 2,
            allowed_methods=("GET",), status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False,
        )
        client._retry = 0
        for scheme in ("http://", "https://"):
            client._session.mount(scheme, TimedAdapter(max_retries=retry))
        if urlsplit(str(client._base_url)).hostname in ("127.0.0.1", "localhost", "::1"):
            client._session.trust_env = False       # a proxy from the environment is not on the way to this machine
        return client


def _frame(bars: list[dict[str, Any]]) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame([{name: bar.get(key, np.nan) for key, name in _WIRE.items()} for bar in bars],
                         columns=BAR_COLUMNS)
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True, format="ISO8601").dt.as_unit("ns")
    return frame.astype(dict.fromkeys(BAR_COLUMNS[1:], "float64"))


def _alpaca_timeframe(size: Timeframe) -> Any:
    from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

    if size.daily:
        return TimeFrame(1, TimeFrameUnit.Day)
    if size.minutes % 60 == 0:
        return TimeFrame(size.minutes // 60, TimeFrameUnit.Hour)
    if size.minutes > 59:
        raise UserError(f"timeframe {size.name} is not offered by Alpaca; choose up to 59 minutes, or whole hours")
    return TimeFrame(size.minutes, TimeFrameUnit.Minute)


def _one_of(name: str, value: str | None, allowed: tuple[str | None, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{name} {value!r} is unknown; choose one of {', '.join(str(a) for a in allowed if a)}")
