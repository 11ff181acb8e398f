"""What a strategy can say of a whole panel before it is played: the slices at which it will have nothing to say.

A strategy may offer ``foresee(panel)``, computed in one batch. It is never asked what to do from there, only whether
its ``on_slice`` need be asked at all (and may leave it a number that it would work out itself): decisions have one
form, live and in a backtest. A row's columns are the bits of an int, so that a question costs a few operations
whatever the number of symbols.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trader.core.book import Book


class Foresight(Protocol):
    """Made by a strategy for the panel that will be played to it."""

    def silent(self, row: int, book: Book) -> bool:
        """True only where ``on_slice`` would return nothing at this row and leave the strategy as it is."""
        ...


def bits_of(mask: NDArray[np.bool_]) -> int:
    """A mask of columns, shape ``(n,)``, as an int: column ``k`` is the bit of value ``2**k``."""
    return int.from_bytes(np.packbits(mask, bitorder="little").tobytes(), "little")


def columns_of(bits: int) -> list[int]:
    """The columns whose bits are set, in order."""
    columns = []
    while bits:
        lowest = bits & -bits
        columns.append(lowest.bit_length() - 1)
        bits ^= lowest
    return columns


def row_bits(mask: NDArray[np.bool_]) -> list[int]:
    """:func:`bits_of` for every row of shape ``(rows, n)``."""
    packed = np.packbits(mask, axis=1, bitorder="little")
    width, raw = packed.shape[1], packed.tobytes()
    return [int.from_bytes(raw[at:at + width], "little") for at in range(0, len(raw), width)]


class HeldBits:
    """The columns held, as bits."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self.symbols = symbols
        self._bit = {symbol: 1 << column for column, symbol in enumerate(symbols)}
        self._at: tuple[Book | None, int] = (None, -1)
        self._bits = (0, 0)

    def of(self, book: Book) -> tuple[int, int]:
        """Long and short; looked up anew only when the book has changed."""
        if self._at[1] != book.changes or self._at[0] is not book:
            self._at, self._bits = (book, book.changes), self._look(book)
        return self._bits

    def _look(self, book: Book) -> tuple[int, int]:
        long = short = 0
        for symbol, held in book.shares.items():
            if held > 0.0:
                long |= self._bit.get(symbol, 0)
            else:
                short |= self._bit.get(symbol, 0)
        return long, short
