"""Trade updates to events: every event of the wire has a meaning, and nothing on the wire raises."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trader.core import events as ev
from trader.execution.translate import Translator

LEG = {"id": "L1", "client_order_id": "leg-1", "symbol": "AAPL", "side": "sell", "qty": "10", "status": "held",
       "type": "stop", "stop_price": "90"}


def update(event: str, *, order: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    base = {"id": "B1", "client_order_id": "e1", "symbol": "AAPL", "side": "buy", "qty": "10", "status": "new",
            "filled_qty": "0"}
    return {"stream": "trade_updates", "data": {"event": event, "order": base | (order or {}), **data}}


def names(events: list[ev.Event]) -> list[str]:
    return [type(event).__name__ for event in events]


@pytest.mark.parametrize(
    ("event", "status", "expected"),
    [
        ("new", "new", ["OrderAccepted"]), ("accepted", "accepted", ["OrderAccepted"]),
        ("pending_new", "pending_new", ["OrderAccepted"]), ("canceled", "canceled", ["OrderCanceled"]),
        ("expired", "expired", ["OrderExpired"]), ("rejected", "rejected", ["OrderRejected"]),
        ("done_for_day", "done_for_day", ["Note"]), ("pending_cancel", "pending_cancel", []),
        ("pending_replace", "pending_replace", []), ("calculated", "calculated", []), ("stopped", "stopped", ["Note"]),
        ("suspended", "suspended", ["Note"]), ("restated", "new", ["OrderWorking"]), ("replaced", "replaced", []),
        ("order_replace_rejected", "new", ["Note"]), ("order_cancel_rejected", "new", ["Note"]),
        ("trade_bust", "new", ["OrderAnomaly"]), ("something_new", "odd_status", ["OrderAnomaly"]),
    ],
)
def test_every_event_has_its_meaning(event: str, status: str, expected: list[str]) -> None:
    translator = Translator()
    translator.translate(update("pending_new", order={"status": "pending_new"}), 1)
    assert names(translator.translate(update(event, order={"status": status}), 5)) == expected


def test_working_is_told_apart_from_waiting() -> None:
    first, = Translator().translate(update("accepted", order={"status": "accepted"}), 1)
    second, = Translator().translate(update("new"), 1)
    assert isinstance(first, ev.OrderAccepted)
    assert isinstance(second, ev.OrderAccepted)
    assert (first.working, second.working) == (False, True)


def test_commission_of_a_fill_is_the_difference() -> None:
    translator = Translator()
    seen = []
    for filled, commission in (("4", "0.02"), ("10", "0.05"), ("10", None)):
        order = {"filled_qty": filled, "commission": commission, "status": "partially_filled"}
        raw = update("partial_fill", order=order, qty="4", price="10.5", execution_id=filled)
        seen.append(translator.translate(raw, 1)[-1])
    assert [fill.commission for fill in seen if isinstance(fill, ev.OrderFilled)] == [
        Decimal("0.02"), Decimal("0.03"), Decimal(0)]


def test_a_fill_that_was_booked_by_reconciliation_is_dropped() -> None:
    from trader.execution.broker_records import parse_order

    translator = Translator()
    translator.count([parse_order(update("x", order={"filled_qty": "4", "commission": "0.02"})["data"]["order"])])
    again = update("partial_fill", order={"filled_qty": "4"}, qty="4", price="10", execution_id="other-id")
    assert names(translator.translate(again, 1)) == ["Note"]
    fresh = update("fill", order={"filled_qty": "10", "commission": "0.05"}, qty="6", price="10", execution_id="new")
    fill, = translator.translate(fresh, 1)
    assert isinstance(fill, ev.OrderFilled)
    assert fill.commission == Decimal("0.03")


def test_legs_are_told_once_and_work_later() -> None:
    translator = Translator()
    parent = update("new", order={"legs": [LEG], "order_class": "bracket"})
    assert names(translator.translate(parent, 1)) == ["LegKnown", "OrderAccepted"]
    assert names(translator.translate(parent, 2)) == ["OrderAccepted"]
    working, = translator.translate(update("new", order=LEG | {"status": "new", "qty": "7"}), 3)
    assert working == ev.OrderWorking(ts=3, client_order_id="leg-1", quantity=Decimal(7))


@pytest.mark.parametrize("message", ["old", "new"])
def test_a_replacement_is_told_from_either_side(message: str) -> None:
    translator = Translator()
    translator.translate(update("new"), 1)
    successor = {"id": "B2", "client_order_id": "e1b", "replaces": "B1", "qty": "5"}
    if message == "old":
        assert translator.translate(update("replaced", order={"status": "replaced", "replaced_by": "B2"}), 2) == []
        events = translator.translate(update("new", order=successor), 3)
    else:
        events = translator.translate(update("replaced", order=successor), 3)
    replaced = next(event for event in events if isinstance(event, ev.OrderReplaced))
    assert (replaced.client_order_id, replaced.new_client_order_id, replaced.quantity) == ("e1", "e1b", Decimal(5))


def test_an_exit_that_its_stop_replaces_has_ended() -> None:
    """The touched stop is no successor to wait for; told twice, it is said once."""
    translator = Translator()
    target = {"id": "T1", "client_order_id": "leg-t", "side": "sell", "type": "limit"}
    translator.translate(update("new", order={"legs": [LEG, LEG | target], "order_class": "bracket"}), 1)
    gone = update("replaced", order=target | {"status": "replaced", "replaced_by": "L1"})
    assert translator.translate(gone, 2) == [ev.OrderReplaced(
        ts=2, client_order_id="leg-t", new_client_order_id="leg-1", new_broker_order_id="L1", quantity=Decimal(10),
        stop_price=Decimal(90))]
    assert translator.translate(gone, 3) == []


def test_a_successor_that_comes_before_the_word_of_its_predecessor() -> None:
    translator = Translator()
    translator.translate(update("new"), 1)
    translator.translate(update("new", order={"id": "B2", "client_order_id": "e1b", "replaces": "B1", "qty": "5"}), 2)
    replaced, = translator.translate(update("replaced", order={"status": "replaced", "replaced_by": "B2"}), 3)
    assert isinstance(replaced, ev.OrderReplaced)
    assert (replaced.client_order_id, replaced.new_client_order_id, replaced.quantity) == ("e1", "e1b", Decimal(5))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=8,
)
FIELDS = st.sampled_from(["id", "client_order_id", "symbol", "side", "status", "qty", "filled_qty", "legs",
                          "limit_price", "commission", "replaces", "replaced_by", "submitted_at"])


@settings(max_examples=300)
@example(event="new", order={"legs": 1}, qty=None, price=None, whole=None)
@given(event=st.sampled_from(["new", "fill", "partial_fill", "canceled", "replaced", "restated", "?"]) | JSON,
       order=st.dictionaries(FIELDS, JSON, max_size=6), qty=JSON, price=JSON, whole=st.none() | JSON)
def test_nothing_on_the_wire_raises(event: Any, order: Any, qty: Any, price: Any, whole: Any) -> None:
    translator = Translator()
    raw = whole if whole is not None else update(event, order=order, qty=qty, price=price)
    for found in translator.translate(raw, 1):
        assert isinstance(found, ev.Event)
        ev.encode(found)
