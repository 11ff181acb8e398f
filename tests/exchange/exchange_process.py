"""A persistent exchange in a process of its own: ``python exchange_process.py FILE`` prints its two ports."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from exchange_markets import walk_panel

from trader.backtest.realistic_fills import RealisticFillSimulator
from trader.exchange.loop import run
from trader.exchange.persist import VenueStore
from trader.exchange.server import ExchangeServer
from trader.exchange.venue import Venue


def fresh_venue() -> Venue:
    """The market of the crash tests."""
    panel = walk_panel(("AAPL", "MSFT"), 2_000, volume=5_000)
    return Venue(panel, start_index=1, fill_model=RealisticFillSimulator(), seed=5)


async def main(path: str) -> None:
    """Serve until killed."""
    server = ExchangeServer(fresh_venue(), persist=VenueStore(Path(path)))
    await server.start()
    print(server.port, server.control_port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(main(sys.argv[1]))
