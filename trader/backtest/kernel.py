"""The loop of a backtest: the venue plays a bar, the engine hears what happened, then sees the bar."""

from __future__ import annotations

from collections.abc import Callable

from trader.backtest.answers import InProcessBroker
from trader.core.days import day_of
from trader.core.engine import Engine
from trader.exchange.venue import Venue


def play(engine: Engine, venue: Venue, on_slice: Callable[[int], None] | None = None, stop_after: int = 0) -> int:
    """Play the venue to its end (or ``stop_after`` slices); returns the slices played.

    A breaker that asks for the halt gets it here. In a session a person lifts it; in a backtest nobody sits
    there, so it is lifted when the next session starts, and the journal says so.
    """
    broker = InProcessBroker(venue, engine)
    played = 0
    halted_on = 0
    for bar in venue.panel.slices(venue.index):
        if stop_after and played >= stop_after:
            break
        venue.step()
        if venue.desk.events:
            broker.hear()
        if engine.halted and not engine.halting.running and day_of(bar.available_ns) != halted_on:
            engine.resume("backtest", "a new session; live, a person would decide", bar.ts_ns)
        commands = engine.on_slice(bar)
        if commands:
            broker.carry_out(commands)
        while engine.halt_requests:
            halted_on = day_of(bar.available_ns)
            broker.carry_out(engine.halt("breaker", engine.halt_requests.pop(0), engine.now_ns))
        played += 1
        if on_slice is not None:
            on_slice(played)
    return played
