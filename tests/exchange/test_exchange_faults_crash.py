"""A death at every point of a storm: each deed happened wholly or not at all, and nothing was heard before it lasted.

One life does all deeds. At every instant at which somebody hears something, all that has happened is on disk; a deed
leaves one new state on disk or none. From each of these states another life goes on, with a log that is ahead of it and
torn: it comes back without a new state and does the next deed as the first life did. So any chain of deaths ends where
no death would have.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from exchange_crashing import Deed, Exchange

from trader.exchange.fault_rules import FAULTS, Restart, UpdateFault
from trader.exchange.fault_script import FaultScript, read_script, script_of_log

OFTEN = {"count": 0, "probability": 0.2}
SELDOM = {"count": 0, "probability": 0.05}
STORM: dict[str, Any] = {"seed": 5, "rules": {"stop_collars": True}, "faults": [
    {"kind": "drop_response", **SELDOM}, {"kind": "drop_request", **SELDOM}, {"kind": "rate_limit", **SELDOM},
    {"kind": "server_error", "when": "after", **SELDOM}, {"kind": "server_error", "status": 502, **SELDOM},
    {"kind": "delay", "seconds": 0, **OFTEN},       # one before the request is a deed of its own: a death may part them
    {"kind": "hang", **SELDOM}, {"kind": "hang", "when": "after", **SELDOM}, {"kind": "unknown_value", **OFTEN},
    {"kind": "missing_field", **OFTEN}, {"kind": "clock_skew", **OFTEN},
    {"kind": "late_fill", **OFTEN}, {"kind": "late_fill", "when": "before", **OFTEN},
    {"kind": "partial_fill", **OFTEN}, {"kind": "leg_replaced", "count": 0, "probability": 0.5},
    {"kind": "status", "status": "suspended", "bars": 2, **OFTEN}, {"kind": "status", "status": "stopped", **SELDOM},
    {"kind": "status", "status": "pending_new", **OFTEN}, {"kind": "status", "status": "accepted", "bars": 0, **OFTEN},
    {"kind": "status", "status": "calculated", **SELDOM}, {"kind": "status", "status": "rejected", **SELDOM},
    {"kind": "duplicate", "stream": "both", **SELDOM}, {"kind": "omit", "stream": "both", **SELDOM},
    {"kind": "reorder", "stream": "both", **SELDOM}, {"kind": "delay_update", "stream": "both", **SELDOM},
    {"kind": "unknown_in_update", **SELDOM}, {"kind": "skew_in_update", "stream": "both", **SELDOM},
    {"kind": "missing_in_update", "field": "price", "stream": "both", **SELDOM},
    {"kind": "kill_stream", "stream": "both", **SELDOM}, {"kind": "half_open", **SELDOM},
    {"kind": "mute", "stream": "both", "bars": 2, "event": "step", **SELDOM},
    {"kind": "stream_error", "code": 407, "event": "b", **SELDOM}, {"kind": "restart", "seconds": 0, **SELDOM},
    {"kind": "market_event", "event": "gap", "arguments": {"symbol": "AAPL", "percent": -3}, **SELDOM},
    {"kind": "market_event", "event": "halt", "arguments": {"symbol": "MSFT"}, **SELDOM},
    {"kind": "market_event", "event": "resume", "arguments": {"symbol": "MSFT"}, **OFTEN},
    {"kind": "market_event", "event": "split", "arguments": {"symbol": "AAPL", "ratio": 2}, **OFTEN},
    {"kind": "market_event", "event": "correct", "arguments": {"symbol": "AAPL", "close": 99.5}, **SELDOM},
    {"kind": "market_event", "event": "cancel_trade", "arguments": {"symbol": "AAPL"}, **SELDOM},
]}


def next_deed(rng: random.Random, on: Exchange, number: int) -> Deed:
    """Anything that a client, or whoever controls the exchange, may do now."""
    symbol, venue = rng.choice(("AAPL", "MSFT")), on.venue
    price = float(venue.last_price(venue.column(symbol) or 0))

    def near(least: float, most: float) -> str:
        return f"{price * (1 + rng.uniform(least, most)):.2f}"

    order: dict[str, Any] = {
        "symbol": symbol, "side": rng.choice(("buy", "buy", "sell")), "qty": rng.choice((1, 7, 90, 900)),
        "type": "market", "time_in_force": rng.choice(("day", "gtc")), "client_order_id": f"c{number % 90}",
    }
    bracket = {
        **order, "side": "buy", "order_class": "bracket", "take_profit": {"limit_price": near(0.001, 0.02)},
        "stop_loss": {"stop_price": near(-0.02, -0.001)},
    }
    deed = rng.random()
    if deed < 0.3:
        return "POST", "/v2/orders", rng.choice((order, bracket, bracket, {
            **order, "type": "limit", "limit_price": near(-0.01, 0.01),
        }, {**order, "type": "trailing_stop", "trail_percent": "0.5"}))
    if deed < 0.62:
        return "POST", "/v1/step", {
            "count": 1 if on.server.faults.watches(UpdateFault, Restart) else rng.randint(1, 4),
        }
    known = [one.id for one in venue.orders("open")] or ["none"]
    return rng.choice((
        ("DELETE", f"/v2/orders/{rng.choice(known)}", None), ("DELETE", "/v2/orders", None),
        ("PATCH", f"/v2/orders/{rng.choice(known)}", {"qty": str(rng.randint(1, 50))}),
        ("PATCH", f"/v2/orders/{rng.choice(known)}", {"stop_price": near(-0.02, 0.0)}),
        ("DELETE", f"/v2/positions/{symbol}", None), ("DELETE", "/v2/positions?cancel_orders=true", None),
        ("GET", "/v2/orders", None), ("GET", "/v2/clock", None),
        ("POST", f"/v1/market/{rng.choice(('halt', 'resume', 'cancel_trade'))}", {"symbol": symbol}),
        ("POST", "/v1/market/gap", {"symbol": symbol, "percent": rng.uniform(-3, 3)}),
        ("POST", "/v1/market/split", {"symbol": symbol, "ratio": rng.choice((2, 0.5))}),
        ("POST", "/v1/market/correct", {"symbol": symbol, "close": round(price * 1.01, 2)}),
        ("POST", "/v1/rules", {rng.choice(("slow_changes", "held_stops", "luld", "done_for_day")): rng.random() < 0.5}),
        ("POST", "/v1/rules", {"hard_to_borrow": rng.sample(("AAPL", "MSFT"), rng.randint(0, 2))}),
        ("POST", "/v1/faults", {"seed": number, "faults": [rng.choice(STORM["faults"])]}),
        ("DELETE", f"/v1/faults/{rng.randint(1, 60)}", None), ("POST", "/v1/streams", {"kind": "kill_stream"}),
        ("PATCH", "/v2/account/configurations", {"no_shorting": rng.random() < 0.3}),
        ("POST", "/v2/watchlists", {"name": f"w{number}", "symbols": [symbol]}),
    ))


def is_part(some: list[str], of: list[str]) -> bool:
    """Whether messages come in another list in the same order; it may have more, which waited since before a death."""
    rest = iter(of)
    return all(message in rest for message in some)


async def storm(folder: Path, script: FaultScript, count: int, seed: int) -> Exchange:
    """The first life, and all those after the deaths in it."""
    rng = random.Random(seed)
    first = Exchange(folder / "first", script)
    await first.start()
    for number in range(count):
        deed = next_deed(rng, first, number)
        known, log = len(first.deaths), first.log
        await first.do(deed)
        death, *later = first.deaths[known - 1 :]
        assert len(later) <= 1, f"{deed} is on disk in pieces"
        if not later:
            assert first.log == log, f"{deed} hit something that was not kept"
            continue
        again = Exchange(folder / f"{number}", script, death, first.log + '{"number":')
        await again.start()
        assert [state.kept for state in again.deaths] == [death.kept]       # it may die here as well
        assert again.log == death.log
        await again.do(deed)
        assert again.deaths[-1].kept == later[0].kept, f"{deed} after a death"
        assert again.log == first.log
        assert is_part(again.heard, first.heard)
        await again.stop()
    await first.stop()
    return first


# Without these a step of several bars is one turn.
UNHEARD = {**STORM, "faults": [
    fault for fault in STORM["faults"] if not issubclass(FAULTS[fault["kind"]], UpdateFault | Restart)
]}


@pytest.mark.parametrize("faults", [STORM, UNHEARD])
async def test_a_death_at_any_point_of_a_storm_changes_nothing(tmp_path: Path, faults: dict[str, Any]) -> None:
    first = await storm(tmp_path, read_script(faults), 120, 1)
    hits = [json.loads(line) for line in first.log.splitlines()]
    assert [hit["number"] for hit in hits] == list(range(1, first.server.faults.total + 1))


async def told_in(life: Exchange, deeds: Iterable[Deed]) -> list[tuple[bytes, list[str]]]:
    """Do deeds; what their client and the listeners heard of each."""
    await life.start()
    told = [((await life.do(deed)).partition(b"\r\n\r\n")[2], life.heard) for deed in deeds]
    await life.stop()
    return told


async def replayed(folder: Path, count: int, seed: int, **rules: object) -> str:
    """The log of a storm, which as a script makes the same deeds end the same way, to the byte."""
    rng, deeds = random.Random(seed), []

    def endless() -> Iterator[Deed]:
        for number in range(count):
            deed = next_deed(rng, first, number)
            if not deed[1].startswith("/v1/faults"):            # what they armed is in the log
                deeds.append(deed)
                yield deed

    first = Exchange(folder / "first", read_script({**STORM, "seed": seed, "rules": rules}))
    told = await told_in(first, endless())
    again = Exchange(folder / "again", script_of_log(first.log.splitlines()))
    assert await told_in(again, deeds) == told
    logs = [
        [(hit["kind"], hit["bar"], hit["now_ns"], hit["what"]) for hit in map(json.loads, log.splitlines())]
        for log in (first.log, again.log)
    ]
    assert logs[0] == logs[1]
    return first.log


async def test_the_log_of_a_storm_is_its_script_with_its_rules(tmp_path: Path) -> None:
    log = await replayed(tmp_path, 100, 3, held_stops=True, hard_to_borrow=["MSFT", "AAPL"])
    hits = [json.loads(line) for line in log.splitlines()]
    assert hits[0]["rules"] == {"held_stops": True, "hard_to_borrow": ["AAPL", "MSFT"]}
    assert len({hit["kind"] for hit in hits}) > 20


async def test_a_full_disk_is_told_as_500_and_nothing_of_what_it_did_not_take(tmp_path: Path) -> None:
    on = Exchange(tmp_path / "full", FaultScript())
    await on.start()
    on.look = lambda: None                          # type: ignore[method-assign]    # that it is behind is what is told
    order = {"symbol": "AAPL", "side": "buy", "qty": "1", "type": "limit", "limit_price": "50", "time_in_force": "gtc"}
    kept = 0
    on.store._db.execute("PRAGMA max_page_count = 1")                   # as large as it is, no larger
    while (answer := await on.do(("POST", "/v2/orders", order))).startswith(b"HTTP/1.1 200"):
        kept += 1
        assert [json.loads(said)["data"]["event"] for said in on.heard] == ["new"]
    for deed in (("GET", "/v2/orders", None), ("POST", "/v1/step", {}), ("POST", "/v1/rules", {"luld": True})):
        assert answer.startswith(b"HTTP/1.1 500")
        assert not on.heard
        answer = await on.do(deed)
    assert len(on.deaths) == kept + 1
    on.store._db.execute("PRAGMA max_page_count = 100000")
    assert b'"index":1' in await on.do(("GET", "/v1/state", None))
    assert '"new"' in on.heard[0]
    assert (await on.do(("GET", "/v2/orders", None))).count(b'"symbol"') == kept + 1
    await on.stop()


@pytest.mark.slow
async def test_logs_of_storms_hit_every_kind_again(tmp_path: Path) -> None:
    logs = [await replayed(tmp_path / str(seed), 300, seed, held_stops=seed % 2 > 0) for seed in range(100, 106)]
    assert {json.loads(line)["kind"] for log in logs for line in log.splitlines()} == set(FAULTS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
async def test_a_death_at_any_point_of_longer_storms_changes_nothing(tmp_path: Path, seed: int) -> None:
    first = await storm(tmp_path, read_script({**STORM, "seed": seed}), 400, seed)
    assert {json.loads(line)["kind"] for line in first.log.splitlines()} <= set(FAULTS)
