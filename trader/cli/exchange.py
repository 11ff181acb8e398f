"""``alphatrade exchange serve``: the embedded exchange alone, for any Alpaca client on this machine."""

from __future__ import annotations

import argparse
import json
import math
from contextlib import ExitStack
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from trader.cli.arguments import add_home, home_of
from trader.utils.errors import UserError

if TYPE_CHECKING:
    from trader.core.panel import BarPanel
    from trader.exchange.server import ExchangeServer
    from trader.exchange.types import VenueRules

EXAMPLES = """\
examples:
  alphatrade exchange serve
      the home's bars at 900 times real time, on free ports; the ready line says which
  alphatrade exchange serve --port 8095 --control-port 8096 --speed lockstep --persist venue.db
      time moves only by POST http://127.0.0.1:8096/v1/step {"count": 1}; a restart goes on where it was
  alphatrade exchange serve --data AAPL.csv --start 2024-01-09 --faults faults.yaml --fault-log hits.jsonl
      one's own bars, with faults; the same seed and traffic write the same log
  alphatrade exchange serve --data AAPL.csv --start 2024-01-09 --faults hits.jsonl
      the log as the script: what was hit is hit again
  alphatrade exchange serve --persist venue.db --faults faults.yaml --fault-log hits.jsonl
      killed and started again with the same script, the faults go on where they were, in the same log
  alphatrade exchange serve --luld --rule slow_changes=true --rate-limit 200 --data-plan basic
      volatility pauses, cancels and replacements that pend, and the limits of Alpaca's free plan

a client: TradingClient("any", "pair", url_override="http://127.0.0.1:8095")

a fault script:
  seed: 7
  faults:
    - {kind: drop_response, method: POST, path: /v2/orders, symbol: AAPL}
    - {kind: rate_limit, count: 5, skip: 20}
    - {kind: server_error, status: 504, when: after, method: POST, at: [3, 7]}
    - {kind: omit, event: fill, probability: 0.1, count: 0}
    - {kind: market_event, event: halt, arguments: {symbol: AAPL}, from_bar: 100}

the ready line is one JSON object: url, port, control_port, speed, symbols, timeframe, source, bars, index, faults.
SIGINT or SIGTERM ends the exchange with status 0; a port in use is one line on stderr and status 2.
"""


