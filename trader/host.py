"""The engine's own thread and loop: it starts before the screen and outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any

from trader.frames import Frame
from trader.options import SessionOptions
from trader.system import AlphaTradeSystem
from trader.utils.errors import UserError

FRAME_SECONDS = 0.1
STOP_SECONDS = 20.0


class EngineHost:
    """Runs one session in a thread. All methods may be called from any thread and return at once, except ``stop``."""

    def __init__(self, system: AlphaTradeSystem) -> None:
        self.system = system
        self.error: str | None = None
        self.user_error: UserError | None = None
        self._frame = Frame()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alphatrade-engine", daemon=True)

    @classmethod
    def from_options(cls, options: SessionOptions) -> EngineHost:
        """A host for what a command line asks for."""
        return cls(AlphaTradeSystem(options))

    def start(self) -> None:
        """Start the thread; the session initialises in there."""
        self._thread.start()
        self._ready.wait()

    @property
    def alive(self) -> bool:
        """Whether the session still runs."""
        return self._thread.is_alive()

    def frame(self) -> Frame:
        """The latest picture of the session."""
        return self._frame

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the session's end; False when it still runs."""
        return self._done.wait(timeout)

    def stop(self, timeout: float = STOP_SECONDS, reason: str = "stopped by the user") -> bool:
        """Stop in order; False when it has not ended within the time."""
        self._call(lambda: self.system.request_stop(reason))
        return self._done.wait(timeout)

    def halt(self, source: str, reason: str) -> None:
        """Latch (durable when this returns), then cancel and close in the engine's thread."""
        self.system.halt_switch.latch_now(source, reason)
        self._call(lambda: self.system.halt_switch.act(source, reason))

    def resume(self, by: str, reason: str) -> str | None:
        """Lift the latch; the error text when it could not be lifted."""
        try:
            future = asyncio.run_coroutine_threadsafe(self.system.resume(by, reason), self._running_loop())
            future.result(5.0)
        except UserError as error:
            return str(error)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None

    def command(self, name: str, **arguments: Any) -> None:
        """``set_speed``, ``pause_venue`` or ``resume_venue`` of a simulated session."""
        self._call(lambda: self.system.venue_command(name, **arguments))

    # --- inside ------------------------------------------------------------------------------------------

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._loop.is_closed():
            raise UserError("the session has ended")
        return self._loop

    def _call(self, function: Any) -> None:
        with contextlib.suppress(UserError, RuntimeError):
            self._running_loop().call_soon_threadsafe(function)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except UserError as error:
            self.user_error = error
            self.error = str(error)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
            self.system.log_crash(error)
        finally:
            self._ready.set()
            self._done.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        painter = asyncio.create_task(self._paint())
        try:
            await self.system.initialize()
            await self.system.run()
        finally:
            painter.cancel()
            await self.system.shutdown()
            self._frame = self.system.frame()

    async def _paint(self) -> None:
        """Keep the latest frame and the loop's lag."""
        expected = time.monotonic()
        while True:
            now = time.monotonic()
            self.system.loop_lag_ms = max(0.0, (now - expected) * 1000)
            self._frame = self.system.frame()
            expected = time.monotonic() + FRAME_SECONDS
            await asyncio.sleep(FRAME_SECONDS)
