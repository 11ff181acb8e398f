"""alphatrade-tui: one session, with the console or without, live or from its journal.

Only what the flags ask for is imported: ``--version`` needs nothing, ``--no-ui`` never sees Textual.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trader.utils.errors import UserError
from trader.utils.paths import home_dir

if TYPE_CHECKING:
    from console.feed import Feed
    from trader.options import SessionOptions

PROGRAM = "alphatrade-tui"
EXAMPLES = """\
examples:
  alphatrade-tui                                   a simulated session on the bundled bars
  alphatrade-tui --speed 3600 --symbols AAPL,MSFT  faster, two symbols
  alphatrade-tui --replay latest                   the newest run, played again
  alphatrade-tui --attach latest                   look at a session of another process
  alphatrade-tui --mode paper                      Alpaca's paper account (keys in .env)
  alphatrade-tui --no-ui --speed max --stop-after 2000 --log-format json

exit codes: 0 ended in order, 2 a mistake in input or surroundings, 3 a session of this mode already runs in this
home, 70 the engine failed, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    from trader.cli.guard import guarded

    home: Path | None = None

    def run() -> int:
        nonlocal home
        arguments = _parser().parse_args(words)
        home = home_dir(arguments.home)
        return _run(arguments, home)

    return guarded(PROGRAM, run, lambda: home or home_dir())


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"{PROGRAM} {version('alphatrade')}")
        parser.exit(0)


