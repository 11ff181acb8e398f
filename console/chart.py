"""Charts as text: plotext draws, Rich reads its colours. plotext is imported with the first chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from console.widgets.figures import moment
from trader.frames import CandleSeries, PositionRow

Colours = Mapping[str, tuple[int, int, int]]    # good, bad, accent, warn, muted
CELLS_A_CANDLE = 2
_RISING, _FALLING, _PAPER = "\x1b[38;5;2m", "\x1b[38;5;1m", "\x1b[48;5;15m"


def _ansi(colour: tuple[int, int, int]) -> str:
    return "\x1b[38;2;{};{};{}m".format(*colour)


class _Canvas:
    """One drawing on plotext's only figure."""

    def __init__(self, width: int, height: int, colours: Colours) -> None:
        import plotext

        plotext.terminal.limit(False, False)
        self.plotext: Any = plotext
        self.figure: Any = plotext.figure
        self.colours = colours
        self.width = width
        self.figure.clear()
        self.figure.plot_size(width, height)
        self.figure.canvas("default")
        self.figure.axes(False)
        for axis in ("x", "y"):
            self.figure.ruler(axis).pixel(self.pixel("muted"))

    def pixel(self, tone: str) -> Any:
        return self.plotext.pixel(self.colours[tone], "default")

    def marker(self, symbol: str, tone: str) -> Any:
        return self.plotext.marker(symbol, self.pixel(tone))

    def points(self, x: Sequence[float], y: Sequence[float], symbol: str, tone: str, *, joined: bool = False) -> None:
        if x:
            signal = self.figure.signal(list(x), list(y), marker=self.marker(symbol, tone))
            signal.lines(joined)
            self.figure.draw(signal)

    def level(self, value: float, tone: str, label: str) -> None:
        self.figure.line(value, orientation="h", pixel=self.pixel(tone), style="dotted")
        if label:
            self.figure.draw(self.figure.text(0, value, self.plotext.colorize(label, self.pixel(tone))))

    def limits(self, low: float, high: float, digits: int) -> None:
        spread = (high - low) or max(abs(high), 1.0) * 0.01
        low, high = low - spread * 0.04, high + spread * 0.04
        ticks = [low + (high - low) * place / 4 for place in range(5)]
        self.figure.ruler("y").lim(low, high)
        self.figure.ruler("y").ticks(ticks, [f"{tick:,.{digits}f}" for tick in ticks])

    def times(self, ts_ns: Sequence[int]) -> None:
        count = max(2, min(7, self.width // 18))
        last = len(ts_ns) - 1
        places = sorted({round(i * last / (count - 1)) for i in range(count)})
        one_day = moment(ts_ns[0]).date() == moment(ts_ns[-1]).date()
        form = "%H:%M" if one_day else "%d %b %H:%M" if ts_ns[-1] - ts_ns[0] < 40 * 86_400 * 10**9 else "%d %b %Y"
        self.figure.ruler("x").ticks([float(place) for place in places],
                                     [moment(ts_ns[place]).strftime(form) for place in places])

    def text(self) -> Text:
        drawn = self.figure.build().string()
        drawn = drawn.replace(_RISING, _ansi(self.colours["good"])).replace(_FALLING, _ansi(self.colours["bad"]))
        return Text.from_ansi(drawn.replace(_PAPER, ""), no_wrap=True)


def candles(series: CandleSeries, position: PositionRow | None, width: int, height: int, colours: Colours) -> Text:
    """The last candles that fit, own fills as arrows, the entry and its bracket as lines."""
    count = max(2, min(len(series.ts_ns), (width - 9) // CELLS_A_CANDLE))
    ts_ns, low, high = series.ts_ns[-count:], list(series.low[-count:]), list(series.high[-count:])
    canvas = _Canvas(width, height, colours)
    levels = [] if position is None else [
        (position.take_profit, "good", "target"), (position.average_price, "accent", "entry"),
        (position.stop_loss, "bad", "stop")]
    near = [level for level, *_ in levels if level is not None]
    canvas.limits(min([*low, *near]), max([*high, *near]), 2)
    canvas.figure.ruler("x").lim(-0.5, count - 0.5)
    drawn = canvas.figure.candlestick({
        "date": list(range(count)), "open": list(series.open[-count:]), "close": list(series.close[-count:]),
        "high": high, "low": low})
    canvas.figure.draw(drawn)
    for level, tone, word in levels:
        if level is not None:
            canvas.level(level, tone, f"{word} {level:,.2f} ")
    for side, symbol, tone in (("buy", "▲", "good"), ("sell", "▼", "bad")):
        own = [(_place(ts_ns, fill.ts_ns), fill.price) for fill in series.fills
               if fill.side == side and fill.ts_ns >= ts_ns[0]]
        canvas.points([float(place) for place, _ in own], [price for _, price in own], symbol, tone)
    canvas.times(ts_ns)
    return canvas.text()


def line(ts_ns: Sequence[int], values: Sequence[float], width: int, height: int, colours: Colours, tone: str,
         digits: int = 0, level: float | None = None) -> Text:
    """One braille line over time, and a dotted level to read it against."""
    canvas = _Canvas(width, height, colours)
    reach = [*values, *([] if level is None else [level])]
    canvas.limits(min(reach), max(reach), digits)
    if level is not None:
        canvas.level(level, "muted", "")
    canvas.points([float(i) for i in range(len(values))], values, "braille", tone, joined=True)
    canvas.times(ts_ns)
    return canvas.text()


def drawdowns(values: Sequence[float]) -> list[float]:
    """Per cent below the running peak, zero or negative."""
    peak, below = float("-inf"), []
    for value in values:
        peak = max(peak, value)
        below.append((value / peak - 1) * 100 if peak > 0 else 0.0)
    return below


def _place(ts_ns: Sequence[int], at: int) -> int:
    from bisect import bisect_right

    return max(0, bisect_right(ts_ns, at) - 1)
