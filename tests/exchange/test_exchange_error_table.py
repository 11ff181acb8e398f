"""Every row of Alpaca's table of errors, and every rule that refuses: HTTP status and code over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from exchange_markets import FREE, panel_of
from exchange_raw import KEYS, Raw

from trader.exchange.fault_script import FaultScript, read_faults
from trader.exchange.rate import RateLimiter
from trader.exchange.server import ExchangeServer
from trader.exchange.types import VenueRules
from trader.exchange.venue import Venue

CALM = (100.0, 100.5, 99.5, 100.0)
CHEAP = (0.9, 0.95, 0.85, 0.9)
Body = dict[str, Any]


class Shop:
    """A venue with a client; what a case needs first, it does with these."""

    def __init__(self, server: ExchangeServer, client: Raw) -> None:
        self.server, self.client = server, client

    async def ask(self, method: str, path: str, body: object = None, keys: str = KEYS) -> tuple[int, Any]:
        return await self.client.ask(method, path, body, keys)

    async def order(self, **fields: object) -> tuple[int, Any]:
        return await self.ask("POST", "/v2/orders", {"symbol": "AAPL", "side": "buy", "type": "market",
                                                     "time_in_force": "day", **fields})

    async def good(self, **fields: object) -> Body:
        status, order = await self.order(**fields)
        assert status == 200, order
        return order

    async def hold(self, qty: int = 10, side: str = "buy") -> None:
        await self.good(qty=qty, side=side)
        self.server.advance()


@asynccontextmanager
async def shop(
    bars: int = 8, per_day: int = 26, cash: int = 100_000, keys: dict[str, str] | None = None, limit: int | None = None,
    faults: FaultScript | None = None, start_index: int = 1, **rules: Any,
) -> AsyncIterator[Shop]:
    from decimal import Decimal

    panel = panel_of({"AAPL": [CALM] * bars, "MSFT": [CALM] * bars, "PENY": [CHEAP] * bars}, per_day)
    venue = Venue(panel, start_index=start_index, fill_model=FREE, cash=Decimal(cash), rules=VenueRules(**rules))
    server = ExchangeServer(venue, api_keys=keys, rate_limit=limit, faults=faults)
    if limit:
        server._limiter._clock = lambda: 30.0         # no minute ends amid a test
    await server.start()
    client = await Raw.to(server.port)
    try:
        yield Shop(server, client)
    finally:
        client.writer.close()
        await server.stop()


# --- orders that are refused by what they are ------------------------------------------------------------------------

BRACKET = {"qty": 5, "order_class": "bracket", "take_profit": {"limit_price": 110}, "stop_loss": {"stop_price": 90}}
REFUSED: dict[str, tuple[Body, int, int]] = {
    "no such symbol": ({"symbol": "NOPE", "qty": 1}, 422, 42210000),
    "no quantity": ({}, 422, 40010001),
    "quantity and notional": ({"qty": 1, "notional": 5}, 422, 40010001),
    "a word for a number": ({"qty": "ten"}, 422, 40010001),
    "no symbol": ({"symbol": None, "qty": 1}, 422, 40010001),
    "an unknown side": ({"qty": 1, "side": "hold"}, 422, 40010001),
    "an unknown type": ({"qty": 1, "type": "iceberg"}, 422, 40010001),
    "an unknown time in force": ({"qty": 1, "time_in_force": "gtd"}, 422, 40010001),
    "an unknown class": ({"qty": 1, "order_class": "mleg"}, 422, 40010001),
    "an unknown intent": ({"qty": 1, "position_intent": "hodl"}, 422, 40010001),
    "another intent than the order has": ({"qty": 1, "position_intent": "sell_to_close"}, 422, 42210000),
    "a limit order without limit": ({"qty": 1, "type": "limit"}, 422, 40010001),
    "a stop order without stop": ({"qty": 1, "type": "stop"}, 422, 40010001),
    "a trailing stop without trail": ({"qty": 1, "type": "trailing_stop"}, 422, 40010001),
    "two trails": ({"qty": 1, "type": "trailing_stop", "trail_price": 1, "trail_percent": 1}, 422, 40010001),
    "a third decimal above a dollar": ({"qty": 1, "type": "limit", "limit_price": 99.001}, 422, 42210000),
    "0.1 + 0.2": ({"qty": 1, "type": "limit", "limit_price": 0.1 + 0.2}, 422, 42210000),
    "a fifth decimal below a dollar": (
        {"symbol": "PENY", "qty": 1, "type": "limit", "limit_price": "0.91234"}, 422, 42210000),
    "a sub-penny stop": ({"qty": 1, "type": "stop", "stop_price": 101.005}, 422, 42210000),
    "a sub-penny take-profit": ({**BRACKET, "take_profit": {"limit_price": 110.001}}, 422, 42210000),
    "a sub-penny stop-loss": ({**BRACKET, "stop_loss": {"stop_price": 90.001}}, 422, 42210000),
    "a buy stop below the market": ({"qty": 1, "type": "stop", "stop_price": 99}, 422, 42210000),
    "a bracket that is a stop order": ({**BRACKET, "type": "stop", "stop_price": 101}, 422, 40010001),
    "a bracket without take-profit": ({**BRACKET, "take_profit": None}, 422, 42210000),
    "a bracket without stop-loss": ({**BRACKET, "stop_loss": None}, 422, 42210000),
    "a bracket upside down": (
        {**BRACKET, "take_profit": {"limit_price": 90}, "stop_loss": {"stop_price": 110}}, 422, 42210000),
    "a stop-loss less than a cent away": (
        {**BRACKET, "type": "limit", "limit_price": 95, "stop_loss": {"stop_price": 95}}, 422, 42210000),
    "a stop-loss above the market": (
        {**BRACKET, "type": "limit", "limit_price": 105, "take_profit": {"limit_price": 110},
         "stop_loss": {"stop_price": 101}}, 422, 42210000),
    "a bracket of fractions": ({**BRACKET, "qty": 1.5}, 422, 42210000),
    "a bracket of dollars": ({**BRACKET, "qty": None, "notional": 500}, 422, 42210000),
    "an immediate bracket": ({**BRACKET, "time_in_force": "ioc"}, 422, 42210000),
    "a bracket in extended hours": (
        {**BRACKET, "type": "limit", "limit_price": 100, "extended_hours": True}, 422, 42210000),
    "an oto with both legs": ({**BRACKET, "order_class": "oto"}, 422, 42210000),
    "an oco without a position": ({**BRACKET, "order_class": "oco", "type": "limit"}, 422, 42210000),
    "fractions good till cancelled": ({"qty": 1.5, "time_in_force": "gtc"}, 422, 42210000),
    "ten decimals": ({"qty": "0.0000000001"}, 422, 42210000),
    "half a dollar": ({"notional": 0.5}, 422, 42210000),
    "tenths of a cent": ({"notional": "5.001"}, 422, 42210000),
    "half a share short": ({"side": "sell", "qty": 0.5}, 422, 42210000),
    "extended hours at market": ({"qty": 1, "extended_hours": True}, 422, 42210000),
    "extended hours good till cancelled": (
        {"qty": 1, "type": "limit", "limit_price": 99, "extended_hours": True, "time_in_force": "gtc"}, 422, 42210000),
    "a long client id": ({"qty": 1, "client_order_id": "x" * 129}, 422, 40010001),
    "more than there is": ({"qty": 2_001}, 403, 40310000),
    "more dollars than there are": ({"notional": 200_001}, 403, 40310000),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_an_order_is_refused(case: str) -> None:
    body, status, code = REFUSED[case]
    async with shop() as at:
        answer, error = await at.order(**body)
        assert (answer, error.get("code")) == (status, code), error
        assert error["message"]
        assert (await at.ask("GET", "/v2/orders?status=all"))[1] == []
        assert (await at.ask("GET", "/v2/account"))[1]["buying_power"] == "200000"


# --- refusals that need a history -----------------------------------------------------------------------------------

Case = Callable[[], Awaitable[tuple[int, Any]]]
HISTORIES: dict[str, tuple[Case, int, int, dict[str, object]]] = {}


def row(status: int, code: int, **details: object) -> Callable[[Case], Case]:
    """Enter a case: the answer's status and code, and fields that its body must have."""
    def enter(case: Case) -> Case:
        HISTORIES[case.__name__] = (case, status, code, details)
        return case
    return enter


