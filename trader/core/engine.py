"""The engine: events in, events and commands out; no socket, no file, no clock, no chance.

One slice runs through: validate → features and model → limits → strategy → size → risk layers → intents.
Whatever it decides it records as an event before it returns the command; the caller makes the record durable
before it carries the command out, and hands every answer back through :meth:`Engine.on_event`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import numpy as np

from trader.core import events as ev
from trader.core.book import Book, Order
from trader.core.commands import Command
from trader.core.days import day_of
from trader.core.desk import Desk
from trader.core.foresight import Foresight
from trader.core.guardian import CLOSING_ROLES, Guardian
from trader.core.halt import HaltProcedure
from trader.core.history import History
from trader.core.ids import ClientIds
from trader.core.ladder import DegradationLadder
from trader.core.money import decimal, to_tick
from trader.core.orders import OrderState
from trader.core.panel import FloatArray, Slice
from trader.core.signals import Signal

T = TypeVar("T")


class Validator(Protocol):
    """Checks a slice; ``issues`` have symbol, type, value, limit, message."""

    def check_slice(self, bar: Slice, previous_close: FloatArray, now_ns: int) -> tuple[Any, Sequence[Any]]: ...


class Predictor(Protocol):
    """Calibrated class probabilities at a slice, shape ``(n_symbols, 3)``, NaN where there is none; or None.

    ``opinion`` is of the last slice: what the rule behind a meta-model said, shape ``(n_symbols,)``; None without one.
    """

    model_id: str
    opinion: FloatArray | None

    def predict(self, bar: Slice) -> FloatArray | None: ...


class Monitor(Protocol):
    """Watches predictions come true."""

    def on_slice(self, bar: Slice, probabilities: FloatArray | None) -> ev.ModelHealth | None: ...


class Strategy(Protocol):
    """From what is known to signals."""

    @property
    def name(self) -> str: ...
    def on_slice(self, context: Any) -> list[Signal]: ...


class Risk(Protocol):
    """The four layers."""

    system: Any

    @property
    def halt_reason(self) -> str | None: ...
    def opening(self, ts: int) -> Sequence[ev.AnyEvent]: ...

    def on_slice(self, bar: Slice, book: Book, history: History) -> Sequence[ev.AnyEvent]: ...
    def vet(self, intent: ev.OrderIntent, book: Book, history: History) -> ev.RiskVerdict: ...
    def on_rejection(self, ts: int) -> None: ...
    def on_connection(self, component: str, state: str, ts: int) -> None: ...
    def on_halt_lifted(self, book: Book, ts: int) -> None: ...
    def limits(self) -> dict[str, float]: ...


class Sizer(Protocol):
    """From a signal to shares."""

    strategy: str

    def shares(self, signal: Signal, book: Book, history: History) -> int: ...
    def on_trade(self, trade: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Policy of the engine itself; limits belong to the risk layers."""

    protect: bool = True                    # every position gets a stop at the broker
    default_stop_pct: float = 0.02          # where the entry named none
    partial_patience_slices: int = 2        # then the rest of an entry is cancelled, so that its exits cover it
    flatten_on_halt: bool = True
    halt_close_attempts: int = 5
    journal_predictions: bool = True


