"""Everything a screen can show, folded from events: the book plus risk, breakers, model, execution and log."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from trader.core import events as ev
from trader.core.book import Book, Order
from trader.core.candles import CandleFold, Candles, CandleState
from trader.utils.slippage_stats import SlippageBook

LOG_LINES = 500
FILLS_KEPT = 200
EQUITY_POINTS = 1000


@dataclass(slots=True)
class RuleTally:
    """What a rule has refused so far."""

    vetoes: int = 0
    shrinks: int = 0
    last_veto_ts: int | None = None
    last_veto: str = ""


@dataclass(slots=True)
class HaltState:
    """The latch as the journal tells it."""

    latched: bool = False
    since: int | None = None
    source: str = ""
    reason: str = ""
    step: str = ""
    orders_cancelled: int | None = None
    positions_closed: int | None = None
    failures: tuple[str, ...] = ()


@dataclass(slots=True)
class Fill:
    """An execution with what it cost against the price at which it was decided."""

    event: ev.OrderFilled
    slippage_bps: float | None


class SlippageSums(msgspec.Struct, gc=False):
    """One symbol's tally of :class:`SlippageBook`."""

    count: int
    total: float
    cost: float
    asked: float
    filled: float
    compared: int
    beat: int
    recent: list[float]


class FoldedSlippage(SlippageBook):
    """Execution quality that a snapshot can keep."""

    def kept(self) -> dict[str, SlippageSums]:
        """Every tally."""
        return {name: SlippageSums(t.count, t.total, t.cost, t.asked, t.filled, t.compared, t.beat, list(t.recent))
                for name, t in self._tallies.items()}

    def restore(self, kept: dict[str, SlippageSums]) -> None:
        """Take up what :meth:`kept` gave."""
        for name, sums in kept.items():
            _, tally = self._both(name)
            for part in SlippageSums.__struct_fields__[:-1]:
                setattr(tally, part, getattr(sums, part))
            tally.recent.extend(sums.recent)


