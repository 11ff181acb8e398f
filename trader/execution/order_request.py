"""From a `Submit` to alpaca-py's request models: every price on its tick, every float exact."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trader.core.commands import Submit
from trader.core.money import MICRO_SHARE, to_tick

if TYPE_CHECKING:
    from alpaca.trading.requests import OrderRequest


def wire_number(value: Decimal) -> float:
    """The float that prints as exactly this decimal; ValueError where no float does."""
    number = float(value)
    if Decimal(repr(number)) != value:
        raise ValueError(f"{value} has too many digits to travel as a JSON number")
    return number


def price(value: Decimal) -> float:
    """A price on its tick, as the wire wants it."""
    if value <= 0:
        raise ValueError(f"price {value} must be above zero")
    return wire_number(to_tick(value))


def quantity(value: Decimal) -> float:
    """A quantity cut to the billionth of a share that brokers know."""
    if value <= 0:
        raise ValueError(f"quantity {value} must be above zero")
    return wire_number(value.quantize(MICRO_SHARE))


def order_request(command: Submit, *, one_cancels_other: bool = False) -> OrderRequest:
    """The request that carries a command.

    Both exits set: a bracket; one of them: one-triggers-other. With ``one_cancels_other`` the command's two
    exits close a position that exists already, and the order has no entry.

    Raises
    ------
    ValueError
        The order type is unknown, or one of its prices is missing or not positive.
    """
    from alpaca.trading import requests
    from alpaca.trading.enums import OrderClass, OrderSide, TimeInForce

    fields: dict[str, Any] = {
        "symbol": command.symbol,
        "qty": quantity(command.quantity),
        "side": OrderSide(command.side),
        "time_in_force": TimeInForce(command.time_in_force),
        "client_order_id": command.client_order_id,
    }
    if command.take_profit is not None:
        fields["take_profit"] = requests.TakeProfitRequest(limit_price=price(command.take_profit))
    if command.stop_loss is not None:
        fields["stop_loss"] = requests.StopLossRequest(stop_price=price(command.stop_loss))
    exits = (command.take_profit is not None) + (command.stop_loss is not None)
    if one_cancels_other:
        return requests.LimitOrderRequest(order_class=OrderClass.OCO, **fields)
    if exits:
        fields["order_class"] = OrderClass.BRACKET if exits == 2 else OrderClass.OTO
    kinds: dict[str, tuple[type[OrderRequest], tuple[str, ...]]] = {
        "market": (requests.MarketOrderRequest, ()),
        "limit": (requests.LimitOrderRequest, ("limit_price",)),
        "stop": (requests.StopOrderRequest, ("stop_price",)),
        "stop_limit": (requests.StopLimitOrderRequest, ("limit_price", "stop_price")),
    }
    if command.order_type not in kinds:
        raise ValueError(f"order type {command.order_type!r} is none of {', '.join(kinds)}")
    model, prices = kinds[command.order_type]
    for name in prices:
        value = getattr(command, name)
        if value is None:
            raise ValueError(f"a {command.order_type} order needs {name}")
        fields[name] = price(value)
    return model(**fields)