class Engine:
    """See the module. Not thread-safe: one loop owns it."""

    def __init__(
        self, *, book: Book, apply: Callable[[ev.AnyEvent], None], sink: Callable[[ev.AnyEvent], None],
        history: History, ids: ClientIds, validator: Validator, risk: Risk, sizer: Sizer, strategy: Strategy,
        context: Callable[..., Any], ladder: DegradationLadder, settings: EngineSettings | None = None,
        predictor: Predictor | None = None, monitor: Monitor | None = None,
    ) -> None:
        self.book = book
        self.history = history
        self.settings = settings or EngineSettings()
        self.risk = risk
        self.strategy = strategy
        self.predictor = predictor
        self.monitor = monitor
        self.now_ns = 0
        self.halted = False
        self._apply = apply
        self._sink = sink
        self.validator = validator
        self._sizer = sizer
        sizer.strategy = strategy.name
        self._context = context
        self.ladder = ladder
        self._calm = False                              # no component fails, nothing is degraded
        self._exits: dict[str, str] = {}                # symbol -> role of the exit that waits for cancels
        self._desk = Desk(book, history, ids, risk, self.record, lambda: self.now_ns)
        self._guardian = Guardian(self._desk, self.settings.default_stop_pct, self.settings.partial_patience_slices)
        self.halting = HaltProcedure(
            self._desk, flatten=self.settings.flatten_on_halt, attempts=self.settings.halt_close_attempts)
        self._told: dict[type, Callable[..., None]] = {
            ev.OrderRejected: self._rejected, ev.ConnectionChanged: self._connection,
            ev.Reconciled: self._reconciled,
        }
        self._trades_seen = 0
        self.foresight: Foresight | None = None         # a backtest's: where the strategy need not be asked
        self.halt_requests: list[str] = []              # reasons for which the engine wants the latch set

    # --- recording ---------------------------------------------------------------------------------------

    def record(self, event: ev.AnyEvent) -> None:
        """Fold an event and put it into the journal."""
        if event.ts > self.now_ns:
            self.now_ns = event.ts
        self._apply(event)
        self._sink(event)

    def start(self, session: ev.SessionStarted) -> None:
        """Record the session's first events."""
        self.record(session)
        for event in self.risk.opening(session.ts):
            self.record(event)

    def note(self, level: str, source: str, text: str) -> None:
        """A line for the event log."""
        self.record(ev.Note(ts=self.now_ns, level=level, source=source, text=text))

    def _guarded(self, component: str, step: Callable[..., T], *facts: Any) -> T | None:
        """Run one step; a failure degrades and is told, never kills the session. None then."""
        try:
            result = step(*facts)
        except Exception as error:
            self.note("error", component, f"{type(error).__name__}: {error}")
            self._report(component, False, f"{type(error).__name__}: {error}")
            return None
        if not self._calm:                              # on its lowest rung the ladder has no use for good news
            self._report(component, True)
        return result

    def _report(self, component: str, ok: bool, reason: str = "") -> ev.DegradationChanged | None:
        change = self.ladder.report(component, ok, self.now_ns, reason)
        if change is not None:
            self.record(change)
        system = self.risk.system
        system.degradation_level = str(self.ladder.level)
        system.degradation_multiplier = self.ladder.multiplier
        self._calm = self.ladder.calm
        return change

    def report_component(
        self, component: str, ok: bool, now_ns: int, reason: str = "",
    ) -> ev.DegradationChanged | None:
        """A part outside the engine works, or does not; the change of level that this brings, already recorded."""
        self.now_ns = max(self.now_ns, now_ns)
        return self._report(component, ok, reason)

    # --- a slice -----------------------------------------------------------------------------------------

    def on_slice(self, bar: Slice) -> list[Command]:
        """Everything that one slice sets off."""
        if bar.available_ns > self.now_ns:
            self.now_ns = bar.available_ns
        self._calm = self.ladder.calm
        day = day_of(bar.available_ns)
        previous = self.history.newest_close if self.history.n else bar.close
        self.record(_slice_event(bar, day))
        self.history.append(bar, day)
        valid = self._guarded("validator", self._validate, bar, previous)
        if valid is None:
            valid = np.isfinite(bar.close)
        probabilities = None
        if self.predictor is not None or not self._calm:
            probabilities = self._guarded("model", self._predict, bar)
        if self.monitor is not None or not self._calm:
            self._guarded("monitor", self._watch_model, bar, probabilities)
        self._guarded("risk", self._update_risk, bar)
        commands: list[Command] = []
        if self.risk.halt_reason and not self.halted:
            self.halt_requests.append(self.risk.halt_reason)
            return commands
        if self.halting.running:
            return self.halting.go_on(insist=True)
        if not self.halted:
            for signal in self._guarded("strategy", self._signals, bar, valid, probabilities) or ():
                commands += self._guarded("strategy", self._act, signal) or ()
        commands += self._guardian.cut_partial_entries()
        if self.settings.protect:                       # what a halt could not close keeps a stop as well
            commands += self._guardian.protect(self._exits)
        return commands

    def _validate(self, bar: Slice, previous: FloatArray) -> Any:
        valid, issues = self.validator.check_slice(bar, previous, self.now_ns)
        for issue in issues:
            column = self.book.symbols.index(issue.symbol)
            self.record(ev.DataIssue(
                ts=self.now_ns, symbol=issue.symbol, kind=str(issue.type), value=issue.value, limit=issue.limit,
                message=issue.message, fatal=not bool(valid[column]),
            ))
        return valid

    def _predict(self, bar: Slice) -> FloatArray | None:
        if self.predictor is None:
            return None
        probabilities = self.predictor.predict(bar)
        if probabilities is not None and self.settings.journal_predictions:
            columns = [_finite(probabilities[:, k]) for k in range(3)]
            self.record(ev.Predictions(
                ts=self.now_ns, model_id=self.predictor.model_id,
                p_loss=columns[0], p_neutral=columns[1], p_profit=columns[2], side=self._side(),
            ))
        return probabilities

    def _side(self) -> list[int] | None:
        opinion = None if self.predictor is None else self.predictor.opinion
        return None if opinion is None else np.sign(opinion).astype(np.int64).tolist()

    def _watch_model(self, bar: Slice, probabilities: FloatArray | None) -> None:
        if self.monitor is None:
            return
        health = self.monitor.on_slice(bar, probabilities)
        if health is None:
            return
        self.risk.system.model_level = health.level
        self.risk.system.model_multiplier = health.multiplier
        self.record(health)

    def _update_risk(self, bar: Slice) -> None:
        self.risk.system.halted = self.halted
        if len(self.book.closed_trades) > self._trades_seen:
            for trade in self.book.closed_trades[self._trades_seen:]:
                self._sizer.on_trade(trade)
            self._trades_seen = len(self.book.closed_trades)
        for event in self.risk.on_slice(bar, self.book, self.history):
            self.record(event)

    def _signals(self, bar: Slice, valid: Any, probabilities: FloatArray | None) -> list[Signal]:
        if self.foresight is not None and self.foresight.silent(bar.index, self.book):
            return []
        return self.strategy.on_slice(self._context(
            slice=bar, history=self.history, book=self.book, probabilities=probabilities, ok=valid,
            opinion=None if self.predictor is None else self.predictor.opinion,
        ))

    # --- from signals to orders --------------------------------------------------------------------------

    def _act(self, signal: Signal) -> list[Command]:
        symbol = signal.symbol
        held = self.book.quantity(symbol)
        if held and signal.direction * held <= 0:
            return self._exit(symbol, "exit", signal.reason)
        if held or signal.direction == 0 or symbol in self._exits:
            return []
        if any(order.role == "entry" for order in self.book.open_orders_of(symbol)):
            return []
        shares = self._sizer.shares(signal, self.book, self.history)
        if shares <= 0:
            return []
        side = "buy" if signal.direction > 0 else "sell"
        take_profit, stop_loss = _bracket(signal)
        return self._desk.submit(
            symbol=symbol, side=side, quantity=Decimal(shares), role="entry", strategy=self.strategy.name,
            time_in_force="gtc" if stop_loss is not None else "day", take_profit=take_profit, stop_loss=stop_loss,
            signal_price=signal.price, probability=signal.probability,
            expected_alpha_bps=signal.expected_alpha_bps, reason=signal.reason)

    def _exit(self, symbol: str, role: str, reason: str) -> list[Command]:
        """Close a position. Its working exits hold the shares at the broker, so they are cancelled first."""
        if symbol in self._exits:
            return self._desk.cancel_symbol(symbol, reason)
        if any(order.role in CLOSING_ROLES for order in self.book.open_orders_of(symbol)):
            return []
        self._exits[symbol] = role
        return self._desk.cancel_symbol(symbol, reason) or self._finish_exit(symbol, reason)

    def _finish_exit(self, symbol: str, reason: str = "") -> list[Command]:
        if self.book.open_orders_of(symbol):
            return []
        return self._desk.close(symbol, self._exits.pop(symbol), reason, self.strategy.name)

    # --- answers from outside ----------------------------------------------------------------------------

    def on_event(self, event: ev.AnyEvent) -> list[Command]:
        """Take the outside's word: record it once, and go on with what waited for it."""
        if event.ts > self.now_ns:
            self.now_ns = event.ts
        key: str = getattr(event, "client_order_id", "")
        order = self.book.orders.get(key)
        if order is not None:
            known = ALREADY_KNOWN.get(type(event))
            if known is not None and known(event, order):
                return []
        if not self.book.accepts(event):
            self.record(ev.OrderAnomaly(
                ts=event.ts, client_order_id=key,
                state=order.state.value if order else "unknown to the journal", news=type(event).__name__,
            ))
            if not isinstance(event, ev.OrderFilled):
                return []
            if order is None:
                self.record(ev.OrderAdopted(
                    ts=event.ts, client_order_id=event.client_order_id, broker_order_id="", symbol=event.symbol,
                    side=event.side, quantity=event.quantity, order_type="market",
                ))
        self.record(event)
        told = self._told.get(type(event))
        if told is not None:
            told(event)
        if order is None:                               # perhaps the event itself made it known
            order = self.book.orders.get(key)
        if self.halting.running:
            return self.halting.go_on(order=order)
        if order is not None and order.symbol in self._exits and not order.is_open:
            return self._finish_exit(order.symbol)
        return []

    def _rejected(self, event: ev.OrderRejected) -> None:
        self.risk.on_rejection(event.ts)

    def _connection(self, event: ev.ConnectionChanged) -> None:
        self.risk.on_connection(event.component, event.state, event.ts)
        self._report(event.component, event.state == "up", event.detail or event.state)

    def _reconciled(self, event: ev.Reconciled) -> None:
        self.risk.system.reconciled = event.green
        self._report("reconciliation", True)

    # --- halt --------------------------------------------------------------------------------------------

    def halt(self, source: str, reason: str, ts: int) -> list[Command]:
        """Stop trading: cancel all, close all (policy), report. The caller has made the latch durable."""
        self.now_ns = max(self.now_ns, ts)
        if not self.halted:
            self.record(ev.HaltLatched(ts=self.now_ns, source=source, reason=reason))
        self.latch()
        self._exits.clear()
        return self.halting.begin()

    def latch(self) -> None:
        """Start with the latch already set by an earlier session; nothing is cancelled anew."""
        self.halted = True
        self.risk.system.halted = True

    def resume(self, by: str, reason: str, ts: int) -> None:
        """Lift the latch."""
        self.record(ev.HaltLifted(ts=max(ts, self.now_ns), by=by, reason=reason))
        self.halted = False
        self.halting.running = False
        self.risk.system.halted = False
        self.risk.on_halt_lifted(self.book, self.now_ns)

    def use_strategy(self, strategy: Strategy, reason: str, ts: int) -> None:
        """Let another strategy decide from the next slice on."""
        previous, self.strategy, self.foresight = self.strategy.name, strategy, None
        self._sizer.strategy = strategy.name
        self.record(ev.StrategyChanged(
            ts=max(ts, self.now_ns), strategy=strategy.name, previous=previous, reason=reason))


