"""A bar on a terminal's stderr for work whose units become known as it goes; shared by the batch commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

_NO_TIME = 0.3          # seconds; units done sooner were found, not made, and say nothing of what the others will take


class TimeLeft:
    """How long the units that remain will take, by how long those before them took.

    Parameters
    ----------
    clock : seconds, growing
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = self._last = clock()
        self._found = self._done = self._total = 0

    def tick(self, done: int, total: int) -> None:
        """So many units of so many are done now."""
        self._last = self._clock()
        if self._last - self._started < _NO_TIME:
            self._found = done
        self._done, self._total = done, total

    @property
    def seconds(self) -> float | None:
        """At the speed so far, counted down since the last tick; None while nothing can be known."""
        made = self._done - self._found
        if made <= 0:
            return None
        pace = (self._last - self._started) / made
        return max(0.0, pace * (self._total - self._done) - (self._clock() - self._last))

    @property
    def words(self) -> str:
        """``40 s left``, ``3 min left``; empty while nothing can be known, and where it took longer than thought."""
        left = self.seconds
        if left is None or left < 0.5:
            return ""
        return f"{left:.0f} s left" if left < 90 else f"{left / 60:.0f} min left"


class StageBar:
    """One bar that the stages of a command use one after the other."""

    def __init__(self) -> None:
        self._left = TimeLeft()
        columns = (
            TextColumn("{task.description:<34}"), BarColumn(bar_width=30), TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(), _Left(lambda: self._left.words),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
        self._task = self._bar.add_task("looking at what is there", total=None)

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def begin(self, text: str) -> None:
        """Something else begins; how many units it has is not known yet."""
        self._left = TimeLeft()
        self._bar.reset(self._task, description=text, total=None)

    def tick(self, text: str, done: int, total: int) -> None:
        """So many units are done; ``text`` says what comes next."""
        self._left.tick(done, total)
        self._bar.update(self._task, description=text, completed=done, total=total)

    def rest(self) -> None:
        """Between two stages."""
        self.begin("looking at what is there")

    def print(self, text: str) -> None:
        """A line above the bar."""
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Left(ProgressColumn):
    """Asks for the words at every repaint, so that the time counts down between ticks."""

    def __init__(self, words: Callable[[], str]) -> None:
        super().__init__()
        self._words = words

    def render(self, task: Task) -> Any:
        return Text(self._words())
