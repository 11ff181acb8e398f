"""What moves a venue through time: a speed, or whoever tells it how far to go. Several bars at once where it may.

Bars that are due together are played in one turn and told in the same frames; between turns the network has its say,
and listeners that lag behind and read are waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from trader.exchange.http import Request, Response
from trader.exchange.http_connection import Gate, Reply
from trader.exchange.venue import Venue
from trader.exchange.websocket import WebSocket

LOCKSTEP = "lockstep"
Speed = float | str
TURN_BARS = 64                      # slices that are played without a look at the network
MAX_LAG = 1.0                       # seconds that a venue which cannot keep its pace tries to make good
AHEAD = 4 * 1_048_576               # bytes that a listener may be behind before it is waited for
LOOK_SECONDS = 0.01                 # between looks at those who are waited for
PATIENCE = 50                       # looks without progress after which a listener is not waited for any more
PROGRESS = 8_192                    # bytes between two looks that count as progress

log = logging.getLogger("alphatrade.exchange")


class Readers:
    """Waits for listeners that lag behind; for those that do not read, only once and not long."""

    def __init__(self, sockets: Callable[[], Iterable[WebSocket]]) -> None:
        self._sockets = sockets
        self._given_up: set[WebSocket] = set()

    async def wait(self) -> None:
        """Let the network work, and more of it while somebody lags who reads."""
        await asyncio.sleep(0)
        self._given_up = {socket for socket in self._given_up if socket.unread > AHEAD}
        looks: dict[WebSocket, int] = {}
        before: dict[WebSocket, int] = {}
        while lagging := {
            socket: socket.unread for socket in self._sockets()
            if socket.unread > AHEAD and socket not in self._given_up
        }:
            for socket, unread in lagging.items():
                stuck = socket in before and unread > before[socket] - PROGRESS
                looks[socket] = looks.get(socket, 0) + 1 if stuck else 0
                if looks[socket] >= PATIENCE:
                    self._given_up.add(socket)
            before = lagging
            await asyncio.sleep(LOOK_SECONDS)


class Pace:
    """Moves a venue.

    Parameters
    ----------
    venue : Venue
        What is moved.
    turn
        Plays bars while its argument says so, at most a turn; gives the symbols of the last bar.
    sockets
        Gives the streams' connections.

    Attributes
    ----------
    speed : float or 'lockstep'
        Real time × so many, or no time of its own.
    paused : bool
        Time stands still.
    walking : bool
        Somebody's steps are under way.
    """

    def __init__(
        self, venue: Venue, turn: Callable[[Callable[[], bool]], list[str]],
        sockets: Callable[[], Iterable[WebSocket]], speed: Speed,
    ) -> None:
        self.speed: Speed = checked_speed(speed)
        self.paused = False
        self.walking = False
        self._venue = venue
        self._turn = turn
        self._readers = Readers(sockets)
        self._changed = asyncio.Event()
        self._walk: asyncio.Task[None] | None = None
        self._waiting: list[Callable[[], None]] = []

    @property
    def running(self) -> bool:
        """Whether the venue moves by itself."""
        return self.speed != LOCKSTEP and not self.paused and not self._venue.done

    def set_speed(self, speed: Speed) -> None:
        """Change the pace, at once; ValueError for what is no speed."""
        self.speed = checked_speed(speed)
        self._changed.set()

    def set_paused(self, paused: bool) -> None:
        """Stop or go on."""
        self.paused = paused
        self._changed.set()

    def stop(self) -> list[asyncio.Task[None]]:
        """Cancel the steps that are under way; their tasks. What waits for their end waits for ever."""
        self._waiting.clear()
        if self._walk is None or not self.walking:
            return []
        self._walk.cancel()
        return [self._walk]

    async def run(self) -> None:
        """Play bars at the set speed; a change of pace takes effect at once.

        When the venue fails, time stands still from there on, for everybody to see, until somebody lets it go on.
        """
        now = asyncio.get_running_loop().time
        due = now()
        while not self._venue.done:
            self._changed.clear()
            if not self.running or self.walking:
                await self._changed.wait()
                due = now()
                continue
            due = max(due, now() - MAX_LAG) + self._span()
            if due > now():
                try:
                    async with asyncio.timeout_at(due):
                        await self._changed.wait()
                except TimeoutError:
                    if not self.running or self.walking:        # in the moment in which it was due
                        continue
                else:
                    due = now()
                    continue
            try:
                due = self._play_due(due, now)
            except Exception:
                log.exception("the venue failed after bar %d; it is paused", self._venue.index)
                self.paused = True
            await self._readers.wait()

    def _play_due(self, due: float, now: Callable[[], float]) -> float:
        """Play the bar that is due and those that are due as well; when the last of them was."""
        first = True

        def wanted() -> bool:
            nonlocal due, first
            if first:
                first = False
                return True
            after = due + self._span()
            if after > now():
                return False
            due = after
            return True

        self._turn(wanted)
        return due

    def _span(self) -> float:
        """Seconds that the next bar lasts at the set speed."""
        panel, i = self._venue.panel, self._venue.index
        return (int(panel.available_ns[i]) - int(panel.ts_ns[i])) / 1e9 / float(self.speed)

    # --- steps ----------------------------------------------------------------------------------------------

    def walk(self, wanted: Callable[[], bool], done: Callable[[list[str]], None], failed: Callable[[], None]) -> None:
        """Play bars while they are wanted, then say the symbols of the last one.

        What fits into a turn happens at once. More takes several; what comes meanwhile and could move the market
        waits for its end (see `gate`), so that a step is one thing to everybody else, however long it is.
        """
        symbols: list[str] = []

        def turn() -> bool:
            """One turn; whether another is wanted."""
            nonlocal symbols
            symbols = self._turn(wanted) or symbols
            return not self._venue.done and wanted()

        def turned() -> bool:
            """One turn and what is said when it was the last; whether another is wanted."""
            try:
                if turn():
                    return True
            except Exception:
                log.exception("the venue failed in a step")
                failed()
            else:
                done(symbols)
            return False

        if not turned():
            return

        async def go_on() -> None:
            await self._readers.wait()
            while turned():
                await self._readers.wait()
            self.walking = False
            self._changed.set()
            waiting, self._waiting = self._waiting, []
            for act in waiting:
                self.after_walk(act)

        self.walking = True
        self._walk = asyncio.create_task(go_on(), name="venue step")

    def after_walk(self, act: Callable[[], None]) -> None:
        """Do something now, or when the steps that are under way have ended."""
        if not self.walking:
            act()
        else:
            self._waiting.append(act)

    def gate(self, inner: Gate | None) -> Gate | None:
        """What stands before requests: ``inner``, and while steps are under way their end."""
        if not self.walking:
            return inner

        def wait(request: Request, answer: Callable[[], Response], reply: Reply) -> None:
            self.after_walk(lambda: inner(request, answer, reply) if inner else reply(answer()))

        return wait


def checked_speed(speed: Speed) -> Speed:
    """A positive number or ``lockstep``; ValueError otherwise."""
    if speed == LOCKSTEP:
        return LOCKSTEP
    try:
        value = float(speed)
    except (TypeError, ValueError):
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise ValueError(f"speed is {speed!r}; expected a positive number (times real time) or {LOCKSTEP!r}")
    return value
