"""Rejections by the table, with limits."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from trader.execution.rejection_handler import RULES, Action, RejectionHandler, classify


@pytest.mark.parametrize(("status", "code", "message", "kind", "action"), [
    (401, 40110000, "request is not authorized", "unauthorized", Action.HALT),
    (422, 40010001, "client_order_id must be unique", "duplicate_client_order_id", Action.READ_BACK),
    (422, 40010001, "bracket orders must be market or limit", "bracket_terms", Action.ABANDON),
    (429, 42910000, "rate limit exceeded", "rate_limit", Action.RETRY),
    (403, 40310000, "potential wash trade detected. use complex orders", "wash_trade", Action.ABANDON),
    (403, 40310000, "insufficient qty available for order (requested: 5, available: 0)", "insufficient_quantity",
     Action.RESIZE),
    (403, 40310000, "insufficient buying power", "buying_power", Action.RESIZE),
    (403, 40310000, "account is blocked", "account_blocked", Action.HALT),
    (403, 40310000, "asset AAPL cannot be sold short", "shorting", Action.ABANDON),
    (422, 42210000, "invalid limit_price 10.005. sub-penny increment does not fulfill", "sub_penny", Action.ABANDON),
    (422, 42210000, "bracket orders must be entry orders", "not_an_entry", Action.ABANDON),
    (422, 42210000, "stop_loss.stop_price must be <= base_price - 0.01", "base_price", Action.ABANDON),
    (422, 42210000, "stop price must be less than current price", "base_price", Action.ABANDON),
    (422, 42210000, "something that nobody documented", "unprocessable", Action.ABANDON),
    (418, 1, "teapot", "other", Action.ABANDON),
])
def test_documented_rejections(status: int, code: int, message: str, kind: str, action: Action) -> None:
    rule = classify(status, code, message)
    assert (rule.kind, rule.action) == (kind, action)


def test_every_rule_can_be_reached() -> None:
    for rule in RULES:
        found = classify(rule.status, rule.code or 0, " ".join(rule.words))
        assert found is rule or (found.kind, found.action) == (rule.kind, rule.action)


def decide(handler: RejectionHandler, status: int, code: int, message: str, **more: Any) -> Any:
    return handler.decide(client_order_id="e1", symbol="AAPL", quantity=Decimal(100), status=status, code=code,
                          message=message, **more)


def test_retries_back_off_and_end() -> None:
    handler = RejectionHandler()
    waits = [decide(handler, 429, 42910000, "slow", retry_after_s=1.5) for _ in range(4)]
    assert [d.action for d in waits] == [Action.RETRY] * 3 + [Action.ABANDON]
    assert [d.wait_s for d in waits[:3]] == [1.5, 2.0, 4.0]


def test_resizing_uses_what_the_broker_says_fits() -> None:
    handler = RejectionHandler()
    short = decide(handler, 403, 40310000, "insufficient qty available", details={"available": "40.7"})
    assert (short.action, short.quantity) == (Action.RESIZE, Decimal(40))
    poor = decide(handler, 403, 40310000, "insufficient buying power",
                  details={"buying_power": "2500", "cost_basis": "10000"})
    assert (poor.action, poor.quantity) == (Action.RESIZE, Decimal(25))
    assert decide(handler, 403, 40310000, "insufficient buying power").action is Action.ABANDON
    none, again = {"available": "0"}, {"available": "10"}
    assert decide(handler, 403, 40310000, "insufficient qty available", details=none).action is Action.ABANDON
    assert decide(handler, 403, 40310000, "insufficient qty available", details=again).action is Action.ABANDON
    handler.accepted("AAPL")
    assert decide(handler, 403, 40310000, "insufficient qty available", details=again).action is Action.RESIZE


def test_a_long_row_of_refusals_halts() -> None:
    handler = RejectionHandler(max_abandoned_in_a_row=3)
    actions = [decide(handler, 422, 42210000, "no").action for _ in range(3)]
    assert actions == [Action.ABANDON, Action.ABANDON, Action.HALT]
