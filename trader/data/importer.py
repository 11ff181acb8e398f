"""`alphatrade data import`: a user's files into the store, with everything that was left out counted and said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trader.core.clock import iso
from trader.core.panel import REAL, SYNTHETIC_INTRADAY, IntArray
from trader.data.bar_times import bar_size, bar_starts, labelled_by_end
from trader.data.bars import EXTRA_FIELDS, SymbolBars
from trader.data.cleaning import SESSIONS, clean_bars
from trader.data.store import BarStore
from trader.data.tabular import REQUIRED, Table, read_table
from trader.data.timeframe import Timeframe, parse_timeframe
from trader.utils.errors import UserError

_NOT_SYMBOLS = frozenset({"DATA", "BARS", "OHLCV", "OHLC", "DAILY", "CSV", "TABLE"})


@dataclass(slots=True)
class ImportResult:
    """What became of one symbol of one file."""

    file: str
    symbol: str
    timeframe: str
    rows_read: int
    rows_written: int           # new in the store
    first: str                  # start of the first bar kept, RFC 3339
    last: str
    time_zone: str
    source: str
    dropped: dict[str, int] = field(default_factory=dict)       # why → how many rows
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def import_files(
    paths: Sequence[Path | str], home: Path, *, timeframe: str | None = None, symbol: str | None = None,
    tz: str | None = None, session: str = "rth",
) -> list[ImportResult]:
    """Bring CSV or Parquet files into the store under ``home``.

    Parameters
    ----------
    timeframe : str | None
        What the bars are; found from the distance between them when None. A file of another size is refused.
    symbol : str | None
        For files that name none; else the symbol column, the Parquet metadata, the file name are asked.
    tz : str | None
        Zone of times that carry none.
    session : str
        ``rth`` keeps the bars of regular sessions by the exchange's own calendar (half days end at 13:00);
        ``all`` keeps every bar.

    Every file is read and checked before the first one is written.
    """
    if session not in SESSIONS:
        raise UserError(f"session {session!r} is unknown; choose {' or '.join(SESSIONS)}")
    if not paths:
        raise UserError("no files were given; name at least one CSV or Parquet file with bars")
    wanted = None if timeframe is None else parse_timeframe(timeframe)
    store = BarStore(home)
    prepared = [item for path in paths for item in _prepare(Path(path), wanted, symbol, tz, session)]
    for result, bars, adjustment, origin in prepared:
        before = store.info(result.symbol, result.timeframe)
        after = store.write(
            result.symbol, result.timeframe, bars, source=result.source, adjustment=adjustment, origin=origin
        )
        result.rows_written = after.rows - (before.rows if before else 0)
        if result.rows_written < len(bars):
            result.notes.append(f"{len(bars) - result.rows_written} bars were in the store already")
    return [result for result, *_ in prepared]


def _prepare(
    path: Path, wanted: Timeframe | None, symbol: str | None, tz: str | None, session: str
) -> list[tuple[ImportResult, SymbolBars, str, str]]:
    """One entry per symbol of the file: the report so far, the bars, their adjustment and origin."""
    table = read_table(path)
    if table.frame.empty:
        raise UserError(f"{path}: there are no rows below the header")
    starts, zone = bar_starts(table, tz)
    groups = _by_symbol(table, symbol)
    size = wanted or bar_size(np.concatenate([np.unique(starts[rows]) for rows in groups.values()][:1]), path)
    adjustment = str(table.metadata.get("adjustment", "unknown"))
    origin = str(table.metadata.get("source", path.name))
    source = SYNTHETIC_INTRADAY if "synthetic" in str(table.metadata.get("source", "")).lower() else REAL
    out = []
    for name, rows in groups.items():
        found = bar_size(starts[rows], path) if len(rows) > 1 else size
        if found != size:
            raise UserError(f"{path}: the bars of {name} are {found.name}, not {size.name}; drop --timeframe")
        result = ImportResult(str(path), name, size.name, len(rows), 0, "", "", zone, source)
        bars = _clean(table, rows, starts[rows], size, session, result)
        if not len(bars):
            raise UserError(f"{path}: no bar of {name} is left ({_told(result.dropped)}); is --tz or --session right?")
        result.first, result.last = iso(int(bars.ts_ns[0])), iso(int(bars.ts_ns[-1]))
        out.append((result, bars, adjustment, origin))
    return out


def _clean(
    table: Table, rows: IntArray, starts: IntArray, size: Timeframe, session: str, result: ImportResult
) -> SymbolBars:
    """The rows as bars: on the grid, in session, each start once, prices that can be."""
    if labelled_by_end(starts, size):
        starts = starts - size.step_ns
        result.notes.append("bars were labelled by their end; their starts are stored")
    columns = {n: table.frame[n].to_numpy()[rows] for n in (*REQUIRED, *EXTRA_FIELDS) if n in table.frame}
    bars, dropped = clean_bars(starts, columns, size, session)
    for why, (count, first) in dropped.items():
        result.dropped[why] = count
        kept = "the last one is kept; " if why == "repeated start" else ""
        result.notes.append(f"{why}: {kept}the first at {first}")
    return bars


def _by_symbol(table: Table, symbol: str | None) -> dict[str, IntArray]:
    """Symbol → positions of its rows."""
    everything = np.arange(len(table.frame))
    if "symbol" in table.frame and symbol is None:
        names = table.frame["symbol"].astype(str).str.strip().str.upper().to_numpy()
        if (names == "").any():
            where = table.where(int(table.frame.index.to_numpy()[np.argmax(names == "")]))
            raise UserError(f"{table.path}, {where}, column symbol: empty; every row needs its symbol")
        return {str(name): np.flatnonzero(names == name) for name in dict.fromkeys(names)}
    if symbol is not None:
        return {symbol.upper(): everything}
    if table.metadata.get("symbol"):
        return {str(table.metadata["symbol"]).upper(): everything}
    first = re.split(r"[_\-\s.]", table.path.stem)[0].upper()
    if not re.fullmatch(r"[A-Z]{1,5}", first) or first in _NOT_SYMBOLS:
        raise UserError(f"{table.path}: neither a column nor the file's name tells the symbol; say it with --symbol")
    return {first: everything}


def _told(dropped: dict[str, int]) -> str:
    return ", ".join(f"{count} {why}" for why, count in dropped.items()) or "nothing was in it"
