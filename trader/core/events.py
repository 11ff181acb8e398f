"""Everything that happens, as frozen records: the only things the journal keeps and the fold reads.

Every event has ``ts``: nanoseconds UTC on the session's clock (the data's clock in a backtest or a lock-step
session). ``SCHEMA_VERSION`` is stored with every journal; fields are only ever added, with defaults. No event
refers to anything that could refer back, so the cycle collector need not look at them (``gc=False``).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

SCHEMA_VERSION = 1


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True, gc=False):
    """Base of all events; the tag is the class name."""

    ts: int


# --- the session -----------------------------------------------------------------------------------------

class CarriedOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An order that an earlier session left unfinished; enough to find it at the broker and to go on."""

    client_order_id: str
    symbol: str
    side: str
    quantity: Decimal
    order_type: str
    state: str
    role: str
    broker_order_id: str = ""
    parent_client_order_id: str = ""
    filled_quantity: Decimal = Decimal(0)
    average_price: Decimal = Decimal(0)
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    time_in_force: str = "day"
    strategy: str = ""
    created_ts: int = 0
    executions: tuple[str, ...] = ()


class CarriedPosition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A position that an earlier session left open. ``quantity`` is signed."""

    symbol: str
    quantity: Decimal
    average_price: Decimal
    opened_ts: int = 0
    strategy: str = ""


class SessionStarted(Event, frozen=True, kw_only=True):
    """First event of every journal: what runs, on what, with which limits, and what it inherits."""

    run_id: str
    mode: str                                   # sim | paper | live | backtest
    account: str
    symbols: tuple[str, ...]
    timeframe: str
    source: str                                 # real | synthetic-intraday
    cash: Decimal
    strategy: str
    margin: float = 1.0                         # buying power as a multiple of equity
    settings_hash: str = ""
    limits: dict[str, float] = {}
    schema: int = SCHEMA_VERSION
    previous_run_id: str = ""
    orders: tuple[CarriedOrder, ...] = ()
    positions: tuple[CarriedPosition, ...] = ()
    peak_equity: float = 0.0
    day_start_equity: float = 0.0
    day: int = 0


class SessionEnded(Event, frozen=True, kw_only=True):
    """The session stopped in order."""

    reason: str


class Note(Event, frozen=True, kw_only=True):
    """Something worth a line in the event log. ``level``: info | warning | error."""

    level: str
    source: str
    text: str


# --- market data and model -------------------------------------------------------------------------------

class SliceClosed(Event, frozen=True, kw_only=True):
    """All symbols' bars of one time; ``ts`` is when they became available. None: no bar for that symbol."""

    index: int
    bar_ts: int
    day: int                                    # session as yyyymmdd, New York
    open: list[float | None]
    high: list[float | None]
    low: list[float | None]
    close: list[float | None]
    volume: list[float | None]


class DataIssue(Event, frozen=True, kw_only=True):
    """The validator found something. ``fatal`` bars are withheld from decisions."""

    symbol: str
    kind: str
    value: float | None
    limit: float | None
    message: str
    fatal: bool = False


class ModelLoaded(Event, frozen=True, kw_only=True):
    """A model became the one that predicts."""

    model_id: str
    path: str
    trained_through: int
    source: str
    summary: str = ""


class Predictions(Event, frozen=True, kw_only=True):
    """Calibrated class probabilities at a slice, one entry a symbol in session order; None: no prediction."""

    model_id: str
    p_loss: list[float | None]
    p_neutral: list[float | None]
    p_profit: list[float | None]
    side: list[int] | None = None               # the rule's, of a meta-model: classes are outcomes of it; None: long


class ModelHealth(Event, frozen=True, kw_only=True):
    """How fit the model is; written when it changes."""

    model_id: str
    level: str                                  # FRESH | AGING | STALE | CRITICAL
    multiplier: float
    age_days: float
    windows: tuple[tuple[str, float, int], ...] = ()    # name, accuracy, observations
    estimated_accuracy: float | None = None
    drifted: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


class TrainingProgress(Event, frozen=True, kw_only=True):
    """A training that runs in a process of its own. ``state``: running | done | failed."""

    state: str
    stage: str
    done: int
    total: int
    eta_seconds: float | None = None
    message: str = ""


class StrategyChanged(Event, frozen=True, kw_only=True):
    """Another strategy decides from now on."""

    strategy: str
    previous: str
    reason: str


# --- orders ----------------------------------------------------------------------------------------------

