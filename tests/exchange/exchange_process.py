"""A persistent exchange in a process of its own: ``python exchange_process.py FILE [SCRIPT LOG]`` prints its ports."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from exchange_markets import walk_panel

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.exchange.fault_script import load_fault_script
from trader.exchange.loop import run
from trader.exchange.persist import VenueStore
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue


def fresh_venue() -> Venue:
    """The market of the crash tests."""
    panel = walk_panel(("AAPL", "MSFT"), 2_000, volume=5_000)
    return Venue(panel, start_index=1, fill_model=RealisticFillSimulator(), seed=5)


def server_of(path: str, script: str | None = None, log: str = "") -> ExchangeServer:
    """A server that keeps its venue in a file."""
    return ExchangeServer(
        fresh_venue(), persist=VenueStore(Path(path)), faults=load_fault_script(Path(script)) if script else None,
        fault_log=Path(log).open("a+") if log else None,
    )


async def main(server: ExchangeServer) -> None:
    """Serve until killed."""
    await server.start()
    print(server.port, server.control_port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(main(server_of(*sys.argv[1:])))
