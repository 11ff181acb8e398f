"""A killed exchange comes back to the same moment."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import msgspec
import pytest
from exchange_markets import FREE, panel_of
from exchange_process import fresh_venue

from trader.exchange.errors import VenueError
from trader.exchange.http import Request
from trader.exchange.persist import VenueStore
from trader.exchange.routes import TRADING_ROUTES, find_route
from trader.exchange.snapshot import take_state
from trader.exchange.types import OrderRequest
from trader.exchange.venue import Venue
from trader.utils.errors import UserError

HERE = Path(__file__).parent
CALM = (100.0, 100.5, 99.5, 100.0)
KEYS = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}
Command = tuple[str, str, dict[str, Any] | None]


def everything(venue: Venue) -> bytes:
    """All of a venue's state as bytes."""
    desk = venue.desk
    book = {column: [order.id for order in desk.of_symbol(column)] for column in desk.books if desk.of_symbol(column)}
    return msgspec.json.encode([
        take_state(venue), list(desk.orders.values()), desk.activities, venue.equity_history,
        str(desk.reserved.normalize()), sorted(book.items()), desk.by_client_id,
    ])


def commands(rng: random.Random, mirror: Venue) -> Iterator[Command]:
    """An endless client: brackets, limits, cancels, closings, steps."""
    number = len(mirror.desk.orders)
    while True:
        deed = rng.random()
        symbol = rng.choice(("AAPL", "MSFT"))
        open_orders = mirror.orders("open")
        number += 1
        if deed < 0.45:
            price = mirror.last_price(mirror.column(symbol) or 0)
            body: dict[str, Any] = {
                "symbol": symbol, "side": "buy", "qty": rng.randint(1, 300), "type": "market",
                "time_in_force": "day", "client_order_id": f"c{number}",
            }
            if deed < 0.2:
                body |= {
                    "order_class": "bracket", "take_profit": {"limit_price": str(round(price * D("1.005"), 2))},
                    "stop_loss": {"stop_price": str(round(price * D("0.995"), 2))},
                }
            elif deed < 0.35:
                body |= {"type": "limit", "limit_price": str(round(price * D("0.998"), 2))}
            yield "POST", "/v2/orders", body
        elif deed < 0.55 and open_orders:
            yield "DELETE", f"/v2/orders/{rng.choice(open_orders).id}", None
        elif deed < 0.65:
            yield "DELETE", f"/v2/positions/{symbol}", None
        else:
            yield "POST", "/v1/step", {}


def mirror_command(mirror: Venue, command: Command) -> None:
    """Do in process what the server was asked."""
    method, path, body = command
    if path == "/v1/step":
        mirror.step()
    else:
        handler, argument = find_route(TRADING_ROUTES, method, path)
        with contextlib.suppress(VenueError):
            handler(mirror, Request(method, path, {}, {}, json.dumps(body).encode()), argument)
    mirror.drain()


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "venue.db"
    mirror = fresh_venue()
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, str(HERE / "exchange_process.py"), str(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            port, control_port = map(int, process.stdout.readline().split())
            killer, sure = threading.Timer(rng.uniform(0, 0.05), process.kill), rng.randint(20, 200)
            clients = {
                prefix: http.client.HTTPConnection("127.0.0.1", number)
                for prefix, number in (("/v2", port), ("/v1", control_port))
            }
            pending: Command | None = None
            try:
                for number, command in enumerate(commands(rng, mirror)):
                    if number == sure:                      # so much is done, however slow the machine
                        killer.start()
                    pending = command
                    method, url, body = command
                    client = clients[url[:3]]
                    client.request(method, url, None if body is None else json.dumps(body), KEYS)
                    client.getresponse().read()
                    mirror_command(mirror, command)
                    pending = None
            except (OSError, http.client.HTTPException):
                pass
            killer.join()
            for client in clients.values():
                client.close()
        restored = fresh_venue()
        with VenueStore(path) as store:
            assert store.load(restored)
        if everything(restored) != everything(mirror):
            # the request without an answer may have landed, wholly, or not at all
            assert pending is not None
            mirror_command(mirror, pending)
        assert everything(restored) == everything(mirror)
    assert mirror.activities


def venue_of(count: int = 6) -> Venue:
    return Venue(panel_of({"AAPL": [CALM] * count}), start_index=1, fill_model=FREE)


def test_ids_go_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "venue.db"
    first = venue_of()
    with VenueStore(path) as store:
        store.save(first)
        taken = first.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(5), client_order_id="mine"))
        first.step()
        store.save(first)
    last = first.drain()[-1]
    second = venue_of()
    with VenueStore(path) as store:
        store.load(second)
        assert (second.index, second.now_ns) == (first.index, first.now_ns)
        with pytest.raises(VenueError, match="must be unique"):
            second.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(5), client_order_id="mine"))
        fresh = second.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(5)))
        assert fresh.id not in (taken.id, last.execution_id)
        assert second.drain()[0].seq == last.seq + 1


def test_a_refused_replacement_takes_neither_ids_nor_a_moment() -> None:
    """It leaves nothing to make durable: what comes next must be the same in a later life."""
    venue = venue_of()
    order = venue.submit(OrderRequest(symbol="AAPL", side="buy", qty=D(5), type="limit", limit_price=D(90)))
    venue.step()
    before = everything(venue), venue.last_order_ns
    for change in ({"qty": D(5)}, {"qty": D(50_000)}):
        with pytest.raises(VenueError):
            venue.replace(order.id, **change)
    assert (everything(venue), venue.last_order_ns) == before


def test_a_state_of_another_market_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "venue.db"
    with VenueStore(path) as store:
        store.save(venue_of(6))
    with VenueStore(path) as store, pytest.raises(UserError, match="another market: 6 bars of AAPL"):
        store.load(venue_of(7))


@pytest.mark.parametrize("kind", ["directory", "text", "busy"])
def test_files_that_cannot_be_used_are_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "venue.db"
    holder = None
    if kind == "directory":
        path.mkdir()
    elif kind == "text":
        path.write_text("this is no database, only some text that is long enough to look at" * 10)
    else:
        holder = VenueStore(path)
        holder.save(venue_of())
    with pytest.raises(UserError, match=r"venue\.db"):
        VenueStore(path)
    if holder is not None:
        holder.close()
