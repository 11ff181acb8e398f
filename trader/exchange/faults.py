"""Which fault hits what: armed faults are asked at every point where one could act, and every hit is written down.

Each fault draws from a generator of its own, seeded by the plan's seed and the fault's number: the same script over
the same traffic hits the same things and writes the same log, to the byte.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from random import Random
from typing import IO, Any

import msgspec

from trader.exchange.fault_rules import (
    Fault,
    RequestFault,
    SocketFault,
    StepFault,
    UpdateFault,
    VenueFault,
)

MAX_LOG = 10_000                    # hits that are kept; all are counted, and a log file has all
What = dict[str, Any]

log = logging.getLogger("alphatrade.exchange.faults")


class Hit(msgspec.Struct, frozen=True):
    """One hit: its number, the fault, the moment of the venue, and what was hit.

    ``match`` says at which of the fault's matches it struck, ``rule`` is the fault itself: with these a log is a
    script (`trader.exchange.fault_rules.script_of_log`).
    """

    number: int
    fault: int
    kind: str
    bar: int
    now_ns: int
    what: What
    match: int
    rule: dict[str, Any]


class Armed:
    """A fault with its number, its generator and its counts."""

    def __init__(self, number: int, fault: Fault, seed: int) -> None:
        self.number = number
        self.fault = fault
        self.kind = str(fault.__struct_config__.tag)
        self.matched = 0
        self.hits = 0
        self._random = Random(f"{seed}:{number}")

    @property
    def spent(self) -> bool:
        """Whether it has hit as often as it should."""
        return bool(self.fault.count) and self.hits >= self.fault.count

    def strikes(self, bar: int) -> bool:
        """Count one match at this bar; whether it is hit."""
        fault = self.fault
        if self.spent or bar < fault.from_bar or (fault.until_bar is not None and bar >= fault.until_bar):
            return False
        self.matched += 1
        if self.matched <= fault.skip:
            return False
        if fault.probability < 1.0 and self._random.random() >= fault.probability:
            return False
        self.hits += 1
        return True

    def view(self) -> dict[str, Any]:
        """The fault as the control API shows it."""
        return {
            "id": self.number, "matched": self.matched, "hits": self.hits, "spent": self.spent,
            **msgspec.to_builtins(self.fault),
        }


class FaultPlan:
    """All armed faults of a server.

    Parameters
    ----------
    moment
        Gives the venue's bar number and its time in ns.
    seed : int
        Of the draws.
    log_file : text file, optional
        Receives every hit as a JSON line.
    """

    def __init__(self, moment: Callable[[], tuple[int, int]], seed: int = 0, log_file: IO[str] | None = None) -> None:
        self.seed = seed
        self.log: deque[Hit] = deque(maxlen=MAX_LOG)
        self.total = 0
        self._moment = moment
        self._file = log_file
        self._armed: dict[int, Armed] = {}
        self._number = 0

    def add(self, faults: Iterable[Fault]) -> list[Armed]:
        """Arm faults, in this order after those that are there."""
        added = []
        for fault in faults:
            self._number += 1
            added.append(Armed(self._number, fault, self.seed))
            self._armed[self._number] = added[-1]
        return added

    def remove(self, number: int | None = None) -> int:
        """Disarm one fault, or all; how many there were."""
        if number is not None:
            return int(self._armed.pop(number, None) is not None)
        count = len(self._armed)
        self._armed.clear()
        return count

    @property
    def armed(self) -> list[Armed]:
        """Every fault that was not removed, spent ones too."""
        return list(self._armed.values())

    def watches(self, *kinds: type[Fault]) -> bool:
        """Whether a fault of one of these kinds can still hit."""
        return bool(self._armed) and any(
            isinstance(armed.fault, kinds) and not armed.spent for armed in self._armed.values()
        )

    def strike(self, kind: type[Fault], matches: Callable[[Any], bool], what: What) -> list[Fault]:
        """The faults of a kind that hit here, in the order of their arming; every hit is logged."""
        found: list[Fault] = []
        for armed in tuple(self._armed.values()):
            if isinstance(armed.fault, kind) and matches(armed.fault) and armed.strikes(self._moment()[0]):
                self._note(armed, what)
                found.append(armed.fault)
        return found

    def _note(self, armed: Armed, what: What) -> None:
        self.total += 1
        bar, now_ns = self._moment()
        rule = msgspec.to_builtins(armed.fault)
        hit = Hit(self.total, armed.number, armed.kind, bar, now_ns, what, armed.matched, rule)
        self.log.append(hit)
        log.info("fault %d (%s) hit %s", armed.number, armed.kind, what)
        if self._file is not None:
            self._file.write(msgspec.json.encode(hit).decode() + "\n")
            self._file.flush()


# --- what a fault matches ---------------------------------------------------------------------------------------

def matches_request(method: str, path: str, symbols: frozenset[str]) -> Callable[[RequestFault], bool]:
    """Whether a fault is meant for this request."""
    def matches(fault: RequestFault) -> bool:
        return (
            (fault.method is None or fault.method.upper() == method)
            and (fault.path is None or fnmatchcase(path, fault.path))
            and (fault.symbol is None or fault.symbol in symbols)
        )
    return matches


def matches_update(stream: str, event: str, symbol: str | None) -> Callable[[UpdateFault], bool]:
    """Whether a fault is meant for this message; ``step`` is met only by faults that name it."""
    def matches(fault: UpdateFault) -> bool:
        return (
            fault.stream in (stream, "both")
            and (fault.event == event or (fault.event is None and event != "step"))
            and (fault.symbol is None or fault.symbol == symbol)
        )
    return matches


def matches_order(symbol: str, side: str, type_: str) -> Callable[[VenueFault], bool]:
    """Whether a fault is meant for this order."""
    def matches(fault: VenueFault) -> bool:
        return (fault.symbol in (None, symbol)) and fault.side in (None, side) and fault.type in (None, type_)
    return matches


def always(fault: StepFault | SocketFault) -> bool:
    """Every fault of the kind."""
    return True
