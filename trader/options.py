"""What a command line may say about a session; settings supply the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from trader.utils.errors import UserError

MODES = ("sim", "paper", "live")


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Flags of ``alphatrade-tui``; None means that the settings decide."""

    home: Path
    mode: str | None = None                     # sim | paper | live
    config: Path | None = None                  # --config
    speed: str | None = None                    # see parse_speed
    stop_after: int | None = None               # slices
    log_format: str = "text"                    # text | json
    persist: bool = False                       # keep the embedded exchange's account between sessions
    symbols: tuple[str, ...] | None = None
    timeframe: str | None = None
    start: str | None = None                    # ISO date
    end: str | None = None
    yes_live: bool = False                      # skips the typed confirmation, for headless live sessions
    override_live_gate: str | None = None       # the words that open the live gate, whatever is missing
    venue_url: str | None = None                # an exchange that runs elsewhere
    venue_control: str | None = None            # its control address


def parse_speed(text: str) -> float:
    """Simulated seconds per real second: ``900``, ``900x``, ``×900``; ``max`` is infinity, ``real`` is 1.

    Raises
    ------
    UserError
        If it is none of these, or not above zero.
    """
    word = text.strip().lower()
    named = {"max": math.inf, "real": 1.0}
    try:
        factor = named[word] if word in named else float(word.strip("x×"))
    except ValueError:
        factor = math.nan
    if not factor > 0:
        raise UserError(f"speed {text!r} is not a speed; write a number above 0 such as 900, or max, or real")
    return factor
