"""What alpaca-py leaves open in its HTTP: time-outs, no hidden retries, and one reading of every bad ending."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from trader.execution.broker_errors import BrokerUnreachable, read_refusal
from trader.execution.broker_records import Unreadable

Result = TypeVar("Result")
Client = TypeVar("Client", bound=Any)


def hardened(client: Client, timeout: tuple[float, float]) -> Client:
    """alpaca-py's client with time-outs (connect, read; seconds) and without its retries of POST after 429 and 504."""
    from requests.adapters import HTTPAdapter

    class TimedAdapter(HTTPAdapter):
        def send(self, request: Any, **options: Any) -> Any:  # type: ignore[override]
            options["timeout"] = timeout
            return super().send(request, **options)

    client._retry = 0
    client._session.mount("http://", TimedAdapter())
    client._session.mount("https://", TimedAdapter())
    # Environment proxies have no business on the way to this machine.
    host = urlsplit(str(client._base_url)).hostname
    client._session.trust_env = host not in ("127.0.0.1", "localhost", "::1")
    return client


def guarded(work: Callable[[Any], Result], client: Any) -> Result:
    """``work(client)``, with every bad ending raised as one of `broker_errors`."""
    import requests
    from alpaca.common.exceptions import APIError

    try:
        return work(client)
    except APIError as error:
        raise read_refusal(error.status_code or 0, str(error), retry_after_s=_retry_after(error.response)) from None
    except (requests.exceptions.JSONDecodeError, Unreadable) as error:
        raise BrokerUnreachable(f"unreadable answer: {error}") from None
    except requests.exceptions.RequestException as error:
        raise _transport_failure(error) from None


def _transport_failure(error: Any) -> BrokerUnreachable:
    import requests
    from urllib3.exceptions import NewConnectionError, ProtocolError

    cause = error.args[0] if error.args else None
    refused = isinstance(getattr(cause, "reason", None), NewConnectionError)
    address = urlsplit(getattr(error.request, "url", None) or "").netloc or "the broker"
    return BrokerUnreachable(
        f"{'ConnectionRefused' if refused else type(error).__name__} at {address}",
        never_left=refused or isinstance(error, requests.exceptions.ConnectTimeout),
        broken_link=isinstance(cause, ProtocolError),
    )


def _retry_after(response: Any) -> float | None:
    """Seconds to wait as the headers say: ``Retry-After``, else until ``X-RateLimit-Reset`` (epoch seconds)."""
    headers = getattr(response, "headers", None) or {}
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return max(0.0, float(headers["Retry-After"]))
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return min(60.0, max(0.0, float(headers["X-RateLimit-Reset"]) - time.time()))
    return None
