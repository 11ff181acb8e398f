"""Random flows over the venue's JSON, kept in books beside it by an accountant that reads nothing of the venue."""

from __future__ import annotations

import json
import random
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest
from exchange_accountant import ENDS, Accountant
from exchange_markets import walk_panel

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.exchange.http import Request
from trader.exchange.persist import VenueStore
from trader.exchange.server import ExchangeServer
from trader.exchange.types import VenueRules
from trader.exchange.venue import Venue

SYMBOLS = ("AAPL", "MSFT", "SPY")
PER_DAY = 26
KEYS = {"apca-api-key-id": "key", "apca-api-secret-key": "secret"}
CASH = D(60_000)
MODELS = (
    RealisticFillSimulator(), RealisticFillSimulator(min_fill_rate=1.0),
    RealisticFillSimulator(slippage_model="fixed", max_participation=0.3),
)


class Flow:
    """A venue behind its server's answers, and the accountant who hears what both say."""

    def __init__(self, seed: int, store: Path | None) -> None:
        self.rng = random.Random(seed)
        self.seed, self.store_path = seed, store
        self.rules = VenueRules(
            slow_changes=seed % 2 == 1, stop_collars=seed % 3 == 0, done_for_day=seed % 5 == 0,
            wash_trades=seed % 7 > 0,
        )
        self.model = MODELS[seed % len(MODELS)]
        self.panel = walk_panel(SYMBOLS, 240, seed=seed, volume=2_000)
        self.accountant = Accountant(CASH, self.model.max_participation, self.model.min_fill_rate)
        self.said: list[bytes] = []         # everything that was told, byte for byte
        self.ids: list[str] = []
        self._updates: list[Any] = []
        self.open()

    def open(self) -> None:
        """A server; with a store it goes on where the last one ended."""
        self.venue = Venue(
            self.panel, start_index=1, cash=CASH, fill_model=self.model, seed=self.seed, rules=self.rules,
        )
        self.store = None if self.store_path is None else VenueStore(self.store_path)
        self.server = ExchangeServer(self.venue, persist=self.store)
        if self.store is not None and not self.store.load(self.venue):
            self.store.save(self.venue)
        self.server.trading_stream.tamper = self._updates.extend

    def restart(self) -> None:
        if self.store is not None:
            self.store.close()
            self.open()

    def ask(self, method: str, path: str, body: object = None, **query: str) -> tuple[int, Any]:
        data = b"" if body is None else json.dumps(body).encode()
        response = self.server.answer(Request(method, path, query, KEYS, data))
        self.said.append(response.body)
        answer = json.loads(response.body) if response.body else None
        if response.status >= 400:
            assert answer["code"] // 100_000 == response.status or answer["code"] == 40010001
            assert answer["message"]
            assert response.status < 500
        return response.status, answer

    def listen(self) -> None:
        """Hear what happened, ask for what is not told (held legs), and compare everything."""
        self.server._flush()
        for update in self._updates:
            self.said.append(json.dumps(update, default=str).encode())
            self.accountant.hear(json.loads(self.said[-1])["data"])
        self._updates.clear()
        for key, known in tuple(self.accountant.orders.items()):
            if known.last["status"] in ("held", "pending_new"):
                self.accountant.meet(self.ask("GET", f"/v2/orders/{key}")[1])
        listed = self.ask("GET", "/v2/orders", status="open", limit="500")[1]
        assert len(listed) < 500
        self.accountant.compare(self.ask("GET", "/v2/account")[1], self.ask("GET", "/v2/positions")[1], listed)

    def bar(self) -> None:
        i = self.venue.index
        self.accountant.begin(self.venue.panel, i)
        self.server.advance()
        self.listen()
        self.accountant.end(closes=i % PER_DAY == PER_DAY - 1)

    def near(self, symbol: str, low: float, high: float) -> str:
        closes = self.panel.close[: self.venue.index, SYMBOLS.index(symbol)]
        return f"{closes[-1] * (1 + self.rng.uniform(low, high)):.2f}"

    def order(self) -> dict[str, Any]:
        """Any order; many are refused, which is part of it."""
        rng, symbol = self.rng, self.rng.choice(SYMBOLS)
        side = rng.choice(("buy", "sell"))
        kind = rng.choice(("market", "limit", "limit", "stop", "stop_limit", "trailing_stop"))
        up = 1 if side == "buy" else -1
        body: dict[str, Any] = {"symbol": symbol, "side": side, "type": kind, "qty": str(rng.choice((7, 60, 400)))}
        body["time_in_force"] = rng.choice(("day", "day", "gtc", "gtc", "ioc", "fok", "opg", "cls"))
        if kind in ("limit", "stop_limit"):
            body["limit_price"] = self.near(symbol, -0.01, 0.01)
        if kind in ("stop", "stop_limit"):
            body["stop_price"] = self.near(symbol, *sorted((0.0005 * up, 0.01 * up)))
        if kind == "trailing_stop":
            body[rng.choice(("trail_price", "trail_percent"))] = str(rng.choice((0.2, 0.7, 1.5)))
        if rng.random() < 0.1:
            body["qty"] = f"{rng.uniform(0.1, 40):.4f}"
        if rng.random() < 0.45:
            shape = body["order_class"] = rng.choice(("bracket", "bracket", "oto", "oco"))
            body["time_in_force"] = rng.choice(("day", "gtc"))
            away = -up if shape == "oco" else up
            if shape == "oco":
                body = {name: body[name] for name in ("symbol", "side", "qty", "time_in_force", "order_class")}
                body["type"] = "limit"
            if shape != "oto" or rng.random() < 0.5:
                body["take_profit"] = {"limit_price": self.near(symbol, *sorted((0.002 * away, 0.015 * away)))}
            if shape != "oto" or "take_profit" not in body:
                body["stop_loss"] = {"stop_price": self.near(symbol, *sorted((-0.015 * away, -0.002 * away)))}
                if rng.random() < 0.3:
                    stop = float(body["stop_loss"]["stop_price"])
                    body["stop_loss"]["limit_price"] = f"{stop * (1 - 0.004 * away):.2f}"
        return body

    def deed(self) -> None:
        """One deed of the client."""
        rng, what = self.rng, self.rng.random()
        open_ids = [key for key in self.ids if not self.accountant.orders[key].over]
        if what < 0.55 or not self.ids:
            status, order = self.ask("POST", "/v2/orders", self.order())
            self._keep(status, order)
        elif what < 0.65:
            self.ask("DELETE", f"/v2/orders/{rng.choice(open_ids or self.ids)}")
        elif what < 0.82:
            key = rng.choice(open_ids or self.ids)
            old = self.accountant.orders[key].last
            change: dict[str, str] = {}
            if rng.random() < 0.5:
                change["qty"] = str(rng.choice((5, 50, 500)))
            name = rng.choice(("limit_price", "stop_price", "time_in_force"))
            if name != "time_in_force":
                change[name] = self.near(old["symbol"], -0.01, 0.01)
            elif rng.random() < 0.2:
                change[name] = rng.choice(("day", "gtc"))
            status, order = self.ask("PATCH", f"/v2/orders/{key}", change)
            assert status != 200 or (order["replaces"] == key and old["status"] not in ENDS)
            self._keep(status, order)
        elif what < 0.93:
            query = rng.choice(({}, {"qty": "20"}, {"percentage": "50"}))
            self._keep(*self.ask("DELETE", f"/v2/positions/{rng.choice(SYMBOLS)}", **query))
        elif what < 0.95:
            for result in self.ask("DELETE", "/v2/positions", cancel_orders=rng.choice(("true", "false")))[1]:
                self._keep(result["status"], result["body"])
        elif what < 0.96:
            self.ask("DELETE", "/v2/orders")
        else:
            event = rng.choice(("halt", "resume", "resume", "gap"))
            more = {"percent": rng.choice((-4.0, 3.0))} if event == "gap" else {}
            self.server.market.take(event, {"symbol": rng.choice(SYMBOLS), **more})
        self.listen()

    def _keep(self, status: int, order: Any) -> None:
        if status == 200:
            self.accountant.meet(order)
            self.ids.extend([order["id"], *(leg["id"] for leg in order["legs"] or ())])