class OrderIntent(Event, frozen=True, kw_only=True):
    """The wish to trade, before anybody vetted it. Prices in dollars, on the tick."""

    client_order_id: str
    symbol: str
    side: str                                   # buy | sell
    quantity: Decimal
    role: str                                   # entry | exit | protect | flatten | halt
    strategy: str
    order_type: str = "market"                  # market | limit | stop | stop_limit
    time_in_force: str = "day"
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    take_profit: Decimal | None = None          # both set: bracket
    stop_loss: Decimal | None = None
    signal_price: float = 0.0
    probability: float | None = None
    expected_alpha_bps: float | None = None
    reason: str = ""


class RuleCheck(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One rule's word on one intent. ``used`` and ``limit`` are in the rule's unit."""

    layer: int                                  # 1 pre-trade, 2 execution, 3 portfolio, 4 system
    rule: str
    action: str                                 # allow | shrink | veto
    code: str
    used: float
    limit: float
    unit: str = ""
    message: str = ""


class RuleName(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A rule's place: its layer, its name, the unit of its readings."""

    layer: int
    rule: str
    unit: str


class RiskRules(Event, frozen=True, kw_only=True):
    """The rules that intents meet, in their order: told once, so that verdicts need bring numbers alone."""

    tables: dict[str, tuple[RuleName, ...]]


class RiskVerdict(Event, frozen=True, kw_only=True):
    """What the four layers said to one intent; :func:`checks_of` tells it rule by rule.

    ``used`` and ``limits`` are the readings of the rules of the table ``rules``, up to the one that refused;
    ``checks`` are those that had more to say than these. Without a table, ``checks`` are all.
    """

    client_order_id: str
    symbol: str
    action: str                                 # allow | shrink | veto
    quantity_asked: Decimal
    quantity: Decimal
    checks: tuple[RuleCheck, ...] = ()
    rules: str = ""
    used: list[float] = []
    limits: list[float] = []


def checks_of(verdict: RiskVerdict, tables: Mapping[str, tuple[RuleName, ...]]) -> tuple[RuleCheck, ...]:
    """Every rule's word; ``tables`` are those of the session's :class:`RiskRules`."""
    table = tables.get(verdict.rules)
    if table is None:
        return verdict.checks
    said = {check.rule: check for check in verdict.checks}
    return tuple(
        said.get(rule.rule) or RuleCheck(rule.layer, rule.rule, "allow", "OK", used, limit, rule.unit)
        for rule, used, limit in zip(table, verdict.used, verdict.limits, strict=False))


class OrderSubmitting(Event, frozen=True, kw_only=True):
    """Durable before the first byte of the order leaves."""

    client_order_id: str


class OrderAccepted(Event, frozen=True, kw_only=True):
    """The broker has it. ``working`` is False while it is held (a bracket's leg, a queued order)."""

    client_order_id: str
    broker_order_id: str
    working: bool = True
    latency_ms: float | None = None             # submit to answer, by the machine's clock


class OrderRejected(Event, frozen=True, kw_only=True):
    """The broker said no."""

    client_order_id: str
    code: str
    message: str


class OrderUnknown(Event, frozen=True, kw_only=True):
    """No readable answer to a submit; the order may or may not exist."""

    client_order_id: str
    message: str


class LegKnown(Event, frozen=True, kw_only=True):
    """A bracket's exit leg at the broker, under the client id that the broker gave it."""

    client_order_id: str
    broker_order_id: str
    parent_client_order_id: str
    symbol: str
    side: str
    quantity: Decimal
    role: str                                   # take_profit | stop_loss
    order_type: str
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    working: bool = False


class OrderAdopted(Event, frozen=True, kw_only=True):
    """An order at the broker that this journal did not know."""

    client_order_id: str
    broker_order_id: str
    symbol: str
    side: str
    quantity: Decimal
    order_type: str
    role: str = "external"
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None


class OrderFilled(Event, frozen=True, kw_only=True):
    """One execution. Several make an order; ``execution_id`` makes it countable once."""

    client_order_id: str
    execution_id: str
    symbol: str
    side: str
    quantity: Decimal
    price: Decimal
    commission: Decimal = Decimal(0)


class OrderCancelRequested(Event, frozen=True, kw_only=True):
    """We asked the broker to cancel."""

    client_order_id: str
    reason: str = ""


class OrderCanceled(Event, frozen=True, kw_only=True):
    """The broker cancelled it."""

    client_order_id: str
    reason: str = ""


class OrderExpired(Event, frozen=True, kw_only=True):
    """Its time in force ran out."""

    client_order_id: str


class OrderWorking(Event, frozen=True, kw_only=True):
    """A held or pending order became live in the book; ``quantity`` if the broker resized it."""

    client_order_id: str
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None


class OrderReplaced(Event, frozen=True, kw_only=True):
    """The broker put a new order in place of this one."""

    client_order_id: str
    new_client_order_id: str
    new_broker_order_id: str
    quantity: Decimal
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None


class OrderAnomaly(Event, frozen=True, kw_only=True):
    """News about an order that the state table has no place for; kept, never raised."""

    client_order_id: str
    state: str
    news: str
    detail: str = ""


# --- money that moves without an order of ours -----------------------------------------------------------

class CashAdjusted(Event, frozen=True, kw_only=True):
    """Fees, dividends, deposits, or the broker's word in a reconciliation."""

    amount: Decimal
    reason: str


class PositionAdjusted(Event, frozen=True, kw_only=True):
    """The broker holds another quantity than our fills explain; ``quantity`` is the new signed total."""

    symbol: str
    quantity: Decimal
    average_price: Decimal
    reason: str


class Reconciled(Event, frozen=True, kw_only=True):
    """A comparison of our books with the broker's."""

    green: bool
    differences: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()


# --- risk and health -------------------------------------------------------------------------------------

class Gauge(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How much of a limit is used."""

    layer: int
    rule: str
    used: float
    limit: float
    unit: str = ""                              # $ | % | bps | /min | s | x | level | count
    state: str = "ok"                           # ok | warn | breach
    detail: str = ""


class RiskGauges(Event, frozen=True, kw_only=True):
    """All rules' gauges after a slice; written when something moved."""

    gauges: tuple[Gauge, ...]


class BreakerChanged(Event, frozen=True, kw_only=True):
    """A circuit breaker's state word, size multiplier and reading."""

    breaker: str                                # intraday_loss | drawdown | correlation | rejection_rate | connection
    state: str                                  # normal | warning | elevated | crisis | tripped
    multiplier: float
    value: float
    limit: float
    action: str = ""
    until: int | None = None
    detail: str = ""


class DegradationChanged(Event, frozen=True, kw_only=True):
    """NORMAL → CAUTIOUS → EXIT_ONLY → HALTED, and why."""

    level: str
    multiplier: float
    component: str
    reason: str


class ConnectionChanged(Event, frozen=True, kw_only=True):
    """A component's link: ``state`` is up | down | reconnecting."""

    component: str                              # broker | trade_stream | data_stream | redis
    state: str
    detail: str = ""


class HaltLatched(Event, frozen=True, kw_only=True):
    """Trading is off until a person lifts it."""

    source: str                                 # key | command | signal | http | breaker | start
    reason: str


class HaltProgress(Event, frozen=True, kw_only=True):
    """How far the halt has come."""

    step: str
    detail: str = ""


class HaltFinished(Event, frozen=True, kw_only=True):
    """All is cancelled and flat, or what could not be, and why."""

    orders_cancelled: int
    positions_closed: int
    failures: tuple[str, ...] = ()


class HaltLifted(Event, frozen=True, kw_only=True):
    """A person resumed trading."""

    by: str
    reason: str


AnyEvent = (
    SessionStarted | SessionEnded | Note | SliceClosed | DataIssue | ModelLoaded | Predictions | ModelHealth
    | TrainingProgress | StrategyChanged | RiskRules | OrderIntent | RiskVerdict | OrderSubmitting
    | OrderAccepted | OrderRejected | OrderUnknown | LegKnown | OrderAdopted | OrderFilled | OrderCancelRequested
    | OrderCanceled | OrderExpired | OrderWorking | OrderReplaced | OrderAnomaly | CashAdjusted
    | PositionAdjusted | Reconciled | RiskGauges | BreakerChanged | DegradationChanged | ConnectionChanged
    | HaltLatched | HaltProgress | HaltFinished | HaltLifted
)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyEvent)
encode = _encoder.encode
decode = _decoder.decode
encode_into = _encoder.encode_into

# What must be on the disk before its effect may happen; the rest waits for the group commit.
DURABLE = (
    SessionStarted, SessionEnded, OrderIntent, OrderSubmitting, OrderAccepted, OrderRejected, OrderUnknown,
    OrderFilled, OrderCancelRequested, OrderCanceled, OrderAdopted, CashAdjusted, PositionAdjusted,
    HaltLatched, HaltFinished, HaltLifted,
)
