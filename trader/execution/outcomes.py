"""The four ways in which a submit can end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trader.execution.broker_records import BrokerOrder


@dataclass(frozen=True, slots=True)
class Accepted:
    """Yes: the broker has the order (``order.legs`` holds a bracket's exits)."""

    order: BrokerOrder


@dataclass(frozen=True, slots=True)
class Rejected:
    """No, definitely."""

    status: int
    code: int
    message: str
    retry_after_s: float | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The client order id was taken: an earlier send had landed, and this is what it became."""

    order: BrokerOrder


@dataclass(frozen=True, slots=True)
class Unknown:
    """No readable answer; the order may or may not exist. ``never_left``: no byte reached the broker."""

    reason: str
    never_left: bool = False


SubmitOutcome = Accepted | Rejected | Duplicate | Unknown
