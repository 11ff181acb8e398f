"""The live executor: commands become broker calls, their endings core events; a lost answer is never sent anew blindly.

Journal before effect is the caller's duty: a `Submit` reaches this module after its ``OrderSubmitting`` is durable.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from trader.core import events as ev
from trader.core.clock import Clock, SystemClock
from trader.core.commands import Cancel, CancelAll, Command, Submit
from trader.core.ids import ClientIds, new_run_id
from trader.core.orders import OrderState
from trader.core.signals import Signal
from trader.execution.active_orders import ActiveOrders, TrackedOrder
from trader.execution.broker_errors import BrokerError, BrokerRefused
from trader.execution.broker_records import BrokerOrder, CancelResult
from trader.execution.outcomes import Accepted, Duplicate, Rejected, SubmitOutcome, Unknown
from trader.execution.rejection_handler import Action, RejectionHandler
from trader.execution.translate import Translator, standing
from trader.utils.tasks import end

SOURCE = "order_manager"


class Broker(Protocol):
    """What the manager needs of a broker."""

    async def submit(self, command: Submit) -> SubmitOutcome: ...
    async def get_order_by_client_id(self, client_order_id: str) -> BrokerOrder | None: ...
    async def get_order(self, broker_order_id: str) -> BrokerOrder | None: ...
    async def cancel(self, broker_order_id: str) -> None: ...
    async def cancel_all(self) -> list[CancelResult]: ...


@dataclass(frozen=True, slots=True)
class ProbePolicy:
    """How an order of unknown fate is looked for; seconds."""

    first_wait_s: float = 0.5
    longest_wait_s: float = 8.0
    clean_404s: int = 3             # answers "not found", spaced by the waits, before the order counts as not landed
    cancel_attempts: int = 4


class OrderManager:
    """Executes commands at a broker.

    Parameters
    ----------
    broker : Broker
        `AlpacaBroker`, or anything that ends its submits in the same four ways.
    clock : Clock
        Stamps the events.
    deliver : Callable[[Event], None] | None
        Receives events that come later than the answer of `execute`: the fate of unknown orders.
    still_wanted : Callable[[str], bool] | None
        Whether an order that did not land may be sent again (halt latched, day over, price gone: no).
    on_halt : Callable[[str], None] | None
        Told when a rejection says that no order will do better.

    `on_trade_update` and the reading methods may be called from any thread; `execute`, `submit` and `close` belong
    to one event loop.
    """

    def __init__(
        self, broker: Broker, clock: Clock | None = None, *, deliver: Callable[[ev.Event], None] | None = None,
        still_wanted: Callable[[str], bool] | None = None, on_halt: Callable[[str], None] | None = None,
        policy: ProbePolicy | None = None, ids: ClientIds | None = None, seed: int = 0,
    ) -> None:
        self._broker = broker
        self._clock = clock or SystemClock()
        self._deliver = deliver or (lambda event: None)
        self._still_wanted = still_wanted or (lambda client_order_id: True)
        self._on_halt = on_halt or (lambda reason: None)
        self._policy = policy or ProbePolicy()
        self._ids = ids or ClientIds(new_run_id("manual"))
        self._random = random.Random(seed)
        self._active_orders = ActiveOrders()
        self._rejections = RejectionHandler()
        self._lock = threading.Lock()               # guards the translator and what waits for it
        self._translator = Translator()
        self._sending: set[str] = set()
        self._early: list[Any] = []
        self._unwanted: set[str] = set()            # cancelled while their fate was unknown
        self._probes: dict[str, asyncio.Task[None]] = {}

    # --- commands ----------------------------------------------------------------------------------------

    async def execute(self, command: Command) -> list[ev.Event]:
        """Carry out one command; the events that its answer means, in order. Never raises for the broker's sake."""
        if isinstance(command, Submit):
            return await self._submit(command)
        if isinstance(command, Cancel):
            return await self._cancel(command)
        assert isinstance(command, CancelAll)
        return await self._cancel_all()

    async def submit(self, signal: Signal | Submit, quantity: Decimal | int | None = None) -> TrackedOrder:
        """Send one order for a signal and return it as it stands after the broker's answer.

        For use without an engine: the engine vets, sizes and journals before it calls `execute`. Percentages of
        the signal become a bracket around its price.

        Raises
        ------
        ValueError
            The signal has no direction, or neither it nor ``quantity`` says how many shares.
        """
        command = signal if isinstance(signal, Submit) else _command_of(signal, quantity, self._ids)
        self._deliver(ev.OrderSubmitting(ts=self._clock.now_ns(), client_order_id=command.client_order_id))
        for event in await self._submit(command):
            self._deliver(event)
        order = self._active_orders.get(command.client_order_id)
        assert order is not None
        return order

    def recover(self, command: Submit) -> None:
        """Look for an order that an earlier session was sending when it died; the fate goes to ``deliver``."""
        self._active_orders.begin(_tracked(command, OrderState.UNKNOWN))
        self._probe(command, never_left=False)

    async def _submit(self, command: Submit) -> list[ev.Event]:
        name = command.client_order_id
        with self._lock:
            if not self._active_orders.begin(_tracked(command, OrderState.SUBMITTING)):
                return [self._note("warning", f"{name} was sent before; it is not sent again")]
            self._sending.add(name)
        try:
            outcome = await self._send(command)
        except ValueError as error:                 # nothing was sent
            outcome = Rejected(0, 0, str(error))
        finally:
            with self._lock:
                self._sending.discard(name)
        events = self._told(command, outcome)
        if isinstance(outcome, Unknown):
            self._probe(command, outcome.never_left)
        return [*events, *self._release()]

    async def _send(self, command: Submit) -> SubmitOutcome:
        """Send, and send again what the broker throttled, as often as the table allows."""
        while True:
            outcome = await self._broker.submit(command)
            if not isinstance(outcome, Rejected):
                return outcome
            decision = self._rejections.decide(
                client_order_id=command.client_order_id, symbol=command.symbol, quantity=command.quantity,
                status=outcome.status, code=outcome.code, message=outcome.message,
                retry_after_s=outcome.retry_after_s, details=outcome.details,
            )
            if decision.action is Action.HALT:
                self._on_halt(f"{decision.kind}: {decision.reason}")
            if decision.action is not Action.RETRY or not self._still_wanted(command.client_order_id):
                return outcome
            await asyncio.sleep(decision.wait_s)

    def _told(self, command: Submit, outcome: SubmitOutcome) -> list[ev.Event]:
        now, name = self._clock.now_ns(), command.client_order_id
        if isinstance(outcome, Accepted | Duplicate):
            self._rejections.accepted(command.symbol)
            with self._lock:
                self._translator.know(outcome.order)
            return self._keep(standing(outcome.order, now))
        if isinstance(outcome, Unknown):
            return self._keep([ev.OrderUnknown(ts=now, client_order_id=name, message=outcome.reason)])
        return self._keep(
            [ev.OrderRejected(ts=now, client_order_id=name, code=str(outcome.code), message=outcome.message)]
        )

    async def _cancel(self, command: Cancel) -> list[ev.Event]:
        name, broker_id = command.client_order_id, command.broker_order_id
        if not broker_id:
            known = self._active_orders.get(name)
            broker_id = known.broker_order_id if known else ""
        if not broker_id:
            self._unwanted.add(name)                # the probe cancels it where it finds it, and sends it no more
            return []
        for attempt in range(1, self._policy.cancel_attempts + 1):
            try:
                await self._broker.cancel(broker_id)
                return []
            except BrokerRefused as refusal:
                if refusal.status != 429:
                    return await self._why_not_cancelable(name, broker_id, refusal)
                await asyncio.sleep(refusal.retry_after_s or self._wait(attempt))
            except BrokerError:
                await asyncio.sleep(self._wait(attempt))        # a cancel may be repeated: it is idempotent
        return [self._note("error", f"cancel of {name} got no answer in {self._policy.cancel_attempts} attempts")]

    async def _why_not_cancelable(self, name: str, broker_id: str, refusal: BrokerRefused) -> list[ev.Event]:
        """The order is finished (its status says how), or the cancel is refused for a reason worth a line."""
        note = self._note("warning", f"cancel of {name}: {refusal}")
        try:
            order = await self._broker.get_order(broker_id)
        except BrokerError:
            return [note]
        if order is None or order.is_open:
            return [note]
        return self._keep(standing(order, self._clock.now_ns()))

    async def _cancel_all(self) -> list[ev.Event]:
        self._unwanted.update(self._probes)
        for attempt in range(1, self._policy.cancel_attempts + 1):
            try:
                results = await self._broker.cancel_all()
            except BrokerError as error:
                failure = str(error)
                await asyncio.sleep(self._wait(attempt))
                continue
            failed = [result for result in results if not result.ok]
            return [self._note("warning", f"cancel of {f.subject}: {f.status} {f.message}") for f in failed]
        return [self._note("error", f"cancel-all failed {self._policy.cancel_attempts} times: {failure}")]

    # --- orders of unknown fate --------------------------------------------------------------------------

    def _probe(self, command: Submit, never_left: bool) -> None:
        name = command.client_order_id
        if name not in self._probes:
            task = asyncio.get_running_loop().create_task(self._resolve(command, never_left), name=f"probe-{name}")
            self._probes[name] = task
            task.add_done_callback(lambda done: self._probes.pop(name, None))

    async def _resolve(self, command: Submit, never_left: bool) -> None:
        """Find out what became of an order: found, or surely not there and sent again under the same id, or dropped."""
        name = command.client_order_id
        clean, attempt = 0, 0
        while True:
            attempt += 1
            await asyncio.sleep(self._wait(attempt))
            try:
                order = await self._broker.get_order_by_client_id(name)
            except BrokerError:
                continue                            # a network error is never "not found"
            if order is not None:
                return await self._found(command, order)
            clean += 1
            if clean < self._policy.clean_404s and not never_left:
                continue
            if name in self._unwanted or not self._still_wanted(name):
                gone = f"it did not reach the broker ({clean} clean answers say so) and is wanted no more"
                return self._send_on(self._told(command, Rejected(404, 40410000, gone)))
            outcome = await self._send(command)
            if isinstance(outcome, Unknown):
                clean, never_left = 0, outcome.never_left
                continue
            if isinstance(outcome, Rejected):
                # Some other rule may have answered before the one about client ids: look once more.
                order = await self._look_once(name)
                if order is None:
                    return self._send_on(self._told(command, outcome))
                return await self._found(command, order)
            return await self._found(command, outcome.order)

    async def _look_once(self, name: str) -> BrokerOrder | None:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._broker.get_order_by_client_id(name)
            except BrokerError:
                await asyncio.sleep(self._wait(attempt))

    async def _found(self, command: Submit, order: BrokerOrder) -> None:
        self._send_on(self._told(command, Duplicate(order)))
        if command.client_order_id in self._unwanted and order.is_open:
            cancel = Cancel(client_order_id=command.client_order_id, broker_order_id=order.id)
            self._send_on(await self._cancel(cancel))

    def _send_on(self, events: Iterable[ev.Event]) -> None:
        for event in events:
            self._deliver(event)

    def _wait(self, attempt: int) -> float:
        longest = min(self._policy.longest_wait_s, self._policy.first_wait_s * 2.0 ** min(attempt - 1, 30))
        return longest * (0.75 + 0.25 * self._random.random())

    # --- news from the stream ----------------------------------------------------------------------------

    def on_trade_update(self, raw: Any) -> list[ev.Event]:
        """The events of one raw trade update; from any thread.

        News of an order that nobody here knows may be of the exits of a bracket whose acceptance is still on its
        way; it waits until the submits under way have their answers, and comes out behind them.
        """
        with self._lock:
            if self._sending and not self._is_known(raw):
                self._early.append(raw)
                return []
            return self._keep(self._translator.translate(raw, self._clock.now_ns()))

    def booked(self, orders: Iterable[BrokerOrder]) -> None:
        """Orders whose fills a reconciliation has accounted for; see `Translator.count`."""
        with self._lock:
            self._translator.count(orders)

    def _is_known(self, raw: Any) -> bool:
        body = raw.get("data", raw) if isinstance(raw, dict) else None
        order = body.get("order") if isinstance(body, dict) else None
        name = order.get("client_order_id") if isinstance(order, dict) else None
        return not isinstance(name, str) or name in self._sending or self._active_orders.get(name) is not None

    def _release(self) -> list[ev.Event]:
        with self._lock:
            if self._sending or not self._early:
                return []
            early, self._early = self._early, []
            now = self._clock.now_ns()
            return self._keep([event for raw in early for event in self._translator.translate(raw, now)])

    # --- reading and ending ------------------------------------------------------------------------------

    def active_orders(self) -> list[TrackedOrder]:
        """Orders that may still trade."""
        return self._active_orders.open()

    def order(self, client_order_id: str) -> TrackedOrder | None:
        """One order as known now."""
        return self._active_orders.get(client_order_id)

    @property
    def unresolved(self) -> list[str]:
        """Client ids whose fate is being looked for."""
        return list(self._probes)

    async def settle(self) -> None:
        """Return when no order's fate is open."""
        while self._probes:
            await asyncio.wait(list(self._probes.values()))

    async def close(self) -> None:
        """Stop looking; what is still unknown stays so in the journal and is recovered by the next session."""
        await end(*self._probes.values())

    def _keep(self, events: list[ev.Event]) -> list[ev.Event]:
        for event in events:
            self._active_orders.apply(event)
        return events

    def _note(self, level: str, text: str) -> ev.Event:
        return ev.Note(ts=self._clock.now_ns(), level=level, source=SOURCE, text=text)


def _tracked(command: Submit, state: OrderState) -> TrackedOrder:
    return TrackedOrder(command.client_order_id, command.symbol, command.side, command.quantity, state)


def _command_of(signal: Signal, quantity: Decimal | int | None, ids: ClientIds) -> Submit:
    from trader.core.money import decimal, to_tick

    shares = quantity if quantity is not None else signal.shares
    if shares is None or shares <= 0 or signal.direction == 0:
        raise ValueError(f"signal for {signal.symbol} names no order: it needs a direction and a number of shares")
    price, sign = decimal(signal.price), 1 if signal.direction > 0 else -1
    take, stop = signal.take_profit_pct, signal.stop_loss_pct
    return Submit(
        client_order_id=ids.next("entry"), symbol=signal.symbol, side="buy" if sign > 0 else "sell",
        quantity=Decimal(shares), time_in_force="day" if stop is None else "gtc",
        take_profit=None if take is None else to_tick(price * (1 + sign * decimal(take))),
        stop_loss=None if stop is None else to_tick(price * (1 - sign * decimal(stop))),
    )
