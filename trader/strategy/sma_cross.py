"""The two moving averages that every engine is compared with."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
import numpy as np

from trader.core.book import Book
from trader.core.foresight import HeldBits, bits_of, columns_of, row_bits
from trader.core.history import History
from trader.core.panel import BarPanel, FloatArray
from trader.core.signals import Signal
from trader.strategy.base_strategy import BaseStrategy, StrategyContext, StrategyParams

Length = Annotated[int, msgspec.Meta(ge=1, le=2000)]
Percent = Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]
EPSILON = 1e-9                    # the averages carry rounding; a tie is flat
UNSURE = 1e-6                     # of the price: means closer than this are left to the live form
BLOCK = 8192                      # rows that are foreseen at once


class SmaCrossParams(StrategyParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``fast`` and ``slow`` in bars; ``shares`` None: sized by the risk settings; no bracket where a pct is None."""

    fast: Length = 20
    slow: Length = 50
    shares: Annotated[int, msgspec.Meta(ge=1)] | None = 100
    take_profit_pct: Percent | None = 0.04
    stop_loss_pct: Percent | None = 0.02

    def __post_init__(self) -> None:
        if self.fast >= self.slow:
            raise ValueError(f"fast ({self.fast}) must be below slow ({self.slow})")


class SmaCross(BaseStrategy):
    """Long while the fast mean of closes is above the slow one, flat otherwise.

    After a bracket has closed a position the symbol stays flat until the fast mean was below once. Sums are
    carried along: a slice costs a few additions over all symbols.
    """

    name: ClassVar[str] = "sma_cross"
    Params: ClassVar[type[StrategyParams]] = SmaCrossParams
    params: SmaCrossParams

    def __init__(self, params: StrategyParams | None = None) -> None:
        super().__init__(params)
        self._sums: tuple[FloatArray, FloatArray] | None = None
        self.spent = 0                                  # the columns entered in this upswing already, as bits
        self.foreseen: int | None = None                # where fast is above slow, told for the slice asked next
        self._held: HeldBits | None = None
        self._summed_at = 0                             # the bar that the sums end with
        self._age = 0

    @property
    def warmup(self) -> int:
        return self.params.slow

    def foresee(self, panel: BarPanel) -> SmaForesight:
        """Where the means of a whole panel are on which side."""
        return SmaForesight(self, panel)

    def held_bits(self, symbols: tuple[str, ...]) -> HeldBits:
        """Who tells which columns are held."""
        if self._held is None or self._held.symbols != symbols:
            self._held = HeldBits(symbols)
        return self._held

    def on_slice(self, ctx: StrategyContext) -> list[Signal]:
        history, params = ctx.history, self.params
        if history.n < params.slow:
            return []
        above, self.foreseen = self.foreseen, None
        if above is None:
            fast, slow = self._means(history)
            above = bits_of(fast > slow + EPSILON)
        self.spent &= above
        long, short = self.held_bits(history.symbols).of(ctx.book)
        held = long | short
        acts = (above ^ held) & ~self.spent
        exits: list[Signal] = []
        entries: list[Signal] = []
        bracket = params.take_profit_pct is not None or params.stop_loss_pct is not None
        for i in columns_of(acts):
            if not ctx.ok[i]:
                continue
            symbol, price = history.symbols[i], float(ctx.slice.close[i])
            if held >> i & 1:
                exits.append(Signal(symbol, 0, 1.0, price, reason="fast mean below slow"))
                continue
            entries.append(Signal(
                symbol, 1, 1.0, price, take_profit_pct=params.take_profit_pct, stop_loss_pct=params.stop_loss_pct,
                shares=params.shares, reason="fast mean above slow",
            ))
            self.spent |= bracket << i
        return exits + entries

    def _means(self, history: History) -> tuple[FloatArray, FloatArray]:
        """Means of the last bars; rolled forward, and summed afresh after a gap and every 1,000 bars against drift."""
        fast_n, slow_n = self.params.fast, self.params.slow
        close, ts = history.close(slow_n + 1), history.ts(2)
        follows = len(close) > slow_n and self._summed_at == ts[0]
        self._summed_at = int(ts[-1])
        self._age += 1
        if self._sums is None or not follows or self._age % 1000 == 0 or np.isnan(self._sums[1]).any():
            self._sums = (np.add.reduce(close[-fast_n:]), np.add.reduce(close[-slow_n:]))
        else:
            newest = close[-1]
            self._sums = (self._sums[0] + newest - close[-1 - fast_n], self._sums[1] + newest - close[0])
        return self._sums[0] / fast_n, self._sums[1] / slow_n


class SmaForesight:
    """The cross over a whole panel: silent where every symbol held is above, and every other one below or spent."""

    def __init__(self, strategy: SmaCross, panel: BarPanel) -> None:
        self._strategy = strategy
        self._held = strategy.held_bits(panel.symbols)
        self._above: list[int] = []
        self._unsure: list[int] = []
        reach = strategy.params.slow - 1
        for start in range(0, len(panel), BLOCK):
            first = max(0, start - reach)
            above, unsure = self._sides(panel.close[first:start + BLOCK])
            self._above += row_bits(above[start - first:])
            self._unsure += row_bits(unsure[start - first:])

    def _sides(self, close: FloatArray) -> tuple[np.ndarray, np.ndarray]:
        """Masks of the shape of ``close``; rows before the first slow mean are unsure."""
        fast, slow = self._strategy.params.fast, self._strategy.params.slow
        unsure = np.ones(close.shape, bool)
        above = np.zeros(close.shape, bool)
        if len(close) < slow:
            return above, unsure
        sums = np.zeros((len(close) + 1, close.shape[1]))
        np.cumsum(np.nan_to_num(close), axis=0, out=sums[1:])
        gaps = np.zeros(sums.shape, np.int32)
        np.cumsum(np.isnan(close), axis=0, out=gaps[1:])
        slow_mean = (sums[slow:] - sums[:-slow]) / slow
        lead = (sums[slow:] - sums[slow - fast:-fast]) / fast - slow_mean
        above[slow - 1:] = lead > EPSILON
        unsure[slow - 1:] = (np.abs(lead) < UNSURE * slow_mean) | (gaps[slow:] > gaps[:-slow])
        return above, unsure

    def silent(self, row: int, book: Book) -> bool:
        """See :class:`trader.core.foresight.Foresight`."""
        strategy = self._strategy
        if row + 1 < strategy.params.slow:
            return True
        strategy.foreseen = None                        # what an earlier row left there is not this one's
        if self._unsure[row]:
            return False
        spent = strategy.spent
        above = self._above[row]
        long, short = self._held.of(book)
        held = long | short
        if (held | spent) & ~above or above & ~(held | spent):
            strategy.foreseen = above                   # its ``on_slice`` follows at once and need not sum up again
            return False
        return True