def _accepted_before(event: ev.OrderAccepted, order: Order) -> bool:
    waits = order.state is OrderState.SUBMITTING or order.state is OrderState.UNKNOWN
    return not waits and not (order.state is OrderState.HELD and event.working)


def _working_before(event: ev.OrderWorking, order: Order) -> bool:
    return order.state is not OrderState.HELD and event.quantity in (None, order.quantity) \
        and event.stop_price in (None, order.stop_price) and event.limit_price in (None, order.limit_price)


# REST and stream both tell; what is already known of an order is not news.
ALREADY_KNOWN: dict[type, Callable[[Any, Order], bool]] = {
    ev.OrderFilled: lambda event, order: event.execution_id in order.executions,
    ev.OrderAccepted: _accepted_before,
    ev.LegKnown: lambda event, order: True,
    ev.OrderCanceled: lambda event, order: order.state is OrderState.CANCELED,
    ev.OrderExpired: lambda event, order: order.state is OrderState.EXPIRED,
    ev.OrderRejected: lambda event, order: order.state is OrderState.REJECTED,
    ev.OrderWorking: _working_before,
}


def _finite(column: FloatArray) -> list[float | None]:
    values: list[float] = column.tolist()
    return [value if value == value else None for value in values]


def _slice_event(bar: Slice, day: int) -> ev.SliceClosed:
    index, bar_ts, ts, opened, high, low, close, volume = bar
    volumes: list[float | None] = volume.tolist()
    total = sum(volumes)                                # type: ignore[arg-type]
    if total == total:                                  # a sum is NaN when a part is
        return ev.SliceClosed(
            ts=ts, index=int(index), bar_ts=bar_ts, day=day, open=opened.tolist(), high=high.tolist(),
            low=low.tolist(), close=close.tolist(), volume=volumes)
    return ev.SliceClosed(
        ts=ts, index=int(index), bar_ts=bar_ts, day=day, open=_finite(opened), high=_finite(high), low=_finite(low),
        close=_finite(close), volume=_finite(volume))


def _bracket(signal: Signal) -> tuple[Decimal | None, Decimal | None]:
    """Take-profit and stop-loss prices on the tick, away from the entry."""
    if signal.stop_loss_pct is None:
        return None, None
    price = decimal(signal.price)
    up = signal.direction > 0
    stop = price * (1 - signal.direction * decimal(signal.stop_loss_pct))
    stop_loss = to_tick(stop, toward="down" if up else "up")
    if signal.take_profit_pct is None:
        return None, stop_loss
    target = price * (1 + signal.direction * decimal(signal.take_profit_pct))
    return to_tick(target, toward="up" if up else "down"), stop_loss