@row(400, 40010000)
async def broken_json() -> tuple[int, Any]:
    async with shop() as at:
        at.client.writer.write(f"POST /v2/orders HTTP/1.1\r\n{KEYS}Content-Length: 2\r\n\r\n{{x".encode())
        return await at.client.hear()


@row(400, 40010000)
async def a_parameter_that_is_none() -> tuple[int, Any]:
    async with shop() as at:
        return await at.ask("GET", "/v2/orders?limit=many")


@row(401, 40110000)
async def no_keys() -> tuple[int, Any]:
    async with shop() as at:
        return await at.ask("GET", "/v2/account", keys="")


@row(401, 40110000)
async def a_wrong_secret() -> tuple[int, Any]:
    async with shop(keys={"key": "another"}) as at:
        return await at.ask("GET", "/v2/account")


@row(401, 40110000)
async def keys_of_another_environment() -> tuple[int, Any]:
    async with shop(keys={"live": "secret"}) as at:
        return await at.ask("GET", "/v2/stocks/bars?symbols=AAPL&timeframe=15Min")


@row(403, 40310000, held_for_orders="6", existing_qty="10", available="4", symbol="AAPL")
async def shares_that_an_order_holds() -> tuple[int, Any]:
    async with shop() as at:
        await at.hold()
        stop = await at.good(side="sell", qty=6, type="stop", stop_price=90)
        answer = await at.order(side="sell", qty=5)
        assert answer[1]["related_orders"] == [stop["id"]]
        return answer


