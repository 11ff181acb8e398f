"""Where frames come from: a live host, a replay, a session looked at from outside.

Latest wins; nothing blocks the screen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from trader.frames import Frame
from trader.utils.errors import UserError

if TYPE_CHECKING:
    from console.session import HostInWaiting
    from trader.host import EngineHost
    from trader.replay import Follower, Player

SPEEDS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0, 200.0, float("inf"))


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a feed allows; keys of what it does not allow are absent."""

    live: bool = False                      # something real can be halted
    resume: bool = False
    command: bool = False                   # the simulated market obeys
    time_line: bool = False


class Feed(Protocol):
    """What the screens ask of a feed."""

    can: Abilities
    source: str

    def frame(self) -> Frame: ...
    def error(self) -> str | None: ...
    def refused(self) -> bool: ...
    def notices(self) -> list[str]: ...
    def halt(self, reason: str) -> str | None: ...
    def resume(self, by: str, reason: str) -> str | None: ...
    def command(self, name: str, **args: Any) -> None: ...
    def close(self) -> None: ...


class LiveFeed:
    """The host in this process; it was started before the screen and outlives it."""

    def __init__(self, host: EngineHost | HostInWaiting, *, simulated: bool = True) -> None:
        self.host = host
        self.can = Abilities(live=True, resume=True, command=simulated)
        self.source = "live"

    def frame(self) -> Frame:
        return self.host.frame()

    def error(self) -> str | None:
        if self.host.error:
            return str(self.host.error)
        return None

    def refused(self) -> bool:
        """The session did not come up for a mistake that its user can mend: no screen is needed to say so."""
        return self.host.user_error is not None and self.host.frame().status.bars == 0

    def notices(self) -> list[str]:
        return []

    def halt(self, reason: str) -> str | None:
        """Never blocks; may be called from any thread."""
        self.host.halt("console", reason)
        return None

    def resume(self, by: str, reason: str) -> str | None:
        return self.host.resume(by, reason)

    def command(self, name: str, **args: Any) -> None:
        self.host.command(name, **args)

    def close(self) -> None:
        """The host belongs to whoever started it."""


class _Threaded:
    """Work beside the screen: a queue of requests in, the latest frame out."""

    def __init__(self, *, threaded: bool) -> None:
        self._slot = Frame()
        self._error: str | None = None
        self._notices: deque[str] = deque(maxlen=50)
        self._requests: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._stop = Event()
        self._woken = Event()
        self._thread = Thread(target=self._work, name=type(self).__name__, daemon=True) if threaded else None
        self.busy = False

    def _begin(self) -> None:
        if self._thread is not None:
            self._thread.start()
        else:
            self._round()

    def _work(self) -> None:
        while not self._stop.is_set():
            self._round()
            self._woken.wait(self._pause())
            self._woken.clear()

    def _round(self) -> None:
        try:
            while True:
                try:
                    request = self._requests.get_nowait()
                except Empty:
                    break
                self.busy = True
                try:
                    request()
                except (UserError, ValueError) as error:
                    self._notices.append(str(error))
            self._slot = self._advance()
        except Exception as error:                  # said on the screen; the screen stays
            self._error = f"{type(error).__name__}: {error}"
        finally:
            self.busy = False

    def _advance(self) -> Frame:
        raise TypeError("a feed advances")

    def _pause(self) -> float:
        return 0.1

    def _ask(self, request: Callable[[], None]) -> None:
        self._requests.put(request)
        self._woken.set()
        if self._thread is None:
            self._round()

    def frame(self) -> Frame:
        if self._thread is None:
            self._round()
        return self._slot

    def error(self) -> str | None:
        return self._error

    def refused(self) -> bool:
        return False

    def notices(self) -> list[str]:
        said = []
        while self._notices:
            said.append(self._notices.popleft())
        return said

    def command(self, name: str, **args: Any) -> None:
        """No market to command."""

    def resume(self, by: str, reason: str) -> str | None:
        return "nothing to resume from here"

    def close(self) -> None:
        self._stop.set()
        self._woken.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(timeout=2.0)


class ReplayFeed(_Threaded):
    """A recorded run; the player folds in a thread of its own."""

    def __init__(self, player: Player, *, threaded: bool = True, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(threaded=threaded)
        self.player = player
        self.can = Abilities(time_line=True)
        self.source = "replay"
        self._clock = clock
        self._last = clock()
        self._begin()

    def _advance(self) -> Frame:
        now = self._clock()
        elapsed, self._last = now - self._last, now
        self.player.tick(elapsed)
        return self.player.frame()

    def _pause(self) -> float:
        return 0.05

    def halt(self, reason: str) -> str | None:
        return "this is a replay: nothing is live, there is nothing to halt"

    def play(self) -> None:
        playback = self._slot.playback
        if playback is not None and playback.playing:
            self._ask(self.player.pause)
        elif playback is not None and playback.at_end:
            self._ask(self._play_again)
        else:
            self._ask(self.player.play)

    def _play_again(self) -> None:
        self.player.seek_fraction(0.0)
        self.player.play()

    def step(self, slices: int) -> None:
        def run() -> None:
            self.player.pause()
            self.player.step(slices)
        self._ask(run)

    def change_speed(self, direction: int) -> None:
        playback = self._slot.playback
        now = playback.speed if playback is not None else 1.0
        faster = [speed for speed in SPEEDS if speed > now] or [SPEEDS[-1]]
        slower = [speed for speed in SPEEDS if speed < now] or [SPEEDS[0]]
        wanted = faster[0] if direction > 0 else slower[-1]
        self._ask(lambda: self.player.set_speed(wanted))

    def set_speed(self, speed: float) -> None:
        self._ask(lambda: self.player.set_speed(speed))

    def seek(self, *, fraction: float | None = None, ts_ns: int | None = None) -> None:
        if fraction is not None:
            self._ask(lambda: self.player.seek_fraction(fraction))
        elif ts_ns is not None:
            self._ask(lambda: self.player.seek_time(ts_ns))

    def run_to(self, kind: str) -> None:
        def run() -> None:
            self.player.pause()
            if not self.player.run_to(kind):
                self._notices.append(f"no {kind} after this moment")
        self._ask(run)


class AttachFeed(_Threaded):
    """A session of another process, read from its journal; it can be halted, nothing else."""

    def __init__(self, follower: Follower, *, threaded: bool = True) -> None:
        super().__init__(threaded=threaded)
        self.follower = follower
        self.can = Abilities(live=True)
        self.source = "attached"
        self._begin()

    def _advance(self) -> Frame:
        return self.follower.poll()

    def _pause(self) -> float:
        return 0.2

    def halt(self, reason: str) -> str | None:
        """Goes out on a thread of its own: not behind a slow read, and never in the way of the screen."""
        def send() -> None:
            try:
                problem = self.follower.halt(reason)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            self._notices.append(f"halt was not taken: {problem}" if problem else "the session took the halt")
        Thread(target=send, name="halt", daemon=True).start()
        return None
