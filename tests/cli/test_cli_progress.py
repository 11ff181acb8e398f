"""The time left, with a clock of our own."""

from __future__ import annotations

import pytest

from trader.cli.progress import TimeLeft


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_goes_by_what_was_made_and_counts_down():
    clock = Clock()
    left = TimeLeft(clock)
    left.tick(0, 10)
    assert (left.seconds, left.words) == (None, "")
    clock.now += 8
    left.tick(2, 10)
    assert left.seconds == pytest.approx(32)
    clock.now += 5
    assert left.words == "27 s left"
    clock.now += 100
    assert (left.seconds, left.words) == (0.0, "")         # later than thought: rather nothing than a wrong number
    left.tick(4, 10)
    assert left.words == "3 min left"


def test_what_an_interrupted_run_left_says_nothing_of_the_pace():
    clock = Clock()
    left = TimeLeft(clock)
    for found in range(8):
        clock.now += 0.01
        left.tick(found, 10)
    assert left.seconds is None
    clock.now += 30
    left.tick(8, 10)
    assert left.seconds == pytest.approx(60, rel=0.01)
