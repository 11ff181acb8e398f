"""An engine among small fakes: scripted signals, a risk layer that allows, a broker whose answers a test writes."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np

from trader.core import events as ev
from trader.core.book import Book
from trader.core.commands import Cancel, CancelAll, Command, Submit
from trader.core.engine import Engine, EngineSettings
from trader.core.history import History
from trader.core.ids import ClientIds
from trader.core.ladder import DegradationLadder
from trader.core.panel import Slice
from trader.core.signals import Signal

SYMBOLS = ("AAPL", "MSFT")
CASH = Decimal(100_000)
BAR_NS = 900 * 10**9
FIRST_NS = 1_704_724_200 * 10**9            # 2024-01-08 14:30 UTC
D = Decimal


class Risk:
    """Allows everything; a test may replace ``vet`` or ask for the halt."""

    def __init__(self) -> None:
        self.system = SimpleNamespace()
        self.halt_reason: str | None = None
        self.rejections = 0
        self.vet: Callable[..., ev.RiskVerdict] = self.allow

    def opening(self, ts: int) -> list[ev.AnyEvent]:
        return []

    def on_slice(self, bar: Slice, book: Book, history: History) -> list[ev.AnyEvent]:
        return []

    @staticmethod
    def allow(intent: ev.OrderIntent, book: Book, history: History) -> ev.RiskVerdict:
        return ev.RiskVerdict(
            ts=intent.ts, client_order_id=intent.client_order_id, symbol=intent.symbol, action="allow",
            quantity_asked=intent.quantity, quantity=intent.quantity, checks=())

    def on_rejection(self, ts: int) -> None:
        self.rejections += 1

    def on_connection(self, component: str, state: str, ts: int) -> None:
        """Not of interest here."""

    def on_halt_lifted(self, book: Book, ts: int) -> None:
        self.halt_reason = None

    def limits(self) -> dict[str, float]:
        return {}


class EngineWorld:
    """One engine; ``play`` gives it a slice, ``events`` is its journal, ``sent`` what it has asked of the broker."""

    def __init__(self, **settings: Any) -> None:
        self.book = Book(SYMBOLS, CASH)
        self.history = History(SYMBOLS, keep=64)
        self.events: list[ev.AnyEvent] = []
        self.sent: list[Command] = []
        self.signals: list[Signal] = []
        self.risk = Risk()
        self.strategy = SimpleNamespace(name="script", on_slice=self._script)
        self.sizer = SimpleNamespace(strategy="", shares=lambda signal, book, history: 10, on_trade=lambda trade: None)
        self.validator = SimpleNamespace(
            check_slice=lambda bar, previous, now: (np.isfinite(bar.close), []))
        self.engine = Engine(
            book=self.book, apply=self.book.apply, sink=self.events.append, history=self.history,
            ids=ClientIds("t"), validator=self.validator, risk=self.risk, sizer=self.sizer,
            strategy=self.strategy, context=lambda **facts: SimpleNamespace(**facts),
            ladder=DegradationLadder(), settings=EngineSettings(**settings))
        self.index = 0
        self.executions = 0
        self.engine.start(ev.SessionStarted(
            ts=FIRST_NS, run_id="t", mode="sim", account="a", symbols=SYMBOLS, timeframe="15Min", source="real",
            cash=CASH, strategy="script", margin=2.0))

    def _script(self, context: Any) -> list[Signal]:
        signals, self.signals = self.signals, []
        return signals

    @property
    def now(self) -> int:
        return self.engine.now_ns

    # --- the market -----------------------------------------------------------------------------------------

    def play(self, *signals: Signal, price: float = 100.0) -> list[Command]:
        """One slice at a price, with what the strategy says to it; the commands that came of it."""
        self.signals = list(signals)
        start = FIRST_NS + self.index * BAR_NS
        values = np.full(len(SYMBOLS), price)
        bar = Slice(self.index, start, start + BAR_NS, values, values, values, values, np.full(len(SYMBOLS), 1e5))
        self.index += 1
        return self._note(self.engine.on_slice(bar))

    # --- the broker -----------------------------------------------------------------------------------------

    def tell(self, event: ev.AnyEvent) -> list[Command]:
        return self._note(self.engine.on_event(event))

    def accept(self, command: Submit, *, legs: bool = True) -> list[Command]:
        """The broker has it; a bracket's legs are held."""
        out = self.tell(ev.OrderAccepted(
            ts=self.now, client_order_id=command.client_order_id, broker_order_id=f"b-{command.client_order_id}"))
        closing = "sell" if command.side == "buy" else "buy"
        for role, price in (("take_profit", command.take_profit), ("stop_loss", command.stop_loss)):
            if legs and price is not None:
                name = f"{command.client_order_id}-{role}"
                out += self.tell(ev.LegKnown(
                    ts=self.now, client_order_id=name, broker_order_id=f"b-{name}",
                    parent_client_order_id=command.client_order_id, symbol=command.symbol, side=closing,
                    quantity=command.quantity, role=role, order_type="limit" if role == "take_profit" else "stop",
                    limit_price=price if role == "take_profit" else None,
                    stop_price=price if role == "stop_loss" else None))
        return out

    def fill(self, name: str, quantity: int | None = None, price: str = "100") -> list[Command]:
        order = self.book.orders[name]
        self.executions += 1
        return self.tell(ev.OrderFilled(
            ts=self.now, client_order_id=name, execution_id=f"x{self.executions}", symbol=order.symbol,
            side=order.side, quantity=D(quantity) if quantity else order.remaining, price=D(price)))

    def cancelled(self, name: str) -> list[Command]:
        return self.tell(ev.OrderCanceled(ts=self.now, client_order_id=name))

    def reject(self, name: str, code: str = "403") -> list[Command]:
        return self.tell(ev.OrderRejected(ts=self.now, client_order_id=name, code=code, message="no"))

    def working(self, name: str) -> list[Command]:
        return self.tell(ev.OrderWorking(ts=self.now, client_order_id=name))

    def hold(self, symbol: str = "AAPL", *, stop: float | None = 0.02, price: float = 100.0) -> Submit:
        """Buy ten and have them; the entry's command. Its legs work."""
        command, = submits(self.play(long(symbol, price, stop=stop), price=price))
        self.accept(command)
        self.fill(command.client_order_id, price=str(price))
        for leg in list(self.book.orders[command.client_order_id].legs):
            self.working(leg)
        return command

    def _note(self, commands: list[Command]) -> list[Command]:
        self.sent += commands
        return commands

    def of(self, kind: type) -> list[Any]:
        """Events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


def long(symbol: str = "AAPL", price: float = 100.0, *, stop: float | None = 0.02, profit: float | None = 0.04,
         ) -> Signal:
    return Signal(symbol, 1, 1.0, price, take_profit_pct=profit if stop else None, stop_loss_pct=stop)


def short(symbol: str = "AAPL", price: float = 100.0) -> Signal:
    return Signal(symbol, -1, 1.0, price, take_profit_pct=0.04, stop_loss_pct=0.02)


def leave(symbol: str = "AAPL", price: float = 100.0) -> Signal:
    return Signal(symbol, 0, 1.0, price, reason="enough")


def submits(commands: list[Command]) -> list[Submit]:
    return [command for command in commands if isinstance(command, Submit)]


def cancels(commands: list[Command]) -> list[Cancel | CancelAll]:
    return [command for command in commands if isinstance(command, Cancel | CancelAll)]


def round_trip_and_refusal() -> EngineWorld:
    """A bracket entered and left with a profit through cancels, then an order that the broker refuses."""
    world = EngineWorld()
    entry = world.hold()
    world.play(leave(), price=103.0)
    for leg in list(world.book.orders[entry.client_order_id].legs):
        for command in submits(world.cancelled(leg)):
            world.accept(command)
            world.fill(command.client_order_id, price="103")
    refused, = submits(world.play(long("MSFT"), price=50.0))
    world.reject(refused.client_order_id)
    return world
