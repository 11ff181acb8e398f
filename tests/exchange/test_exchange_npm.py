"""Unmodified npm clients, 3.x and 4.x, against the server: REST and both streams. Skipped where there is no Node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from exchange_markets import FREE, panel_of
from exchange_serving import serving

from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue

PACKAGE = "@alpacahq/alpaca-trade-api"
DRIVERS = Path(__file__).parent / "npm"
CALM = (100.0, 100.5, 99.5, 100.0)


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The folders that hold both clients; ALPHATRADE_NPM may name one to keep between runs."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node is not here: the npm clients were not run")
    kept = os.environ.get("ALPHATRADE_NPM")
    root = Path(kept) if kept else tmp_path_factory.mktemp("npm")
    folders = {}
    for major in (3, 4):
        folder = folders[major] = root / f"n{major}"
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "node_modules" / PACKAGE).is_dir():
            continue
        command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", f"{PACKAGE}@{major}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not answer within 120 s: the npm clients were not run")
        if done.returncode:
            pytest.skip(f"npm cannot install {PACKAGE}@{major}: {done.stderr.strip()[-200:]}")
    return folders


@pytest.mark.parametrize("major", [3, 4])
def test_an_npm_client_sees_alpaca(packages: dict[int, Path], major: int) -> None:
    panel = panel_of({"AAPL": [CALM] * 8, "MSFT": [CALM] * 8})
    server = ExchangeServer(Venue(panel, start_index=1, fill_model=FREE))
    with serving(server):
        done = subprocess.run(
            ["node", str(DRIVERS / f"drive{major}.cjs"), str(packages[major]), f"http://127.0.0.1:{server.port}",
             f"http://127.0.0.1:{server.control_port}"],
            capture_output=True, text=True, timeout=200, check=False,
        )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    result, seen = told["result"], told["seen"]
    assert result.pop("configurations", "boolean") == "boolean"
    assert result == {
        "account": "100000", "clock": True, "calendar": ["16:00", "13:00", "16:00"], "assets": ["AAPL", "MSFT"],
        "asset": True, "order": "new", "duplicate": [422, 40010001], "replaced": [True, "6", "91"], "open": 2,
        "cancelAgain": [422, 42210000], "unknown": [404, 40410000], "filled": "100", "position": "10",
        "activities": 1, "history": True, "bars": [100, 100.25], "latestQuote": True, "latestTrade": 100.25,
        "snapshot": 100, "closed": "sell", "positions": [],
    }
    events = [(event, symbol) for event, symbol, _ in seen["updates"]]
    assert events == [
        ("new", "AAPL"), ("new", "MSFT"), ("replaced", "MSFT"), ("new", "MSFT"), ("canceled", "MSFT"),
        ("fill", "AAPL"), ("new", "AAPL"), ("fill", "AAPL"),
    ]
    assert seen["errors"] == []
    counts = {kind: len(messages) for kind, messages in seen["messages"].items()}
    corrections = counts.pop("correction", 1)
    assert corrections == 1
    assert counts == {"trade": 8, "quote": 8, "bar": 4, "dailyBar": 2, "updatedBar": 1, "status": 2, "luld": 2}
    assert set(seen["messages"]["dailyBar"]) == {"MSFT"}
