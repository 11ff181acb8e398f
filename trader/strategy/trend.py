"""A rule-based strategy that needs no model: breakouts in the direction of the trend, ATR brackets."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from trader.core.book import Book
from trader.core.foresight import HeldBits, row_bits
from trader.core.panel import BarPanel, FloatArray
from trader.core.signals import Signal
from trader.strategy.base_strategy import BaseStrategy, StrategyContext, StrategyParams, held_directions

Length = Annotated[int, msgspec.Meta(ge=2, le=2000)]
Multiple = Annotated[float, msgspec.Meta(gt=0.0, le=50.0)]
BPS = 1e4
UNSURE = 1e-9                     # of the price: a close so near to its mean is left to the live form
BLOCK = 8192                      # rows that are foreseen at once


class TrendParams(StrategyParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lengths in bars, brackets in average true ranges."""

    breakout: Length = 12                       # a close beyond the range of so many bars
    trend: Length = 24                          # and beyond the mean of so many
    exit: Length = 8                            # out when the close leaves the other side of this range
    atr: Length = 14
    stop_atr: Multiple = 2.5
    target_atr: Multiple = 4.0
    max_bars: Length = 52                       # held no longer
    min_stop_pct: Annotated[float, msgspec.Meta(gt=0.0, lt=0.5)] = 0.003
    allow_short: bool = False
    alpha_share: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.06      # of strength × target, as alpha


class Trend(BaseStrategy):
    """Enter on a Donchian breakout with the trend; leave by bracket, by the opposite channel or by age.

    The entry channel ends before the current bar. The strength grows with the distance of the breakout in
    true ranges. The stated alpha is a small share of strength × target: the rule claims little, and a weak
    breakout in a quiet market does not pay for its costs.
    """

    name: ClassVar[str] = "trend"
    Params: ClassVar[type[StrategyParams]] = TrendParams
    params: TrendParams

    @property
    def warmup(self) -> int:
        p = self.params
        return max(p.breakout, p.trend, p.exit, p.atr) + 1

    def foresee(self, panel: BarPanel) -> TrendForesight:
        """The breakouts and channel exits of a whole panel."""
        return TrendForesight(self.params, self.warmup, panel)

    def on_slice(self, ctx: StrategyContext) -> list[Signal]:
        history, p = ctx.history, self.params
        if history.n < self.warmup:
            return []
        symbols = history.symbols
        close = ctx.slice.close
        held = held_directions(ctx.book, symbols)
        mean = np.add.reduce(history.close(p.trend)) / p.trend
        top = np.maximum.reduce(history.high(p.breakout + 1)[:-1])
        up = (close > top) & (close > mean)
        sound = ctx.ok & np.isfinite(close)
        signals: list[Signal] = []
        if ctx.book.positions:
            signals += self._exits(ctx, held, sound)
        enter, edge = up, top
        if p.allow_short:
            bottom = np.minimum.reduce(history.low(p.breakout + 1)[:-1])
            enter = up | ((close < bottom) & (close < mean))
            edge = np.where(up, top, bottom)
        enter = enter & sound & (held == 0)
        if enter.any():
            atr = average_true_range(history.high(p.atr), history.low(p.atr), history.close(p.atr + 1))
            signals += [
                self._entry(symbols[i], 1 if up[i] else -1, float(close[i]), float(atr[i]), float(edge[i]))
                for i in (enter & (atr > 0.0) & (atr < np.inf)).nonzero()[0].tolist()
            ]
        return signals

    def _entry(self, symbol: str, direction: int, price: float, atr: float, edge: float) -> Signal:
        p = self.params
        stop = max(p.stop_atr * atr / price, p.min_stop_pct)
        target = stop * p.target_atr / p.stop_atr
        strength = min(1.0, 0.5 + abs(price - edge) / atr)
        return Signal(
            symbol, direction, strength, price, take_profit_pct=target, stop_loss_pct=stop,
            expected_alpha_bps=p.alpha_share * strength * target * BPS,
            reason=f"close {price:.2f} beyond the {p.breakout}-bar range at {edge:.2f}",
        )

    def _exits(
        self, ctx: StrategyContext, held: NDArray[np.int8], sound: NDArray[np.bool_],
    ) -> list[Signal]:
        history, p, close = ctx.history, self.params, ctx.slice.close
        turned = (held > 0) & (close < np.minimum.reduce(history.low(p.exit + 1)[:-1]))
        if p.allow_short or held.min() < 0:
            turned |= (held < 0) & (close > np.maximum.reduce(history.high(p.exit + 1)[:-1]))
        signals = []
        for i in ((held != 0) & sound).nonzero()[0].tolist():
            symbol = history.symbols[i]
            if turned[i]:
                signals.append(Signal(symbol, 0, 1.0, float(close[i]), reason=f"left the {p.exit}-bar channel"))
            elif ctx.book.positions[symbol].bars_held >= p.max_bars:
                signals.append(Signal(symbol, 0, 1.0, float(close[i]), reason=f"held for {p.max_bars} bars"))
        return signals