class Fold:
    """Apply events in order; ``dirty`` names the parts that changed since a reader last cleared it."""

    PARTS = ("orders", "positions", "charts", "log", "models", "slippage", "risk", "breakers")

    def __init__(self, book: Book | None = None) -> None:
        self.book = book or Book()
        self.session: ev.SessionStarted | None = None
        self.ended = ""
        self.strategy = ""
        self.now_ns = 0
        self.events = 0
        self.bars = 0
        self.last_slice_ts: int | None = None
        self.halt = HaltState()
        self.degradation: ev.DegradationChanged | None = None
        self.connections: dict[str, ev.ConnectionChanged] = {}
        self.gauges: dict[tuple[int, str], ev.Gauge] = {}
        self.tallies: dict[tuple[int, str], RuleTally] = {}
        self.breakers: dict[str, ev.BreakerChanged] = {}
        self.models: dict[str, ev.ModelLoaded] = {}
        self.health: dict[str, ev.ModelHealth] = {}
        self.training: ev.TrainingProgress | None = None
        self.slippage = FoldedSlippage()
        self.latencies_ms: dict[str, list[float]] = {}
        self.fills: deque[Fill] = deque(maxlen=FILLS_KEPT)
        self.charts = CandleFold()
        self.equity: list[tuple[int, float]] = []
        self.equity_stride = 1
        self.log: deque[tuple[int, int, str, str, str]] = deque(maxlen=LOG_LINES)
        self.log_count = 0
        self.counts = {"orders": 0, "fills": 0, "vetoes": 0, "shrinks": 0, "halts": 0, "anomalies": 0, "errors": 0}
        self.dirty: set[str] = set()
        self.touched: set[str] = set()                  # orders that changed since a snapshot last cleared it
        self._handlers: dict[type, Callable[..., None]] = {
            ev.SessionStarted: self._started, ev.SessionEnded: self._ended, ev.Note: self._note,
            ev.SliceClosed: self._slice, ev.DataIssue: self._issue, ev.ModelLoaded: self._model,
            ev.Predictions: self._predictions, ev.ModelHealth: self._model_health,
            ev.TrainingProgress: self._training, ev.StrategyChanged: self._strategy,
            ev.RiskVerdict: self._verdict, ev.OrderAccepted: self._accepted, ev.OrderRejected: self._rejected,
            ev.OrderUnknown: self._unknown, ev.OrderFilled: self._filled, ev.OrderCanceled: self._order_done,
            ev.OrderExpired: self._order_done, ev.OrderAnomaly: self._anomaly, ev.Reconciled: self._reconciled,
            ev.RiskGauges: self._risk_gauges, ev.BreakerChanged: self._breaker,
            ev.DegradationChanged: self._degraded, ev.ConnectionChanged: self._connection,
            ev.HaltLatched: self._halted, ev.HaltProgress: self._halt_progress,
            ev.HaltFinished: self._halt_finished, ev.HaltLifted: self._halt_lifted,
            ev.CashAdjusted: self._cash, ev.PositionAdjusted: self._position, ev.OrderSubmitting: self._submitting,
        }

    def apply(self, event: ev.AnyEvent) -> None:
        """Fold one event."""
        self.events += 1
        if event.ts > self.now_ns:
            self.now_ns = event.ts
        self.book.apply(event)
        kind = type(event)
        if kind in _ORDER_EVENTS:
            self.dirty.update(_ORDERS)
            self._touch(event)
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(event)

    def _touch(self, event: ev.AnyEvent) -> None:
        """Note the orders that an event may have changed: its own, what took its place, and their parents."""
        for key in (getattr(event, "client_order_id", ""), getattr(event, "new_client_order_id", "")):
            order = self.book.orders.get(key) if key else None
            if order is not None:
                self.touched.add(key)
                if order.parent:
                    self.touched.add(order.parent)

    @property
    def candles(self) -> dict[str, Candles]:
        """The last bars of every symbol."""
        return self.charts.series()

    def say(self, ts: int, level: str, source: str, text: str) -> None:
        """A line of the event log."""
        self.log_count += 1
        self.log.append((self.log_count, ts, level, source, text))
        self.dirty.add("log")

    def restore_charts(self, series: dict[str, CandleState], newest: ev.SliceClosed | None) -> None:
        """Take up the candles of a snapshot."""
        self.charts = CandleFold(self.book.symbols)
        self.charts.restore(series, newest)

    def _order(self, client_order_id: str) -> Order | None:
        return self.book.orders.get(client_order_id)

    # --- session -----------------------------------------------------------------------------------------

    def _started(self, event: ev.SessionStarted) -> None:
        self.session = event
        self.strategy = event.strategy
        self.ended = ""
        self.charts = CandleFold(event.symbols)
        self.touched.update(order.client_order_id for order in event.orders)
        text = f"{event.mode} session on {len(event.symbols)} symbols, {event.timeframe} bars ({event.source})"
        self.say(event.ts, "info", "session", text)
        for position in event.positions:
            self.say(event.ts, "info", "session", f"carried over: {position.quantity} {position.symbol}")
        self.dirty |= {"orders", "positions", "charts"}

    def _ended(self, event: ev.SessionEnded) -> None:
        self.ended = event.reason
        self.say(event.ts, "info", "session", f"ended: {event.reason}")

    def _note(self, event: ev.Note) -> None:
        self.counts["errors"] += event.level == "error"
        self.say(event.ts, event.level, event.source, event.text)

    # --- market and model --------------------------------------------------------------------------------

    def _slice(self, event: ev.SliceClosed) -> None:
        self.bars += 1
        self.last_slice_ts = event.ts
        self.charts.add(event)
        if self.bars % self.equity_stride == 0:
            self.equity.append((event.ts, self.book.equity))
            if len(self.equity) >= EQUITY_POINTS:
                self.equity = self.equity[::2]
                self.equity_stride *= 2
        self.dirty.update(_MARKED)

    def _issue(self, event: ev.DataIssue) -> None:
        self.say(event.ts, "warning", "data", f"{event.symbol} {event.message}")

    def _model(self, event: ev.ModelLoaded) -> None:
        self.models = {event.model_id: event}
        self.health = {}
        self.say(event.ts, "info", "model", f"{event.model_id} predicts from now on: {event.summary}")
        self.dirty.add("models")

    def _predictions(self, event: ev.Predictions) -> None:
        self.charts.predict(event.p_profit)

    def _model_health(self, event: ev.ModelHealth) -> None:
        before = self.health.get(event.model_id)
        self.health[event.model_id] = event
        if before is None or before.level != event.level:
            level = "info" if event.level == "FRESH" else "warning"
            why = f": {'; '.join(event.reasons)}" if event.reasons else ""
            self.say(event.ts, level, "model", f"{event.model_id} is {event.level}{why}")
        self.dirty.add("models")

    def _training(self, event: ev.TrainingProgress) -> None:
        if self.training is None or self.training.state != event.state or event.state != "running":
            level = {"failed": "error"}.get(event.state, "info")
            self.say(event.ts, level, "training", f"{event.state}: {event.message or event.stage}")
        self.training = event
        self.dirty.add("models")

    def _strategy(self, event: ev.StrategyChanged) -> None:
        self.strategy = event.strategy
        self.say(event.ts, "info", "strategy", f"{event.previous} → {event.strategy}: {event.reason}")

    # --- orders ------------------------------------------------------------------------------------------

    def _submitting(self, event: ev.OrderSubmitting) -> None:
        self.counts["orders"] += 1

    def _verdict(self, event: ev.RiskVerdict) -> None:
        for check in event.checks:
            if check.action == "allow":
                continue
            tally = self.tallies.setdefault((check.layer, check.rule), RuleTally())
            text = f"{event.symbol} {event.quantity_asked} → {event.quantity}: {check.code} {check.message}".rstrip()
            if check.action == "veto":
                tally.vetoes += 1
                tally.last_veto_ts, tally.last_veto = event.ts, text
                self.counts["vetoes"] += 1
            else:
                tally.shrinks += 1
                self.counts["shrinks"] += 1
            self.say(event.ts, "veto", f"risk {check.layer}", text)
            self.dirty.add("risk")

    def _accepted(self, event: ev.OrderAccepted) -> None:
        order = self._order(event.client_order_id)
        if order is not None and event.latency_ms is not None:
            waits = self.latencies_ms.setdefault(order.symbol, [])
            waits.append(event.latency_ms)
            del waits[:-200]

    def _rejected(self, event: ev.OrderRejected) -> None:
        order = self._order(event.client_order_id)
        self.say(event.ts, "warning", "order", f"{order.symbol if order else event.client_order_id} rejected: "
                                               f"{event.code} {event.message}")
        self._order_done(event)

    def _unknown(self, event: ev.OrderUnknown) -> None:
        self.say(event.ts, "warning", "order", f"{event.client_order_id} has no answer: {event.message}")

    def _order_done(self, event: ev.OrderCanceled | ev.OrderExpired | ev.OrderRejected) -> None:
        order = self._order(event.client_order_id)
        if order is not None and not order.parent:
            self.slippage.on_order_done(order.symbol, float(order.quantity), float(order.filled_quantity))
            self.dirty.add("slippage")

    def _filled(self, event: ev.OrderFilled) -> None:
        order = self._order(event.client_order_id)
        reference = reference_price(order)
        slippage = None
        if reference:
            slippage = (float(event.price) / reference - 1) * (1e4 if event.side == "buy" else -1e4)
            self.slippage.on_fill(event.symbol, event.side, float(event.quantity), float(event.price), reference, None)
        if order is not None and not order.is_open and not order.parent:
            self.slippage.on_order_done(order.symbol, float(order.quantity), float(order.filled_quantity))
        self.fills.append(Fill(event, slippage))
        self.counts["fills"] += 1
        role = order.role.replace("_", " ") if order else "external"
        self.say(event.ts, "fill", "fill", f"{event.side} {event.quantity} {event.symbol} at {event.price} ({role})")
        self.dirty |= {"slippage", "charts"}

    def _anomaly(self, event: ev.OrderAnomaly) -> None:
        self.counts["anomalies"] += 1
        self.say(event.ts, "warning", "order", f"{event.client_order_id}: {event.news} in state {event.state}")

    def _reconciled(self, event: ev.Reconciled) -> None:
        for difference in event.differences:
            self.say(event.ts, "warning", "reconcile", difference)
        for action in event.actions:
            self.say(event.ts, "info", "reconcile", action)

    def _cash(self, event: ev.CashAdjusted) -> None:
        self.say(event.ts, "info", "cash", f"{event.amount:+} ({event.reason})")

    def _position(self, event: ev.PositionAdjusted) -> None:
        self.say(event.ts, "warning", "position", f"{event.symbol} is now {event.quantity} ({event.reason})")

    # --- risk and health ---------------------------------------------------------------------------------

    def _risk_gauges(self, event: ev.RiskGauges) -> None:
        for gauge in event.gauges:
            self.gauges[gauge.layer, gauge.rule] = gauge
        self.dirty |= {"risk", "breakers"}

    def _breaker(self, event: ev.BreakerChanged) -> None:
        before = self.breakers.get(event.breaker)
        self.breakers[event.breaker] = event
        if (before.state if before else "normal") != event.state:
            level = "info" if event.state == "normal" else "warning"
            self.say(event.ts, level, "breaker", f"{event.breaker} {event.state}: {event.detail or event.action}")
        self.dirty.add("breakers")

    def _degraded(self, event: ev.DegradationChanged) -> None:
        self.degradation = event
        level = "info" if event.level == "NORMAL" else "warning"
        self.say(event.ts, level, "health", f"{event.level} ({event.component}: {event.reason})")

    def _connection(self, event: ev.ConnectionChanged) -> None:
        before = self.connections.get(event.component)
        self.connections[event.component] = event
        if before is None or before.state != event.state:
            level = "info" if event.state == "up" else "warning"
            self.say(event.ts, level, "link", f"{event.component} {event.state} {event.detail}".rstrip())

    def _halted(self, event: ev.HaltLatched) -> None:
        self.halt = HaltState(True, event.ts, event.source, event.reason, "latched")
        self.counts["halts"] += 1
        self.say(event.ts, "halt", "halt", f"TRADING HALTED ({event.source}): {event.reason}")

    def _halt_progress(self, event: ev.HaltProgress) -> None:
        self.halt.step = event.step

    def _halt_finished(self, event: ev.HaltFinished) -> None:
        self.halt.step = "failed" if event.failures else "flat"
        self.halt.orders_cancelled, self.halt.positions_closed = event.orders_cancelled, event.positions_closed
        self.halt.failures = event.failures
        self.say(event.ts, "halt", "halt", f"{event.orders_cancelled} orders cancelled, "
                                           f"{event.positions_closed} positions closed")
        for failure in event.failures:
            self.say(event.ts, "error", "halt", failure)

    def _halt_lifted(self, event: ev.HaltLifted) -> None:
        self.halt = HaltState()
        self.say(event.ts, "halt", "halt", f"trading resumed by {event.by}: {event.reason}")


_ORDERS, _MARKED = ("orders", "positions"), ("positions", "charts")
_ORDER_EVENTS = frozenset((
    ev.OrderIntent, ev.RiskVerdict, ev.OrderSubmitting, ev.OrderAccepted, ev.OrderRejected, ev.OrderUnknown,
    ev.LegKnown, ev.OrderAdopted, ev.OrderFilled, ev.OrderCancelRequested, ev.OrderCanceled, ev.OrderExpired,
    ev.OrderWorking, ev.OrderReplaced, ev.PositionAdjusted, ev.CashAdjusted,
))


def reference_price(order: Order | None) -> float | None:
    """The price against which a fill is judged: the decision's, for a resting exit its own."""
    if order is None:
        return None
    price = order.limit_price or order.stop_price
    return float(price) if price is not None else (order.signal_price or None)
