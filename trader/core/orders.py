"""The life of an order as one table."""

from __future__ import annotations

from enum import StrEnum


class OrderState(StrEnum):
    """Where an order stands."""

    INTENT = "intent"
    DENIED = "denied"
    APPROVED = "approved"
    SUBMITTING = "submitting"
    UNKNOWN = "unknown"
    HELD = "held"
    WORKING = "working"
    PARTIAL = "partial"
    PENDING_CANCEL = "pending_cancel"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REPLACED = "replaced"
    REJECTED = "rejected"


class News(StrEnum):
    """What can be heard about an order."""

    DENY = "deny"
    APPROVE = "approve"
    SUBMIT = "submit"
    HOLD = "hold"
    ACCEPT = "accept"
    REJECT = "reject"
    LOSE = "lose"                     # no readable answer
    FILL = "fill"                     # part of the quantity
    FILL_ALL = "fill_all"             # the rest of it
    ASK_CANCEL = "ask_cancel"
    CANCEL = "cancel"
    EXPIRE = "expire"
    REPLACE = "replace"


S, N = OrderState, News

TERMINAL = frozenset({S.DENIED, S.FILLED, S.CANCELED, S.EXPIRED, S.REPLACED, S.REJECTED})
AT_BROKER = frozenset({S.HELD, S.WORKING, S.PARTIAL, S.PENDING_CANCEL})
# An order whose fate is open counts as exposure.
OPEN = frozenset({S.APPROVED, S.SUBMITTING, S.UNKNOWN, *AT_BROKER})

_LIVE: dict[News, OrderState] = {
    N.HOLD: S.HELD, N.ACCEPT: S.WORKING, N.FILL: S.PARTIAL, N.FILL_ALL: S.FILLED,
    N.ASK_CANCEL: S.PENDING_CANCEL, N.CANCEL: S.CANCELED, N.EXPIRE: S.EXPIRED, N.REPLACE: S.REPLACED,
    N.REJECT: S.REJECTED,
}
# Fills are legal from every terminal state that an order at the broker can reach: the broker's word is late, not wrong.
_LATE: dict[News, OrderState] = {N.FILL_ALL: S.FILLED}

TRANSITIONS: dict[OrderState, dict[News, OrderState]] = {
    S.INTENT: {N.DENY: S.DENIED, N.APPROVE: S.APPROVED},
    S.APPROVED: {N.SUBMIT: S.SUBMITTING, N.DENY: S.DENIED, N.CANCEL: S.CANCELED},
    S.SUBMITTING: {**_LIVE, N.LOSE: S.UNKNOWN, N.SUBMIT: S.SUBMITTING},
    S.UNKNOWN: {**_LIVE, N.LOSE: S.UNKNOWN, N.SUBMIT: S.SUBMITTING},
    S.HELD: _LIVE,
    S.WORKING: {**_LIVE, N.HOLD: S.WORKING},
    S.PARTIAL: {**_LIVE, N.HOLD: S.PARTIAL, N.ACCEPT: S.PARTIAL},
    S.PENDING_CANCEL: {**_LIVE, N.HOLD: S.PENDING_CANCEL, N.ACCEPT: S.PENDING_CANCEL, N.FILL: S.PENDING_CANCEL},
    S.FILLED: {N.ACCEPT: S.FILLED, N.HOLD: S.FILLED, N.ASK_CANCEL: S.FILLED, N.FILL_ALL: S.FILLED},
    S.CANCELED: {**_LATE, N.CANCEL: S.CANCELED, N.ACCEPT: S.CANCELED, N.FILL: S.CANCELED},
    S.EXPIRED: {**_LATE, N.EXPIRE: S.EXPIRED, N.CANCEL: S.EXPIRED, N.ACCEPT: S.EXPIRED, N.FILL: S.EXPIRED},
    S.REPLACED: {**_LATE, N.REPLACE: S.REPLACED, N.CANCEL: S.REPLACED, N.ACCEPT: S.REPLACED, N.FILL: S.REPLACED},
    S.REJECTED: {**_LATE, N.REJECT: S.REJECTED, N.FILL: S.PARTIAL},
    S.DENIED: {},
}


def advance(state: OrderState, news: News) -> OrderState | None:
    """The next state, or None where the table has no place for the news (an anomaly, to be journaled)."""
    return TRANSITIONS[state].get(news)