async def run(seed: int, bars: int, store: Path | None = None) -> Flow:
    """A flow over some bars, with a restart now and then where there is a store."""
    flow = Flow(seed, store)
    while flow.venue.index < bars:
        for _ in range(flow.rng.randint(0, 3)):
            flow.deed()
        flow.bar()
        if flow.rng.random() < 0.1:
            flow.restart()
    activities: list[Any] = []
    while len(activities) < len(flow.accountant.fills):
        token = {"page_token": activities[-1]["id"]} if activities else {}
        page = flow.ask("GET", "/v2/account/activities/FILL", direction="asc", page_size="100", **token)[1]
        assert page
        activities += page
    heard = [(one["id"].partition("::")[2], one["qty"], one["price"]) for one in activities]
    assert heard == flow.accountant.fills
    flow.accountant.check_chains()
    return flow


@pytest.mark.parametrize("seed", range(8))
async def test_the_accountants_books_are_the_venues(seed: int) -> None:
    flow = await run(seed, 130)
    assert len(flow.accountant.fills) > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
async def test_the_accountants_books_are_the_venues_for_long(seed: int) -> None:
    await run(seed, 239)


@pytest.mark.parametrize("seed", [3, 6])
async def test_a_venue_that_came_back_says_the_same_bytes(seed: int, tmp_path: Path) -> None:
    """Once in one life, once more, and once in many lives."""
    told = [(await run(seed, 90, store)).said for store in (None, None, tmp_path / "venue.db")]
    assert told[0] == told[1]
    assert told[0] == told[2]
