"""``alphatrade exchange serve``: the embedded exchange alone, for any Alpaca client on this machine."""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trader.cli.arguments import add_home, home_of
from trader.utils.errors import UserError

if TYPE_CHECKING:
    from trader.core.panel import BarPanel
    from trader.exchange.server import ExchangeServer


def add_parser(subparsers: Any) -> None:
    """Register the command group."""
    group = subparsers.add_parser("exchange", help="an Alpaca-compatible exchange on this machine")
    commands = group.add_subparsers(dest="exchange_command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve", help="serve stored bars as a market: REST and streams on one port, control on another",
    )
    add_home(serve)
    serve.add_argument(
        "--data", nargs="+", type=Path, metavar="FILE",
        help="CSV or Parquet files with bars to serve, instead of what the home holds",
    )
    serve.add_argument("--host", default="127.0.0.1", help="interface to listen on (default: loopback only)")
    serve.add_argument("--port", type=int, default=0, help="REST and streams (default: a free port)")
    serve.add_argument("--control-port", type=int, default=0, help="control API, loopback (default: a free port)")
    serve.add_argument("--symbols", help="comma-separated (default: all that the home holds)")
    serve.add_argument("--timeframe", default="15Min", help="bar size (default: 15Min)")
    serve.add_argument("--start", metavar="DAY", help="first day to play, like 2024-01-08 (default: the first)")
    serve.add_argument("--end", metavar="DAY", help="last day to play (default: the last)")
    serve.add_argument(
        "--history-days", type=int, default=90, metavar="N",
        help="calendar days before --start that clients may ask for (default: 90)",
    )
    serve.add_argument("--speed", default="900", help="times real time, or lockstep (default: 900)")
    serve.add_argument("--persist", type=Path, metavar="FILE", help="keep the venue in this file; go on from it")
    serve.add_argument("--cash", default="100000", help="deposit in dollars (default: 100000)")
    serve.add_argument("--seed", type=int, default=0, help="of the ids (default: 0)")
    serve.set_defaults(run=run_serve)


def run_serve(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; prints one JSON line with the ports when ready."""
    import asyncio

    from trader.exchange.persist import VenueStore

    panel = load_bars(args)
    with VenueStore(args.persist) if args.persist else nullcontext() as store:
        asyncio.run(serve_until_signal(build_server(args, panel, store)))
    return 0


def load_bars(args: argparse.Namespace) -> BarPanel:
    """The wanted bars, with history before ``--start``; files are read through a store that lasts no longer."""
    from trader.data.catalog import load_panel

    symbols = [symbol.strip().upper() for symbol in args.symbols.split(",")] if args.symbols else None
    start = first_day_of_history(args.start, args.history_days)
    if not args.data:
        return load_panel(home_of(args), symbols, args.timeframe, start, args.end)
    from tempfile import TemporaryDirectory

    from trader.data.importer import import_files

    with TemporaryDirectory(prefix="alphatrade-") as folder:
        import_files(args.data, Path(folder))
        return load_panel(Path(folder), symbols, args.timeframe, start, args.end)


def first_day_of_history(start: str | None, days: int) -> str | None:
    """The date so many days before ``start``; UserError for what is no date."""
    if start is None:
        return None
    try:
        return (date.fromisoformat(start) - timedelta(days=max(0, days))).isoformat()
    except (ValueError, OverflowError):
        raise UserError(f"--start {start!r} is no date; write it like 2024-01-08") from None


def build_server(args: argparse.Namespace, panel: BarPanel, store: Any) -> ExchangeServer:
    """A server over a fresh venue; UserError for a start outside the bars, a bad speed or deposit."""
    import numpy as np

    from trader.backtest.realistic_fills import RealisticFillSimulator
    from trader.exchange.server import ExchangeServer
    from trader.exchange.venue import Venue

    start_index = int(np.searchsorted(panel.ts_ns, np.datetime64(args.start or "1970-01-01", "ns").astype(np.int64)))
    if start_index >= len(panel):
        raise UserError(f"--start {args.start} lies after the last of {len(panel)} bars; choose an earlier day")
    try:
        cash = Decimal(args.cash)
    except InvalidOperation:
        cash = Decimal("NaN")
    if not cash.is_finite() or cash <= 0:
        raise UserError(f"--cash {args.cash!r} is no amount; write dollars above zero, like 100000")
    venue = Venue(
        panel, start_index=start_index, cash=cash, fill_model=RealisticFillSimulator(), seed=args.seed
    )
    try:
        return ExchangeServer(
            venue, host=args.host, port=args.port, control_port=args.control_port, speed=args.speed,
            persist=store,
        )
    except ValueError as error:
        raise UserError(f"--{error}") from None


async def serve_until_signal(server: ExchangeServer) -> None:
    """Start, say where, wait for a signal, stop."""
    import asyncio
    import signal

    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    await server.start()
    panel = server.venue.panel
    print(json.dumps({
        "url": f"http://{server.host}:{server.port}", "port": server.port, "control_port": server.control_port,
        "speed": server.speed, "symbols": list(panel.symbols), "timeframe": panel.timeframe,
        "source": panel.source, "bars": len(panel), "index": server.venue.index,
    }), flush=True)
    await asked.wait()
    await server.stop()