@row(403, 40310000, reject_reason="opposite side market/stop order exists")
async def a_wash_trade_with_a_market_order() -> tuple[int, Any]:
    async with shop() as at:
        await at.hold()
        resting = await at.good(qty=1)
        answer = await at.order(side="sell", qty=1)
        assert answer[1]["existing_order_id"] == resting["id"]
        return answer


@row(403, 40310000, reject_reason="opposite side limit order exists")
async def a_wash_trade_that_crosses() -> tuple[int, Any]:
    async with shop() as at:
        await at.hold()
        await at.good(qty=1, type="limit", limit_price=95)
        assert (await at.order(side="sell", qty=1, type="limit", limit_price=96))[0] == 200     # these do not cross
        return await at.order(side="sell", qty=1, type="limit", limit_price=95)


@row(403, 40310000)
async def a_short_of_a_small_account() -> tuple[int, Any]:
    async with shop(cash=1_999) as at:
        return await at.order(side="sell", qty=1)


@row(403, 40310000)
async def a_short_of_an_owner_who_wants_none() -> tuple[int, Any]:
    async with shop() as at:
        await at.ask("PATCH", "/v2/account/configurations", {"no_shorting": True})
        return await at.order(side="sell", qty=1)


@row(403, 40310000)
async def an_account_that_its_owner_suspended() -> tuple[int, Any]:
    async with shop() as at:
        await at.ask("PATCH", "/v2/account/configurations", {"suspend_trade": True})
        return await at.order(qty=1)


@row(403, 40310000)
async def a_replacement_that_changes_nothing() -> tuple[int, Any]:
    async with shop() as at:
        order = await at.good(qty=1, type="limit", limit_price=90)
        return await at.ask("PATCH", f"/v2/orders/{order['id']}", {"limit_price": "90"})


@row(403, 40310000)
async def a_position_of_more_than_six_times_the_equity() -> tuple[int, Any]:
    from decimal import Decimal

    async with shop(closing_only_above=Decimal(1)) as at:
        await at.hold(1_500)
        return await at.order(qty=1_000)


@row(422, 42210000)
async def a_short_that_is_hard_to_borrow() -> tuple[int, Any]:
    async with shop(hard_to_borrow=frozenset({"AAPL"})) as at:
        return await at.order(side="sell", qty=1)


@row(404, 40410000)
async def an_order_that_never_was() -> tuple[int, Any]:
    async with shop() as at:
        return await at.ask("GET", "/v2/orders/61e69015-8549-4bfd-b9c3-01e75843f47d")


@row(404, 40410000)
async def a_cancel_of_nothing() -> tuple[int, Any]:
    async with shop() as at:
        return await at.ask("DELETE", "/v2/orders/61e69015-8549-4bfd-b9c3-01e75843f47d")


@row(404, 40410000)
async def a_client_id_that_never_was() -> tuple[int, Any]:
    async with shop() as at:
        return await at.ask("GET", "/v2/orders:by_client_order_id?client_order_id=never")


@row(404, 40410000)
async def no_position() -> tuple[int, Any]:
    async with shop() as at:
        return await at.ask("GET", "/v2/positions/AAPL")


@row(404, 40410000)
async def no_position_to_close() -> tuple[int, Any]:
    async with shop() as at:
        return await at.ask("DELETE", "/v2/positions/AAPL")


