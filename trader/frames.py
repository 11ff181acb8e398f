"""What a screen shows, as immutable values: folded from events, drawn by the console, the same live and in replay.

No Textual in here. A part that did not change between two frames is the same object in both, so a pane
compares by identity. Times are nanoseconds UTC; shares are fractions (0.01 is one per cent) unless the name
says otherwise; None means not known (yet).
"""

from __future__ import annotations

from dataclasses import dataclass, field

CheckRow = tuple[int, str, str, str, float, float, str]      # layer, rule, action, code, used, limit, unit


@dataclass(frozen=True, slots=True)
class StatusRow:
    """The status bar."""

    mode: str = "sim"                       # sim | paper | live | backtest | replay
    run_id: str = ""
    source: str = "real"                    # real | synthetic-intraday: shown wherever prices are shown
    timeframe: str = "15Min"
    strategy: str = ""
    connections: tuple[tuple[str, str, str], ...] = ()    # component, up|down|reconnecting, detail
    market_open: bool | None = None
    market_change_ns: int | None = None     # when the market opens or closes next
    data_age_s: float | None = None
    loop_lag_ms: float | None = None
    bars: int = 0                           # slices seen
    ended: str = ""                         # why the session ended; empty while it runs
    speed: str = ""                         # "×900", "real time", "lock-step"


@dataclass(frozen=True, slots=True)
class HaltRow:
    """The latch."""

    latched: bool = False
    since_ns: int | None = None
    source: str = ""
    reason: str = ""
    step: str = ""                          # cancelling | closing | flat | failed …
    orders_cancelled: int | None = None
    positions_closed: int | None = None
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DegradationRow:
    """NORMAL | CAUTIOUS | EXIT_ONLY | HALTED."""

    level: str = "NORMAL"
    multiplier: float = 1.0
    component: str = ""
    reason: str = ""
    since_ns: int | None = None


@dataclass(frozen=True, slots=True)
class AccountRow:
    """Money, in dollars."""

    equity: float = 0.0
    cash: float = 0.0
    buying_power: float = 0.0
    gross_exposure: float = 0.0
    net_exposure: float = 0.0
    day_pnl: float = 0.0
    day_pnl_pct: float = 0.0                # of the day's starting equity
    realized_pnl: float = 0.0
    unrealized_pnl: float = 0.0
    fees: float = 0.0
    drawdown: float = 0.0                   # below the peak, positive
    intraday_loss_warning: float = 0.005
    intraday_loss_circuit_breaker: float = 0.01
    trades: int = 0
    wins: int = 0


@dataclass(frozen=True, slots=True)
class FillRow:
    """One execution."""

    ts_ns: int
    client_order_id: str
    symbol: str
    side: str
    quantity: float
    price: float
    commission: float = 0.0
    slippage_bps: float | None = None