def add_parser(subparsers: Any) -> None:
    """Register the command group."""
    group = subparsers.add_parser("exchange", help="an Alpaca-compatible exchange on this machine")
    commands = group.add_subparsers(dest="exchange_command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve", help="serve stored bars as a market: REST and streams on one port, control on another",
        description="An exchange that Alpaca's own clients can use: REST and streams on one port, control on another.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
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
    serve.add_argument(
        "--speed", default="900",
        help="times real time, or lockstep: time moves by the control API, as fast as its client asks; max is the same "
        "(default: 900)",
    )
    serve.add_argument("--persist", type=Path, metavar="FILE", help="keep the venue in this file; go on from it")
    serve.add_argument("--cash", default="100000", help="deposit in dollars (default: 100000)")
    serve.add_argument("--seed", type=int, default=0, help="of the ids (default: 0)")
    serve.add_argument("--faults", type=Path, metavar="FILE", help="YAML or JSON script of what goes wrong, or a log")
    serve.add_argument("--fault-log", type=Path, metavar="FILE", help="write every hit of a fault there as JSON lines")
    serve.add_argument(
        "--key", action="append", metavar="ID:SECRET",
        help="accept only this pair; may be repeated (default: any pair)",
    )
    serve.add_argument(
        "--rate-limit", type=int, default=0, metavar="N",
        help="refuse more requests a minute of a key; Alpaca's is 200 (default: 0, its headers are told, none refused)",
    )
    serve.add_argument(
        "--data-plan", choices=("unlimited", "basic", "plus"), default="unlimited",
        help="limits of the data; basic: the iex stream alone, 30 symbols, one connection, no recent SIP data; "
        "plus: one connection a feed",
    )
    serve.add_argument(
        "--luld", action="store_true", help="pause symbols that open beyond their limit-up limit-down price bands"
    )
    serve.add_argument(
        "--rule", action="append", metavar="NAME=VALUE",
        help="change what the broker allows, like slow_changes=true or hard_to_borrow=[AAPL]; may be repeated",
    )
    serve.set_defaults(run=run_serve)


def run_serve(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; prints one JSON line with the ports when ready."""
    from trader.exchange.loop import run
    from trader.exchange.persist import VenueStore

    if args.faults and args.fault_log and args.faults.resolve() == args.fault_log.resolve():
        raise UserError(f"--fault-log would write over the script {args.faults}; name another file")
    panel = load_bars(args)
    with ExitStack() as stack:
        store = stack.enter_context(VenueStore(args.persist)) if args.persist else None
        hits = stack.enter_context(open_log(args.fault_log, lasting=store is not None)) if args.fault_log else None
        run(serve_until_signal(build_server(args, panel, store, hits)))
    return 0


def open_log(path: Path, *, lasting: bool) -> IO[str]:
    """A file to write hits into, anew, or ``lasting`` over several lives; UserError when it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+" if lasting else "w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write the fault log {path}: {error.strerror or error}") from error


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


def build_server(
    args: argparse.Namespace, panel: BarPanel, store: Any, fault_log: IO[str] | None = None
) -> ExchangeServer:
    """A server over a fresh venue; UserError for a start outside the bars, a bad speed, deposit, key or script."""
    import numpy as np

    from trader.backtest.realistic_fills import RealisticFillSimulator
    from trader.exchange.data_stream import DATA_PLANS
    from trader.exchange.fault_script import load_fault_script
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
    if args.rate_limit < 0:
        raise UserError(f"--rate-limit {args.rate_limit} is below 0; 0 is no limit")
    for name in ("port", "control_port"):
        if not 0 <= getattr(args, name) <= 65_535:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)} is no port; 0 takes a free one")
    script = load_fault_script(args.faults, panel.symbols) if args.faults else None
    venue = Venue(
        panel, start_index=start_index, cash=cash, fill_model=RealisticFillSimulator(), seed=args.seed,
        rules=rules_of(args.rule, luld=args.luld, plan=args.data_plan),
    )
    try:
        return ExchangeServer(
            venue, host=args.host, port=args.port, control_port=args.control_port, speed=speed_of(args.speed),
            persist=store, api_keys=api_keys(args.key), faults=script, fault_log=fault_log,
            rate_limit=args.rate_limit or None, rate_told=True, data_plan=DATA_PLANS[args.data_plan],
        )
    except ValueError as error:
        raise UserError(f"--{error}") from None


def speed_of(word: str) -> float | str:
    """Times real time as every command reads it, or ``lockstep``; the fastest is the pace of the client's steps."""
    from trader.exchange.pace import LOCKSTEP
    from trader.options import parse_speed

    if word.strip().lower() == LOCKSTEP:
        return LOCKSTEP
    try:
        speed = parse_speed(word)
    except UserError as error:
        raise UserError(f"--{error}, or {LOCKSTEP}") from None
    return LOCKSTEP if speed == math.inf else speed


def rules_of(pairs: list[str] | None, *, luld: bool, plan: str = "unlimited") -> VenueRules:
    """The broker's rules with those of the command and of a data plan; UserError for what is no rule or no value."""
    import yaml

    from trader.exchange.fault_script import changed_rules
    from trader.exchange.types import VenueRules

    changes: dict[str, Any] = {"luld": True} if luld else {}
    if plan == "basic":
        changes["recent_sip"] = False
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise UserError(f"--rule {pair!r} wants NAME=VALUE, like slow_changes=true")
        try:
            changes[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--rule {pair!r}: {value!r} is no value; write true, 2.5 or [AAPL, MSFT]") from None
    try:
        return changed_rules(VenueRules(), changes)
    except ValueError as error:
        raise UserError(f"--rule: {error}") from None


def api_keys(pairs: list[str] | None) -> dict[str, str] | None:
    """Key ids and their secrets; None when any pair will do."""
    if not pairs:
        return None
    keys = {}
    for pair in pairs:
        key, colon, secret = pair.partition(":")
        if not (key and colon and secret):
            raise UserError("--key wants ID:SECRET, like --key me:right")      # what was given may be a secret
        keys[key] = secret
    return keys


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
    host = f"[{server.host}]" if ":" in server.host else server.host        # an IPv6 address
    print(json.dumps({
        "url": f"http://{host}:{server.port}", "port": server.port, "control_port": server.control_port,
        "speed": server.speed, "symbols": list(panel.symbols), "timeframe": panel.timeframe,
        "source": panel.source, "bars": len(panel), "index": server.venue.index,
        "faults": len(server.faults.armed),
    }), flush=True)
    await asked.wait()
    await server.stop()
