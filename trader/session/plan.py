"""What a session is to be: flags, settings and files made into one plan, before anything is started."""

from __future__ import annotations

import http.client
import json
import math
import urllib.request
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
LOCK_STEP = "lockstep"                  # an exchange's word for a venue that its client moves
CONTROL_SECONDS = 5.0


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
    venue_source: str = "real"          # what that exchange plays
    size_factor: float = 1.0            # share of the intended size; a quarter in the first live weeks
    overridden: tuple[str, ...] = ()    # what the live gate missed and a person took upon themselves

    @property
    def lock_step(self) -> bool:
        """Whether venue and session advance together, whatever the machine's speed."""
        return self.mode == SIM and math.isinf(self.speed)

    @property
    def source(self) -> str:
        """What the prices are; shown everywhere."""
        return self.panel.source if self.panel is not None else self.venue_source


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
    risk_params = load_risk_params(loaded.risk_path)
    timeframe = options.timeframe or settings.timeframe
    if options.stop_after is not None and options.stop_after < 1:
        raise UserError(f"--stop-after {options.stop_after} is not a number of slices above 0")
    if mode != SIM:
        symbols = options.symbols or loaded.symbols
        size_factor, overridden = _require_broker(options, loaded, mode, symbols, timeframe)
        return SessionPlan(
            options.home, loaded, mode, symbols, timeframe, 1.0, options.stop_after or 0,
            True, risk_params, size_factor=size_factor, overridden=overridden)
    if options.venue_url is not None:
        return _elsewhere(options, loaded, risk_params)
    speed = parse_speed(options.speed or settings.sim.speed)
    persist = options.persist or settings.sim.persist
    panel, first = _market(options, loaded, timeframe)
    return SessionPlan(
        options.home, loaded, mode, panel.symbols, panel.timeframe, speed, options.stop_after or 0, persist,
        risk_params, panel, first)


def _elsewhere(options: SessionOptions, loaded: Loaded, risk_params: RiskParams) -> SessionPlan:
    """A session on an exchange of another process: its symbols, its bars, its pace."""
    if options.venue_control is None:
        raise UserError("--venue needs the exchange's control address too: --venue-control HOST:PORT")
    if options.speed is not None:
        raise UserError("--speed belongs to the exchange here: start it with `alphatrade exchange serve --speed …`")
    address = options.venue_control.removeprefix("http://").rstrip("/")
    try:
        with urllib.request.urlopen(f"http://{address}/v1/state", timeout=CONTROL_SECONDS) as answer:
            state = json.load(answer)
        speed = math.inf if state["speed"] == LOCK_STEP else float(state["speed"])
        known = tuple(str(symbol) for symbol in state["symbols"])
        timeframe, source = str(state["timeframe"]), str(state["source"])
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        raise UserError(
            f"no exchange answers at the control address {address} ({type(error).__name__}: {error}); start one with "
            "`alphatrade exchange serve` and take both addresses from its first line") from None
    missing = [symbol for symbol in options.symbols or () if symbol not in known]
    if missing:
        raise UserError(f"that exchange does not trade {', '.join(missing)}; it has {', '.join(known)}")
    return SessionPlan(
        options.home, loaded, SIM, options.symbols or known, timeframe, speed, options.stop_after or 0, True,
        risk_params, venue_url=options.venue_url, venue_control=address, venue_source=source)


def _require_broker(
    options: SessionOptions, loaded: Loaded, mode: str, symbols: tuple[str, ...], timeframe: str,
) -> tuple[float, tuple[str, ...]]:
    """Refuse what may not trade at Alpaca; the share of the intended size, and what was overridden."""
    if options.speed is not None:
        raise UserError(f"--speed is for simulated sessions; {mode} runs in real time")
    if not loaded.secrets.complete:
        raise UserError(
            f"mode {mode} needs ALPACA_API_KEY and ALPACA_SECRET_KEY in the environment or in "
            f"{loaded.home / '.env'}; without keys use --mode sim")
    if mode == LIVE:
        from trader.pipeline.terms import terms_of
        from trader.session.live_gate import require_gate, size_factor

        wanted = terms_of(loaded, timeframe=timeframe, symbols=symbols)
        overridden = require_gate(loaded.home, wanted, options.override_live_gate)
        if not options.yes_live:
            raise UserError("live trades real money: confirm with --yes-live (the console asks for the typed word)")
        return size_factor(loaded.home), overridden
    return 1.0, ()


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
