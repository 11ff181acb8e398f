"""``alphatrade exchange serve`` as a person runs it."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import LimitOrderRequest
from exchange_markets import panel_of
from exchange_serving import Control

from trader.cli import exchange
from trader.exchange.types import VenueRules
from trader.utils.errors import UserError

CALM = (100.0, 100.5, 99.5, 100.0)


@pytest.fixture
def bars_file(tmp_path: Path) -> Path:
    """Two sessions of bars as a user's CSV."""
    start = datetime(2024, 1, 8, 14, 30, tzinfo=UTC)
    rows = ["timestamp,open,high,low,close,volume"]
    for i in range(52):
        moment = start + timedelta(days=i // 26, minutes=15 * (i % 26))
        rows.append(f"{moment.isoformat()},100,101,99,{100 + i % 3 / 10},1000")
    path = tmp_path / "AAPL.csv"
    path.write_text("\n".join(rows))
    return path


def test_it_says_where_it_listens_and_stops_on_sigterm(bars_file: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "trader.cli.main", "exchange", "serve", "--data", str(bars_file), "--start", "2024-01-09",
        "--speed", "lockstep", "--persist", str(tmp_path / "venue.db"), "--cash", "5000",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        ready = json.loads(process.stdout.readline() or process.stderr.read())
        assert (ready["symbols"], ready["bars"], ready["index"], ready["speed"]) == (["AAPL"], 52, 26, "lockstep")
        request = urllib.request.Request(
            f"{ready['url']}/v2/account", headers={"APCA-API-KEY-ID": "a", "APCA-API-SECRET-KEY": "b"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["cash"] == "5000"
            assert answer.headers["X-RateLimit-Limit"] == "200"
            assert answer.headers["X-RateLimit-Remaining"] == "199"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--cash", "lots"], "--cash 'lots' is no amount"), (["--cash", "-5"], "--cash"),
        (["--rule", "luld"], "wants NAME=VALUE"), (["--rule", "lulled=true"], "the rules are margin_multiplier"),
        (["--rule", "luld=7"], "bool"), (["--rule", "luld=["], "is no value"),
        (["--rule", "gtc_days=-1"], "gtc_days is -1"), (["--rule", "short_reserve_factor=.nan"], "expected a number"),
        (["--speed", "warp"], "--speed 'warp' is not a speed; .* or lockstep"),
        (["--start", "2031-01-01"], "lies after the last of 6 bars"),
    ],
)
def test_mistakes_are_named(words: list[str], expected: str) -> None:
    parser = argparse.ArgumentParser()
    exchange.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["exchange", "serve", *words])
    with pytest.raises(UserError, match=expected):
        exchange.build_server(arguments, panel_of({"AAPL": [CALM] * 6}), None)


@pytest.mark.parametrize(
    ("word", "speed"), [("900", 900.0), ("×60", 60.0), ("real", 1.0), ("max", "lockstep"), ("Lockstep", "lockstep")]
)
def test_speeds_are_read_as_everywhere(word: str, speed: object) -> None:
    assert exchange.speed_of(word) == speed


def test_rules_come_from_the_command() -> None:
    pairs = ["slow_changes=true", "hard_to_borrow=[AAPL]", "margin_multiplier=1.5", "done_for_day=false"]
    rules = exchange.rules_of(pairs, luld=True)
    assert (rules.luld, rules.slow_changes, rules.hard_to_borrow) == (True, True, {"AAPL"})
    assert rules.margin_multiplier == Decimal("1.5")
    assert exchange.rules_of(None, luld=False) == VenueRules()


def test_killed_in_the_midst_of_orders_it_comes_back_with_all_of_them(bars_file: Path, tmp_path: Path) -> None:
    """An unmodified client trades, the exchange is killed without warning, the next one goes on where it was."""
    command = [
        sys.executable, "-m", "trader.cli.main", "exchange", "serve", "--data", str(bars_file), "--start", "2024-01-09",
        "--speed", "lockstep", "--persist", str(tmp_path / "venue.db"), "--history-days", "9",
    ]
    seen: dict[str, Any] = {}
    for life in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                ready = json.loads(process.stdout.readline())
                trading = TradingClient("a", "b", url_override=ready["url"])
                control = Control(ready["control_port"])
                now = {
                    "orders": trading.get("/orders", {"status": "all", "limit": 500}),
                    "positions": trading.get("/positions"), "account": trading.get("/account"),
                    "fills": trading.get("/account/activities/FILL"), "clock": trading.get("/clock"),
                }
                assert now == seen or not life
                for number in range(20 * life, 20 * life + 20):
                    wish = LimitOrderRequest(
                        symbol="AAPL", qty=1 + number % 7, side=OrderSide.BUY, time_in_force=TimeInForce.GTC,
                        limit_price=101 if number % 3 else 90, client_order_id=f"c{number}",
                    )
                    trading.submit_order(wish)
                    if number % 5 == 4:
                        control.post("step")
                if life:
                    with pytest.raises(APIError) as taken:
                        trading.submit_order(LimitOrderRequest(
                            symbol="AAPL", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY, limit_price=90,
                            client_order_id="c0",
                        ))
                    assert (taken.value.status_code, taken.value.code) == (422, 40010001)
                seen = {
                    "orders": trading.get("/orders", {"status": "all", "limit": 500}),
                    "positions": trading.get("/positions"), "account": trading.get("/account"),
                    "fills": trading.get("/account/activities/FILL"), "clock": trading.get("/clock"),
                }
            finally:
                process.kill()
    spent = sum(Decimal(fill["qty"]) * Decimal(fill["price"]) + Decimal(fill["commission"]) for fill in seen["fills"])
    assert Decimal(seen["account"]["cash"]) == 100_000 - spent
    assert len({order["id"] for order in seen["orders"]}) == 60


def test_a_served_log_of_faults_is_served_again(bars_file: Path, tmp_path: Path) -> None:
    """One run draws what it drops and doubles; the next is given its log and the same requests, and meets the same."""
    script, log, again = (tmp_path / name for name in ("faults.yaml", "hits.jsonl", "again.jsonl"))
    script.write_text(
        "seed: 3\nrules: {slow_changes: true}\nfaults:\n"
        "  - {kind: server_error, status: 503, method: POST, probability: 0.4, count: 0, when: after}\n"
        "  - {kind: status, status: suspended, bars: 0, probability: 0.4, count: 0}\n"
    )
    met = []
    for faults, hits in ((script, log), (log, again)):
        command = [
            sys.executable, "-m", "trader.cli.main", "exchange", "serve", "--data", str(bars_file), "--start",
            "2024-01-09", "--speed", "lockstep", "--faults", str(faults), "--fault-log", str(hits), "--luld",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                ready = json.loads(process.stdout.readline())
                trading, control = TradingClient("a", "b", url_override=ready["url"]), Control(ready["control_port"])
                control.post("step")
                said = []
                for number in range(12):
                    try:
                        trading.post("/orders", {
                            "symbol": "AAPL", "qty": 1, "side": "buy", "type": "limit", "limit_price": 90,
                            "client_order_id": f"c{number}",
                        })
                        said.append(200)
                    except APIError as error:
                        said.append(error.status_code)
                assert control.get("rules")["luld"] is True
                assert len(trading.get("/orders", {"limit": 500})) == 12
                met.append(said)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
    assert met[0] == met[1]
    assert 0 < met[0].count(503) < 12
    first, second = ([json.loads(line) for line in path.read_text().splitlines()] for path in (log, again))
    assert [(hit["kind"], hit["what"]) for hit in first] == [(hit["kind"], hit["what"]) for hit in second]
    same = argparse.Namespace(faults=log, fault_log=log)
    with pytest.raises(UserError, match="write over the script"):
        exchange.run_serve(same)


def test_history_reaches_back_from_the_start() -> None:
    assert exchange.first_day_of_history("2024-03-01", 30) == "2024-01-31"
    assert exchange.first_day_of_history(None, 30) is None
    with pytest.raises(UserError, match="soon"):
        exchange.first_day_of_history("soon", 30)
