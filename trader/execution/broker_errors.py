"""How a call to the broker can end badly, and the pure reading of an answer's status and text."""

from __future__ import annotations

import contextlib
import json
from typing import Any


class BrokerError(Exception):
    """Base of all that goes wrong between us and the broker."""


class BrokerUnreachable(BrokerError):
    """No readable answer: time-out, reset, refused connection, 5xx, unreadable body.

    What was asked may or may not have happened, unless ``never_left`` says that no byte reached the broker.
    ``broken_link``: an open connection broke under the call (often one that the server had closed while idle).
    """

    def __init__(self, reason: str, *, never_left: bool = False, broken_link: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.never_left = never_left
        self.broken_link = broken_link


class BrokerRefused(BrokerError):
    """A definite no. ``code`` is the broker's (``status * 100000`` where the body names none).

    ``details`` are the body's other fields, such as ``available`` or ``existing_order_id``.
    """

    def __init__(
        self, status: int, code: int, message: str, *, retry_after_s: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.details = details or {}


class BrokerUnauthorized(BrokerRefused):
    """The keys are wrong, or belong to the other environment (paper keys at live, live keys at paper)."""


# 408: the server gave up waiting for us; whether it had read the whole request is not said.
AMBIGUOUS_STATUSES = frozenset({408})


def read_refusal(status: int, text: str, *, retry_after_s: float | None = None) -> BrokerError:
    """The error that an answer outside 2xx means; reads only the status and the raw text."""
    if status >= 500 or status in AMBIGUOUS_STATUSES or not 400 <= status < 500:
        return BrokerUnreachable(f"HTTP {status}: {_one_line(text)}")
    code, message, details = status * 100_000, _one_line(text), {}
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if isinstance(body, dict):
        message = str(body.get("message") or message)
        details = {name: value for name, value in body.items() if name not in ("code", "message")}
        with contextlib.suppress(KeyError, TypeError, ValueError):
            code = int(body["code"])
    kind = BrokerUnauthorized if status == 401 else BrokerRefused
    return kind(status, code, message, retry_after_s=retry_after_s, details=details)


def is_duplicate(refusal: BrokerRefused) -> bool:
    """Whether the broker says that the client order id is taken; its code alone also means other things."""
    return refusal.status in (400, 422) and "client_order_id" in refusal.message and "unique" in refusal.message


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else line[:157] + "..."