@row(404, 40410000)
async def no_asset() -> tuple[int, Any]:
    async with shop() as at:
        return await at.ask("GET", "/v2/assets/NOPE")


@row(404, 40410000)
async def no_endpoint() -> tuple[int, Any]:
    async with shop() as at:
        return await at.ask("GET", "/v2/no/such/thing")


@row(422, 40010001)
async def a_client_id_of_a_working_order() -> tuple[int, Any]:
    async with shop() as at:
        await at.good(qty=1, client_order_id="mine")
        return await at.order(qty=1, client_order_id="mine")


@row(422, 40010001)
async def a_client_id_of_a_cancelled_order() -> tuple[int, Any]:
    async with shop() as at:
        order = await at.good(qty=1, client_order_id="mine")
        assert (await at.ask("DELETE", f"/v2/orders/{order['id']}"))[0] == 204
        return await at.order(qty=1, client_order_id="mine")


@row(422, 40010001)
async def a_client_id_in_a_replacement() -> tuple[int, Any]:
    async with shop() as at:
        order = await at.good(qty=1, type="limit", limit_price=90, client_order_id="mine")
        return await at.ask("PATCH", f"/v2/orders/{order['id']}", {"limit_price": "91", "client_order_id": "mine"})


@row(422, 42210000)
async def a_bracket_that_would_close() -> tuple[int, Any]:
    async with shop() as at:
        await at.hold()
        return await at.order(side="sell", qty=5, order_class="bracket", take_profit={"limit_price": 90},
                              stop_loss={"stop_price": 110})


@row(422, 42210000)
async def a_replacement_of_a_filled_order() -> tuple[int, Any]:
    async with shop() as at:
        order = await at.good(qty=1)
        at.server.advance()
        return await at.ask("PATCH", f"/v2/orders/{order['id']}", {"qty": "2"})


@row(422, 42210000)
async def a_replacement_of_an_accepted_order() -> tuple[int, Any]:
    async with shop(per_day=4) as at:
        for _ in range(3):
            at.server.advance()
        order = await at.good(qty=1, type="limit", limit_price=90)
        assert order["status"] == "accepted"
        return await at.ask("PATCH", f"/v2/orders/{order['id']}", {"limit_price": "91"})


@row(422, 42210000)
async def a_replacement_by_less_than_was_filled() -> tuple[int, Any]:
    faults = FaultScript(faults=read_faults({"kind": "partial_fill"}))
    async with shop(faults=faults) as at:
        order = await at.good(qty=10, type="limit", limit_price=90)
        return await at.ask("PATCH", f"/v2/orders/{order['id']}", {"qty": "5"})


@row(422, 42210000)
async def a_cancel_of_a_filled_order() -> tuple[int, Any]:
    async with shop() as at:
        order = await at.good(qty=1)
        at.server.advance()
        return await at.ask("DELETE", f"/v2/orders/{order['id']}")


@row(422, 42210000)
async def a_cancel_while_a_replacement_pends() -> tuple[int, Any]:
    async with shop(slow_changes=True) as at:
        order = await at.good(qty=1, type="limit", limit_price=90)
        await at.ask("PATCH", f"/v2/orders/{order['id']}", {"limit_price": "91"})
        return await at.ask("DELETE", f"/v2/orders/{order['id']}")


@row(422, 42210000)
async def an_opening_order_during_the_day_before_it() -> tuple[int, Any]:
    async with shop() as at:
        return await at.order(qty=1, time_in_force="opg")


@row(422, 42210000)
async def a_closing_order_too_late() -> tuple[int, Any]:
    async with shop(bars=26) as at:
        for _ in range(24):
            at.server.advance()
        assert (await at.ask("GET", "/v2/clock"))[1]["timestamp"][11:16] == "15:45"
        at.server.venue.now_ns += 6 * 60 * 10**9                                # 15:51
        return await at.order(qty=1, time_in_force="cls")


@row(422, 42210000)
async def a_market_order_for_a_new_issue() -> tuple[int, Any]:
    async with shop(ipo=frozenset({"AAPL"})) as at:
        assert "ipo" in (await at.ask("GET", "/v2/assets/AAPL"))[1]["attributes"]
        assert (await at.order(qty=1, type="limit", limit_price=99))[0] == 200
        return await at.order(qty=1)


