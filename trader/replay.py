"""Journals on the screen again: a player with play, pause, step, seek and speed, and a follower of a live one."""

from __future__ import annotations

import bisect
import math
from pathlib import Path

from trader.core import events as ev
from trader.core.fold import Fold
from trader.core.journal import read_events
from trader.core.snapshots import Waypoints, latest
from trader.frames import Frame, PlaybackRow
from trader.framing import Framer, Surroundings
from trader.utils.errors import UserError
from trader.utils.run_dir import JOURNAL_FILE

MARKS_SHOWN = 400
MAX_SLICES_PER_TICK = 4_000
WAYPOINT_LOOK = 5_000               # events between looks whether a waypoint is due
_BREAKER_CALM = "normal"


def find_run(run: str, home: Path) -> Path:
    """The journal of ``latest``, of a run id, of a run's directory or of a journal file."""
    direct = Path(run).expanduser()
    if direct.is_file():
        return direct
    if (direct / JOURNAL_FILE).is_file():
        return direct / JOURNAL_FILE
    runs = sorted((home / "runs").glob(f"*/{JOURNAL_FILE}"), key=lambda path: path.stat().st_mtime)
    if run == "latest":
        if not runs:
            raise UserError(f"there is no run under {home / 'runs'} yet; `alphatrade backtest` makes one")
        return runs[-1]
    for path in runs:
        if path.parent.name == run:
            return path
    names = ", ".join(path.parent.name for path in runs[-5:]) or "none yet"
    raise UserError(f"there is no run {run!r} under {home / 'runs'}; the newest are: {names}")


def mark_kind(event: ev.AnyEvent) -> str | None:
    """What an event is to somebody who seeks: fill, veto, breaker, error or halt."""
    match event:
        case ev.OrderFilled():
            return "fill"
        case ev.RiskVerdict(action="veto"):
            return "veto"
        case ev.BreakerChanged() if event.state != _BREAKER_CALM:
            return "breaker"
        case ev.Note(level="error") | ev.OrderRejected() | ev.OrderAnomaly():
            return "error"
        case ev.HaltLatched():
            return "halt"
        case _:
            return None


class Player:
    """Plays one journal. Positions are counted in events; steps and speeds in slices (×1 is one a second)."""

    def __init__(self, run: str, home: Path) -> None:
        self.path = find_run(run, home)
        self.events = [event for _, event in read_events(self.path)]
        if not self.events:
            raise UserError(f"{self.path} holds no events; the session that wrote it ended before its start was kept")
        self.slices = [i for i, event in enumerate(self.events) if isinstance(event, ev.SliceClosed)]
        self.start_ns, self.end_ns = self.events[0].ts, self.events[-1].ts
        self.playing = False
        self.speed = 1.0
        self.position = 0
        self._owed = 0.0
        kinds = [(i, kind) for i, event in enumerate(self.events) if (kind := mark_kind(event))]
        self._by_kind: dict[str, list[int]] = {}
        for i, kind in kinds:
            self._by_kind.setdefault(kind, []).append(i)
        stride = max(1, -(-len(kinds) // MARKS_SHOWN))
        self.marks = tuple((i / len(self.events), kind) for i, kind in kinds[::stride])
        self._waypoints = Waypoints()
        self._stand_at(Fold())
        self._run_to_slice(0)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The session's symbols."""
        return self._fold.book.symbols

    def _stand_at(self, fold: Fold) -> None:
        self._fold = fold
        self._framer = Framer(fold)
        self.position = fold.events

    def _run_to(self, position: int) -> None:
        """Fold forward, from the waypoint before the place when that lies behind."""
        position = min(max(position, 0), len(self.events))
        if position < self.position:
            self._stand_at(self._waypoints.before(position))
        while self.position < position:
            near = min(position, self.position + WAYPOINT_LOOK)
            for event in self.events[self.position:near]:
                self._fold.apply(event)
            self.position = near
            self._waypoints.offer(self._fold)

    def _slice_number(self) -> int:
        """Slices folded so far."""
        return bisect.bisect_left(self.slices, self.position)

    def _run_to_slice(self, number: int) -> None:
        """Up to and with slice ``number`` and all that it set off."""
        number = min(max(number, 0), len(self.slices))
        self._run_to(self.slices[number] if number < len(self.slices) else len(self.events))

    def step(self, slices: int = 1) -> None:
        """Forward or back by slices."""
        self._run_to_slice(self._slice_number() + slices)

    def seek_fraction(self, fraction: float) -> None:
        """To a place between 0 and 1 of the journal."""
        self._run_to(round(min(max(fraction, 0.0), 1.0) * len(self.events)))

    def seek_time(self, ns: int) -> None:
        """To the state at a moment."""
        self._run_to(bisect.bisect_right(self.events, ns, key=lambda event: event.ts))

    def run_to(self, kind: str) -> bool:
        """On to the next fill, veto, breaker, error or halt; False when there is none ahead."""
        places = self._by_kind.get(kind, [])
        ahead = bisect.bisect_left(places, self.position)
        if ahead == len(places):
            return False
        self._run_to(places[ahead] + 1)
        return True

    def play(self) -> None:
        """Let :meth:`tick` move; from the end it starts over."""
        if self.position >= len(self.events):
            self._run_to_slice(0)
        self.playing = True

    def pause(self) -> None:
        """Stand still."""
        self.playing = False
        self._owed = 0.0

    def set_speed(self, slices_per_second: float) -> None:
        """Slices a second; infinity is as fast as the screen follows."""
        if not slices_per_second > 0:
            raise ValueError(f"speed must be above 0, not {slices_per_second}")
        self.speed = slices_per_second

    def tick(self, elapsed_s: float) -> None:
        """Move by the time that has passed."""
        if not self.playing:
            return
        self._owed = MAX_SLICES_PER_TICK if math.isinf(self.speed) else self._owed + elapsed_s * self.speed
        whole = min(int(self._owed), MAX_SLICES_PER_TICK)
        if whole:
            self._owed -= whole
            self.step(whole)
        if self.position >= len(self.events):
            self.pause()

    def frame(self) -> Frame:
        """The present state with the place on the time line."""
        return self._framer.frame(playback=PlaybackRow(
            position=self.position, total=len(self.events), ts_ns=self._fold.now_ns or self.start_ns,
            start_ns=self.start_ns, end_ns=self.end_ns, playing=self.playing, speed=self.speed, marks=self.marks,
            at_end=self.position >= len(self.events),
        ))


class Follower:
    """Watches a session that another process runs, through its journal; halts it through its control port."""

    def __init__(self, run: str, home: Path) -> None:
        self.path = find_run(run, home)
        self.home = home
        self._seq, self._fold = latest(self.path)
        self._framer = Framer(self._fold)

    def poll(self) -> Frame:
        """Fold what has been committed since the last call."""
        for seq, event in read_events(self.path, after=self._seq):
            self._fold.apply(event)
            self._seq = seq
        return self._framer.frame(Surroundings())

    def halt(self, reason: str) -> str | None:
        """Halt the session; the error text when it could not be told."""
        from trader.utils.control_client import request
        from trader.utils.session_file import running_sessions

        for info in running_sessions(self.home):
            if Path(info.journal) == self.path:
                try:
                    request(info, "halt", reason=reason, source="attach")
                except UserError as error:
                    return str(error)
                return None
        return "this session does not run any more"