def average_true_range(high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    """Mean true range over rows (Wilder 1978); ``close`` has one more row in front. Shape (n_symbols,)."""
    before = close[:-1]
    ranges = np.maximum(high - low, np.maximum(np.abs(high - before), np.abs(low - before)))
    out: FloatArray = np.add.reduce(ranges) / len(ranges)
    return out


class TrendForesight:
    """Breakouts over a whole panel: silent where none meets a symbol that is flat, and no position has to go."""

    def __init__(self, params: TrendParams, warmup: int, panel: BarPanel) -> None:
        self._params = params
        self._warmup = warmup
        self._held = HeldBits(panel.symbols)
        self._enter: list[int] = []
        self._fell: list[int] = []
        self._rose: list[int] = []
        for start in range(0, len(panel), BLOCK):
            first = max(0, start - warmup)
            cut = np.s_[first:start + BLOCK]
            masks = self._masks(panel.high[cut], panel.low[cut], panel.close[cut])
            for bits, mask in zip((self._enter, self._fell, self._rose), masks, strict=True):
                bits += row_bits(mask[start - first:])

    def _masks(self, high: FloatArray, low: FloatArray, close: FloatArray) -> tuple[NDArray[np.bool_], ...]:
        """Where an entry may be wanted, where the close is under the exit channel, and where over it."""
        p = self._params
        total = np.zeros_like(close)
        for back in range(p.trend):
            total += _shifted(close, back)
        mean = total / p.trend
        near = UNSURE * mean
        enter = (close > _beyond(np.maximum, high, p.breakout)) & (close > mean - near)
        if p.allow_short:
            enter |= (close < _beyond(np.minimum, low, p.breakout)) & (close < mean + near)
        return enter, close < _beyond(np.minimum, low, p.exit), close > _beyond(np.maximum, high, p.exit)

    def silent(self, row: int, book: Book) -> bool:
        """See :class:`trader.core.foresight.Foresight`."""
        if row + 1 < self._warmup:
            return True
        long, short = self._held.of(book)
        if self._enter[row] & ~(long | short) or self._fell[row] & long or self._rose[row] & short:
            return False
        oldest = self._params.max_bars
        return not any(position.bars_held >= oldest for position in book.positions.values())


def _shifted(rows: FloatArray, back: int) -> FloatArray:
    """Every row's predecessor ``back`` rows ago; NaN where there is none."""
    if back == 0:
        return rows
    out = np.full_like(rows, np.nan)
    out[back:] = rows[:-back]
    return out


def _beyond(extreme: np.ufunc, rows: FloatArray, length: int) -> FloatArray:
    """The highest or lowest of the ``length`` rows before each row; NaN where one of them is missing."""
    out = _shifted(rows, 1)
    for back in range(2, length + 1):
        out = extreme(out, _shifted(rows, back))
    return out