@dataclass(frozen=True, slots=True)
class PositionRow:
    """An open position. ``quantity`` is signed."""

    symbol: str
    quantity: float
    average_price: float
    last_price: float
    market_value: float
    unrealized_pnl: float
    unrealized_pct: float
    share_of_equity: float
    opened_ns: int
    take_profit: float | None = None
    stop_loss: float | None = None          # None: unprotected, shown as an alarm
    strategy: str = ""
    bars_held: int = 0
    fills: tuple[FillRow, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order, open or lately closed."""

    client_order_id: str
    broker_order_id: str
    symbol: str
    side: str
    role: str                               # entry | exit | take_profit | stop_loss | flatten | halt | external
    order_type: str
    time_in_force: str
    quantity: float
    filled_quantity: float
    limit_price: float | None
    stop_price: float | None
    average_price: float | None
    state: str                              # value of trader.core.orders.OrderState
    is_open: bool
    created_ns: int
    updated_ns: int
    strategy: str = ""
    reason: str = ""
    history: tuple[tuple[int, str, str], ...] = ()      # ts, state, detail
    # layer, rule, action, code, used, limit, unit
    checks: tuple[CheckRow, ...] = ()


@dataclass(frozen=True, slots=True)
class RiskRow:
    """One rule of one of the four layers."""

    layer: int
    rule: str
    used: float
    limit: float
    unit: str                               # $ | % | bps | /min | s | x | level | count ("%": fractions)
    state: str                              # ok | warn | breach
    detail: str = ""
    vetoes: int = 0
    shrinks: int = 0
    last_veto_ns: int | None = None
    last_veto: str = ""                     # "AAPL 120 → 0: POSITION_LIMIT 21.0% of 20.0%"


@dataclass(frozen=True, slots=True)
class BreakerRow:
    """One circuit breaker."""

    name: str                               # intraday_loss | drawdown | correlation | rejection_rate | connection
    state: str                              # normal | warning | elevated | crisis | tripped
    multiplier: float
    value: float
    limit: float
    action: str = ""
    until_ns: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SlippageRow:
    """Execution quality of a symbol, or of all (symbol ``ALL``). Positive basis points cost money."""

    symbol: str
    executions: int
    mean_bps: float
    median_bps: float
    p95_bps: float
    cost: float                             # dollars
    fill_rate: float
    beat_vwap: float | None = None          # share of executions better than the bar's VWAP
    latency_ms: float | None = None         # median submit → acknowledge


@dataclass(frozen=True, slots=True)
class ModelRow:
    """How fit a model is."""

    model_id: str
    level: str                              # FRESH | AGING | STALE | CRITICAL
    multiplier: float
    age_days: float
    windows: tuple[tuple[str, float, int], ...] = ()    # name, accuracy, observations
    estimated_accuracy: float | None = None
    drifted: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    trained_through_ns: int | None = None
    source: str = ""
    summary: str = ""


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """A training under way. ``state``: running | done | failed."""

    state: str
    stage: str
    done: int
    total: int
    eta_seconds: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class LogRow:
    """One line of the event log. ``level``: info | warning | error | fill | veto | halt."""

    seq: int
    ts_ns: int
    level: str
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class CandleSeries:
    """The last bars of one symbol, oldest first."""

    symbol: str
    ts_ns: tuple[int, ...]
    open: tuple[float, ...]
    high: tuple[float, ...]
    low: tuple[float, ...]
    close: tuple[float, ...]
    fills: tuple[FillRow, ...] = ()
    probability: tuple[float | None, ...] = ()          # P(profit) at each bar


@dataclass(frozen=True, slots=True)
class PlaybackRow:
    """Where a replay stands; None in a live frame."""

    position: int                           # events folded
    total: int
    ts_ns: int
    start_ns: int
    end_ns: int
    playing: bool
    speed: float                            # 0.25 … ; inf is max
    marks: tuple[tuple[float, str], ...] = ()           # place 0…1 on the time line, fill|veto|breaker|error|halt
    at_end: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything on the screen at one moment."""

    seq: int = 0
    now_ns: int = 0
    status: StatusRow = field(default_factory=StatusRow)
    halt: HaltRow = field(default_factory=HaltRow)
    degradation: DegradationRow = field(default_factory=DegradationRow)
    account: AccountRow = field(default_factory=AccountRow)
    positions: tuple[PositionRow, ...] = ()
    orders: tuple[OrderRow, ...] = ()       # open first, then lately closed, newest first
    risk: tuple[RiskRow, ...] = ()
    breakers: tuple[BreakerRow, ...] = ()
    slippage: tuple[SlippageRow, ...] = ()  # ALL first
    models: tuple[ModelRow, ...] = ()
    training: TrainingRow | None = None
    log: tuple[LogRow, ...] = ()            # the last 500, oldest first
    fills: tuple[FillRow, ...] = ()         # the last 200, oldest first
    equity: tuple[tuple[int, float], ...] = ()          # ts, equity; thinned to 500 points
    candles: tuple[CandleSeries, ...] = ()
    playback: PlaybackRow | None = None