def _parser() -> argparse.ArgumentParser:
    from trader.cli.arguments import Parser

    parser = Parser(prog=PROGRAM, description="A trading session and its console.", epilog=EXAMPLES,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what to show")
    what.add_argument("--mode", choices=("sim", "paper", "live"),
                      help="the session's mode (default: settings, else sim)")
    what.add_argument("--replay", metavar="RUN", help="play a run again: its id, its directory, a journal, or latest")
    what.add_argument("--attach", metavar="RUN", help="watch a session of another process; halt works, nothing else")
    what.add_argument("--no-ui", action="store_true", help="no screen: one line per event of note on stdout")
    where = parser.add_argument_group("where")
    where.add_argument("--home", metavar="DIR", help="where everything is kept (default: ALPHATRADE_HOME, the current "
                                                     "directory with config/settings.yaml, the user's data directory)")
    where.add_argument("--config", type=Path, metavar="FILE", help="settings.yaml to use")
    bars = parser.add_argument_group("the session")
    bars.add_argument("--symbols", metavar="A,B", help="symbols to trade")
    bars.add_argument("--timeframe", metavar="15Min", help="length of a bar")
    bars.add_argument("--start", metavar="DATE", help="first day of a simulated session")
    bars.add_argument("--end", metavar="DATE", help="last day of a simulated session")
    bars.add_argument("--speed", metavar="X", help="sim: seconds per second (900, real, max); "
                                                   "replay: bars a second (0.25 … max)")
    bars.add_argument("--stop-after", type=int, metavar="N", help="end after N bar slices")
    bars.add_argument("--persist", action="store_true", help="keep the simulated account between sessions")
    bars.add_argument("--yes-live", action="store_true", help="no typed confirmation of live trading (headless)")
    bars.add_argument("--override-live-gate", metavar="WORDS",
                      help="open the live gate by its words, whatever validation or paper time is missing")
    bars.add_argument("--venue", metavar="URL", help="sim: trade on an exchange that runs elsewhere (see alphatrade "
                                                     "exchange serve), with its bars and at its pace")
    bars.add_argument("--venue-control", metavar="HOST:PORT", help="that exchange's control address")
    looks = parser.add_argument_group("looks")
    looks.add_argument("--theme", choices=("dark", "light", "contrast"), help="colours (NO_COLOR turns them off)")
    looks.add_argument("--log-format", choices=("text", "json"), default="text", help="lines of --no-ui")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    return parser


def _run(arguments: argparse.Namespace, home: Path) -> int:
    if arguments.replay and arguments.attach:
        raise UserError("--replay and --attach exclude each other: a run is played again or watched")
    shown = "--replay" if arguments.replay else "--attach" if arguments.attach else ""
    if shown and arguments.no_ui:
        raise UserError(f"{shown} needs a screen; `alphatrade status` prints a session without one")
    if shown and arguments.mode:
        raise UserError(f"{shown} shows a recorded session; --mode {arguments.mode} starts one: give one of them")
    if arguments.stop_after is not None and arguments.stop_after < 1:
        raise UserError(f"--stop-after {arguments.stop_after}: expected a number of bars of at least 1")
    if arguments.no_ui:
        from trader import headless

        return headless.run(_options(arguments, home))
    _need_terminal()
    if arguments.replay:
        return _replay(arguments, home)
    if arguments.attach:
        return _attach(arguments, home)
    return _live(arguments, home)


def _options(arguments: argparse.Namespace, home: Path) -> SessionOptions:
    from trader.options import SessionOptions, parse_speed

    symbols = tuple(name.strip().upper() for name in (arguments.symbols or "").split(",") if name.strip())
    if arguments.symbols is not None and not symbols:
        raise UserError(f"--symbols {arguments.symbols!r}: expected names such as AAPL,MSFT")
    if arguments.speed is not None:
        parse_speed(arguments.speed)                    # a mistake is said before anything starts
    return SessionOptions(
        home=home, mode=arguments.mode, config=arguments.config, speed=arguments.speed, stop_after=arguments.stop_after,
        log_format=arguments.log_format, persist=arguments.persist, symbols=symbols or None,
        timeframe=arguments.timeframe, start=arguments.start, end=arguments.end, yes_live=arguments.yes_live,
        override_live_gate=arguments.override_live_gate, venue_url=arguments.venue,
        venue_control=arguments.venue_control)


def _need_terminal() -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("the console needs a terminal for input and output; --no-ui runs the session without one")


def _show(feed: Feed, arguments: argparse.Namespace, home: Path,
          painted: Callable[[], None] | None = None) -> str | None:
    """Run the screen; what it says to do with the session, None where the screen failed."""
    from console.app import AlphaTradeApp
    from trader.config import load_settings

    settings = load_settings(home, arguments.config).settings.console
    app = AlphaTradeApp(feed, theme=arguments.theme or settings.theme, keys=settings.keys, hz=settings.refresh_hz,
                        exports=home / "results" / "exports", painted=painted)
    try:
        return app.run()
    finally:
        feed.close()


def _replay(arguments: argparse.Namespace, home: Path) -> int:
    from console.feed import ReplayFeed
    from trader.replay import Player

    player = Player(arguments.replay, home)
    if arguments.speed:
        from trader.options import parse_speed

        player.set_speed(parse_speed(arguments.speed))
    return 0 if _show(ReplayFeed(player), arguments, home) else 70


def _attach(arguments: argparse.Namespace, home: Path) -> int:
    from console.feed import AttachFeed
    from trader.replay import Follower

    return 0 if _show(AttachFeed(Follower(arguments.attach, home)), arguments, home) else 70


def _live(arguments: argparse.Namespace, home: Path) -> int:
    from console.keymap import remap
    from trader.config import load_settings

    options = _options(arguments, home)
    settings = load_settings(home, arguments.config).settings
    remap(settings.console.keys)                        # a mistake in the keys is said before anything starts
    mode = arguments.mode or settings.mode
    if mode == "live" and not arguments.yes_live:
        _confirm_live()
        options = replace(options, yes_live=True)
    from console.session import host_and_show

    return host_and_show(options, simulated=mode == "sim",
                         show=lambda feed, painted: _show(feed, arguments, home, painted))


def _confirm_live() -> None:
    print("This session trades real money. Type LIVE to go on: ", end="", flush=True)
    if sys.stdin.readline().strip() != "LIVE":
        raise UserError("not confirmed: nothing was started")
