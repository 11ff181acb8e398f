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
from trader.core.sessions import session_index, session_table
from trader.data.bar_times import bar_size, bar_starts, labelled_by_end, session_opens
from trader.data.bars import EXTRA_FIELDS, SymbolBars
from trader.data.store import BarStore
from trader.data.tabular import REQUIRED, Table, read_table
from trader.data.timeframe import Timeframe, parse_timeframe
from trader.utils.errors import UserError

SESSIONS = ("rth", "all")
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
    keep = np.ones(len(rows), dtype=bool)

    def drop(why: str, wrong: Any) -> None:
        wrong = wrong & keep
        if wrong.any():
            result.dropped[why] = int(wrong.sum())
            result.notes.append(f"{why}: the first at {iso(int(starts[np.argmax(wrong)]))}")
            keep[wrong] = False

    if size.daily:
        opens = session_opens(starts)
        drop("no session that day", opens < 0)
        starts = np.where(opens < 0, starts, opens)
    else:
        inside = session_index(starts)
        if session == "rth":
            drop("outside regular hours", inside < 0)
        anchor = np.where(inside >= 0, session_table().opens[inside], 0)
        drop("off the grid", (starts - anchor) % size.step_ns != 0)
    prices = np.stack([columns[n] for n in ("open", "high", "low", "close")])
    drop("missing price", ~np.isfinite(prices).all(axis=0))
    drop("price not above zero", (prices <= 0).any(axis=0))
    drop("high below low, open or close", prices[1] < prices.max(axis=0))
    drop("low above open or close", prices[2] > prices.min(axis=0))
    drop("volume missing or negative", ~(columns["volume"] >= 0))
    order = np.flatnonzero(keep)[np.argsort(starts[keep], kind="stable")]
    repeated = np.append(np.diff(starts[order]) == 0, False) if len(order) else np.empty(0, bool)
    if repeated.any():
        result.dropped["repeated start"] = int(repeated.sum())
        where = iso(int(starts[order][repeated][0]))
        result.notes.append(f"repeated start: the last one is kept; the first at {where}")
    order = order[~repeated]
    return SymbolBars(starts[order], **{n: values[order].astype(np.float64) for n, values in columns.items()})


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
