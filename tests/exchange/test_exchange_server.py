"""The server as a whole: rate limits, the command's flags, a port in use, and the generated table of what it covers."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from exchange_markets import FREE, panel_of
from exchange_raw import Raw

from trader.cli import exchange
from trader.exchange import coverage
from trader.exchange import server as server_module
from trader.exchange.rate import RateLimiter
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue
from trader.utils.errors import UserError

CALM = (100.0, 100.5, 99.5, 100.0)


def test_the_table_of_what_is_covered_is_fresh() -> None:
    written = Path(coverage.__file__).with_name("COVERAGE.md").read_text()
    assert written == coverage.markdown(), "run: python -m trader.exchange.coverage"


def test_everything_that_the_table_lists_exists_or_is_said_to_be_missing() -> None:
    gaps = coverage.endpoint_rows()
    assert {row.call for row in gaps if row.covered} >= {"POST /v2/orders", "GET /v2/stocks/bars"}
    assert all(row.note for row in gaps if not row.covered)


def test_a_minute_holds_so_many_requests() -> None:
    now = [30.0]
    limiter = RateLimiter(2, clock=lambda: now[0])
    told = [limiter.count("a") for _ in range(3)]
    assert [error is None for _, error in told] == [True, True, False]
    assert dict(told[1][0]) == {"X-RateLimit-Limit": "2", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "60"}
    assert limiter.count("b")[1] is None
    now[0] = 60.0
    assert limiter.count("a")[1] is None


async def test_the_limit_over_http() -> None:
    server = ExchangeServer(Venue(panel_of({"AAPL": [CALM] * 3}), fill_model=FREE), rate_limit=1)
    server._limiter._clock = lambda: 30.0           # no minute ends amid the test
    await server.start()
    client = await Raw.to(server.port)
    client.say("GET", "/v2/clock")
    assert b"X-RateLimit-Remaining: 0" in await client.reader.readuntil(b"\r\n\r\n")
    await client.reader.readuntil(b"}")
    answers = [await client.ask("GET", "/v2/clock") for _ in range(2)]
    assert answers[-1] == (429, {"code": 42910000, "message": "rate limit exceeded"})
    client.writer.close()
    await server.stop()


async def test_the_calendar_is_there_before_anybody_can_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ExchangeServer(Venue(panel_of({"AAPL": [CALM] * 3}), fill_model=FREE))
    ports: list[int] = []
    monkeypatch.setattr(server_module, "session_table", lambda: ports.append(server.port))
    await server.start()
    assert ports == [0]
    await server.stop()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--key", "only"], "ID:SECRET"), (["--rate-limit", "-3"], "below 0"), (["--port", "70000"], "no port"),
        (["--control-port", "-1"], "--control-port"), (["--faults", "/nowhere/f.yaml"], "cannot read the faults"),
    ],
)
def test_flags_are_checked(words: list[str], what: str) -> None:
    with pytest.raises(UserError, match=what):
        exchange.build_server(parsed(words), panel_of({"AAPL": [CALM] * 3}), None)


def parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    exchange.add_parser(parser.add_subparsers())
    return parser.parse_args(["exchange", "serve", *words])


def test_the_command_with_all_its_flags(tmp_path: Path) -> None:
    bars = tmp_path / "AAPL.csv"
    bars.write_text("timestamp,open,high,low,close,volume\n" + "".join(
        f"2024-01-08T{14 + (30 + 15 * i) // 60}:{(30 + 15 * i) % 60:02d}:00Z,100,101,99,100,1000\n" for i in range(8)
    ))
    faults, hits = tmp_path / "faults.yaml", tmp_path / "logs" / "hits.jsonl"
    faults.write_text("- {kind: server_error, status: 503, path: /v2/clock}\n")
    command = [
        sys.executable, "-m", "trader.cli.main", "exchange", "serve", "--data", str(bars), "--speed", "lockstep",
        "--faults", str(faults), "--fault-log", str(hits), "--key", "me:right", "--rate-limit", "200",
        "--data-plan", "basic", "--persist", str(tmp_path / "venue.db"), "--seed", "4",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        ready = json.loads(process.stdout.readline() or process.stderr.read())
        assert ready["faults"] == 1
        headers = {"APCA-API-KEY-ID": "me", "APCA-API-SECRET-KEY": "right"}
        request = urllib.request.Request(f"{ready['url']}/v2/clock", headers=headers)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(request, timeout=60)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.headers["X-RateLimit-Limit"] == "200"
        busy = subprocess.run(
            [*command[:7], "--port", str(ready["port"])], capture_output=True, text=True, timeout=200, check=False,
        )
        assert busy.returncode == 2
        assert busy.stderr.count("\n") == 1
        assert str(ready["port"]) in busy.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""
    assert [json.loads(line)["kind"] for line in hits.read_text().splitlines()] == ["server_error"]
