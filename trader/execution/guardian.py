"""Which positions have no stop of their own size at the broker, since when, and what mends it; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from trader.core.clock import SECOND_NS
from trader.core.money import ZERO
from trader.execution.broker_records import BrokerOrder, flatten

STOP_TYPES = frozenset({"stop", "stop_limit", "trailing_stop"})


class Holding(Protocol):
    """A position: the broker's or the book's."""

    @property
    def symbol(self) -> str: ...
    @property
    def quantity(self) -> Decimal: ...


@dataclass(frozen=True, slots=True)
class Unprotected:
    """A position (signed ``quantity``) of which ``missing`` shares have no stop."""

    symbol: str
    quantity: Decimal
    covered: Decimal
    missing: Decimal

    @property
    def closing_side(self) -> str:
        """The side of the stop that is needed."""
        return "sell" if self.quantity > 0 else "buy"


@dataclass(frozen=True, slots=True)
class Mend:
    """What to do now: ``stop`` (submit one for ``finding.missing``) or ``flatten``."""

    action: str
    finding: Unprotected


def unprotected(positions: Iterable[Holding], open_orders: Iterable[BrokerOrder]) -> list[Unprotected]:
    """Positions whose working stops on the closing side cover fewer shares than they hold.

    A held stop covers only where its entry is completely filled: until then the broker has not armed it. (Of an
    armed pair Alpaca shows the take-profit as new and the stop as held.)
    """
    cover: dict[tuple[str, str], Decimal] = {}
    for order, parent in flatten(open_orders):
        armed = order.status != "held" or parent is None or parent.status == "filled" or parent.order_class == "oco"
        if order.is_open and order.order_type in STOP_TYPES and armed:
            key = (order.symbol, order.side)
            cover[key] = cover.get(key, ZERO) + order.quantity - order.filled_quantity
    found = []
    for position in positions:
        if not position.quantity:
            continue
        covered = cover.get((position.symbol, "sell" if position.quantity > 0 else "buy"), ZERO)
        if covered < abs(position.quantity):
            found.append(
                Unprotected(position.symbol, position.quantity, covered, abs(position.quantity) - covered)
            )
    return found


class Guardian:
    """Turns findings into mends: a stop once a finding has stood ``grace_s``, flat when it stands ``flatten_s``.

    The grace lets a bracket that is being armed, or a stop that is on its way, arrive.
    """

    def __init__(self, *, grace_s: float = 5.0, flatten_s: float = 60.0) -> None:
        self._grace_ns = int(grace_s * SECOND_NS)
        self._flatten_ns = int(flatten_s * SECOND_NS)
        self._since: dict[str, int] = {}
        self._tried: set[str] = set()

    @property
    def since(self) -> Mapping[str, int]:
        """Symbol → since when it lacks a stop, ns."""
        return self._since

    def check(self, now_ns: int, positions: Iterable[Holding], open_orders: Iterable[BrokerOrder]) -> list[Mend]:
        """What to mend now. A stop is asked for once a finding; if it does not hold, the position is flattened."""
        findings = {finding.symbol: finding for finding in unprotected(positions, open_orders)}
        for symbol in [symbol for symbol in self._since if symbol not in findings]:
            del self._since[symbol]
            self._tried.discard(symbol)
        mends = []
        for symbol, finding in findings.items():
            age = now_ns - self._since.setdefault(symbol, now_ns)
            if age >= self._flatten_ns:
                mends.append(Mend("flatten", finding))
            elif age >= self._grace_ns and symbol not in self._tried:
                self._tried.add(symbol)
                mends.append(Mend("stop", finding))
        return mends
