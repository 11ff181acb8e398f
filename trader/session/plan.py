"""What a session is to be: flags, settings and files made into one plan, before anything is started."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trader.config import Loaded, load_settings
from trader.options import SessionOptions, parse_speed
from trader.risk.params import RiskParams, load_risk_params
from trader.utils.errors import UserError

if TYPE_CHECKING:
    from trader.core.panel import BarPanel

SIM, PAPER, LIVE = "sim", "paper", "live"
SIM_KEY = "sim"                         # the embedded exchange takes any pair of keys


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """The decisions that no part may make for itself."""

    home: Path
    loaded: Loaded
    mode: str
    symbols: tuple[str, ...]
    timeframe: str
    speed: float                        # simulated seconds a second; infinity is lock-step; 1 outside sim
    stop_after: int
    persist: bool
    risk_params: RiskParams
    panel: BarPanel | None = None       # the embedded exchange's market
    first: int = 0                      # its first bar to play
    venue_url: str | None = None        # an exchange that runs elsewhere
    venue_control: str | None = None

    @property
    def lock_step(self) -> bool:
        """Whether venue and session advance together, whatever the machine's speed."""
        return self.mode == SIM and math.isinf(self.speed)

    @property
    def source(self) -> str:
        """What the prices are; shown everywhere."""
        return self.panel.source if self.panel is not None else "real"


def make_plan(options: SessionOptions) -> SessionPlan:
    """Read the settings, apply the flags, load the market of a simulated session.

    Raises
    ------
    UserError
        Whatever is wrong with settings, flags, keys or data, before anything is written.
    """
    loaded = load_settings(options.home, options.config)
    settings = loaded.settings
    mode = options.mode or settings.mode
    risk_params = load_risk_params(loaded.risk_path) if loaded.risk_path else RiskParams()
    timeframe = options.timeframe or settings.timeframe
    if options.stop_after is not None and options.stop_after < 1:
        raise UserError(f"--stop-after {options.stop_after} is not a number of slices above 0")
    if mode != SIM:
        _require_broker(options, loaded, mode)
        return SessionPlan(
            options.home, loaded, mode, options.symbols or loaded.symbols, timeframe, 1.0, options.stop_after or 0,
            True, risk_params)
    speed = parse_speed(options.speed or settings.sim.speed)
    persist = options.persist or settings.sim.persist
    panel, first = _market(options, loaded, timeframe)
    return SessionPlan(
        options.home, loaded, mode, panel.symbols, panel.timeframe, speed, options.stop_after or 0,
        persist or options.venue_url is not None, risk_params, panel, first, options.venue_url, options.venue_control)


def _require_broker(options: SessionOptions, loaded: Loaded, mode: str) -> None:
    if options.speed is not None:
        raise UserError(f"--speed is for simulated sessions; {mode} runs in real time")
    if not loaded.secrets.complete:
        raise UserError(
            f"mode {mode} needs ALPACA_API_KEY and ALPACA_SECRET_KEY in the environment or in "
            f"{loaded.home / '.env'}; without keys use --mode sim")
    if mode == LIVE:
        from trader.session.live_gate import require_gate

        require_gate(loaded.home)
        if not options.yes_live:
            raise UserError("live trades real money: confirm with --yes-live (the console asks for the typed word)")


def _market(options: SessionOptions, loaded: Loaded, timeframe: str) -> tuple[BarPanel, int]:
    """The bars that the embedded exchange plays, history in front, and the first one to play."""
    from trader.data.catalog import load_panel, parse_range
    from trader.data.store import BarStore
    from trader.data.timeframe import parse_timeframe

    sim = loaded.settings.sim
    frame = parse_timeframe(timeframe)
    wanted = list(options.symbols or sim.symbols) or None
    info = {d.symbol: d for d in BarStore(loaded.home).datasets() if d.timeframe == frame.name}
    stored = bool(info) and (wanted is None or all(symbol in info for symbol in wanted))
    start = options.start or (None if stored else sim.start)
    end = options.end or (None if stored else sim.end)
    warm = None
    if start is not None:
        try:
            first_day = date.fromisoformat(start[:10])
        except ValueError:
            raise UserError(f"--start {start!r} is not a date; write it as 2012-06-01") from None
        warm = (first_day - timedelta(days=_history_days(sim.history_bars, frame.minutes))).isoformat()
    try:
        panel = load_panel(loaded.home, wanted, frame.name, warm, end, synth_seed=sim.seed)
    except UserError:
        load_panel(loaded.home, wanted, frame.name, start, end, synth_seed=sim.seed)    # says it of the dates given
        raise
    if start is None:
        first = min(sim.history_bars, len(panel) // 2)
    else:
        first = int(np.searchsorted(panel.ts_ns, parse_range(start, None)[0] or 0))
    if first >= len(panel):
        raise UserError(f"there are no bars from {start} on; `alphatrade data list` shows what is there")
    return panel.rows(max(0, first - sim.history_bars), len(panel)), min(first, sim.history_bars)


def _history_days(bars: int, minutes: int) -> int:
    """Calendar days that surely hold so many bars."""
    per_day = 390 / minutes if minutes else 1.0
    return int(bars / per_day * 1.55) + 10
