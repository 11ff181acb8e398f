"""A picture of the console as SVG: ``python -m console.screenshot OUT.svg [--replay RUN] [--size 160x48]``."""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

from console.feed import Feed, ReplayFeed

# Pictures load nothing from anywhere: whoever looks at them has a monospaced font.
_FONT_FACES = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


async def _draw(feed: Feed, size: tuple[int, int], theme: str | None, press: Sequence[str]) -> str:
    from console.app import AlphaTradeApp

    app = AlphaTradeApp(feed, theme=theme)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        await pilot.press(*press)
        await pilot.pause()
        return _FONT_FACES.sub("", app.export_screenshot(title="AlphaTrade"))


def screenshot(feed: Feed, size: tuple[int, int] = (160, 48), theme: str | None = None,
               press: Sequence[str] = ()) -> str:
    """The console over ``feed`` as SVG text, after the given keys."""
    return asyncio.run(_draw(feed, size, theme, press))


def main(argv: Sequence[str] | None = None) -> int:
    """Draw a run from its journal, at a share of its length."""
    from trader.replay import Player
    from trader.utils.paths import home_dir

    parser = argparse.ArgumentParser(prog="python -m console.screenshot", description="Draw a run as SVG.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--replay", default="latest", metavar="RUN")
    parser.add_argument("--home")
    parser.add_argument("--at", type=float, default=0.6, help="share of the run, 0 to 1")
    parser.add_argument("--size", default="160x48")
    parser.add_argument("--theme", choices=("dark", "light", "contrast"))
    parser.add_argument("--press", default="", help="keys, comma separated")
    arguments = parser.parse_args(argv)
    player = Player(arguments.replay, home_dir(arguments.home))
    player.seek_fraction(arguments.at)
    width, height = (int(part) for part in arguments.size.split("x"))
    feed = ReplayFeed(player, threaded=False)
    keys = [key for key in arguments.press.split(",") if key]
    arguments.out.write_text(screenshot(feed, (width, height), arguments.theme, keys), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
