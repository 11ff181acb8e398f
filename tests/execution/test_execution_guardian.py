"""Positions without a stop of their own size."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from trader.core.clock import SECOND_NS
from trader.execution.broker_records import BrokerOrder, BrokerPosition
from trader.execution.guardian import Guardian, unprotected

D = Decimal
LONG = BrokerPosition(symbol="AAPL", quantity=D(10), average_price=D(100))


def stop(quantity: int = 10, **fields: Any) -> BrokerOrder:
    return BrokerOrder(**{"id": "s", "client_order_id": "s", "symbol": "AAPL", "side": "sell", "quantity": D(quantity),
                          "status": "new", "order_type": "stop", "stop_price": D(90)} | fields)


def bracket(status: str) -> BrokerOrder:
    return stop(id="p", side="buy", order_type="market", status=status, order_class="bracket",
                legs=(stop(status="held", order_class="bracket"),))


@pytest.mark.parametrize(("orders", "missing"), [
    ([], 10), ([stop()], 0), ([stop(4)], 6), ([stop(4), stop(6, id="t")], 0), ([stop(side="buy")], 10),
    ([stop(symbol="MSFT")], 10), ([stop(status="canceled")], 10), ([stop(order_type="limit")], 10),
    ([stop(filled_quantity=D(3))], 3), ([bracket("partially_filled")], 10), ([bracket("filled")], 0),
    ([stop(status="held")], 0),
])
def test_cover_is_counted(orders: list[BrokerOrder], missing: int) -> None:
    assert sum(f.missing for f in unprotected([LONG], orders)) == missing


def test_a_short_needs_a_buy_stop() -> None:
    short = BrokerPosition(symbol="AAPL", quantity=D(-10), average_price=D(100))
    finding, = unprotected([short], [stop()])
    assert finding.closing_side == "buy"
    assert unprotected([short], [stop(side="buy")]) == []


def test_a_finding_is_mended_once_then_flattened() -> None:
    guardian = Guardian(grace_s=5, flatten_s=20)
    moments = (0, 4, 5, 10, 20, 21)
    seen = {second: [m.action for m in guardian.check(second * SECOND_NS, [LONG], [])] for second in moments}
    assert seen == {0: [], 4: [], 5: ["stop"], 10: [], 20: ["flatten"], 21: ["flatten"]}
    assert guardian.check(22 * SECOND_NS, [LONG], [stop()]) == []
    assert guardian.since == {}
    assert guardian.check(23 * SECOND_NS, [LONG], []) == []
