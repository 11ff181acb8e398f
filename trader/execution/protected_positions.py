"""`ProtectedPositionManager`: open a position so that the broker itself holds its stop and its target."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Protocol

from msgspec import structs

from trader.core.commands import Submit
from trader.core.ids import ClientIds, new_run_id
from trader.core.money import ZERO, decimal, to_tick
from trader.execution.broker_errors import BrokerError
from trader.execution.broker_records import BrokerOrder
from trader.execution.outcomes import Accepted, Duplicate, SubmitOutcome, Unknown


class Broker(Protocol):
    """What opening with protection needs."""

    async def latest_price(self, symbol: str) -> Decimal: ...
    async def submit(self, command: Submit, *, one_cancels_other: bool = False) -> SubmitOutcome: ...
    async def get_order_by_client_id(self, client_order_id: str) -> BrokerOrder | None: ...
    async def cancel(self, broker_order_id: str) -> None: ...
    async def close_position(self, symbol: str, shares: Decimal | None = None) -> BrokerOrder: ...


@dataclass(frozen=True, slots=True)
class ProtectedPosition:
    """What was opened; ``error`` says what failed. ``position_id`` is the entry's client order id."""

    position_id: str
    symbol: str
    side: str
    quantity: Decimal
    filled_quantity: Decimal = ZERO
    entry_price: Decimal | None = None
    stop_loss_price: Decimal | None = None
    take_profit_price: Decimal | None = None
    entry_order_id: str = ""
    stop_loss_order_id: str = ""
    take_profit_order_id: str = ""
    error: str = ""


