"""What layer 4 knows of the system around it; the engine sets it, the rules read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SystemState:
    """The surroundings of a decision. Everything here comes from events, so a replay sees the same."""

    degradation_level: str = "NORMAL"           # NORMAL | CAUTIOUS | EXIT_ONLY | HALTED
    degradation_multiplier: float = 1.0
    halted: bool = False
    data_age_s: float = 0.0                     # of the newest bar when the decision is made
    bar_span_s: float = 900.0
    reconciled: bool = True                     # the last comparison with the broker was green
    size_factor: float = 1.0                    # share of the intended size; a quarter in the first live weeks
    model_level: str = "FRESH"                  # FRESH | AGING | STALE | CRITICAL
    model_multiplier: float = 1.0
