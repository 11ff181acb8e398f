"""``alphatrade data``: what bars there are; download, import, synthesize, resample and check them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from trader.cli.arguments import add_home, add_json, home_of, print_json


def add_parser(subparsers: Any) -> None:
    """Register ``data`` and its sub-commands."""
    data = subparsers.add_parser("data", help="list, download, import, synthesize, resample and check bars")
    commands = data.add_subparsers(dest="data_command", metavar="WHAT", required=True)
    made = [
        _add_list(commands), _add_download(commands), _add_import(commands), _add_synthesize(commands),
        _add_resample(commands), _add_check(commands),
    ]
    for parser in made:
        add_home(parser)
        add_json(parser)


def _add_list(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser("list", help="the stored bars and the bundled sample")
    parser.set_defaults(run=run_list)
    return parser


def _add_download(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "download", help="fetch bars from Alpaca into the store; goes on where an earlier run stopped")
    parser.add_argument("--symbols", type=_symbols, required=True, help="as AAPL,MSFT, or a symbols.yaml")
    parser.add_argument("--timeframe", default="15Min", help="as 15Min (default), 30Min or 1Day")
    parser.add_argument("--start", required=True, help="first day, as 2022-01-01")
    parser.add_argument("--end", help="last day (default: the newest settled bars)")
    parser.add_argument("--feed", help="iex, sip … (default: what the account's subscription gives)")
    parser.add_argument("--adjustment", default="split", help="raw, split (default), dividend or all")
    parser.add_argument("--session", choices=("rth", "all"), default="rth",
                        help="rth: only bars of regular sessions by the exchange's calendar (default)")
    parser.add_argument("--resume", action=argparse.BooleanOptionalAction, default=True,
                        help="fetch only what is missing (default); --no-resume forgets these symbols' bars first")
    parser.add_argument("--requests-per-minute", type=float, default=200.0, metavar="N",
                        help="Alpaca's limit of your plan (default: 200)")
    parser.set_defaults(run=run_download)
    return parser


def _add_resample(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "resample", help="build longer bars from stored ones, session by session")
    parser.add_argument("--symbols", type=_symbols, help="as AAPL,MSFT (default: all stored in the timeframe)")
    parser.add_argument("--timeframe", default="15Min", help="of the stored bars (default: 15Min)")
    parser.add_argument("--to", required=True, help="as 60Min or 1Day")
    parser.set_defaults(run=run_resample)
    return parser


def _add_import(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser("import", help="bring CSV or Parquet files into the store")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--timeframe", help="what the bars are, as 15Min or 1Day (default: seen from their distance)")
    parser.add_argument("--symbol", help="for files that do not name it (default: column, metadata or file name)")
    parser.add_argument("--tz", help="zone of times that carry none (default: UTC or New York, by the hours)")
    parser.add_argument("--session", choices=("rth", "all"), default="rth",
                        help="rth: only bars of regular sessions by the exchange's calendar (default)")
    parser.set_defaults(run=run_import)
    return parser


def _add_synthesize(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "synthesize", help="write synthetic 15-minute bars inside the sample's real days into the store")
    parser.add_argument("--symbols", type=_symbols, help="as AAPL,MSFT (default: the whole sample)")
    parser.add_argument("--start", help="first day (default: the sample's)")
    parser.add_argument("--end", help="last day (default: the sample's)")
    parser.add_argument("--seed", type=int, default=7)
    parser.set_defaults(run=run_synthesize)
    return parser


def _add_check(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "check", help="data quality: results/data_quality_report.json; exit code 1 when there are errors")
    parser.add_argument("--symbols", type=_symbols, help="as AAPL,MSFT, or a symbols.yaml (default: all)")
    parser.add_argument("--timeframe", help="only these bars (default: all)")
    parser.set_defaults(run=run_check)
    return parser


def run_list(arguments: argparse.Namespace) -> int:
    from trader.data.catalog import available

    found = available(home_of(arguments))
    if arguments.json:
        print_json([d.as_dict() for d in found])
        return 0
    print(f"{'symbol':8}{'bars':>7}  {'from':10}  {'to':10}{'rows':>9}  {'source':20}{'adjusted':12}origin")
    for info in found:
        row = info.as_dict()
        print(
            f"{row['symbol']:8}{row['timeframe']:>7}  {row['first'][:10]}  {row['last'][:10]}{row['rows']:>9}  "
            f"{row['source']:20}{_cut(row['adjustment'], 11):12}{_cut(row['origin'], 60)}"
        )
    return 0


def run_download(arguments: argparse.Namespace) -> int:
    import asyncio

    results = asyncio.run(_download(arguments))
    if arguments.json:
        print_json([r.as_dict() for r in results])
        return 0
    for r in results:
        dropped = "".join(f", {count} {why}" for why, count in r.dropped.items())
        span = f", {r.first[:10]} to {r.last[:10]}" if r.stored else ""
        print(f"{r.symbol} {r.timeframe}: {r.new} new bars, {r.stored} in the store{span}"
              f" ({r.blocks} blocks fetched, {r.blocks_before} were there{dropped})")
    return 0


async def _download(arguments: argparse.Namespace) -> list[Any]:
    from trader.config import load_secrets
    from trader.core.clock import SystemClock
    from trader.data.alpaca_client import AlpacaDataClient, MarketDataError
    from trader.data.catalog import parse_range
    from trader.data.download import download
    from trader.utils.errors import UserError

    home, symbols = home_of(arguments), _from_yaml(arguments.symbols) or []
    if not 0 < arguments.requests_per_minute < 1e6:
        raise UserError(f"--requests-per-minute {arguments.requests_per_minute:g}: expected a number above zero")
    start_ns, end_ns = parse_range(arguments.start, arguments.end)
    secrets = load_secrets(home)
    client = AlpacaDataClient(
        secrets.api_key or "", secrets.secret_key or "", secrets.base_url, retries=6, backoff_s=1.0,
        requests_per_minute=arguments.requests_per_minute)
    try:
        return await download(
            client, home, symbols, arguments.timeframe, start_ns or 0, end_ns, now_ns=SystemClock().now_ns(),
            feed=arguments.feed, adjustment=arguments.adjustment, session=arguments.session, resume=arguments.resume,
            on_progress=lambda p: _say(
                arguments, f"{p.done}/{p.total} {p.symbol} {p.first[:10]} to {p.last[:10]}: {p.bars} bars so far"),
        )
    except MarketDataError as error:
        raise UserError(
            f"{error}; what was finished is stored: the same command goes on from there", exit_code=1) from None
    finally:
        await client.close()


def run_resample(arguments: argparse.Namespace) -> int:
    from trader.data.bars import split_panel
    from trader.data.resample import resample
    from trader.data.store import BarStore
    from trader.data.timeframe import parse_timeframe
    from trader.utils.errors import UserError

    store, size = BarStore(home_of(arguments)), parse_timeframe(arguments.timeframe).name
    stored = {d.symbol: d for d in store.datasets() if d.timeframe == size}
    wanted = [s.upper() for s in _from_yaml(arguments.symbols) or list(stored)]
    missing = [s for s in wanted if s not in stored]
    if missing or not wanted:
        named = ", ".join(missing) or "any symbol"
        raise UserError(f"no {size} bars of {named} in the store; see `alphatrade data list`")
    written = []
    for symbol in wanted:
        info = stored[symbol]
        try:
            panel = resample(store.read([symbol], size), arguments.to)
        except ValueError as error:
            raise UserError(f"--to {arguments.to}: {error}") from None
        if not len(panel):
            raise UserError(f"{symbol}: the stored {size} bars do not fill one bar of {panel.timeframe}")
        written.append(store.write(
            symbol, panel.timeframe, split_panel(panel)[symbol], source=info.source, adjustment=info.adjustment,
            origin=f"{info.origin}, built from {size}", one_origin=True))
    if arguments.json:
        print_json([info.as_dict() for info in written])
    else:
        for info in written:
            print(f"{info.symbol} {info.timeframe}: {info.rows} bars in the store")
    return 0


def run_import(arguments: argparse.Namespace) -> int:
    from trader.data.importer import import_files

    results = import_files(
        arguments.files, home_of(arguments), timeframe=arguments.timeframe, symbol=arguments.symbol, tz=arguments.tz,
        session=arguments.session,
    )
    if arguments.json:
        print_json([r.as_dict() for r in results])
        return 0
    for r in results:
        dropped = "".join(f", {count} {why}" for why, count in r.dropped.items())
        print(
            f"{r.symbol} {r.timeframe}: {r.rows_written} of {r.rows_read} bars written, {r.first[:10]} to {r.last[:10]}"
            f" (times: {r.time_zone}{dropped})"
        )
    return 0


def run_synthesize(arguments: argparse.Namespace) -> int:
    from trader.core.panel import SYNTHETIC_INTRADAY
    from trader.data.bars import split_panel
    from trader.data.catalog import synthetic_panel
    from trader.data.store import BarStore

    home = home_of(arguments)
    panel = synthetic_panel(arguments.symbols, arguments.start, arguments.end, arguments.seed)
    store, written = BarStore(home), []
    origin = f"made inside the bundled sample's days, seed {arguments.seed}"
    for symbol, bars in split_panel(panel).items():
        _say(arguments, f"{symbol}: {len(bars)} bars")
        written.append(store.write(
            symbol, panel.timeframe, bars, source=SYNTHETIC_INTRADAY, adjustment="split", origin=origin,
            one_origin=True,
        ))
    if arguments.json:
        print_json([info.as_dict() for info in written])
    else:
        print(f"{SYNTHETIC_INTRADAY} bars of {', '.join(i.symbol for i in written)} are in {store.root}")
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    from trader.core.clock import SystemClock
    from trader.data.check import check_home

    symbols = _from_yaml(arguments.symbols)
    report = check_home(home_of(arguments), symbols, arguments.timeframe, now_ns=SystemClock().now_ns())
    if arguments.json:
        print_json(report)
    else:
        _print_findings(report["datasets"])
        s = report["summary"]
        print(
            f"{s['bars']} bars in {s['datasets']} datasets: {s['error']} kinds of errors, {s['warning']} of warnings, "
            f"{s['info']} of remarks; {report['report']}"
        )
    return 0 if report["ok"] else 1


def _print_findings(datasets: list[dict[str, Any]]) -> None:
    """A table, the worst first; under each line what to do."""
    order = {"error": 0, "warning": 1, "info": 2}
    rows = sorted(
        ((order[f["severity"]], d["symbol"], d["timeframe"], f) for d in datasets for f in d["findings"]),
        key=lambda row: row[:3])
    if rows:
        print(f"{'severity':9}{'symbol':7}{'bars':>6}  {'check':24}{'count':>8}{'share':>9}  first")
    for _, symbol, timeframe, f in rows:
        print(f"{f['severity']:9}{symbol:7}{timeframe:>6}  {f['check']:24}{f['count']:>8}{f['share']:>9.2%}  "
              f"{f['examples'][0]}\n{'':24}→ {f['advice']}")


def _symbols(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _from_yaml(symbols: list[str] | None) -> list[str] | None:
    """The guide's ``--symbols config/symbols.yaml``: a list, or a mapping with a list under ``symbols``."""
    if not symbols or not symbols[0].endswith((".yaml", ".yml")):
        return symbols
    import yaml

    from trader.utils.errors import UserError

    try:
        listed = yaml.safe_load(Path(symbols[0]).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{symbols[0]} cannot be read: {error}") from None
    listed = listed.get("symbols") if isinstance(listed, dict) else listed
    names = list(listed) if isinstance(listed, (list, dict)) else []
    if not names:
        raise UserError(f"{symbols[0]}: no list of symbols in it; write symbols: [AAPL, MSFT]")
    return [str(n["symbol"] if isinstance(n, dict) and "symbol" in n else n) for n in names]


def _say(arguments: argparse.Namespace, text: str) -> None:
    if not arguments.json:
        print(text, file=sys.stderr)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
