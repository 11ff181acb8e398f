"""The bundled sample: real daily bars in the public domain (see data/sample/NOTICE.md)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from trader.core.panel import FIELDS, REAL, BarPanel
from trader.core.sessions import session_table
from trader.data.adjust import apply_splits, read_splits
from trader.data.bars import SymbolBars, assemble
from trader.data.timeframe import DAILY
from trader.utils.errors import UserError
from trader.utils.paths import bundled_dir

SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")


def daily_panel(symbols: Sequence[str] | None = None, adjusted: bool = True) -> BarPanel:
    """The sample's daily bars.

    Parameters
    ----------
    symbols : Sequence[str] | None
        Some of `SYMBOLS`, in the order wanted; None means all.
    adjusted : bool
        Whether the splits of ``data/sample/splits.csv`` are taken out (all of them, so a day's bar never depends on
        the range that was asked for). Dividends are never adjusted.

    Returns
    -------
    BarPanel
        ``ts_ns`` is the session's opening, ``available_ns`` its close; a symbol is NaN before it was listed.
    """
    wanted = tuple(SYMBOLS if symbols is None else symbols)
    unknown = [s for s in wanted if s not in SYMBOLS]
    if unknown:
        raise UserError(f"{', '.join(unknown)}: not in the bundled sample, which holds {', '.join(SYMBOLS)}")
    panel = assemble({s: _raw()[s] for s in wanted}, DAILY, REAL)
    return apply_splits(panel, read_splits(bundled_dir("data/sample") / "splits.csv")) if adjusted else panel


@lru_cache(maxsize=1)
def _raw() -> dict[str, SymbolBars]:
    import pyarrow.parquet as pq

    table = pq.read_table(bundled_dir("data/sample") / "daily.parquet")
    names = np.asarray(table["symbol"].to_numpy())
    days = table["date"].to_numpy().astype("datetime64[D]").astype(np.int64)
    calendar = session_table()
    opens = calendar.opens[np.searchsorted(calendar.days, days)]
    columns = {field: table[field].to_numpy().astype(np.float64) for field in FIELDS}
    return {
        symbol: SymbolBars(opens[rows], *(columns[field][rows] for field in FIELDS))
        for symbol in SYMBOLS
        for rows in [np.flatnonzero(names == symbol)]
    }