@row(429, 42910000)
async def one_request_too_many() -> tuple[int, Any]:
    async with shop(limit=3) as at:
        for _ in range(3):
            assert (await at.ask("GET", "/v2/clock"))[0] == 200
        return await at.ask("GET", "/v2/clock")


@pytest.mark.parametrize("case", HISTORIES)
async def test_a_refusal(case: str) -> None:
    ask, status, code, details = HISTORIES[case]
    answer, error = await ask()
    assert (answer, error["code"]) == (status, code), error
    assert error["message"]
    assert {name: error.get(name) for name in details} == details


# --- rules that are no refusals -------------------------------------------------------------------------------------

async def test_cancelling_all_tells_of_each_what_became_of_it() -> None:
    async with shop(slow_changes=True) as at:
        stuck = await at.good(qty=1, type="limit", limit_price=90)
        _, new = await at.ask("PATCH", f"/v2/orders/{stuck['id']}", {"limit_price": "91"})
        plain = await at.good(qty=1, type="limit", limit_price=90)
        status, answers = await at.ask("DELETE", "/v2/orders")
        assert status == 207
        assert {answer["id"]: answer["status"] for answer in answers} == {
            stuck["id"]: 500, new["id"]: 500, plain["id"]: 200,
        }


async def test_there_is_no_pattern_day_trader() -> None:
    async with shop(bars=12) as at:
        for _ in range(5):
            await at.hold()
            await at.hold(side="sell")
        _, account = await at.ask("GET", "/v2/account")
        gone = {"pattern_day_trader", "daytrade_count", "daytrading_buying_power"}
        assert not gone & set(account)
        _, settings = await at.ask("GET", "/v2/account/configurations")
        assert not {"pdt_check", "dtbp_check"} & set(settings)


async def test_both_words_for_what_can_be_borrowed() -> None:
    async with shop(hard_to_borrow=frozenset({"MSFT"})) as at:
        said = {name: (await at.ask("GET", f"/v2/assets/{name}"))[1] for name in ("AAPL", "MSFT")}
        assert [(asset["easy_to_borrow"], asset["borrow_status"]) for asset in said.values()] == [
            (True, "easy_to_borrow"), (False, "hard_to_borrow"),
        ]


async def test_an_order_after_the_close_waits_for_the_next_day() -> None:
    async with shop(per_day=4) as at:
        for _ in range(3):
            at.server.advance()
        assert not (await at.ask("GET", "/v2/clock"))[1]["is_open"]
        order = await at.good(qty=1)
        assert order["status"] == "accepted"
        at.server.advance()
        assert (await at.ask("GET", f"/v2/orders/{order['id']}"))[1]["status"] == "filled"


async def test_fractions_at_a_limit_and_legs_with_made_up_ids() -> None:
    async with shop() as at:
        fraction = await at.good(qty="0.123456789", type="limit", limit_price=99)
        assert fraction["qty"] == "0.123456789"
        entry = await at.good(**BRACKET, client_order_id="entry")
        names = {leg["client_order_id"] for leg in entry["legs"]}
        assert len(names) == 2
        assert "entry" not in names


async def test_the_headers_of_the_limit() -> None:
    async with shop(limit=2) as at:
        seen = []
        for _ in range(3):
            at.client.say("GET", "/v2/clock")
            head = (await at.client.reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
            await at.client.reader.readexactly(length)
            lines = dict(line.split(": ") for line in head.split("\r\n")[1:] if line)
            assert int(lines["X-RateLimit-Reset"]) % 60 == 0
            seen.append((int(head.split(" ")[1]), lines["X-RateLimit-Limit"], lines["X-RateLimit-Remaining"]))
        assert seen == [(200, "2", "1"), (200, "2", "0"), (429, "2", "0")]
        other = KEYS.replace("key\r\n", "other\r\n", 1)                         # each key has its own
        assert (await at.ask("GET", "/v2/clock", keys=other))[0] == 200


def test_a_limit_that_is_only_told_refuses_nobody() -> None:
    limiter = RateLimiter(3, lambda: 61.0, enforced=False)
    told = [limiter.count("key") for _ in range(6)]
    assert [dict(headers)["X-RateLimit-Remaining"] for headers, _ in told] == ["2", "1", "1", "1", "1", "1"]
    assert {refused for _, refused in told} == {None}


async def test_without_a_limit_nobody_is_throttled() -> None:
    async with shop() as at:
        assert {(await at.ask("GET", "/v2/clock"))[0] for _ in range(450)} == {200}
