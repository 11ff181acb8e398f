"""Faults of a venue that is killed: the next life goes on with them as if nothing had been."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from exchange_markets import FREE, walk_panel
from exchange_raw import Raw

from trader.exchange.fault_script import FaultScript, read_script
from trader.exchange.persist import VenueStore
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue
from trader.utils.errors import UserError

HERE = Path(__file__).parent
KEYS = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}
OFTEN = {"count": 0, "probability": 0.25}
# The first two change nothing: they count the requests that the venue has seen.
STORM = {"seed": 5, "faults": [
    {"kind": "missing_field", "field": "nothing", "method": "POST", "count": 0},
    {"kind": "missing_field", "field": "nothing", "method": "DELETE", "count": 0},
    {"kind": "drop_response", "method": "POST", "count": 0, "probability": 0.1},
    {"kind": "drop_request", "method": "POST", "count": 0, "probability": 0.1},
    {"kind": "server_error", "when": "after", "method": "POST", "count": 0, "probability": 0.1},
    {"kind": "late_fill", **OFTEN}, {"kind": "partial_fill", **OFTEN}, {"kind": "leg_replaced", **OFTEN},
    {"kind": "status", "status": "suspended", "bars": 3, **OFTEN}, {"kind": "status", "status": "pending_new", **OFTEN},
    {"kind": "market_event", "event": "gap", "arguments": {"symbol": "AAPL", "percent": -7}, "from_bar": 20},
    {"kind": "market_event", "event": "halt", "arguments": {"symbol": "MSFT"}, **OFTEN},
    {"kind": "market_event", "event": "resume", "arguments": {"symbol": "MSFT"}, **OFTEN},
    {"kind": "market_event", "event": "split", "arguments": {"symbol": "AAPL", "ratio": 2}, **OFTEN},
    {"kind": "market_event", "event": "correct", "arguments": {"symbol": "AAPL", "close": 99.5}, **OFTEN},
]}
Command = tuple[str, str, dict[str, Any] | None]


def commands(count: int, seed: int) -> list[Command]:
    """What a client does that looks at no answer."""
    rng, found = random.Random(seed), []
    for number in range(count):
        deed, symbol = rng.random(), rng.choice(("AAPL", "MSFT"))
        order: dict[str, Any] = {
            "symbol": symbol, "side": "buy", "qty": rng.randint(1, 40), "type": "market", "time_in_force": "day",
            "client_order_id": f"c{number}",
        }
        if deed < 0.2:
            order |= {
                "order_class": "bracket", "take_profit": {"limit_price": rng.randint(105, 140)},
                "stop_loss": {"stop_price": rng.randint(20, 60)},
            }
        elif deed < 0.35:
            order |= {"type": "limit", "limit_price": rng.randint(60, 105)}
        if deed < 0.5:
            found.append(("POST", "/v2/orders", order))
        elif deed < 0.65:
            found.append(("DELETE", "/v2/orders", None) if deed < 0.58 else ("DELETE", f"/v2/positions/{symbol}", None))
        else:
            found.append(("POST", "/v1/step", {}))
    return found


class Life:
    """An exchange in a process, and what its client asks."""

    def __init__(self, folder: Path) -> None:
        words = [str(folder / name) for name in ("venue.db", "faults.json", "hits.jsonl")]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "exchange_process.py"), *words], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self._ports = [int(word) for word in self.process.stdout.readline().split()]

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        client = http.client.HTTPConnection("127.0.0.1", self._ports[path.startswith("/v1")], timeout=60)
        with contextlib.closing(client):
            client.request(method, path, None if body is None else json.dumps(body), KEYS)
            data = client.getresponse().read()
            return json.loads(data) if data else None

    def seen(self) -> tuple[int, int, int]:
        """How many POST and DELETE requests the venue has met, and its bar."""
        post, delete = self.ask("GET", "/v1/faults")["faults"][:2]
        return post["matched"], delete["matched"], self.ask("GET", "/v1/state")["index"]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def lived(folder: Path, deeds: list[Command], kills: int, rng: random.Random) -> dict[str, Any]:
    """Do all deeds in as many lives as it takes; what is to be seen at the end."""
    folder.mkdir()
    (folder / "faults.json").write_text(json.dumps(STORM))
    life = Life(folder)
    at, seen, killer = 0, life.seen(), None
    while at < len(deeds):
        if kills and killer is None:
            killer = threading.Timer(rng.uniform(0, 0.06), life.process.kill)
            killer.start()
        method, path, body = deeds[at]
        try:
            with contextlib.suppress(http.client.RemoteDisconnected, ConnectionResetError, json.JSONDecodeError):
                life.ask(method, path, body)
            now = life.seen()
        except (OSError, http.client.HTTPException):
            life.end()
            life, killer, kills = Life(folder), None, kills - 1
            now = life.seen()
        step, post = path == "/v1/step", method == "POST"
        done = (seen[0] + (post and not step), seen[1] + (not post), seen[2] + step)
        assert now in (seen, done)                      # wholly, or not at all
        at, seen = at + (now == done), now
    if killer is not None:
        killer.cancel()
    try:
        found = {path: life.ask("GET", path) for path in (
            "/v2/account", "/v2/positions", "/v2/orders?status=all&limit=500&nested=true", "/v2/account/activities",
            "/v2/account/portfolio/history", "/v2/stocks/bars?symbols=AAPL,MSFT&timeframe=15Min&start=2024-01-01",
            "/v1/faults",
        )}
    finally:
        life.end()
    return {**found, "log": (folder / "hits.jsonl").read_text()}


def test_killed_in_a_storm_of_faults_it_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    deeds = commands(90, 5)
    whole = lived(tmp_path / "whole", deeds, 0, random.Random(1))
    assert lived(tmp_path / "killed", deeds, 4, random.Random(2)) == whole
    numbers = [json.loads(line)["number"] for line in whole["log"].splitlines()]
    assert numbers == list(range(1, whole["/v1/faults"]["total"] + 1))
    assert {json.loads(line)["kind"] for line in whole["log"].splitlines()} == {
        fault["kind"] for fault in STORM["faults"]
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "venue.db"


def served(
    path: Path, script: FaultScript | None, *deeds: tuple[str, dict[str, Any]], symbol: str = "AAPL",
    log: Path | None = None,
) -> Any:
    """Start a server, do deeds through its control API, stop it; its faults and rules before and its bars after."""
    async def life() -> Any:
        venue = Venue(walk_panel((symbol,), 60), start_index=1, fill_model=FREE)
        with VenueStore(path) as store, log.open("a+") if log else contextlib.nullcontext() as hits:
            server = ExchangeServer(venue, persist=store, faults=script, fault_log=hits)
            await server.start()
            control = await Raw.to(server.control_port)
            try:
                found = [(await control.ask("GET", f"/v1/{name}"))[1] for name in ("faults", "rules")]
                for name, body in deeds:
                    assert (await control.ask("POST", f"/v1/{name}", body))[0] == 200
                return *found, venue.panel.close[:, 0].tolist()
            finally:
                await server.stop()
    return asyncio.run(life())


GAP = {"symbol": "AAPL", "percent": -20}


def test_an_event_of_a_script_happens_once_in_all_lives(path: Path) -> None:
    script = read_script({"kind": "market_event", "event": "gap", "arguments": GAP, "from_bar": 5})
    *_, bars = served(path, script, ("step", {"count": 10}))
    faults, _, again = served(path, script, ("step", {"count": 10}))
    assert faults["faults"][0]["spent"]
    assert again == bars != walk_panel(("AAPL",), 60).close[:, 0].tolist()


def test_started_the_same_way_it_goes_on_the_same_way(path: Path) -> None:
    """Faults and rules of the control API come back, too; another script begins anew."""
    script = read_script({"kind": "hang", "path": "/v2/clock"})
    added = ("faults", {"kind": "omit", "event": "fill"})
    served(path, script, added, ("rules", {"slow_changes": True}))
    faults, rules, _ = served(path, script)
    assert [fault["kind"] for fault in faults["faults"]] == ["hang", "omit"]
    assert rules["slow_changes"] is True
    faults, rules, _ = served(path, read_script({"kind": "mute"}))
    assert [fault["kind"] for fault in faults["faults"]] == ["mute"]
    assert rules["slow_changes"] is False


def test_the_log_of_another_life_is_cut_where_this_one_ends_and_no_other_file_is_touched(
    path: Path, tmp_path: Path
) -> None:
    script = read_script({"kind": "market_event", "event": "gap", "arguments": GAP, "count": 0})
    log = tmp_path / "hits.jsonl"
    served(path, script, ("step", {"count": 3}), log=log)
    whole = log.read_text()
    ahead = whole.splitlines()[0].replace('"number":1', '"number":4')
    log.write_text(whole + ahead + '\n{"number":5')
    served(path, script, log=log)
    assert log.read_text() == whole
    log.write_text("my notes\n")
    with pytest.raises(UserError, match="log of the faults"):
        served(path, script, log=log)
    assert log.read_text() == "my notes\n"


def test_an_order_that_a_fault_keeps_pending_is_still_an_order(path: Path) -> None:
    script = read_script({"kind": "status", "status": "pending_new", "bars": 5})

    def life(*deeds: tuple[str, str, Any]) -> Any:
        async def lived() -> Any:
            with VenueStore(path) as store:
                venue = Venue(walk_panel(("AAPL",), 60), start_index=1, fill_model=FREE)
                server = ExchangeServer(venue, persist=store, faults=script)
                await server.start()
                client = await Raw.to(server.port)
                try:
                    return [await client.ask(*deed) for deed in deeds]
                finally:
                    client.writer.close()
                    await server.stop()
        return asyncio.run(lived())

    order = {"symbol": "AAPL", "side": "buy", "qty": "1", "type": "limit", "limit_price": "90", "time_in_force": "gtc"}
    asked = (("GET", "/v2/orders", None), ("POST", "/v2/orders", {**order, "side": "sell", "limit_price": "89"}))
    *_, before, crossing = life(("POST", "/v2/orders", order), *asked)
    assert [order["status"] for order in before[1]] == ["pending_new"]
    assert crossing[0] == 403
    assert life(*asked) == [before, crossing]


def test_a_new_file_is_a_new_market_and_another_market_is_refused(path: Path) -> None:
    *_, bars = served(path, None, ("market/gap", GAP))
    with pytest.raises(UserError, match="another market"):
        served(path, None, symbol="IBM")
    path.unlink()
    assert served(path, None)[2] == walk_panel(("AAPL",), 60).close[:, 0].tolist() != bars
