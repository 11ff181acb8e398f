"""Which fault hits what: armed faults are asked at every point where one could act, and every hit is written down.

Each fault draws from a generator of its own, seeded by the plan's seed and the fault's number: the same script over
the same traffic hits the same things and writes the same log, to the byte.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from fnmatch import fnmatchcase
from random import Random
from typing import IO, Any

import msgspec

from trader.exchange.fault_rules import (
    STEP,
    AnyFault,
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


class Hit(msgspec.Struct, frozen=True, omit_defaults=True):
    """One hit: its number, the fault, the moment of the venue, and what was hit.

    ``match`` says at which of the fault's matches it struck, ``rule`` is the fault itself, ``rules`` the venue's rules
    that were not those that it began with: with these a log is a script
    (`trader.exchange.fault_script.script_of_log`).
    """

    number: int
    fault: int
    kind: str
    bar: int
    now_ns: int
    what: What
    match: int
    rule: dict[str, Any]
    rules: dict[str, Any] = {}


class ArmedState(msgspec.Struct, frozen=True):
    """An armed fault as a value; of its generator it is enough to know how many matches there were."""

    number: int
    fault: AnyFault
    seed: int
    since: int
    matched: int
    hits: int


class PlanState(msgspec.Struct, frozen=True):
    """A plan as a value."""

    seed: int
    number: int
    total: int
    armed: list[ArmedState]


class Armed:
    """A fault with its number, its generator and its counts, armed at bar ``since``."""

    def __init__(self, number: int, fault: Fault, seed: int, since: int = 0) -> None:
        self.number = number
        self.fault = fault
        self.kind = str(fault.__struct_config__.tag)
        self.matched = 0
        self.hits = 0
        self._seed = seed
        self._since = since
        self._at = frozenset(fault.at)
        self._random = Random(f"{seed}:{number}")

    @classmethod
    def again(cls, state: ArmedState) -> Armed:
        """The fault that a state tells of, with all that it has drawn behind it."""
        armed = cls(state.number, state.fault, state.seed, state.since)
        armed.matched, armed.hits = state.matched, state.hits
        if armed.fault.probability < 1.0:
            for _ in range(state.matched - armed.fault.skip):
                armed._random.random()
        return armed

    @property
    def state(self) -> ArmedState:
        """It as a value."""
        fault: Any = self.fault
        return ArmedState(self.number, fault, self._seed, self._since, self.matched, self.hits)

    @property
    def spent(self) -> bool:
        """Whether it has hit as often as it should."""
        count = len(self._at) or self.fault.count
        return bool(count) and self.hits >= count

    @property
    def rule(self) -> dict[str, Any]:
        """The fault as it would have to stand in a script to meet the same matches."""
        rule: dict[str, Any] = msgspec.to_builtins(self.fault)
        rule.pop("at", None)                        # a log of many hits would name them all with each
        if self._since > self.fault.from_bar:
            rule["from_bar"] = self._since
        return rule

    def in_time(self, bar: int) -> bool:
        """Whether it acts at this bar, and still has something to do."""
        fault = self.fault
        return bar >= fault.from_bar and (fault.until_bar is None or bar < fault.until_bar) and not self.spent

    def strikes(self) -> bool:
        """Count one match; whether it is hit."""
        fault = self.fault
        self.matched += 1
        if self._at:
            hit = self.matched in self._at
        else:
            hit = self.matched > fault.skip and (fault.probability == 1.0 or self._random.random() < fault.probability)
        self.hits += hit
        return hit

    def view(self) -> dict[str, Any]:
        """The fault as the control API shows it."""
        return {
            "id": self.number, "matched": self.matched, "hits": self.hits, "spent": self.spent,
            **msgspec.to_builtins(self.fault),
        }


def nothing(hit: Fault, other: Fault) -> bool:
    """What hits leave for others where they do not disturb each other: everything is left."""
    return False


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
    changed
        Called when there is something new about the plan (`state`).
    rules
        Gives the rules of the venue that were changed.
    """

    def __init__(
        self, moment: Callable[[], tuple[int, int]], seed: int = 0, log_file: IO[str] | None = None,
        changed: Callable[[], None] = lambda: None, rules: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self.seed = seed
        self._changed = changed
        self._rules = rules
        self.log: deque[Hit] = deque(maxlen=MAX_LOG)
        self.total = 0
        self._moment = moment
        self._file = log_file
        self._armed: dict[int, Armed] = {}
        self._number = 0

    def add(self, faults: Iterable[Fault], since: int = 0) -> list[Armed]:
        """Arm faults, in this order after those that are there; ``since`` is the bar of those that come late."""
        added = []
        for fault in faults:
            self._number += 1
            added.append(Armed(self._number, fault, self.seed, since))
            self._armed[self._number] = added[-1]
        self._changed()
        return added

    def remove(self, number: int | None = None) -> int:
        """Disarm one fault, or all; how many there were."""
        self._changed()
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

    def strike(
        self, kind: type[Fault], matches: Callable[[Any], bool], what: What,
        covers: Callable[[Any, Any], bool] = nothing,
    ) -> list[Fault]:
        """The faults of a kind that hit here, in the order of their arming; every hit is logged.

        Where one that has hit ``covers`` another, that one does not meet this match.
        """
        found: list[Fault] = []
        bar = self._moment()[0]
        for armed in tuple(self._armed.values()):
            fault = armed.fault
            if not (isinstance(fault, kind) and armed.in_time(bar) and matches(fault)):
                continue
            if any(covers(hit, fault) for hit in found):
                continue
            self._changed()
            if armed.strikes():
                self._note(armed, what)
                found.append(fault)
        return found

    @property
    def state(self) -> PlanState:
        """The plan as a value."""
        return PlanState(self.seed, self._number, self.total, [armed.state for armed in self._armed.values()])

    def go_on(self, state: PlanState) -> None:
        """Be the plan of an earlier life."""
        self.seed, self._number, self.total = state.seed, state.number, state.total
        self._armed = {armed.number: Armed.again(armed) for armed in state.armed}

    def keep_log(self) -> None:
        """Go on with the log of an earlier life, up to the last hit that the plan knows of; ValueError for no log."""
        file = self._file
        if file is None:
            return
        file.seek(0)
        end = 0
        while self.total and (line := file.readline()).endswith("\n"):
            hit = msgspec.json.decode(line, type=Hit)
            if hit.number > self.total:
                break
            self.log.append(hit)
            end += len(line.encode())
        file.seek(end)
        file.truncate()                             # and nothing else: there is no moment without the log

    def _note(self, armed: Armed, what: What) -> None:
        self.total += 1
        bar, now_ns = self._moment()
        hit = Hit(self.total, armed.number, armed.kind, bar, now_ns, what, armed.matched, armed.rule, self._rules())
        self.log.append(hit)
        log.info("fault %d (%s) hit %s", armed.number, armed.kind, what)
        if self._file is None:
            return
        try:
            self._file.write(msgspec.json.encode(hit).decode() + "\n")
            self._file.flush()
        except OSError as error:                    # a full disk; the venue goes on
            log.error("cannot write the log of the faults: %s; it ends before hit %d", error, hit.number)
            _give_up(self._file)
            self._file = None


def _give_up(file: IO[str]) -> None:
    """Close a file that takes nothing more; what it still has in memory is lost."""
    with suppress(OSError):
        file.close()


# --- what a fault matches ---------------------------------------------------------------------------------------

def matches_request(method: str, path: str, symbols: frozenset[str]) -> Callable[[RequestFault], bool]:
    """Whether a fault is meant for this request."""
    def matches(fault: RequestFault) -> bool:
        return (
            (fault.method is None or fault.method == method)
            and (fault.path is None or fnmatchcase(path, fault.path))
            and (fault.symbol is None or fault.symbol in symbols)
        )
    return matches


def matches_update(stream: str, event: str, symbol: str | None) -> Callable[[UpdateFault], bool]:
    """Whether a fault is meant for this message; ``step`` is met only by faults that name it."""
    def matches(fault: UpdateFault) -> bool:
        return (
            fault.stream in (stream, "both")
            and (fault.event == event or (fault.event is None and event != STEP))
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