class ProtectedPositionManager:
    """Opens positions that are never without a stop at the broker for longer than the entry takes to fill.

    With a bracket the exits travel with the entry. Without one the entry is sent alone, and what it filled is
    covered by a one-cancels-other pair, failing that by a plain stop, failing that the position is closed.

    Parameters
    ----------
    broker_api : Broker
        `AlpacaBroker`.
    fill_timeout_s : float
        How long to wait for the entry's fill; the rest of an entry that is partly filled by then is cancelled.
    poll_s : float
        Seconds between two looks at the entry.
    """

    def __init__(
        self, broker_api: Broker, *, fill_timeout_s: float = 10.0, poll_s: float = 0.25, ids: ClientIds | None = None
    ) -> None:
        self._broker = broker_api
        self._fill_timeout_s = fill_timeout_s
        self._poll_s = poll_s
        self._ids = ids or ClientIds(new_run_id("manual"))

    async def open_position_with_protection(
        self, symbol: str, side: str, quantity: int | Decimal, stop_loss_pct: float = 0.02,
        take_profit_pct: float = 0.04, use_bracket_order: bool = True, reference_price: float | Decimal | None = None,
    ) -> tuple[ProtectedPosition, bool]:
        """Open ``quantity`` shares with a stop and a target; ``(position, success)``.

        Percentages are fractions of ``reference_price`` (default: the latest price). Nothing is raised for what the
        broker or the wire does: the position's ``error`` tells it.

        Raises
        ------
        ValueError
            Side, quantity or a percentage makes no sense.
        """
        if side not in ("buy", "sell"):
            raise ValueError(f"side {side!r} must be buy or sell")
        if not 0 < stop_loss_pct < 1 or not 0 < take_profit_pct < 1 or quantity <= 0:
            raise ValueError("quantity must be above zero, stop_loss_pct and take_profit_pct between 0 and 1")
        name = self._ids.next("entry")
        position = ProtectedPosition(name, symbol, side, Decimal(quantity))
        try:
            price = decimal(reference_price) if reference_price is not None else await self._broker.latest_price(symbol)
            position = _with_exits(position, price, stop_loss_pct, take_profit_pct)
            if use_bracket_order:
                return await self._bracket(position)
            return await self._two_steps(position)
        except BrokerError as error:
            return replace(position, error=str(error)), False

    async def _bracket(self, position: ProtectedPosition) -> tuple[ProtectedPosition, bool]:
        order, error = await self._send(_entry(position, exits=True))
        if order is None:
            return replace(position, error=error), False
        roles = {leg.leg_role: leg.id for leg in order.legs}
        position = replace(
            position, entry_order_id=order.id, filled_quantity=order.filled_quantity,
            stop_loss_order_id=roles.get("stop_loss", ""), take_profit_order_id=roles.get("take_profit", ""),
            entry_price=order.filled_average_price or None,
        )
        if "stop_loss" in roles:
            return position, True
        return replace(position, error="the broker took the bracket but shows no stop for it"), False

    async def _two_steps(self, position: ProtectedPosition) -> tuple[ProtectedPosition, bool]:
        order, error = await self._send(_entry(position, exits=False))
        if order is None:
            return replace(position, error=error), False
        order = await self._filled(order)
        position = replace(
            position, entry_order_id=order.id, filled_quantity=order.filled_quantity,
            entry_price=order.filled_average_price or None,
        )
        if order.filled_quantity == 0:
            return replace(position, error=f"the entry is {order.status} and nothing of it was filled"), False
        return await self._cover(position)

    async def _cover(self, position: ProtectedPosition) -> tuple[ProtectedPosition, bool]:
        """Exits for what was filled: a pair, else a stop alone, else out again."""
        exit_order = Submit(
            client_order_id=self._ids.next("protect"), symbol=position.symbol,
            side="sell" if position.side == "buy" else "buy", quantity=position.filled_quantity, time_in_force="gtc",
        )
        pair = structs.replace(
            exit_order, order_type="limit", take_profit=position.take_profit_price, stop_loss=position.stop_loss_price
        )
        order, refused = await self._send(pair, one_cancels_other=True)
        if order is not None:
            stops = [leg.id for leg in order.legs if leg.leg_role == "stop_loss"]
            return replace(position, take_profit_order_id=order.id, stop_loss_order_id=stops[0] if stops else ""), True
        stop = structs.replace(
            exit_order, client_order_id=self._ids.next("protect"), order_type="stop",
            stop_price=position.stop_loss_price,
        )
        order, error = await self._send(stop)
        if order is not None:
            return replace(position, stop_loss_order_id=order.id, error=f"no target: {refused}"), True
        try:
            await self._broker.close_position(position.symbol, position.filled_quantity)
            return replace(position, error=f"closed again, because no stop was accepted: {error}"), False
        except BrokerError as worse:
            text = f"UNPROTECTED: no stop was accepted ({error}) and closing failed ({worse})"
            return replace(position, error=text), False

    async def _send(self, command: Submit, *, one_cancels_other: bool = False) -> tuple[BrokerOrder | None, str]:
        """The order at the broker, or why there is none; after a lost answer the same id is sent anew."""
        reason = ""
        for attempt in range(1, 5):
            outcome = await self._broker.submit(command, one_cancels_other=one_cancels_other)
            if isinstance(outcome, Accepted | Duplicate):
                return outcome.order, ""
            if not isinstance(outcome, Unknown):
                return None, f"{outcome.code}: {outcome.message}"
            reason = outcome.reason
            await asyncio.sleep(self._poll_s * 2**attempt)
        return None, f"no readable answer in four attempts, look for {command.client_order_id}: {reason}"

    async def _filled(self, order: BrokerOrder) -> BrokerOrder:
        """The entry when it is done, or when its time is up and its rest is cancelled."""
        deadline = asyncio.get_running_loop().time() + self._fill_timeout_s
        cancelled = False
        while order.is_open:
            now = asyncio.get_running_loop().time()
            if now > deadline and not cancelled:
                cancelled = True
                deadline = now + self._fill_timeout_s
                with contextlib.suppress(BrokerError):      # finished meanwhile, or away: the next look tells
                    await self._broker.cancel(order.id)
            elif now > deadline:
                break
            await asyncio.sleep(self._poll_s)
            try:
                order = await self._broker.get_order_by_client_id(order.client_order_id) or order
            except BrokerError:
                continue
        return order


def _with_exits(position: ProtectedPosition, price: Decimal, stop: float, target: float) -> ProtectedPosition:
    sign = 1 if position.side == "buy" else -1
    return replace(
        position,
        stop_loss_price=to_tick(price * (1 - sign * decimal(stop)), toward="down" if sign > 0 else "up"),
        take_profit_price=to_tick(price * (1 + sign * decimal(target)), toward="up" if sign > 0 else "down"),
    )


def _entry(position: ProtectedPosition, *, exits: bool) -> Submit:
    return Submit(
        client_order_id=position.position_id, symbol=position.symbol, side=position.side, quantity=position.quantity,
        time_in_force="gtc" if exits else "day",
        take_profit=position.take_profit_price if exits else None,
        stop_loss=position.stop_loss_price if exits else None,
    )
