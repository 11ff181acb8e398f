"""`ReconciliationEngine`: look at both sides, compare, confirm, resolve, say so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trader.core import events as ev
from trader.core.clock import Clock, SystemClock
from trader.core.commands import Command
from trader.core.orders import OPEN, OrderState
from trader.execution.broker_errors import BrokerError
from trader.execution.broker_records import BrokerAccount, BrokerFill, BrokerOrder, BrokerPosition, flatten
from trader.execution.discrepancies import BrokerView, Discrepancy, LocalView, confirm, diff
from trader.execution.resolver import Resolution, resolve


class Broker(Protocol):
    """What a reconciliation reads."""

    async def get_account(self) -> BrokerAccount: ...
    async def get_positions(self) -> list[BrokerPosition]: ...
    async def get_orders(
        self, status: str = "open", *, symbols: Sequence[str] | None = None
    ) -> list[BrokerOrder]: ...
    async def get_order(self, broker_order_id: str) -> BrokerOrder | None: ...
    async def get_order_by_client_id(self, client_order_id: str) -> BrokerOrder | None: ...
    async def get_fill_activities(self, after_ns: int | None = None) -> list[BrokerFill]: ...


@dataclass(frozen=True, slots=True)
class ReconciliationReport:
    """One comparison. ``local`` and ``broker`` are the two sides as they were looked at."""

    ts: int
    discrepancies: tuple[Discrepancy, ...]
    local: LocalView
    broker: BrokerView

    @property
    def has_discrepancies(self) -> bool:
        """Whether the sides differ."""
        return bool(self.discrepancies)


class ReconciliationEngine:
    """Compares and resolves.

    Parameters
    ----------
    broker_api : Broker
        The account.
    local_state : Any
        Our side: a `LocalView`, a `Book`, an object with one as ``book`` (a session, a state manager) or with
        ``local_view()``, or a function that returns one of these.
    reconcile_interval : float
        Seconds between two comparisons of `run`.
    deliver : Callable[[Sequence[Event]], None] | None
        Takes the events of a resolution; default: ``local_state.apply`` for each, where there is one.
    execute : Callable[[Command], Awaitable] | None
        Carries out the resolution's commands; without it they are left to the caller (`Resolution.commands`).
    booked : Callable[[Iterable[BrokerOrder]], None] | None
        Told which orders' fills are accounted for (`OrderManager.booked`).
    confirm_after : float
        Seconds until a second look; only what both looks show counts, because news may be on its way. 0: one look.
    fills_after : Callable[[], int | None] | None
        From when on to read executions, ns; default: all.
    """

    def __init__(
        self, broker_api: Broker, local_state: Any, reconcile_interval: float = 30, *,
        deliver: Callable[[Sequence[ev.Event]], None] | None = None,
        execute: Callable[[Command], Any] | None = None,
        booked: Callable[[Iterable[BrokerOrder]], None] | None = None,
        clock: Clock | None = None, confirm_after: float = 0.5, fills_after: Callable[[], int | None] | None = None,
    ) -> None:
        self._broker = broker_api
        self._local = getattr(local_state, "book", local_state)
        self.reconcile_interval = reconcile_interval
        self._deliver = deliver or self._apply
        self._execute = execute
        self._booked = booked or (lambda orders: None)
        self._clock = clock or SystemClock()
        self._confirm_after = confirm_after
        self._fills_after = fills_after or (lambda: None)
        self._wanted = asyncio.Event()
        self._busy = asyncio.Lock()
        self.last_report: ReconciliationReport | None = None

    async def reconcile(self) -> ReconciliationReport:
        """Compare once (twice, where the first look shows differences); `BrokerError` when the broker is away."""
        async with self._busy:
            report = await self._look()
            if report.has_discrepancies and self._confirm_after > 0:
                await asyncio.sleep(self._confirm_after)
                again = await self._look()
                report = ReconciliationReport(
                    again.ts, tuple(confirm(report.discrepancies, again.discrepancies)), again.local, again.broker
                )
            self.last_report = report
            return report

    async def resolve_discrepancies(self, report: ReconciliationReport) -> Resolution:
        """Bring both sides together, hand out the events, carry out the commands."""
        resolution = resolve(report.local, report.broker, report.discrepancies, report.ts)
        self._booked([*resolution.booked, *_accounted_for(report)])
        done = ev.Reconciled(
            ts=report.ts, green=not report.has_discrepancies,
            differences=tuple(f"{d.type}: {d.details}" for d in report.discrepancies), actions=resolution.actions,
        )
        self._deliver([*resolution.events, done])
        if self._execute is not None:
            for command in resolution.commands:
                await self._execute(command)
        return resolution

    async def run_until_green(self, attempts: int = 4) -> bool:
        """Compare and resolve until the sides agree; False when they still differ after ``attempts``."""
        for _ in range(attempts):
            report = await self.reconcile()
            await self.resolve_discrepancies(report)
            if not report.has_discrepancies:
                return True
        return False

    async def run(self, on_error: Callable[[str], None] | None = None) -> None:
        """Reconcile every ``reconcile_interval`` seconds, and at once when `request` was called, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.reconcile_interval):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                await self.run_until_green()
            except BrokerError as error:
                if on_error is not None:
                    on_error(str(error))

    def request(self) -> None:
        """Ask for a reconciliation now (after a stream came up, or on a person's word)."""
        self._wanted.set()

    async def _look(self) -> ReconciliationReport:
        account = await self._broker.get_account()
        positions = await self._broker.get_positions()
        orders = await self._broker.get_orders("open")
        local = self._view()
        orders += await self._groups_of_strangers(orders, local)
        absent: set[str] = set()
        shown = {order.client_order_id for order, _ in flatten(orders)}
        for order in local.orders.values():
            if order.client_order_id in shown or order.state not in OPEN or order.state is OrderState.APPROVED:
                continue
            found = await self._broker.get_order_by_client_id(order.client_order_id)
            if found is None:
                absent.add(order.client_order_id)
            while found is not None:
                orders.append(found)
                found = await self._successor(found, orders)
        broker = BrokerView(account.cash, tuple(positions), tuple(orders), (), frozenset(absent))
        differences = diff(local, broker)
        if any(d.type == "quantity" and d.subject == "order" for d in differences):
            fills = await self._broker.get_fill_activities(self._fills_after())
            broker = BrokerView(broker.cash, broker.positions, broker.orders, tuple(fills), broker.absent)
        return ReconciliationReport(self._clock.now_ns(), tuple(differences), local, broker)

    async def _groups_of_strangers(self, orders: list[BrokerOrder], local: LocalView) -> list[BrokerOrder]:
        """The groups of exits that stand alone and that our books lack.

        While a target works, Alpaca lists the stop beside it, which it holds, under their parent alone, and a parent
        that is filled not among the open orders.
        """
        known = local.orders
        alone = [o for o in orders if o.order_class != "simple" and not o.legs and o.client_order_id not in known]
        if not alone:
            return []
        ids = {order.id for order in alone}
        every = await self._broker.get_orders("all", symbols=sorted({order.symbol for order in alone}))
        return [parent for parent in every if any(leg.id in ids for leg in parent.legs)]

    async def _successor(self, order: BrokerOrder, shown: Iterable[BrokerOrder]) -> BrokerOrder | None:
        """What replaced an order, unless it is shown anyway: no list of open orders has a stop that is held."""
        if not order.replaced_by or any(other.id == order.replaced_by for other, _ in flatten(shown)):
            return None
        return await self._broker.get_order(order.replaced_by)

    def _view(self) -> LocalView:
        state = self._local() if callable(self._local) else self._local
        if isinstance(state, LocalView):
            return state
        if hasattr(state, "local_view"):
            view: LocalView = state.local_view()
            return view
        state = getattr(state, "book", state)
        if not hasattr(state, "positions"):
            raise ValueError(
                f"local_state is {type(state).__name__}; expected a Book, a LocalView, an object with `book`, or a "
                "function that returns one of these")
        return LocalView.from_book(state)

    def _apply(self, events: Sequence[ev.Event]) -> None:
        apply: Callable[[ev.Event], Any] | None = getattr(self._local, "apply", None)
        if apply is not None:
            for event in events:
                apply(event)


def _accounted_for(report: ReconciliationReport) -> list[BrokerOrder]:
    """Orders on whose fills both sides agree: the stream can bring nothing older about them."""
    found = []
    for order, _ in report.broker.flat_orders():
        ours = report.local.orders.get(order.client_order_id)
        if ours is not None and ours.filled_quantity == order.filled_quantity:
            found.append(order)
    return found
